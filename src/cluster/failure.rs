//! Why did a call to the API server come to nothing?

use std::time::Duration;

use crate::telemetry::causes;

/// How much of the API server's own words is kept: they go into the log.
const WORDS: usize = 1_000;

/// The longest time for which the API server's wish for patience is honoured.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Somebody else was faster; the watch shows it.
    #[error("another version was there")]
    Conflict,
    #[error("{0}")]
    Refused(Refusal),
    #[error("{}", causes(.0))]
    Call(#[source] kube::Error),
    #[error("the answer cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    #[error("no answer within {0:?}")]
    TooLate(Duration),
    /// It is there, but it cannot be read, now or later.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("no room in memory for the answer within {0:?}")]
    NoRoom(Duration),
}

/// What the API server said.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) code: u16,
    words: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(code: u16, words: &str, retry_after: Option<Duration>) -> Self {
        let words = match words {
            "" => format!("status {code}"),
            words => words.chars().take(WORDS).collect(),
        };
        Self { code, words, retry_after: retry_after.map(|wait| wait.min(LONGEST_WAIT)) }
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

    /// For how long the API server asked to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    pub(super) fn log(&self, doing: &str) {
        match self {
            Self::Conflict => tracing::debug!("{doing}: {self}"),
            _ => tracing::warn!("{doing}: {self}; trying again"),
        }
    }
}
