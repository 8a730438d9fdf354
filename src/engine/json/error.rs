//! Why is a text not the JSON that was expected?

/// Says what was expected and where. It never quotes the bytes that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct JsonError {
    expected: &'static str,
    at: usize,
}

impl JsonError {
    pub(super) fn new(expected: &'static str, at: usize) -> Self {
        Self { expected, at }
    }
}
