//! Why can a glob not be read?

/// How many patterns the braces of one glob may expand to.
pub(super) const MAX_ALTERNATIVES: usize = 100;

/// How many bytes the patterns of one glob may have together. Names are shorter, and a mapping full of globs
/// must fit into memory.
pub const MAX_EXPANDED: usize = 1024;

/// Why a text is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is empty, and would match only an empty value.
    #[error("an empty glob matches nothing; use `*` for any value")]
    Empty,
    /// A `[` has no `]`.
    #[error("`[` is not closed in the glob `{0}`")]
    UnclosedClass(String),
    /// `[]` or `[!]` names no character.
    #[error("`[]` holds no character in the glob `{0}`")]
    EmptyClass(String),
    /// A range as in `[z-a]` ends before it begins.
    #[error("the range `{1}` runs backwards in the glob `{0}`")]
    BackwardRange(String, String),
    /// A `{` has no `}`, or the reverse.
    #[error("`{{` and `}}` do not pair up in the glob `{0}`")]
    UnpairedBrace(String),
    /// It holds a backslash.
    #[error("a glob has no escapes, so `\\` cannot stand in `{0}`")]
    Backslash(String),
    /// Its braces stand for too many patterns.
    #[error(
        "the braces of the glob `{0}` stand for more than {MAX_ALTERNATIVES} patterns or {MAX_EXPANDED} bytes"
    )]
    TooManyAlternatives(String),
    /// Its braces take too long to expand.
    #[error("the braces take too long to expand: write fewer of them")]
    TooManySteps,
    /// It is longer than any name.
    #[error("the glob has {0} bytes, at most {MAX_EXPANDED} are taken")]
    TooLong(usize),
}
