//! Which values stand where in a YAML text? The one YAML reader: mappings and manifests both come through it.
//!
//! A tree of nodes with byte spans, so that every problem can be reported at once with its line and column. Scalars
//! are typed as kubectl types them (YAML 1.1: `yes` and `on` are booleans, `0644` is a number), because that is
//! what the user's other tools do with the same text. JSON is read as the YAML it is.

mod tree;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use granit_parser::Parser;
use tree::TreeBuilder;

/// How deep values may be nested, aliases followed. Bounds recursion over the tree.
const MAX_DEPTH: usize = 200;

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
    const MANIFEST: Self = Self {
        nodes: 2_000_000,
        held: usize::MAX,
        anchors: usize::MAX,
        lookahead: 1 << 20,
        directives: true,
    };
}

/// A place in a text, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A text that is not YAML, or more than this reader takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct SyntaxError {
    /// Where reading stopped.
    pub at: Position,
    /// What is wrong there.
    pub message: String,
}

/// One value with its place in the source. Small, because a mapping of 10,000 rules has 100,000 of them at once.
#[derive(Clone, Debug)]
pub struct Node<'t> {
    span: (u32, u32),
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value<'t>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value<'t> {
    /// Text, number, boolean or null.
    Scalar(Scalar<'t>),
    /// A list.
    Sequence(Vec<Node<'t>>),
    /// Keys and values in source order; duplicate keys are all there.
    Mapping(Vec<(Node<'t>, Node<'t>)>),
}

impl Value<'_> {
    fn shrink(&mut self) {
        match self {
            Value::Sequence(items) => items.shrink_to_fit(),
            Value::Mapping(entries) => entries.shrink_to_fit(),
            Value::Scalar(_) => {}
        }
    }
}

/// A scalar as written and as typed.
#[derive(Clone, Debug)]
pub struct Scalar<'t> {
    /// The text, escapes and folding resolved.
    pub text: Cow<'t, str>,
    /// What kubectl takes it for.
    pub kind: ScalarKind,
    /// Written as a `|` block, whose lines stand in the source as they are.
    pub literal_block: bool,
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// Text.
    Text,
    /// `true`, `yes`, `on` and their opposites.
    Boolean(bool),
    /// An integer or a floating point number.
    Number,
    /// Nothing, `~` or `null`.
    Null,
}

impl<'t> Node<'t> {
    /// Bytes of the source that the value stands in.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        let (start, end) = self.span;
        start as usize..end as usize
    }

    /// The entries of a mapping, `None` for anything else.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The members of a list, `None` for anything else.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The scalar, `None` for a list or a mapping.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Scalar<'t>> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar that is text, not a number, boolean or null.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.kind == ScalarKind::Text).map(|scalar| scalar.text.as_ref())
    }

    /// Nothing, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.kind == ScalarKind::Null)
    }

    /// The value under `key`; the last one where the key stands twice, as kubectl takes it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.as_mapping()?;
        entries.iter().rev().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// The value under a path of keys.
    #[must_use]
    pub fn at_path(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// What this is, for a message: `text`, `a number`, `a list` and so on.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Text => "text",
                ScalarKind::Boolean(_) => "a boolean",
                ScalarKind::Number => "a number",
                ScalarKind::Null => "nothing",
            },
        }
    }

    /// What the tree below comes to, itself included.
    fn size(&self) -> Size {
        let mut size = Size { nodes: 1, depth: 0, bytes: self.weight() };
        let mut add = |child: &Self| {
            let below = child.size();
            size.nodes += below.nodes;
            size.bytes += below.bytes;
            size.depth = size.depth.max(below.depth);
        };
        match &self.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => items.iter().for_each(add),
            Value::Mapping(entries) => entries.iter().for_each(|(key, value)| {
                add(key);
                add(value);
            }),
        }
        size.depth += 1;
        size
    }

    /// The bytes of this node alone.
    fn weight(&self) -> usize {
        let text = match &self.value {
            Value::Scalar(Scalar { text: Cow::Owned(text), .. }) => text.capacity(),
            _ => 0,
        };
        size_of::<Self>() + text
    }
}

/// What a tree comes to.
struct Size {
    nodes: usize,
    depth: usize,
    bytes: usize,
}

/// Reads every document of a YAML (or JSON) text. An empty document is left out.
///
/// # Errors
/// The first place that is not YAML, or that is nested or aliased beyond this reader's limits.
pub fn read(text: &str) -> Result<Vec<Node<'_>>, SyntaxError> {
    read_apart(text, Limits::MANIFEST, "", &mut |_, _| {})
}

/// Reads as [`read`] does, but for the list under the key `apart` at the top: its members are handed over one after the other with the
/// list's place, and the list is left empty. So a long one is never held as a whole.
///
/// # Errors
/// As [`read`].
pub fn read_apart<'t>(
    text: &'t str,
    limits: Limits,
    apart: &str,
    member: &mut dyn FnMut(Position, Node<'t>),
) -> Result<Vec<Node<'t>>, SyntaxError> {
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        simple_key_max_lookahead: limits.lookahead,
        disallow_directives: !limits.directives,
    };
    options.set_emit_comments(false);
    let mut tree = TreeBuilder::new(text, limits, apart, member);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| SyntaxError {
            at: position(*error.marker()),
            message: format!("not YAML: {}", error.info()),
        })?;
        tree.take(event, span)?;
    }
    Ok(tree.documents)
}

fn position(marker: granit_parser::Marker) -> Position {
    Position { line: narrow(marker.line()), column: narrow(marker.col() + 1) }
}

/// Texts are shorter than 4 GiB: they are read into memory.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn scalars_are_typed_as_kubectl_types_them() {
        use ScalarKind::{Boolean, Null, Number, Text};
        let cases = [
            ("gitlab", Text),
            ("'yes'", Text),
            ("\"42\"", Text),
            ("!!str 42", Text),
            ("yes", Boolean(true)),
            ("off", Boolean(false)),
            ("42", Number),
            ("012345678901", Number),
            ("0x1F", Number),
            ("1_000", Number),
            ("1.5e3", Number),
            (".inf", Number),
            ("1.2.3", Text),
            ("arn:aws:iam::123456789012:role/x", Text),
            ("2026-01-02", Text),
            ("~", Null),
            ("null", Null),
            ("infinity", Text),
            (".", Text),
        ];
        for (source, want) in cases {
            let text = format!("key: {source}\n");
            let documents = read(&text).unwrap();
            assert_eq!(documents[0].get("key").unwrap().as_scalar().unwrap().kind, want, "{source}");
        }
    }

    #[test]
    fn nodes_know_their_line_column_and_bytes() {
        let text = "a: 1\nb:\n  - föö\n  - {c: \"d e\"}\n";
        let documents = read(text).unwrap();
        let list = documents[0].get("b").unwrap().as_sequence().unwrap();
        assert_eq!(list[0].at, Position { line: 3, column: 5 });
        assert_eq!(text.get(list[0].span()), Some("föö"));
        let inner = list[1].get("c").unwrap();
        assert_eq!(inner.at, Position { line: 4, column: 9 });
        assert_eq!(text.get(inner.span()), Some("\"d e\""));
    }

    #[test]
    fn documents_are_counted_without_empty_ones() {
        assert_eq!(read("").unwrap().len(), 0);
        assert_eq!(read("# only a comment\n").unwrap().len(), 0);
        assert_eq!(read("---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap().len(), 2);
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let documents = read("base: &b {x: 1, z: 2}\nuse: {<<: *b, z: 3}\nsame: *b\n").unwrap();
        let merged = documents[0].get("use").unwrap();
        assert_eq!(merged.get("x").unwrap().as_scalar().unwrap().text, "1");
        assert_eq!(merged.get("z").unwrap().as_scalar().unwrap().text, "3");
        assert!(documents[0].get("same").unwrap().as_mapping().is_some());
        assert!(read("a: {<<: 3}\n").unwrap_err().message.contains("takes a mapping"));
    }

    #[test]
    fn a_few_aliases_cannot_grow_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = level - 1;
            let list = vec![format!("*a{previous}"); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{list}]").unwrap();
        }
        assert!(read(&text).unwrap_err().message.contains("holds more than"));
    }

    #[test]
    fn chained_aliases_cannot_nest_without_bound() {
        let mut text = "a0: &a0 [x]\n".to_owned();
        for level in 1..400 {
            writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
        }
        assert!(read(&text).unwrap_err().message.contains("nested deeper"));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read("a: &a [*a]\n").is_err());
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = read("rules:\n  - match: {component: registry\n").unwrap_err();
        assert_eq!(error.to_string(), "2:12: not YAML: unclosed bracket '{'");
    }
}
