//! How does a client ask over TLS, and how long does an answer take? One connection that is kept, HTTP/1.1, on the
//! thread that asks: so that the client itself costs little.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long an answer may take. Nothing that works takes so long.
const DEADLINE: Duration = Duration::from_mins(1);

/// Whom to ask.
#[derive(Clone)]
pub(crate) struct Host {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: Option<String>,
}

/// A request that can be sent again and again.
pub(crate) type Call = Request<Full<Bytes>>;

pub(crate) struct Connection {
    host: Host,
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Host {
    /// It has a certificate for its address that these certificates, PEM, vouch for.
    pub(crate) fn new(address: SocketAddr, trusted: &[u8], token: Option<&str>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trusted) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(tls.with_root_certificates(roots).with_no_client_auth());
        Self { address, tls, token: token.map(str::to_owned) }
    }

    /// With a body in JSON, if there is one. A change is a merge patch.
    pub(crate) fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Call {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let mut call = Request::builder().method(method).uri(path).header("Host", self.address.to_string());
        if let Some(token) = &self.token {
            call = call.header("Authorization", format!("Bearer {token}"));
        }
        call.header("Content-Type", kind).body(Full::new(body.into())).unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(self.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let name = ServerName::from(self.address.ip());
            let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.unwrap();
            let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            // It is carried on whenever this thread asks or waits.
            tokio::spawn(connection);
            sender
        });
        Connection { host: self.clone(), runtime, sender }
    }
}

impl Connection {
    /// The status and the body of the answer, and how long it took until its last byte.
    pub(crate) fn timed(&mut self, call: &Call) -> (StatusCode, Bytes, Duration) {
        let sender = &mut self.sender;
        let begun = Instant::now();
        let answer = async {
            sender.ready().await.unwrap();
            let answer = sender.send_request(call.clone()).await.unwrap();
            let status = answer.status();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        };
        let (status, body) = self.runtime.block_on(async { timeout(DEADLINE, answer).await.unwrap() });
        (status, body, begun.elapsed())
    }

    /// Asks, and expects that it is done.
    pub(crate) fn ask(&mut self, method: Method, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer, _) = self.timed(&self.host.call(method, path, body));
        assert!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    pub(crate) fn get(&mut self, path: &str) -> Value {
        self.ask(Method::GET, path, &Value::Null)
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Value {
        self.ask(Method::POST, path, body)
    }

    /// Reads the events of a watch until one of them is the last that was waited for, which this says. It is `false`
    /// where the API server ended the watch before.
    fn follow(&mut self, call: Call, within: Duration, mut is_last: impl FnMut(&Value) -> bool) -> bool {
        let sender = &mut self.sender;
        let read = async {
            sender.ready().await.unwrap();
            let mut body = sender.send_request(call).await.unwrap().into_body();
            let mut rest = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                rest.extend_from_slice(&frame.into_data().unwrap_or_default());
                let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                for event in serde_json::Deserializer::from_slice(&rest[..whole]).into_iter::<Value>() {
                    if is_last(&event.unwrap()) {
                        return true;
                    }
                }
                rest.drain(..whole);
            }
            false
        };
        self.runtime.block_on(async { timeout(within, read).await.expect("what was waited for comes") })
    }
}

impl Host {
    /// Watches the metadata of what is there from this version on, until an event is the last that was waited for. The
    /// API server ends a watch that is not read fast enough, so that it is begun anew where it ended.
    pub(crate) fn watch(
        &self,
        path: &str,
        mut version: String,
        within: Duration,
        mut is_last: impl FnMut(&Value) -> bool,
    ) {
        let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let begun = Instant::now();
        let mut is_over = false;
        while !is_over {
            let mut call =
                self.call(Method::GET, &format!("{path}?watch=true&resourceVersion={version}"), "");
            call.headers_mut().insert("Accept", metadata.parse().unwrap());
            let mut connection = self.connect();
            is_over = connection.follow(call, within.saturating_sub(begun.elapsed()), |event| {
                assert_ne!(event["type"], "ERROR", "{event}");
                let seen = &event["object"]["metadata"]["resourceVersion"];
                seen.as_str().unwrap().clone_into(&mut version);
                is_last(event)
            });
        }
    }
}
