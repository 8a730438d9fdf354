//! How is one review sent by hand? Over a TLS 1.3 connection of its own, so that what a new connection costs
//! can be seen, with a full handshake or a resumed one.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::subject::Files;

pub(crate) struct Client {
    tls: Arc<ClientConfig>,
}

pub(crate) struct Answer {
    pub(crate) handshake: HandshakeKind,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// One that trusts the certificate of these servers.
    pub(crate) fn new(files: &Files, resumption: Resumption) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&fs::read(files.path("tls.crt")).unwrap()).unwrap())
            .unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
        tls.resumption = resumption;
        Self { tls: Arc::new(tls) }
    }

    /// An open connection on which nothing was sent yet.
    pub(crate) fn connect(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = stream.peer_addr().unwrap().ip().into();
        stream.set_nodelay(true).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), stream)
    }

    /// Sends a review over a new connection, which ends with the answer.
    pub(crate) fn post(&self, address: SocketAddr, review: &[u8]) -> Answer {
        let mut stream = self.connect(TcpStream::connect(address).unwrap());
        stream.write_all(&request(review, "close")).unwrap();
        let mut answer = Vec::new();
        // The server may end the connection without a word of TLS.
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        Answer { handshake: stream.conn.handshake_kind().unwrap(), body: answer.split_off(end + 4) }
    }
}

/// A request of HTTP, after which the connection is to `keep-alive` or to `close`.
pub(crate) fn request(review: &[u8], connection: &str) -> Vec<u8> {
    let head = format!(
        "POST /mutate HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         connection: {connection}\r\ncontent-length: {}\r\n\r\n",
        review.len()
    );
    [head.as_bytes(), review].concat()
}
