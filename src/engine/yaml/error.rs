//! Why can a text not be read as YAML?

use super::limits::{LARGEST_DOCUMENT, MAX_DEPTH};
use super::node::Position;

/// A text that is not YAML, or more than this reader takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct SyntaxError {
    /// Where reading stopped.
    pub at: Position,
    /// What is wrong there.
    pub kind: SyntaxErrorKind,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxErrorKind {
    /// The parser does not take it. The text is the parser's own.
    #[error("not YAML: {0}")]
    NotYaml(String),
    /// A `*` or `&` has no name behind it. The text is the parser's own.
    #[error("not YAML: {0}")]
    AliasWithoutName(String),
    /// An alias stands within the value that its anchor names.
    #[error("an alias cannot stand inside the value that it names")]
    AliasOfItself,
    /// A merge key has a value that is no mapping.
    #[error("`<<` takes a mapping or a list of mappings")]
    MergeOfNoMapping,
    /// Its values are nested deeper than recursion may follow.
    #[error("values are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// It has more anchors than this many.
    #[error("it holds more than {0} anchors")]
    TooManyAnchors(usize),
    /// It stands for more values than this many.
    #[error("it holds more than {0} values, aliases followed")]
    TooManyValues(usize),
    /// It takes holding more values at once than this many.
    #[error(
        "too much at once: one rule, what stands beside the rules and what has an anchor may hold {0} \
         values together"
    )]
    TooMuchAtOnce(usize),
    /// One document of several takes more memory than a document may take.
    #[error("one document takes more than {} MiB: split it", LARGEST_DOCUMENT >> 20)]
    DocumentTooLarge,
}
