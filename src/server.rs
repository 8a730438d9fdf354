//! How do requests come in? HTTPS for the API server, plain HTTP for probes and metrics, both within bounds.

pub mod admin;
mod body;
mod connection;
mod connections;
mod eviction;
mod handshake;
mod quota;
mod refusal;
pub mod webhook;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use connection::{Tagged, Watched};
use connections::{Connections, NamespacedName};
use eviction::{Phase, Rules};

/// How long peers may take, and how much room they may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's head: the first from the handshake on, another from its first byte on.
    pub header: Duration,
    /// For a request from its head to its answer, and for the peer to take that.
    pub request: Duration,
    /// For a connection between requests. Longer than the 90 seconds of Go's clients, so that they close first.
    pub idle: Duration,
    /// Connections open at once.
    pub connections: usize,
    /// Of these, for one peer address.
    pub connections_per_peer: usize,
    /// Bytes of long request bodies in memory at once.
    pub body_bytes: usize,
    /// Of these, for one peer address.
    pub body_bytes_per_peer: usize,
}

/// What a connection may hold of a request that is not being answered yet, its head above all: longer ones are 431.
const MAX_BUFFER: usize = 8 << 10;

/// The longest body that is read, in bytes: an UPDATE carries the object twice, and etcd holds 1.5 MiB.
pub const MAX_BODY: usize = 8 << 20;

/// So many connections wait in the kernel while those before them are looked at. It may grant fewer.
const BACKLOG: u32 = 1024;

/// What the kernel holds of each connection that we have not read yet is of the container's memory too.
const UNREAD_IN_KERNEL: u32 = 64 << 10;

/// How long a connection that gives way between requests has for its farewell.
const FAREWELL: Duration = Duration::from_millis(500);

/// Opens a port. Where `[::]` is asked for on a host without IPv6, `0.0.0.0` stands in.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address).or_else(|error| {
        let no_ipv6 = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
            || error.raw_os_error() == Some(97);
        if no_ipv6 && address.is_ipv6() && address.ip().is_unspecified() {
            return listen((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
        Err(error)
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_recv_buffer_size(UNREAD_IN_KERNEL)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A port: who may come in, and what is answered there.
pub struct Port {
    limits: Limits,
    rules: Rules,
    /// Without it, plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    app: Router,
    keep_alive: bool,
    metrics: Arc<Metrics>,
    stop: Shutdown,
}

impl Port {
    /// HTTPS for API servers, until `stop` says so.
    #[must_use]
    pub fn webhook(
        tls: Arc<ServerConfig>,
        app: Router,
        limits: Limits,
        metrics: Arc<Metrics>,
        stop: Shutdown,
    ) -> Self {
        let rules = Rules {
            total: limits.connections,
            per_peer: limits.connections_per_peer,
            silent: Duration::from_millis(100),
            idle: Duration::from_secs(10),
        };
        Self { limits, rules, tls: Some(tls), app, keep_alive: true, metrics, stop }
    }

    /// Serves until it is told to stop, and all that is under way has ended or is to be aborted.
    ///
    /// # Errors
    /// When the port fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let connections = Connections::new(self.rules, Arc::clone(&self.metrics));
        let port = Arc::new(self);
        let tasks = TaskTracker::new();
        let accepting = async {
            loop {
                let Ok((stream, address)) = listener.accept().await else {
                    // No file descriptors, say.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                // The kernel keeps the others meanwhile. Who finds no place is closed before it has cost anything.
                let Some(place) = connections.admit(address.ip()).await else { continue };
                tasks.spawn(Arc::clone(&port).converse(stream, address, place));
                // Who is here already comes first.
                tokio::task::yield_now().await;
            }
        };
        let _ = port.stop.begin.run_until_cancelled(accepting).await;
        drop(listener);
        tasks.close();
        tasks.wait().await;
        Ok(())
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: NamespacedName) {
        // Dropped last: its place is free when all that it held is.
        let place = Arc::new(place);
        let talked = async {
            let _ = stream.set_nodelay(true);
            let Some(tls) = &self.tls else { return self.talk(stream, address, &place).await };
            let (tls, patience) = (Arc::clone(tls), self.limits.handshake);
            let shaken = handshake::shake_hands(tls, stream, &place, patience, &self.metrics);
            let shaken = tokio::select! {
                shaken = shaken => shaken,
                () = place.evicted() => None,
            };
            if let Some(stream) = shaken {
                self.talk(stream, address, &place).await;
            }
        };
        let _ = self.stop.abort.run_until_cancelled(talked).await;
    }

    async fn talk<T>(&self, stream: T, address: SocketAddr, place: &Arc<NamespacedName>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(place), self.limits));
        let service = TowerToHyperService::new(Tagged::new(self.app.clone(), address, Arc::clone(place)));
        let mut http = http1::Builder::new();
        http.max_buf_size(MAX_BUFFER).keep_alive(self.keep_alive);
        let mut conversation = pin!(http.serve_connection(stream, service));
        let given_way = tokio::select! {
            biased;
            _ = &mut conversation => return,
            () = place.evicted() => true,
            () = self.stop.begin.cancelled() => false,
        };
        if given_way && !matches!(place.phase().0, Phase::Idle | Phase::Answering) {
            return;
        }
        // The answer under way, and TLS's farewell.
        conversation.as_mut().graceful_shutdown();
        if given_way {
            let _ = tokio::time::timeout(FAREWELL, conversation).await;
        } else {
            let _ = conversation.await;
        }
    }
}
