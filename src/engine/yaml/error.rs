//! Why can a text not be read as YAML?

use super::node::Position;

/// A text that is not YAML, or more than this reader takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct SyntaxError {
    /// Where reading stopped.
    pub at: Position,
    /// What is wrong there.
    pub message: String,
}
