//! Why can a glob not be read?

/// How many patterns the braces of one glob may expand to.
pub(super) const MAX_ALTERNATIVES: usize = 100;

/// How many bytes they may come to. Names are shorter, and a mapping full of globs must fit in memory.
pub(super) const MAX_EXPANDED: usize = 1024;

/// A glob that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing matches an empty glob but an empty value.
    #[error("an empty glob matches nothing; use `*` for any value")]
    Empty,
    /// `[` without `]`.
    #[error("`[` is not closed in the glob `{0}`")]
    UnclosedClass(String),
    /// `[]` or `[!]`.
    #[error("`[]` holds no character in the glob `{0}`")]
    EmptyClass(String),
    /// `[z-a]`.
    #[error("the range `{1}` runs backwards in the glob `{0}`")]
    BackwardRange(String, String),
    /// `{` without `}` or the reverse.
    #[error("`{{` and `}}` do not pair up in the glob `{0}`")]
    UnpairedBrace(String),
    /// A backslash.
    #[error("a glob has no escapes, so `\\` cannot stand in `{0}`")]
    Backslash(String),
    /// Braces that expand too far.
    #[error(
        "the braces of the glob `{0}` stand for more than {MAX_ALTERNATIVES} patterns or {MAX_EXPANDED} bytes"
    )]
    TooManyAlternatives(String),
    /// Braces that take too long to expand.
    #[error("the braces take too long to expand: write fewer of them")]
    TooManySteps,
    /// A glob longer than any name.
    #[error("the glob has {0} bytes, at most {MAX_EXPANDED} are taken")]
    TooLong(usize),
}
