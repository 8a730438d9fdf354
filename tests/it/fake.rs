//! Servers of a test on loopback: one that answers what the test says, in plain or over TLS, and a proxy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use gitlab_iam_webhook::tls::{Pair, provider};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The method and the path with its query: `GET /a?b=c`.
    pub(crate) line: String,
    /// The head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What is answered.
pub(crate) enum Answer {
    /// A status and a body.
    Whole(u16, String),
    /// A status and a header.
    Head(u16, &'static str),
    /// A body that never ends.
    Endless,
    /// Nothing, while the connection stays open.
    Silence,
}

/// A server until the test ends.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, answer)
    }

    /// The same over TLS.
    pub(crate) fn start_tls(pair: &Pair, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let identity = pair.identity().unwrap().key;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
        Self::listen(Some(Arc::new(config)), answer)
    }

    fn listen(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, seen, answer) = (tls.clone(), Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || match tls {
                    None => respond(stream, &seen, &*answer),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        respond(StreamOwned::new(connection, stream), &seen, &*answer);
                    }
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that leads here, with the namespace `gitlab`.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "gitlab"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.url()}}],
            "users": [{"name": "u", "user": {}}],
        })
        .to_string()
    }

    /// What was asked until now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of what was asked.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

/// Answers one request. A client that goes away is no matter.
fn respond(mut stream: impl Read + Write, seen: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    if let Ok(asked) = read(&mut stream) {
        seen.lock().unwrap().push(asked.clone());
        let _ = write(&mut stream, answer(&asked));
    }
}

fn read(stream: &mut impl Read) -> io::Result<Asked> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let whole = String::from_utf8_lossy(&head).into_owned();
    let head = whole.to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let line = whole.lines().next().and_then(|line| line.rsplit_once(' ')).unwrap_or_default().0.to_owned();
    Ok(Asked { line, head, body: String::from_utf8_lossy(&body).into_owned() })
}

fn write(stream: &mut (impl Read + Write), answer: Answer) -> io::Result<()> {
    let close = "connection: close\r\n";
    match answer {
        Answer::Whole(status, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{close}\r\n{body}")?;
        }
        Answer::Head(status, header) => {
            write!(stream, "HTTP/1.1 {status} x\r\n{header}\r\ncontent-length: 0\r\n{close}\r\n")?;
        }
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\n{close}\r\n<a>")?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
        // Until the client gives up.
        Answer::Silence => drop(stream.read(&mut [0])?),
    }
    stream.flush()
}

/// A proxy that opens tunnels. What it was asked is returned by the other side of the pair.
pub(crate) fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            thread::spawn(move || tunnel(stream, &seen));
        }
    });
    (address, asked)
}

fn tunnel(mut client: TcpStream, seen: &Mutex<Vec<String>>) {
    let asked = read(&mut client).unwrap();
    let target = asked.line.split(' ').nth(1).unwrap().replace("localhost", "127.0.0.1");
    seen.lock().unwrap().push(asked.head);
    let Ok(mut server) = TcpStream::connect(target) else { return };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || io::copy(&mut from, &mut to));
    let _ = io::copy(&mut server, &mut client);
}
