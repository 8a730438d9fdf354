//! How long may a connection's peer take? For each request's head, between requests, and to take its answer.
//!
//! hyper's own header timeout also runs between requests and would close the API server's idle connections after
//! seconds, under a request that is just on its way; so the reading side is watched here instead.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::Limits;
use super::connections::NamespacedName;
use super::eviction::Phase;

/// How much is read from a stream at once.
const AT_ONCE: usize = 8 << 10;

/// What a handler may know of the connection that its request came on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The other side.
    pub(super) address: SocketAddr,
}

/// Where a request's connection is in the table, for the handler that reads its body.
#[derive(Clone)]
pub(super) struct Reading(Arc<NamespacedName>);

impl Reading {
    /// The whole body is here.
    pub(super) fn ended(&self) {
        self.0.reach(Phase::Answering);
    }
}

/// A stream that ends, as if its peer had closed it, when a request's head or the next request is too long in coming.
pub(super) struct Watched<T> {
    stream: T,
    place: Arc<NamespacedName>,
    limits: Limits,
    /// The phase that `timer` belongs to, by its beginning.
    seen: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Runs until the peer has taken all of its answer.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    pub(super) fn new(stream: T, place: Arc<NamespacedName>, limits: Limits) -> Self {
        // A handshake had a time of its own.
        place.gave_out();
        Self { stream, place, limits, seen: Instant::now(), timer: None, write_timer: None }
    }

    /// How long the peer may be silent now; `None` while its request is being read or answered, which has its own time.
    fn patience(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Silent | Phase::Opening | Phase::Head => Some(self.limits.header),
            Phase::Idle => Some(self.limits.idle),
            Phase::Body | Phase::Answering => None,
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
        // TLS would go on until all of it is full.
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(buffer.remaining().min(AT_ONCE)));
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        let bytes = part.filled().len();
        buffer.advance(bytes);
        let (phase, since) = this.place.phase();
        if polled.is_ready() {
            if bytes > 0 {
                this.place.gave_out();
                this.place.spoke();
            }
            return polled;
        }
        if this.seen != since {
            this.seen = since;
            this.timer = None;
        }
        let Some(patience) = this.patience(phase) else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        // An empty read is the end of the stream: hyper closes without an error.
        timer.as_mut().poll(cx).map(Ok)
    }
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    /// Lets a write go on, for as long as a request may take.
    fn bounded<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), cx) {
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
        let this = self.get_mut();
        let flushed = this.bounded(cx, AsyncWrite::poll_flush);
        if flushed.is_ready() {
            // All of it: a peer that takes a byte now and then has no more time for that.
            this.write_timer = None;
        }
        flushed
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

/// A connection's service: tells each request its peer, and the table where the connection is.
#[derive(Clone)]
pub(super) struct Tagged<S> {
    service: S,
    address: SocketAddr,
    place: Arc<NamespacedName>,
}

impl<S> Tagged<S> {
    pub(super) fn new(service: S, address: SocketAddr, place: Arc<NamespacedName>) -> Self {
        Self { service, address, place }
    }
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
        self.place.reach(Phase::Body);
        request.extensions_mut().insert(Peer { address: self.address });
        request.extensions_mut().insert(Reading(Arc::clone(&self.place)));
        let answer = self.service.call(request);
        let place = Arc::clone(&self.place);
        Box::pin(async move {
            let answer = answer.await;
            place.reach(Phase::Idle);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::server::connections::Connections;
    use crate::server::eviction::Rules;

    #[tokio::test]
    async fn a_peer_that_takes_its_answer_byte_by_byte_has_no_more_time_for_it() {
        let rules = Rules { total: 1, per_peer: 1, silent: Duration::ZERO, idle: Duration::ZERO };
        let connections = Connections::new(rules, Arc::default());
        let place = connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
        let request = Duration::from_millis(100);
        let limits = Limits { request, ..crate::server::admin::LIMITS };
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = Watched::new(ours, Arc::new(place), limits);
        let taking = async {
            let mut byte = [0];
            while theirs.read_exact(&mut byte).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answer = vec![b'x'; 64 << 10];
        tokio::select! {
            written = stream.write_all(&answer) => {
                assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
            () = taking => {}
        }
    }
}
