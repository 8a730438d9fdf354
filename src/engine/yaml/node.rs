//! What is a value of a YAML text, and where does it stand?

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A place in a text. Lines and columns are counted from 1, and columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The place where a text begins.
    pub const START: Self = Self { line: 1, column: 1 };

    /// Returns the place of a byte of a text.
    #[must_use]
    pub fn at(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let (lines, line) = before
            .rsplit_once('\n')
            .map_or((0, before), |(lines, line)| (lines.matches('\n').count() + 1, line));
        Self { line: narrow(lines + 1), column: narrow(line.chars().count() + 1) }
    }

    pub(super) fn of(marker: granit_parser::Marker) -> Self {
        Self { line: narrow(marker.line()), column: narrow(marker.col() + 1) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One value with its place in the source. It is small, because the tree of a long text has 100,000 of them.
#[derive(Clone, Debug)]
pub struct Node<'t> {
    pub(super) span: (u32, u32),
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value<'t>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value<'t> {
    /// The value is a text, a number, a boolean or null.
    Scalar(Scalar<'t>),
    /// The value is a list.
    Sequence(Vec<Node<'t>>),
    /// The value is a mapping. Keys and values stand in the order of the source, and duplicate keys are all
    /// there.
    Mapping(Vec<(Node<'t>, Node<'t>)>),
}

impl Value<'_> {
    pub(super) fn shrink(&mut self) {
        match self {
            Value::Sequence(items) => items.shrink_to_fit(),
            Value::Mapping(entries) => entries.shrink_to_fit(),
            Value::Scalar(_) => {}
        }
    }
}

/// A scalar with its text and its type.
#[derive(Clone, Debug)]
pub struct Scalar<'t> {
    /// The text, with its escapes and its folding resolved.
    pub text: Cow<'t, str>,
    /// The type that kubectl gives it.
    pub kind: ScalarKind,
    /// It is written as a `|` block, so that its lines stand in the source as they are.
    pub literal_block: bool,
    /// It is `<<`, the key that takes the entries of other mappings into its own.
    pub merges: bool,
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// The scalar is text.
    Text,
    /// The scalar is `true`, `yes`, `on` or one of their opposites.
    Boolean(bool),
    /// The scalar is an integer or a floating point number.
    Number,
    /// The scalar is empty, `~` or `null`.
    Null,
}

impl<'t> Node<'t> {
    /// Returns the range of bytes of the source that the value takes.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        let (start, end) = self.span;
        start as usize..end as usize
    }

    /// Returns the entries of a mapping, and `None` for anything else.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the members of a list, and `None` for anything else.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the scalar, and `None` for a list or a mapping.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Scalar<'t>> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Returns the text of a scalar that is text, and `None` for a number, a boolean or null.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.kind == ScalarKind::Text).map(|scalar| scalar.text.as_ref())
    }

    /// Whether it is empty, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.kind == ScalarKind::Null)
    }

    /// Returns the value under `key`. Where the key stands twice the last one counts, as for kubectl.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.as_mapping()?;
        entries.iter().rev().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// Returns the value under a path of keys.
    #[must_use]
    pub fn at_path(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Returns the word for its type in a message: `text`, `a number`, `a list` and so on.
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

    /// Measures the tree below this node, the node included.
    pub(super) fn size(&self) -> Size {
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

    /// Returns the bytes of this node alone.
    pub(super) fn weight(&self) -> usize {
        let text = match &self.value {
            Value::Scalar(Scalar { text: Cow::Owned(text), .. }) => text.capacity(),
            _ => 0,
        };
        size_of::<Self>() + text
    }
}

/// How large a tree is.
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) depth: usize,
    pub(super) bytes: usize,
}

/// Makes a `u32` of a place or a length. A text is read into memory, and is shorter than 4 GiB.
pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
