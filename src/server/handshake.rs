//! What may a peer make TLS hold? A handshake has its time, and what yields no request has few bytes.
//!
//! rustls joins the parts of a handshake message of up to 64 kB, at any time of a connection; those of API servers have 2.

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

use super::connections::NamespacedName;
use super::eviction::Phase;
use crate::metrics::{Handshake, Metrics};

/// What TLS may take in without giving out anything: the longest record has 16.6 kB.
const MAX_UNREAD: usize = 24 << 10;

/// What TLS may hold of an answer that its peer does not take: its own limit is 64 kB.
const MAX_UNSENT: usize = 8 << 10;

/// A TCP stream that fails when TLS takes in too much of it for nothing.
pub(super) struct Metered {
    stream: TcpStream,
    place: Arc<NamespacedName>,
}

/// The handshake; `None` where it failed, or took too long.
pub(super) async fn shake_hands(
    tls: Arc<ServerConfig>,
    stream: TcpStream,
    place: &Arc<NamespacedName>,
    patience: Duration,
    metrics: &Metrics,
) -> Option<TlsStream<Metered>> {
    let handshake = TlsAcceptor::from(tls).accept(Metered { stream, place: Arc::clone(place) });
    let (result, stream) = match tokio::time::timeout(patience, handshake).await {
        Ok(Ok(mut stream)) => {
            stream.get_mut().1.set_buffer_limit(Some(MAX_UNSENT));
            place.reach(Phase::Opening);
            ("ok", Some(stream))
        }
        Ok(Err(error)) => {
            tracing::debug!("TLS handshake failed: {error}");
            ("failed", None)
        }
        Err(_) => ("timeout", None),
    };
    metrics.handshakes.get_or_create(&Handshake { result }).inc();
    stream
}

impl AsyncRead for Metered {
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
            this.place.spoke();
            if this.place.took_in(bytes) > MAX_UNREAD {
                return Poll::Ready(Err(io::Error::other("more than 24 KiB that are no part of a request")));
            }
        }
        polled
    }
}

impl AsyncWrite for Metered {
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
