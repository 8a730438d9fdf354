//! Why did a call to the API server fail?

use std::time::Duration;

use crate::telemetry::{causes, duration_in_words};

/// The longest message of the API server that is kept, in characters: it goes into the log.
const MAX_MESSAGE: usize = 1_000;

/// The longest `Retry-After` of the API server that is honoured.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Somebody else wrote it first; the watch shows what.
    #[error("it was changed meanwhile")]
    Conflict,
    /// The API server answered with an error.
    #[error(transparent)]
    Refused(Refusal),
    /// The request was not sent, or its answer broke off.
    #[error("calling the API server")]
    Call(#[source] kube::Error),
    #[error("reading the answer")]
    Json(#[source] serde_json::Error),
    #[error("no answer within {}", duration_in_words(*.0))]
    TooLate(Duration),
    /// What was asked for is there, but it is never read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("no room in memory for the answer within {}", duration_in_words(*.0))]
    NoRoom(Duration),
}

/// An error that the API server answered with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) code: u16,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without a message says its status.
    pub(super) fn new(code: u16, message: &str, retry_after: Option<Duration>) -> Self {
        let message = match message {
            "" => format!("status {code}"),
            message => message.chars().take(MAX_MESSAGE).collect(),
        };
        Self { code, message, retry_after: retry_after.map(|wait| wait.min(LONGEST_WAIT)) }
    }
}

impl Failure {
    /// The HTTP status, where the API server refused.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Conflict => Some(409),
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// How long the API server asked to wait before the next request.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// Logs it with its causes, and what was being done. A conflict is no fault.
    pub(super) fn log(&self, doing: &str) {
        let why = causes(self);
        match self {
            Self::Conflict => tracing::debug!("{doing}: {why}"),
            _ => tracing::warn!("{doing}: {why}; trying again"),
        }
    }
}
