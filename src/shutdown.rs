//! When does the process stop? The first SIGTERM or SIGINT makes it finish its work, and a second one makes
//! it stop at once.

use std::io;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The bytes of the stack of the thread that listens for signals.
const STACK: usize = 128 * 1024;

/// The two stages of stopping. Whoever works waits for these tokens.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take no more work, and finish what is under way.
    pub begin: CancellationToken,
    /// Stop at once. It comes with `begin`, before it or after it: an open connection waits for that alone.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// Begins to listen for signals, on a thread of its own: the threads of others may wait until somebody
    /// reads the log. `at_last` is called so long after the first one, or with the second.
    ///
    /// # Errors
    /// The signal handlers cannot be installed, or the thread cannot be started.
    pub fn on_signals(delay: Duration, at_last: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let shutdown = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        drop(entered);
        let tokens = shutdown.clone();
        let listen = async move {
            let first = either(&mut terminate, &mut interrupt).await;
            tokens.begin.cancel();
            tracing::info!(signal = first, "stopping");
            let mut second = pin!(either(&mut terminate, &mut interrupt));
            let early = tokio::time::timeout(delay, second.as_mut()).await;
            at_last();
            let second = match early {
                Ok(second) => second,
                Err(_) => second.await,
            };
            tokens.abort.cancel();
            // What is logged comes last: it may wait for room.
            tracing::warn!(signal = second, "a second signal: stopping at once");
        };
        let thread = thread::Builder::new().name("signals".to_owned()).stack_size(STACK);
        thread.spawn(move || runtime.block_on(listen))?;
        Ok(shutdown)
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
