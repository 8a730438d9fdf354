//! How long may the peer of a connection take? There is a timeout for each request's head, between requests,
//! and for each answer.
//!
//! hyper's own header timeout also runs between requests. It would close the API server's idle connections
//! after seconds, under a request that is just on its way. So the reading side has its timeouts here.

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
use super::connections::Slot;
use super::eviction::Phase;

/// The most bytes that are read from a stream at once.
const READ_SIZE: usize = 8 << 10;

/// Who sent a request, for its handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The address of the other side.
    pub(super) address: SocketAddr,
}

/// The slot of a request's connection, for the handler that reads the body.
#[derive(Clone)]
pub(super) struct BodyProgress(Arc<Slot>);

impl BodyProgress {
    /// The whole body is here, and the request is being answered.
    pub(super) fn complete(&self) {
        self.0.enter(Phase::Answering);
    }
}

/// A stream that ends, as if its peer had closed it, when a request's head or the next request takes too
/// long.
pub(super) struct TimedStream<T> {
    stream: T,
    slot: Arc<Slot>,
    limits: Limits,
    /// When the phase began that `timer` runs for.
    timer_since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// This timer runs until the peer has taken all of its answer.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<T> TimedStream<T> {
    pub(super) fn new(stream: T, slot: Arc<Slot>, limits: Limits) -> Self {
        // What TLS read for the handshake does not count any more.
        slot.tls_passed_on();
        Self { stream, slot, limits, timer_since: Instant::now(), timer: None, write_timer: None }
    }

    /// How long the peer may be silent in this phase. It is `None` while a request is read or answered: that
    /// has its own timeout.
    fn timeout(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Silent | Phase::Opening | Phase::Head => Some(self.limits.header),
            // Go's clients dial ahead, and may use such a connection a minute later.
            Phase::Idle | Phase::Unused => Some(self.limits.idle),
            Phase::Body | Phase::Answering => None,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimedStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // TLS would read on until the whole buffer is full.
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(buffer.remaining().min(READ_SIZE)));
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        let bytes = part.filled().len();
        buffer.advance(bytes);
        let (phase, since) = this.slot.phase();
        if polled.is_ready() {
            if bytes > 0 {
                this.slot.tls_passed_on();
                this.slot.received();
            }
            return polled;
        }
        if this.timer_since != since {
            this.timer_since = since;
            this.timer = None;
        }
        let Some(timeout) = this.timeout(phase) else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        // An empty read is the end of the stream: hyper closes without an error.
        timer.as_mut().poll(cx).map(Ok)
    }
}

impl<T: AsyncWrite + Unpin> TimedStream<T> {
    /// Lets a write go on for no longer than a request may take.
    fn timed<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), cx) {
            return Poll::Ready(done);
        }
        let timeout = self.limits.request;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TimedStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().timed(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.timed(cx, AsyncWrite::poll_flush);
        if flushed.is_ready() {
            // Only now that all is sent: a peer that takes a byte now and then gets no more time.
            this.write_timer = None;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().timed(cx, AsyncWrite::poll_shutdown)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().timed(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The service of a connection: it tells each request its peer, and the connection's slot which phase it is
/// in.
#[derive(Clone)]
pub(super) struct ConnectionService<S> {
    service: S,
    address: SocketAddr,
    slot: Arc<Slot>,
}

impl<S> ConnectionService<S> {
    pub(super) fn new(service: S, address: SocketAddr, slot: Arc<Slot>) -> Self {
        Self { service, address, slot }
    }
}

impl<S, B> Service<Request<B>> for ConnectionService<S>
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
        self.slot.enter(Phase::Body);
        request.extensions_mut().insert(Peer { address: self.address });
        request.extensions_mut().insert(BodyProgress(Arc::clone(&self.slot)));
        let answer = self.service.call(request);
        let slot = Arc::clone(&self.slot);
        Box::pin(async move {
            let answer = answer.await;
            slot.enter(Phase::Idle);
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
    use crate::server::eviction::EvictionPolicy;

    #[tokio::test]
    async fn a_peer_that_takes_its_answer_byte_by_byte_has_no_more_time_for_it() {
        let policy = EvictionPolicy { total: 1, per_peer: 1, silent: Duration::ZERO, idle: Duration::ZERO };
        let connections = Connections::new(policy, Arc::default());
        let slot = connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
        let request = Duration::from_millis(100);
        let limits = Limits { request, ..crate::server::admin::LIMITS };
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = TimedStream::new(ours, Arc::new(slot), limits);
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
