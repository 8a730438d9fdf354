//! When does the process stop? The first SIGTERM or SIGINT makes it finish its work, and a second one makes
//! it stop at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of stopping. Whoever works waits for these tokens.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take no more work, and finish what is under way.
    pub begin: CancellationToken,
    /// Stop at once. It comes with `begin`, before it or after it: an open connection waits for that alone.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// Begins to listen for signals.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
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
