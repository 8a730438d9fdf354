//! How long may the peer of a connection take? There is a timeout for each request's head, between requests,
//! and for each answer. What the routes do not answer, because they take too long or panic, is answered here.
//!
//! hyper's own header timeout also runs between requests. It would close the API server's idle connections
//! after seconds, under a request that is just on its way. So the reading side has its timeouts here.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};
use tower::Service;

use super::Limits;
use super::connections::Slot;
use super::eviction::Phase;
use super::refusal::{Refusal, text_response};
use crate::metrics::Metrics;

/// Who sent a request, for its handler.
#[derive(Clone)]
pub(super) struct Peer {
    /// The address of the other side.
    pub(super) address: SocketAddr,
    slot: Arc<Slot>,
}

impl Peer {
    /// The whole body is here, and the request is being answered.
    pub(super) fn body_is_complete(&self) {
        self.slot.enter(Phase::Answering);
    }
}

/// The address of a peer. A request that came over no connection counts for an address of its own.
pub(super) fn address_of(peer: Option<&Peer>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip())
}

/// A stream that ends, as if its peer had closed it, when a request's head or the next request takes too
/// long.
pub(super) struct TimedStream<T> {
    stream: T,
    slot: Arc<Slot>,
    limits: Limits,
    /// This timer goes off when the phase that it was set in has taken too long. A later phase sets it anew
    /// only where that would end before: each request has several, and the runtime's timers have one lock.
    timer: Option<Pin<Box<Sleep>>>,
    /// This timer runs until the peer has taken all of its answer.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<T> TimedStream<T> {
    pub(super) fn new(stream: T, slot: Arc<Slot>, limits: Limits) -> Self {
        // What TLS read for the handshake does not count any more.
        slot.tls_passed_on();
        Self { stream, slot, limits, timer: None, write_timer: None }
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

impl<T: AsyncBufRead + Unpin> AsyncRead for TimedStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Of one record only: by itself TLS reads on until the whole buffer is full, and what it reads of the
        // next record would count as not passed on.
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_fill_buf(cx) {
            let bytes = read?;
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(bytes.get(..count).unwrap_or_default());
            Pin::new(&mut this.stream).consume(count);
            if count > 0 {
                this.slot.tls_passed_on();
                this.slot.received();
            }
            return Poll::Ready(Ok(()));
        }
        let (phase, since) = this.slot.phase();
        let Some(timeout) = this.timeout(phase) else { return Poll::Pending };
        let until = since + timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= until {
                // An empty read is the end of the stream: hyper closes without an error.
                return Poll::Ready(Ok(()));
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
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

/// The service of a connection: it tells each request its peer, tells the connection's slot which phase it is
/// in, and answers also where the routes take too long or panic.
#[derive(Clone)]
pub(super) struct ConnectionService<S> {
    service: S,
    peer: Peer,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl<S> ConnectionService<S> {
    pub(super) fn new(
        service: S,
        address: SocketAddr,
        slot: Arc<Slot>,
        timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { service, peer: Peer { address, slot }, timeout, metrics }
    }
}

impl<S, B> Service<Request<B>> for ConnectionService<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.peer.slot.enter(Phase::Body);
        request.extensions_mut().insert(self.peer.clone());
        // One service around the routes, and not a layer of each: axum copies every route with all of its
        // layers for each request.
        let answer = AssertUnwindSafe(self.service.call(request)).catch_unwind();
        let answer = tokio::time::timeout(self.timeout, answer);
        let (slot, metrics) = (Arc::clone(&self.peer.slot), Arc::clone(&self.metrics));
        Box::pin(async move {
            let answer = answer.await;
            slot.enter(Phase::Idle);
            match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(_panic)) => {
                    // The panic hook has logged the panic.
                    let (status, reason) = Refusal::Fault.status_and_reason();
                    metrics.refused(reason);
                    Ok(text_response(status, &Refusal::Fault.to_string()))
                }
                Err(_) => Ok(StatusCode::REQUEST_TIMEOUT.into_response()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::service_fn;

    use super::*;
    use crate::server::connections::Connections;
    use crate::server::eviction::EvictionPolicy;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    async fn slot() -> Arc<Slot> {
        let policy = EvictionPolicy { total: 1, per_peer: 1, silent: Duration::ZERO, idle: Duration::ZERO };
        Arc::new(Connections::new(policy, Arc::default()).admit(PEER.ip()).await.unwrap())
    }

    #[tokio::test]
    async fn routes_that_panic_or_take_too_long_are_answered_for_and_leave_the_connection_idle() {
        let (slot, metrics) = (slot().await, Arc::new(Metrics::default()));
        let routes = service_fn(|request: Request| async move {
            match request.uri().path() {
                "/panic" => panic!("a route panics"),
                "/late" => std::future::pending().await,
                _ => Ok::<_, Infallible>(StatusCode::NO_CONTENT.into_response()),
            }
        });
        let timeout = Duration::from_millis(20);
        let mut service =
            ConnectionService::new(routes, PEER, Arc::clone(&slot), timeout, Arc::clone(&metrics));
        for (path, status) in [("/panic", 500), ("/late", 408), ("/", 204)] {
            let request = Request::post(path).body(Body::empty()).unwrap();
            let answered = service.call(request);
            assert_eq!(slot.phase().0, Phase::Body);
            assert_eq!(answered.await.unwrap().status(), status, "{path}");
            assert_eq!(slot.phase().0, Phase::Idle);
        }
        assert!(metrics.encode().unwrap().contains("refused_requests_total{reason=\"panic\"} 1"));
    }

    #[tokio::test]
    async fn a_peer_that_takes_its_answer_byte_by_byte_has_no_more_time_for_it() {
        let request = Duration::from_millis(100);
        let limits = Limits { request, ..crate::server::admin::LIMITS };
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = TimedStream::new(ours, slot().await, limits);
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
