//! When does the process stop? SIGTERM or SIGINT asks it to; a second one does not wait.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of stopping.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop taking work, finish what is under way.
    pub begin: CancellationToken,
    /// Stop at once.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let tokens = shutdown.clone();
        tokio::spawn(async move {
            let first = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = first, "stopping");
            tokens.begin.cancel();
            let second = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = second, "a second signal: stopping at once");
            tokens.abort.cancel();
        });
        Ok(shutdown)
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
