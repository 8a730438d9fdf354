//! What is a value of a YAML text, and where does it stand?

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A place in a text, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    pub(super) fn of(marker: granit_parser::Marker) -> Self {
        Self { line: narrow(marker.line()), column: narrow(marker.col() + 1) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One value with its place in the source. Small, because a mapping of 10,000 rules has 100,000 of them at once.
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
    /// Text, number, boolean or null.
    Scalar(Scalar<'t>),
    /// A list.
    Sequence(Vec<Node<'t>>),
    /// Keys and values in source order; duplicate keys are all there.
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

    /// The bytes of this node alone.
    pub(super) fn weight(&self) -> usize {
        let text = match &self.value {
            Value::Scalar(Scalar { text: Cow::Owned(text), .. }) => text.capacity(),
            _ => 0,
        };
        size_of::<Self>() + text
    }
}

/// What a tree comes to.
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) depth: usize,
    pub(super) bytes: usize,
}

/// Texts are shorter than 4 GiB: they are read into memory.
pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
