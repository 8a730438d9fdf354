//! How does a log line get from where it happens to standard error? Where it happens, its time and its fields
//! are taken into a queue; a thread of its own makes text of them and writes it.
//!
//! So the answer to a review waits neither for text to be made nor for whoever reads the log.

mod format;
mod line;
mod queue;
mod writer;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::health::Readiness;
use crate::telemetry::takes_colour;
pub use format::Format;
use format::Style;
use line::{Fields, Head};
use queue::Queue;

/// The name of an event (`tracing::info!(name: KEPT, ...)`) whose line is never dropped, whatever its level:
/// it says who got or lost a role.
pub const KEPT: &str = "kept";

/// The name of a warning whose line is dropped where there is little room: it is of something that anybody
/// can send as often as he likes, and a metric counts it.
pub const UNKEPT: &str = "unkept";

/// For how long a process that ends waits until its last lines are written: whoever reads them may have
/// stopped.
const ENDING: Duration = Duration::from_secs(2);

/// The log of this process, from its start to its end.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Log(Arc<Queue>);

impl Log {
    /// What is to be called when the process answers no more new requests: no line waits for room much
    /// longer, so that whoever logs it comes to its end even where nobody reads the log.
    pub fn on_last_requests(&self) -> impl FnOnce() + Send + use<> {
        let queue = Arc::clone(&self.0);
        move || queue.wait_at_most(ENDING)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.close(ENDING);
    }
}

/// Starts logging to standard error. `filter` says what is logged, as in `info` or
/// `warn,gitlab_iam_webhook=debug`. `dropped` counts the lines that had no room or could not be written. The
/// process is not ready while a line has waited for a second. When the log that is returned is dropped, every
/// line that was taken before is written first.
///
/// # Errors
/// The process logs already, or has no room for a thread.
pub fn start(
    format: Format,
    filter: Targets,
    dropped: Counter,
    readiness: Readiness,
) -> Result<Log, StartError> {
    let queue = Arc::new(Queue::new(dropped, readiness));
    let style = Style { format, has_colours: takes_colour(&io::stderr()) };
    let subscriber = Taker(Arc::clone(&queue)).with(filter);
    writer::start(Arc::clone(&queue), style).map_err(StartError::Thread)?;
    tracing::subscriber::set_global_default(subscriber).map_err(StartError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("no message"));
    }));
    Ok(Log(queue))
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It was started before.
    #[error("the process logs already")]
    Twice(#[source] SetGlobalDefaultError),
    /// The thread that writes it did not start.
    #[error("starting its thread")]
    Thread(#[source] io::Error),
}

/// Takes each event where it happens. Spans are not told: nothing of ours is in one.
struct Taker(Arc<Queue>);

impl Subscriber for Taker {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What only asks whether a line would be logged is neither a span nor an event.
        !metadata.is_span()
    }

    fn event(&self, event: &Event<'_>) {
        thread_local! {
            static FIELDS: RefCell<Fields> = RefCell::new(Fields::default());
        }
        let take = |fields: &mut Fields| {
            let metadata = event.metadata();
            let head = Head { metadata, time: SystemTime::now() };
            fields.clear();
            event.record(fields);
            let is_kept = match metadata.name() {
                KEPT => true,
                UNKEPT => false,
                _ => *metadata.level() <= Level::WARN,
            };
            self.0.push(head, fields.bytes(), is_kept);
        };
        FIELDS.with(|fields| match fields.try_borrow_mut() {
            Ok(mut fields) => take(&mut fields),
            // The value of a field logs while it is told.
            Err(_) => take(&mut Fields::default()),
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
