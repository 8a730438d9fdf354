//! How do the events of a YAML parser become a tree?
//!
//! Aliases and merge keys are followed, and scalars get their types.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use granit_parser::{Event, ScalarStyle, Span, Tag};

use super::error::{SyntaxError, SyntaxErrorKind};
use super::limits::{Limits, MAX_DEPTH};
use super::node::{Node, Position, Scalar, ScalarKind, Value, narrow};

/// A collection whose end has not been read yet.
struct Open<'t> {
    node: Node<'t>,
    /// The number of its anchor.
    anchor: Option<NonZeroUsize>,
    key: Option<Node<'t>>,
}

/// A tree while it is built.
pub(super) struct TreeBuilder<'t, 'f> {
    text: &'t str,
    limits: Limits,
    /// The key at the top whose list is not held: its members are given to `member`.
    apart: Option<&'f str>,
    member: &'f mut dyn FnMut(Position, Node<'t>),
    open: Vec<Open<'t>>,
    anchors: HashMap<NonZeroUsize, Node<'t>>,
    nodes: usize,
    /// The bytes of the nodes that are held in the tree.
    held: usize,
    /// The same without the member of that list that is being read.
    held_beside: usize,
    /// The bytes of the copies under anchors.
    anchored: usize,
    pub(super) documents: Vec<Node<'t>>,
}

impl<'t, 'f> TreeBuilder<'t, 'f> {
    /// Makes a tree without any document.
    pub(super) fn new(
        text: &'t str,
        limits: Limits,
        apart: Option<&'f str>,
        member: &'f mut dyn FnMut(Position, Node<'t>),
    ) -> Self {
        Self {
            text,
            limits,
            apart,
            member,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            held: 0,
            held_beside: 0,
            anchored: 0,
            documents: Vec::new(),
        }
    }

    /// Takes the next event.
    pub(super) fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), SyntaxError> {
        let range =
            span.byte_range().map(|range| (narrow(range.start), narrow(range.end))).unwrap_or_default();
        let at = Position::of(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(Tag::suffix);
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag != "str");
                let kind = if plain { scalar_kind(&text) } else { ScalarKind::Text };
                let literal_block = style == ScalarStyle::Literal;
                // In quotes it is a key like any other.
                let merges = text == "<<" && (plain || tag == Some("merge"));
                let value = Value::Scalar(Scalar { text, kind, literal_block, merges });
                self.place(Node { span: range, at, value }, NonZeroUsize::new(anchor))
            }
            Event::SequenceStart(_, anchor, _) => self.begin(range, at, Value::Sequence(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(range, at, Value::Mapping(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(mut open) => {
                    open.node.span.1 = range.1.max(open.node.span.0);
                    open.node.value.shrink();
                    merge_keys(&mut open.node)?;
                    self.place(open.node, open.anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(node) = NonZeroUsize::new(id).and_then(|id| self.anchors.get(&id)) else {
                    return Err(SyntaxError { at, kind: SyntaxErrorKind::AliasOfItself });
                };
                let size = node.size();
                if self.open.len() + size.depth > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                self.nodes += size.nodes;
                self.held += size.bytes;
                self.check(at)?;
                // It stands where the alias stands, and what is below it where the anchor stands.
                let node = Node { span: range, ..node.clone() };
                self.place(node, None)
            }
            _ => Ok(()),
        }
    }

    /// Gives away the document that has ended, if it is not empty, and forgets all that was counted for it.
    pub(super) fn next_document(&mut self) -> Option<Node<'t>> {
        self.anchors.clear();
        (self.nodes, self.held, self.held_beside, self.anchored) = (0, 0, 0, 0);
        self.documents.pop()
    }

    fn begin(
        &mut self,
        span: (u32, u32),
        at: Position,
        value: Value<'t>,
        anchor: usize,
    ) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.open.push(Open { node: Node { span, at, value }, anchor: NonZeroUsize::new(anchor), key: None });
        if self.stands_apart().is_some() {
            self.held_beside = self.held;
        }
        Ok(())
    }

    /// Returns the place of the list whose members are given to `member`, where what is read now is one of
    /// them.
    fn stands_apart(&self) -> Option<Position> {
        let [top, list] = self.open.as_slice() else { return None };
        let is_list = matches!(list.node.value, Value::Sequence(_));
        let is_it = is_list && self.apart.is_some() && top.key.as_ref().and_then(Node::as_text) == self.apart;
        is_it.then_some(list.node.at)
    }

    /// Puts a finished node where it belongs: under its key, into its list, or among the documents.
    fn place(&mut self, node: Node<'t>, anchor: Option<NonZeroUsize>) -> Result<(), SyntaxError> {
        self.nodes += 1;
        self.held += node.weight();
        if anchor.is_some() {
            let size = node.size();
            self.nodes += size.nodes;
            self.anchored += size.bytes;
            if let Some(most) = self.limits.anchors
                && self.anchors.len() >= most
            {
                let kind = SyntaxErrorKind::TooManyAnchors(most);
                return Err(SyntaxError { at: node.at, kind });
            }
        }
        self.check(node.at)?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, node.clone());
        }
        if let Some(list) = self.stands_apart() {
            self.held = self.held_beside;
            (self.member)(list, node);
            return Ok(());
        }
        let Some(parent) = self.open.last_mut() else {
            // A document that is only a comment arrives as an empty scalar.
            if !(node.is_null() && self.text.get(node.span()).is_none_or(str::is_empty)) {
                self.documents.push(node);
            }
            return Ok(());
        };
        match &mut parent.node.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(entries) => match parent.key.take() {
                None => parent.key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            Value::Scalar(_) => {}
        }
        Ok(())
    }

    fn check(&self, at: Position) -> Result<(), SyntaxError> {
        if self.nodes > self.limits.nodes {
            return Err(SyntaxError { at, kind: SyntaxErrorKind::TooManyValues(self.limits.nodes) });
        }
        if let Some(most) = self.limits.held
            && self.held + self.anchored > most
        {
            let values = most / size_of::<Node<'_>>();
            return Err(SyntaxError { at, kind: SyntaxErrorKind::TooMuchAtOnce(values) });
        }
        Ok(())
    }
}

fn too_deep(at: Position) -> SyntaxError {
    SyntaxError { at, kind: SyntaxErrorKind::TooDeep }
}

/// Replaces `<<: *defaults` by the entries that it names, as YAML 1.1 does. Keys that are written out win.
fn merge_keys(node: &mut Node<'_>) -> Result<(), SyntaxError> {
    let Value::Mapping(entries) = &mut node.value else {
        return Ok(());
    };
    let is_merge = |key: &Node<'_>| key.as_scalar().is_some_and(|key| key.merges);
    if !entries.iter().any(|(key, _)| is_merge(key)) {
        return Ok(());
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.drain(..).partition(|(key, _)| is_merge(key));
    let mut present: HashSet<String> =
        own.iter().filter_map(|(key, _)| Some(key.as_scalar()?.text.to_string())).collect();
    for (key, merge) in merges {
        let sources = match merge.value {
            Value::Mapping(_) => vec![merge],
            Value::Sequence(items) => items,
            Value::Scalar(_) => Vec::new(),
        };
        let no_mapping = || SyntaxError { at: key.at, kind: SyntaxErrorKind::MergeOfNoMapping };
        if sources.is_empty() {
            return Err(no_mapping());
        }
        for source in sources {
            let Value::Mapping(inherited) = source.value else {
                return Err(no_mapping());
            };
            for (name, value) in inherited {
                let key = name.as_scalar().map(|scalar| scalar.text.to_string());
                if key.is_some_and(|key| present.insert(key)) {
                    own.push((name, value));
                }
            }
        }
    }
    *entries = own;
    Ok(())
}

/// Tells the type of a plain scalar by the rules of YAML 1.1, as kubectl's reader applies them.
fn scalar_kind(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return ScalarKind::Boolean(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return ScalarKind::Boolean(false);
        }
        _ => {}
    }
    if is_number(text) { ScalarKind::Number } else { ScalarKind::Text }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = unsigned.replace('_', "");
    let radix = |prefixes: [&str; 2], radix: u32| {
        prefixes
            .iter()
            .filter_map(|prefix| digits.strip_prefix(prefix))
            .any(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    radix(["0x", "0X"], 16)
        || radix(["0o", "0O"], 8)
        || radix(["0b", "0B"], 2)
        // Rust's grammar of floats is YAML's, but for the words `inf` and `nan`, which cannot begin with a
        // digit or a dot.
        || (digits.chars().any(|c| c.is_ascii_digit()) && digits.parse::<f64>().is_ok())
}
