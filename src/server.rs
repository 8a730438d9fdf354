//! How do requests come in? HTTPS for the API server, plain HTTP for probes and metrics, both within bounds.

pub mod admin;
pub mod connection;
pub mod quota;
pub mod webhook;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::{Accept, DefaultAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::metrics::Metrics;
use connection::Guarded;
use quota::Quota;

/// How long peers may take, and how much room they may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's head, from its first byte; and for the first byte after a handshake.
    pub header: Duration,
    /// For a request from its head to its answer.
    pub request: Duration,
    /// For a connection between requests. Longer than the 90 seconds of Go's clients, so that they close first.
    pub idle: Duration,
    /// Connections open at once.
    pub connections: usize,
    /// Of these, for one peer address.
    pub connections_per_peer: usize,
    /// Bytes of request bodies in memory at once.
    pub body_bytes: usize,
    /// Of these, for one peer address.
    pub body_bytes_per_peer: usize,
}

/// What a connection may hold of a request that is not being answered yet, its head above all: longer ones are 431.
const MAX_BUFFER: usize = 16 << 10;

/// The longest body that is read, in bytes: an UPDATE carries the object twice, and etcd holds 1.5 MiB.
pub const MAX_BODY: usize = 8 << 20;

/// Opens a port. Where `[::]` is asked for on a host without IPv6, `0.0.0.0` stands in.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).or_else(|error| {
        let no_ipv6 = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
            || error.raw_os_error() == Some(97);
        if no_ipv6 && address.is_ipv6() && address.ip().is_unspecified() {
            return TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()));
        }
        Err(error)
    })?;
    bound.set_nonblocking(true)?;
    Ok(bound)
}

/// Serves HTTPS until `handle` says stop.
///
/// # Errors
/// When the port fails.
pub async fn serve_tls(
    listener: TcpListener,
    tls: RustlsConfig,
    app: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let acceptor = RustlsAcceptor::new(tls).handshake_timeout(limits.handshake);
    serve(listener, acceptor, app, limits, metrics, handle).await
}

/// Serves plain HTTP until `handle` says stop.
///
/// # Errors
/// When the port fails.
pub async fn serve_plain(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    // Its own metrics would say nothing about the webhook.
    serve(listener, DefaultAcceptor::new(), app, limits, Arc::default(), handle).await
}

async fn serve<A>(
    listener: TcpListener,
    acceptor: A,
    app: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    handle: Handle<SocketAddr>,
) -> io::Result<()>
where
    A: Accept<TcpStream, Router, Service = Router> + Clone + Send + Sync + 'static,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send,
    A::Future: Send + 'static,
{
    let connections = Quota::new(limits.connections, limits.connections_per_peer);
    let guarded = Guarded::new(acceptor, connections, limits, metrics);
    let mut server = axum_server::from_tcp(listener)?.acceptor(guarded).http1_only().handle(handle);
    server.http_builder().http1().max_buf_size(MAX_BUFFER);
    server.serve(app.into_make_service()).await
}
