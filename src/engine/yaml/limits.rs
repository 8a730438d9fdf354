//! How much of a YAML text is taken?

/// How deep values may be nested where aliases are followed. It bounds recursion over the tree.
pub(super) const MAX_DEPTH: usize = 200;

/// How many bytes the values of one document may take while the documents of a text are read one by one.
pub const LARGEST_DOCUMENT: usize = 256 << 20;

/// How much of a text is taken. The limits bound the memory and the steps that reading takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many nodes one text may stand for where aliases are followed. A few aliases of aliases can stand
    /// for billions.
    pub nodes: usize,
    /// How many bytes of nodes may be held at once; `None` for any number.
    pub held: Option<usize>,
    /// How many anchors there may be. Each of them keeps a copy of its node. `None` is for any number.
    pub anchors: Option<usize>,
    /// How many characters may be read until it is known whether a scalar is a key. Until then the parser
    /// holds all of them, at 200 bytes each.
    pub lookahead: usize,
    /// Whether there may be directives, of which the parser keeps what `%TAG` says.
    pub directives: bool,
}

impl Limits {
    /// The limits for manifests, which are read on the command line, where memory is the user's own. A
    /// manifest in JSON may be one long line, hence the lookahead.
    pub const MANIFEST: Self =
        Self { nodes: 2_000_000, held: None, anchors: None, lookahead: 1 << 20, directives: true };
}
