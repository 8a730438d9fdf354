//! Why does a request get no decision? Each refusal has a status, a reason for the metrics, and a sentence
//! for the peer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::MAX_BODY;
use crate::engine::admission::ReviewError;
use crate::metrics::RefusalReason;

/// The most bytes of a body that reserves no memory. Nearly every review is as short, so that no long body
/// keeps it out.
pub(super) const SHORT_BODY: usize = 16 << 10;

/// Why a request gets no decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error("expected content-type application/json, found {0}")]
    ContentType(String),
    #[error("the body has more than {MAX_BODY} bytes")]
    TooLarge,
    #[error("a body of more than {SHORT_BODY} bytes needs a content-length: send it")]
    NoLength,
    #[error("the body comes too slowly")]
    Slow,
    #[error("too busy: no room for this body now, try again")]
    Busy,
    #[error("a fault in gitlab-iam-webhook: see its log")]
    Fault,
    #[error("the body could not be read")]
    Body(#[source] axum::BoxError),
}

impl Refusal {
    /// The status of the answer, and the reason for the metrics.
    pub(super) fn status_and_reason(&self) -> (StatusCode, RefusalReason) {
        match self {
            Self::Review(error) => (StatusCode::BAD_REQUEST, reason_of(error)),
            Self::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, RefusalReason::ContentType),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, RefusalReason::TooLarge),
            Self::NoLength => (StatusCode::LENGTH_REQUIRED, RefusalReason::NoLength),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, RefusalReason::Slow),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, RefusalReason::Busy),
            Self::Body(_) => (StatusCode::BAD_REQUEST, RefusalReason::Body),
            Self::Fault => (StatusCode::INTERNAL_SERVER_ERROR, RefusalReason::Panic),
        }
    }
}

/// The reason for the metrics why a review cannot be answered.
fn reason_of(error: &ReviewError) -> RefusalReason {
    match error {
        ReviewError::Json(_) | ReviewError::Answer(_) | ReviewError::Twice(_) => RefusalReason::Json,
        ReviewError::Annotations => RefusalReason::Annotations,
        ReviewError::Version(_) => RefusalReason::Version,
        ReviewError::Kind { .. } => RefusalReason::Kind,
        ReviewError::NoRequest => RefusalReason::NoRequest,
        ReviewError::NoUid => RefusalReason::NoUid,
        ReviewError::NoObject => RefusalReason::NoObject,
    }
}

/// An answer of a status and one line of text.
pub(super) fn text_response(status: StatusCode, text: &str) -> Response {
    let mut response = (status, format!("{text}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
