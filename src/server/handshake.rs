//! How much time and memory may a peer cost before TLS passes a request on? A handshake has a timeout, and
//! TLS a byte limit.
//!
//! rustls joins the parts of a handshake message of up to 64 kB, at any time of a connection. The messages of
//! API servers have 2 kB.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::Slot;
use super::eviction::Phase;
use crate::metrics::{HandshakeResult, Metrics};

/// The most bytes that TLS may read without passing anything on. The longest record has 16.6 kB.
const MAX_WITHHELD: usize = 24 << 10;

/// The most bytes that TLS may hold of an answer that its peer does not take. Its own limit is 64 kB.
const MAX_UNSENT: usize = 8 << 10;

/// A TCP stream that fails when TLS reads too much of it without passing anything on.
pub(super) struct BoundedStream {
    stream: TcpStream,
    slot: Arc<Slot>,
}

/// Performs the handshake. Returns `None` where it failed, or took too long.
pub(super) async fn accept(
    tls: Arc<ServerConfig>,
    stream: TcpStream,
    slot: &Arc<Slot>,
    timeout: Duration,
    metrics: &Metrics,
) -> Option<TlsStream<BoundedStream>> {
    let handshake = TlsAcceptor::from(tls).accept(BoundedStream { stream, slot: Arc::clone(slot) });
    let (result, stream) = match tokio::time::timeout(timeout, handshake).await {
        Ok(Ok(mut stream)) => {
            stream.get_mut().1.set_buffer_limit(Some(MAX_UNSENT));
            slot.enter(Phase::Unused);
            (HandshakeResult::Ok, Some(stream))
        }
        Ok(Err(error)) => {
            tracing::debug!("TLS handshake failed: {error}");
            (HandshakeResult::Failed, None)
        }
        Err(_) => (HandshakeResult::Timeout, None),
    };
    metrics.handshake_ended(result);
    stream
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            this.slot.received();
            if this.slot.tls_read(bytes) > MAX_WITHHELD {
                return Poll::Ready(Err(io::Error::other(
                    "TLS has read more than 24 KiB that are no part of a request",
                )));
            }
        }
        polled
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
