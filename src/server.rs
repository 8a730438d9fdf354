//! How do requests come in? There is HTTPS for the API server and plain HTTP for probes and metrics, both
//! with limits.

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
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use connection::{ConnectionService, TimedStream};
use connections::{Connections, Slot};
use eviction::{EvictionPolicy, Phase};

/// How long peers may take, and how much memory and how many connections they may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's head may take, from its first byte on. On a port without TLS, the first head may
    /// take so long from the beginning of the connection on.
    pub header: Duration,
    /// How long a request may take from its head to its answer, and how long the peer may take to read the
    /// answer.
    pub request: Duration,
    /// How long a connection may be idle, also before its first request. It is longer than the 90 seconds of
    /// Go's clients, so that they close first.
    pub idle: Duration,
    /// How many connections may be open at once.
    pub connections: usize,
    /// How many of these may be of one peer address.
    pub connections_per_peer: usize,
    /// How many bytes of long request bodies may be in memory at once.
    pub body_bytes: usize,
    /// How many of these may be of one peer address.
    pub body_bytes_per_peer: usize,
}

/// The most bytes that a connection buffers of a request. A longer head is answered with 431.
const MAX_BUFFER: usize = 8 << 10;

/// The longest body that is read, in bytes. An UPDATE carries the object twice, and etcd stores up to 1.5
/// MiB.
pub const MAX_BODY: usize = 8 << 20;

/// How many connections wait in the kernel to be accepted. The kernel may grant fewer.
const BACKLOG: u32 = 1024;

/// How many bytes of a connection the kernel holds before they are read. They count as memory of the
/// container too.
const RECEIVE_BUFFER: u32 = 64 << 10;

/// How long an evicted connection that was idle has to close properly.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens a port. On a host without IPv6, `[::]` means `0.0.0.0`.
///
/// # Errors
/// The address cannot be listened on.
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
    // Accepted connections inherit this size.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A port: which connections may be open, and who answers their requests.
pub struct Port {
    limits: Limits,
    policy: EvictionPolicy,
    /// Without this, the port speaks plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    app: Router,
    keep_alive: bool,
    metrics: Arc<Metrics>,
    stop: Shutdown,
}

impl Port {
    /// The port for API servers, which speaks HTTPS.
    #[must_use]
    pub fn webhook(
        tls: Arc<ServerConfig>,
        app: Router,
        limits: Limits,
        metrics: Arc<Metrics>,
        stop: Shutdown,
    ) -> Self {
        let policy = EvictionPolicy {
            total: limits.connections,
            per_peer: limits.connections_per_peer,
            silent: Duration::from_millis(100),
            idle: Duration::from_secs(10),
        };
        Self { limits, policy, tls: Some(tls), app, keep_alive: true, metrics, stop }
    }

    /// Serves until it is told to stop, and then until every connection has ended or is aborted.
    ///
    /// # Errors
    /// The port cannot be used.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let connections = Connections::new(self.policy, Arc::clone(&self.metrics));
        let port = Arc::new(self);
        let tasks = TaskTracker::new();
        let accepting = async {
            loop {
                let Ok((stream, address)) = listener.accept().await else {
                    // There may be no file descriptors: they are free again when a connection ends.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                // Other connections wait in the kernel meanwhile. One that gets no slot is closed before its
                // handshake.
                let Some(slot) = connections.admit(address.ip()).await else { continue };
                tasks.spawn(Arc::clone(&port).handle(stream, address, slot));
                // Open connections come before new ones.
                tokio::task::yield_now().await;
            }
        };
        let _ = port.stop.begin.run_until_cancelled(accepting).await;
        drop(listener);
        tasks.close();
        tasks.wait().await;
        Ok(())
    }

    async fn handle(self: Arc<Self>, stream: TcpStream, address: SocketAddr, slot: Slot) {
        // The slot is dropped last, when the connection holds nothing any more.
        let slot = Arc::new(slot);
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            let stream = BufReader::with_capacity(MAX_BUFFER, stream);
            return self.serve_http(stream, address, &slot).await;
        };
        let (tls, timeout) = (Arc::clone(tls), self.limits.handshake);
        let accepted = tokio::select! {
            accepted = handshake::accept(tls, stream, &slot, timeout, &self.metrics) => accepted,
            () = slot.evicted() => None,
            () = self.stop.abort.cancelled() => None,
        };
        if let Some(stream) = accepted {
            self.serve_http(stream, address, &slot).await;
        }
    }

    async fn serve_http<T>(&self, stream: T, address: SocketAddr, slot: &Arc<Slot>)
    where
        T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(TimedStream::new(stream, Arc::clone(slot), self.limits));
        let service = ConnectionService::new(
            self.app.clone(),
            address,
            Arc::clone(slot),
            self.limits.request,
            Arc::clone(&self.metrics),
        );
        let service = TowerToHyperService::new(service);
        let mut http = http1::Builder::new();
        http.max_buf_size(MAX_BUFFER).keep_alive(self.keep_alive);
        let mut connection = pin!(http.serve_connection(stream, service));
        // A token of its own: with each request, all connections would wait for the lock of a shared one.
        let stopping = self.stop.begin.child_token();
        let evicted = tokio::select! {
            biased;
            _ = &mut connection => return,
            () = slot.evicted() => true,
            () = stopping.cancelled() => false,
        };
        if evicted && !matches!(slot.phase().0, Phase::Idle | Phase::Answering) {
            return;
        }
        // The answer under way is finished, and TLS is told that the connection ends.
        connection.as_mut().graceful_shutdown();
        if evicted {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection).await;
        } else {
            let _ = self.stop.abort.run_until_cancelled(connection).await;
        }
    }
}
