//! How much of a YAML text is taken?

/// How deep values may be nested, aliases followed. Bounds recursion over the tree.
pub(super) const MAX_DEPTH: usize = 200;

/// How much of a text is taken. Bounds the memory and the steps that reading takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many nodes one text may stand for, aliases followed. Bounds what a few aliases of aliases can grow to.
    pub nodes: usize,
    /// How many bytes of nodes may be held at once.
    pub held: usize,
    /// How many anchors there may be: each keeps a copy of its node.
    pub anchors: usize,
    /// How many characters are looked through for the end of what may turn out to be a key: until then the parser holds all of it,
    /// 200 bytes for each.
    pub lookahead: usize,
    /// Whether there may be directives: the parser keeps what `%TAG` says.
    pub directives: bool,
}

impl Limits {
    /// For manifests, on the command line, where memory is the user's own. One in JSON is one line.
    pub(super) const MANIFEST: Self = Self {
        nodes: 2_000_000,
        held: usize::MAX,
        anchors: usize::MAX,
        lookahead: 1 << 20,
        directives: true,
    };
}
