//! Why does a request get no decision? A status, a word for the metrics, and a sentence.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::MAX_BODY;
use crate::engine::admission::ReviewError;

/// What each body may have without asking for room: nearly every review fits, so that no long body keeps it out.
pub(super) const FREE: usize = 16 << 10;

/// Why a request gets no decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error("expected content-type application/json, found {0}")]
    ContentType(String),
    #[error("the body has more than {MAX_BODY} bytes")]
    TooLarge,
    #[error("a body of more than {FREE} bytes must have a content-length: announce it")]
    NoLength,
    #[error("the body comes too slowly")]
    Slow,
    #[error("too busy: no room for this body now, try again")]
    Busy,
    #[error("a fault in gitlab-iam-webhook: see its log")]
    Fault(#[source] tokio::task::JoinError),
    #[error("the body could not be read: {0}")]
    Body(#[source] axum::Error),
}

impl Refusal {
    pub(super) fn status_and_reason(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Review(error) => (StatusCode::BAD_REQUEST, error.reason()),
            Self::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::NoLength => (StatusCode::LENGTH_REQUIRED, "no_length"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Body(_) => (StatusCode::BAD_REQUEST, "body"),
            Self::Fault(_) => (StatusCode::INTERNAL_SERVER_ERROR, "panic"),
        }
    }
}

/// A status and one line of text.
pub(super) fn sentence(status: StatusCode, text: &str) -> Response {
    let mut response = (status, format!("{text}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
