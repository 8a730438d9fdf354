//! How are log lines written, and how does an error read in one?

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The format of log lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// Starts logging. `filter` says what is logged, as in `info` or `warn,gitlab_iam_webhook=debug`.
///
/// # Errors
/// The process logs already.
pub fn init(format: Format, filter: Targets) -> Result<(), TryInitError> {
    // The subscriber itself lets everything through: the filter alone decides.
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(io::stderr)
        .with_target(false);
    match format {
        Format::Text => {
            let colour = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(colour).finish().with(filter).try_init()?;
        }
        Format::Json => {
            builder.json().flatten_event(true).with_current_span(false).finish().with(filter).try_init()?;
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("no message"));
    }));
    Ok(())
}

/// Writes an error with its causes in one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
