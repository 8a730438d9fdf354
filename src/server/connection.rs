//! May this connection stay? Room for it, time for its handshake, time for each request's head, time between requests.
//!
//! hyper's own header timeout also runs between requests and would close the API server's idle connections after
//! seconds, under a request that is just on its way; so the reading side is watched here instead.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::Limits;
use super::quota::{Lease, Quota};
use crate::metrics::{Handshake, Metrics};

/// Beyond the quota this many connections are answered 503; more are closed without a word.
const POLITE_REFUSALS: usize = 16;

/// What a handler may know of the connection that its request came on.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other side.
    pub address: SocketAddr,
    /// There was no room for it: it is to be told so, and closed.
    pub refused: bool,
}

/// An acceptor within bounds.
#[derive(Clone)]
pub struct Guarded<A> {
    inner: A,
    connections: Quota,
    refusals: Quota,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl<A> Guarded<A> {
    /// Around another acceptor.
    #[must_use]
    pub fn new(inner: A, connections: Quota, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let refusals = Quota::new(POLITE_REFUSALS, POLITE_REFUSALS);
        Self { inner, connections, refusals, limits, metrics }
    }
}

impl<A, S> Accept<TcpStream, S> for Guarded<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
    A::Stream: Send,
    A::Service: Send,
{
    type Stream = Watched<A::Stream>;
    type Service = Tagged<A::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = self.admit(&stream);
        let handshake = admitted.map(|admitted| (admitted, self.inner.accept(stream, service)));
        let metrics = Arc::clone(&self.metrics);
        let limits = self.limits;
        Box::pin(async move {
            let ((peer, open), handshake) = handshake?;
            let started = Instant::now();
            let result = handshake.await;
            let (stream, service) = match result {
                Ok(accepted) => {
                    metrics.handshakes.get_or_create(&Handshake { result: "ok" }).inc();
                    accepted
                }
                Err(error) => {
                    let late = started.elapsed() >= limits.handshake;
                    let result = if late { "timeout" } else { "failed" };
                    metrics.handshakes.get_or_create(&Handshake { result }).inc();
                    tracing::debug!(peer = %peer.address, "TLS handshake {result}: {error}");
                    return Err(error);
                }
            };
            let progress = Arc::new(Progress::default());
            let watched = Watched {
                stream,
                progress: Arc::clone(&progress),
                limits,
                seen: 0,
                begun: false,
                timer: None,
                write_timer: None,
                _open: open,
            };
            Ok((watched, Tagged { service, peer, progress }))
        })
    }
}

impl<A> Guarded<A> {
    fn admit(&self, stream: &TcpStream) -> io::Result<(Peer, Open)> {
        let address = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        let mut lease = self.connections.lease(address.ip());
        let mut refused = false;
        if !lease.grow(1) {
            refused = true;
            lease = self.refusals.lease(address.ip());
            if !lease.grow(1) {
                self.metrics.refused_connections.inc();
                tracing::debug!(peer = %address, "connection closed: too many are open");
                return Err(io::Error::other("too many connections"));
            }
        }
        self.metrics.open_connections.inc();
        let open = Open { _lease: lease, metrics: Arc::clone(&self.metrics) };
        Ok((Peer { address, refused }, open))
    }
}

/// Counts a connection as open while it lives.
struct Open {
    _lease: Lease,
    metrics: Arc<Metrics>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.open_connections.dec();
    }
}

/// How far a connection's requests are: each counts 1 when its answer is begun and 1 when it is done.
#[derive(Debug, Default)]
struct Progress(AtomicUsize);

impl Progress {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream that ends, as if its peer had closed it, when a request's head or the next request is too long in coming.
pub struct Watched<T> {
    stream: T,
    progress: Arc<Progress>,
    limits: Limits,
    /// The progress that `begun` and `timer` belong to.
    seen: usize,
    /// Bytes of the next request's head have arrived.
    begun: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Runs while the peer takes nothing of its answer.
    write_timer: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

impl<T> Watched<T> {
    /// How long the peer may be silent now; `None` while its request is being answered, which has its own time.
    fn patience(&mut self) -> Option<Duration> {
        let now = self.progress.now();
        if now != self.seen {
            self.seen = now;
            self.begun = false;
            self.timer = None;
        }
        let busy = now % 2 == 1;
        let between_requests = now > 0 && !self.begun;
        match (busy, between_requests) {
            (true, _) => None,
            (_, true) => Some(self.limits.idle),
            _ => Some(self.limits.header),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let patience = this.patience();
        if polled.is_ready() {
            if buffer.filled().len() > before && patience.is_some() && !this.begun {
                this.begun = true;
                // The head's own time begins with its first byte.
                this.timer = None;
            }
            return polled;
        }
        let Some(patience) = patience else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        // An empty read is the end of the stream: hyper closes without an error.
        timer.as_mut().poll(cx).map(Ok)
    }
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    /// Lets a write go on, until its peer has taken nothing for as long as a request may take.
    fn bounded<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), cx) {
            self.write_timer = None;
            return Poll::Ready(done);
        }
        let patience = self.limits.request;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().bounded(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().bounded(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().bounded(cx, AsyncWrite::poll_shutdown)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().bounded(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A connection's service: tells each request its peer, and the stream when one is being answered.
#[derive(Clone)]
pub struct Tagged<S> {
    service: S,
    peer: Peer,
    progress: Arc<Progress>,
}

impl<S, B> Service<Request<B>> for Tagged<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.progress.step();
        request.extensions_mut().insert(self.peer);
        let answer = self.service.call(request);
        let progress = Arc::clone(&self.progress);
        Box::pin(async move {
            let answer = answer.await;
            progress.step();
            answer
        })
    }
}
