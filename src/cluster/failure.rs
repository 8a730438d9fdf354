//! Why did a call to the API server fail?

use std::sync::Arc;
use std::time::Duration;

use tower::BoxError;

use super::credential_fault;
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
    #[error("calling the API server{0}")]
    Call(Address, #[source] BoxError),
    #[error("reading the answer")]
    Json(#[source] Unexpected),
    #[error("the list does not end")]
    Endless,
    #[error("no answer within {}", duration_in_words(*.0))]
    TooLate(Duration),
    /// What was asked for is there, but it is never read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("no room in memory for the answer within {}", duration_in_words(*.0))]
    NoRoom(Duration),
}

/// Where the API server is, as `https://HOST:PORT`; nothing where that is not known.
#[derive(Clone, Debug, Default)]
pub(super) struct Address(pub(super) Option<Arc<str>>);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |address| write!(f, " at {address}"))
    }
}

/// What an answer has that was not expected. serde's own text is only kept where it repeats nothing of the
/// answer: that may be a token, or the value of a Secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unexpected(String);

impl From<serde_json::Error> for Unexpected {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        if !error.is_data() || text.starts_with("missing field `") {
            return Self(text);
        }
        let (line, column) = (error.line(), error.column());
        Self(format!("something is of another type than expected at line {line} column {column}"))
    }
}

/// An error that the API server answered with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) code: u16,
    message: String,
    retry_after: Option<Duration>,
    /// Whether the API server itself says that the object is not there.
    is_not_there: bool,
}

impl Refusal {
    /// A refusal without a message says its status.
    pub(super) fn new(code: u16, message: &str, retry_after: Option<Duration>) -> Self {
        let message = match message {
            "" => format!("status {code}"),
            message => message.chars().take(MAX_MESSAGE).collect(),
        };
        Self {
            code,
            message,
            retry_after: retry_after.map(|wait| wait.min(LONGEST_WAIT)),
            is_not_there: false,
        }
    }

    /// The same, with what the API server says about whether the object is there.
    pub(super) fn not_there(self, is_not_there: bool) -> Self {
        Self { is_not_there, ..self }
    }
}

impl Failure {
    /// The API server was not reached. Of credentials that cannot be used only what is no secret is kept.
    pub(super) fn call(address: &Address, error: kube::Error) -> Self {
        Self::Call(address.clone(), credential_fault::hidden(error))
    }

    /// An answer that is not as expected.
    pub(super) fn json(error: serde_json::Error) -> Self {
        Self::Json(error.into())
    }

    /// Whether the API server itself says that the object is not there. A gateway's 404 does not say it.
    pub(super) fn is_not_there(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_not_there)
    }

    /// The HTTP status, where the API server refused.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Conflict => Some(409),
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether nobody answers, or nobody who knows us: asking for something else is no use.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Call(..) | Self::TooLate(_)) || self.code() == Some(401)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_shape_is_not_repeated() {
        #[derive(Debug, serde::Deserialize)]
        struct Answer {
            #[serde(rename = "status")]
            _status: std::collections::BTreeMap<String, String>,
        }
        for (text, want) in [
            (r#"{"status": "eyJPLANTED"}"#, "something is of another type than expected at line 1 column 23"),
            (r#"{"eyJPLANTED": 1}"#, "missing field `status` at line 1 column 17"),
            (r#"{"status": {"eyJPLANTED": "#, "EOF while parsing a value at line 1 column 26"),
        ] {
            let failure = Failure::json(serde_json::from_str::<Answer>(text).unwrap_err());
            assert_eq!(causes(&failure), format!("reading the answer: {want}"));
            assert!(!format!("{failure:?}").contains("PLANTED"));
        }
    }
}
