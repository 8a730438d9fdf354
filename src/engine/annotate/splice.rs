//! Where in the source does an annotation go, and what is written there?
//!
//! What is added stands at the top: as the first entries of `annotations`, and `annotations` as the first of
//! `metadata`. The place below a key is always known, whatever follows: the end of a block scalar, a comment,
//! another document, or the end of the file.

use std::ops::Range;

use super::layout::{Braces, Layout};
use super::quote;
use crate::engine::decision::Edit;
use crate::engine::yaml::{Node, Value};

/// A piece of a text that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// The bytes that go.
    pub range: Range<usize>,
    /// What comes in their place.
    pub text: String,
}

/// Why annotations cannot be written where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSpliced {
    /// A part of the object is a copy of something else.
    #[error("its `{0}` come from an alias or from `<<`, so other places share them: write them out")]
    Shared(&'static str),
    /// A part of the object has a value that the API server refuses.
    #[error("its `{0}` must be a mapping, found {1}")]
    NoMapping(&'static str, &'static str),
}

/// An entry that is written anew.
enum Entry<'e> {
    Text(&'e str, &'e str),
    Map(&'e str, Vec<Self>),
}

type Pair<'n, 't> = &'n (Node<'t>, Node<'t>);

/// Replaces the pieces of a text. They must be in order.
pub(super) fn apply(text: &str, splices: &[Splice]) -> String {
    let added: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut new = String::with_capacity(text.len() + added);
    let mut done = 0;
    for Splice { range, text: piece } in splices {
        new.push_str(text.get(done..range.start).unwrap_or_default());
        new.push_str(piece);
        done = done.max(range.end);
    }
    new.push_str(text.get(done..).unwrap_or_default());
    new
}

/// Returns the splices by which the annotations of an object change. `holder` is the object, or the template.
pub(super) fn splices(text: &str, holder: &Node<'_>, edits: &[Edit<'_>]) -> Result<Vec<Splice>, NotSpliced> {
    let layout = Layout { text };
    let added = |is_new: &dyn Fn(&str) -> bool| -> Vec<Entry<'_>> {
        let set = edits.iter().filter_map(|edit| Some((edit.key, edit.value.as_deref()?)));
        set.filter(|(key, _)| is_new(key)).map(|(key, value)| Entry::Text(key, value)).collect()
    };
    let all = || added(&|_| true);
    let Some(metadata) = layout.entry(holder, "metadata")? else {
        layout.mapping(holder, "metadata")?;
        let entries = vec![Entry::Map("metadata", vec![Entry::Map("annotations", all())])];
        return Ok(vec![layout.insert(None, holder, &entries, 2)]);
    };
    let step = layout.step_of_block(holder, &metadata.1);
    if layout.is_nothing(&metadata.1) {
        return Ok(layout.fill(metadata, holder, &[Entry::Map("annotations", all())], step));
    }
    layout.mapping(&metadata.1, "metadata")?;
    let Some(annotations) = layout.entry(&metadata.1, "annotations")? else {
        let entries = [Entry::Map("annotations", all())];
        return Ok(vec![layout.insert(Some(&metadata.0), &metadata.1, &entries, step)]);
    };
    if layout.is_nothing(&annotations.1) {
        return Ok(layout.fill(annotations, &metadata.1, &all(), step));
    }
    layout.mapping(&annotations.1, "annotations")?;
    let (key, map) = annotations;
    let own = own_entries(map);
    let is_own = |key: &str| own.iter().any(|(name, _)| name.as_text() == Some(key));
    let entries = added(&|key| !is_own(key));
    let mut splices = Vec::new();
    for edit in edits {
        let is = |pair: &&Pair<'_, '_>| pair.0.as_text() == Some(edit.key);
        match &edit.value {
            // Where a key stands twice the last one counts.
            Some(value) => splices.extend(own.iter().rfind(is).map(|pair| layout.replace(map, pair, value))),
            None if !is_own(edit.key) => return Err(NotSpliced::Shared("annotations")),
            None => {}
        }
    }
    let goes = |pair: Pair<'_, '_>| {
        edits.iter().any(|edit| edit.value.is_none() && pair.0.as_text() == Some(edit.key))
    };
    let gone = own.iter().filter(|pair| goes(pair)).count();
    if gone > 0 {
        splices.extend(layout.remove(map, &own, &goes));
    }
    if !entries.is_empty() {
        splices.push(if layout.is_flow(map) {
            layout.insert_into_braces(map, &own, &entries, own.len() > gone)
        } else {
            layout.insert(Some(key), map, &entries, step)
        });
    }
    Ok(splices)
}

/// The place at the top of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    at: usize,
    /// What follows an entry that stands there.
    end: String,
    is_flow: bool,
}

impl Top {
    /// Finds the place at the top of a mapping that has entries.
    #[must_use]
    pub fn of(text: &str, map: &Node<'_>) -> Option<Self> {
        let layout = Layout { text };
        let start = map.as_mapping().filter(|entries| !entries.is_empty()).map(|_| map.span().start)?;
        Some(if layout.is_flow(map) {
            Self { at: start + 1, end: ",".to_owned(), is_flow: true }
        } else {
            let end = format!("{}{}", layout.newline(start), " ".repeat(layout.indent(start)));
            Self { at: start, end, is_flow: false }
        })
    }

    /// Returns the text with one entry more. Its value is written in JSON, which is YAML as well.
    #[must_use]
    pub fn with_entry(&self, text: &str, key: &str, json: &str) -> String {
        let (before, after) = text.split_at_checked(self.at).unwrap_or((text, ""));
        let key = if self.is_flow { quote::as_json(key) } else { key.to_owned() };
        format!("{before}{key}: {json}{}{after}", self.end)
    }
}

impl Layout<'_> {
    /// Returns an entry of a mapping, the last one of this key. One that comes from elsewhere is an error.
    fn entry<'n, 't>(self, map: &'n Node<'t>, key: &'static str) -> Result<Option<Pair<'n, 't>>, NotSpliced> {
        let entries = map.as_mapping().unwrap_or_default();
        let Some(found) = entries.iter().rfind(|(name, _)| name.as_text() == Some(key)) else {
            return Ok(None);
        };
        if self.is_alias(map) || !is_within(&found.0, map) {
            Err(NotSpliced::Shared(key))
        } else {
            Ok(Some(found))
        }
    }

    /// Makes sure that something is a mapping that is written out here.
    fn mapping(self, node: &Node<'_>, what: &'static str) -> Result<(), NotSpliced> {
        match &node.value {
            Value::Mapping(_) if self.is_alias(node) => Err(NotSpliced::Shared(what)),
            Value::Mapping(_) => Ok(()),
            _ => Err(NotSpliced::NoMapping(what, node.describe())),
        }
    }

    /// Whether a value is null, or braces with nothing between.
    fn is_nothing(self, node: &Node<'_>) -> bool {
        let written = self.at(node.span());
        let is_empty = || {
            let inner = written.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            inner.is_some_and(|inner| inner.trim().is_empty())
        };
        node.is_null() || is_empty()
    }

    /// Returns by how many columns the entries of an inner block stand further in than those of the outer.
    fn step_of_block(self, outer: &Node<'_>, inner: &Node<'_>) -> usize {
        if inner.as_mapping().is_none() || self.is_flow(inner) {
            return 2;
        }
        let [outer, inner] = [outer, inner].map(|node| self.indent(node.span().start));
        if inner > outer { inner - outer } else { 2 }
    }

    /// Puts entries at the top of a mapping. `key` is what it stands under, where that is known.
    fn insert(self, key: Option<&Node<'_>>, map: &Node<'_>, entries: &[Entry<'_>], step: usize) -> Splice {
        if self.is_flow(map) {
            let own = own_entries(map);
            return self.insert_into_braces(map, &own, entries, !own.is_empty());
        }
        let first = map.span().start;
        let (indent, newline) = (self.indent(first), self.newline(first));
        let lines = block(entries, indent, step, newline);
        let is_first_in_line = self.before(first).chars().all(|c| c == ' ');
        let below = key.and_then(|key| self.below(key, map));
        let line = below.or_else(|| is_first_in_line.then(|| first - indent));
        match line {
            Some(at) => Splice { range: at..at, text: lines },
            // As behind the dash of a list.
            None => {
                Splice { range: first..first, text: format!("{}{}", lines.trim_start(), " ".repeat(indent)) }
            }
        }
    }

    /// Puts entries into a mapping in braces. `is_followed` says whether others stay there.
    fn insert_into_braces(
        self,
        map: &Node<'_>,
        own: &[Pair<'_, '_>],
        entries: &[Entry<'_>],
        is_followed: bool,
    ) -> Splice {
        let braces = self.braces(map, own.first().copied());
        let (open, close) = (map.span().start + 1, map.span().end.saturating_sub(1));
        // Where no entry is its own there may still be `<<`.
        let is_followed = is_followed || own.is_empty() && !self.at(open..close).trim().is_empty();
        let step = self.step(map, braces.lead);
        let pieces: Vec<_> = entries.iter().map(|entry| entry.in_braces(&braces, step)).collect();
        let (at, text, comma) = if braces.lead.contains('\n') {
            let text = format!("{}{}", braces.lead, pieces.join(&format!(",{}", braces.lead)));
            (open, text, ",")
        } else {
            (open + braces.lead.len(), pieces.join(braces.comma()), braces.comma())
        };
        Splice { range: at..at, text: text + if is_followed { comma } else { "" } }
    }

    /// Gives a key whose value is nothing these entries. `outer` is the mapping that the key stands in.
    fn fill(self, pair: Pair<'_, '_>, outer: &Node<'_>, entries: &[Entry<'_>], step: usize) -> Vec<Splice> {
        let (key, value) = pair;
        let behind = self.behind_colon(key);
        // What is not written at all has its place before the colon.
        let span = value.span();
        let span = if span.is_empty() { behind.map_or(span, |behind| behind..behind) } else { span };
        if self.is_flow(outer) {
            let own = own_entries(outer);
            let braces = self.braces(outer, own.first().copied());
            let map = in_braces(entries, &braces, self.step(outer, braces.lead));
            let (range, colon) = self.value_in_braces(pair);
            return vec![Splice { range, text: format!("{colon}{map}") }];
        }
        let newline = self.newline(span.start);
        let Some(behind) = behind.filter(|behind| !self.at(*behind..span.start).contains('\n')) else {
            // It stands on a line of its own.
            let lines = block(entries, self.indent(span.start), step, newline);
            return vec![Splice { range: span, text: lines.trim().to_owned() }];
        };
        let lines = block(entries, self.indent(outer.span().start) + step, step, newline);
        let mut splices = Vec::new();
        if behind < span.end {
            splices.push(Splice { range: behind..span.end, text: String::new() });
        }
        let at = self.line_end(span.end);
        let is_ended = self.at(0..at).ends_with('\n');
        let text = if is_ended { lines } else { format!("{newline}{}", lines.trim_end()) };
        splices.push(Splice { range: at..at, text });
        splices
    }

    /// Returns the bytes of a value in braces, and what must stand before a new one.
    fn value_in_braces(self, pair: Pair<'_, '_>) -> (Range<usize>, &'static str) {
        let (key, value) = pair;
        match self.behind_colon(key) {
            _ if !value.span().is_empty() => (value.span(), ""),
            Some(behind) => (behind..behind, " "),
            None => (key.span().end..key.span().end, ": "),
        }
    }

    /// Gives an entry another value.
    fn replace(self, map: &Node<'_>, pair: Pair<'_, '_>, new: &str) -> Splice {
        let (key, value) = pair;
        if self.is_flow(map) {
            let (range, colon) = self.value_in_braces(pair);
            return Splice { range, text: format!("{colon}{}", quote::as_json(new)) };
        }
        let text = quote::in_block(new);
        let behind = self.behind_colon(key).unwrap_or_else(|| value.span().start);
        let gap = self.at(behind..value.span().start);
        let header = gap.lines().next().unwrap_or_default();
        let is_block_scalar = header.split_whitespace().any(|word| word.starts_with(['|', '>']));
        if value.span().is_empty() || is_block_scalar {
            let end = self.end_of(key, value).max(behind);
            return Splice { range: behind..end, text: format!(" {text}") };
        }
        Splice { range: value.span(), text }
    }

    /// Returns the place behind the last byte of a value that is no white space. The span of a block scalar
    /// goes on to what follows it.
    fn end_of(self, key: &Node<'_>, value: &Node<'_>) -> usize {
        let start = key.span().end;
        start + self.at(start..value.span().end.max(start)).trim_end().len()
    }

    /// Takes entries out of a mapping: whole lines of a block, with the comments at their ends.
    fn remove(
        self,
        map: &Node<'_>,
        own: &[Pair<'_, '_>],
        goes: &dyn Fn(Pair<'_, '_>) -> bool,
    ) -> Vec<Splice> {
        let cut = |range: Range<usize>| Splice { range, text: String::new() };
        if !self.is_flow(map) {
            let lines = |pair: &&Pair<'_, '_>| {
                let end = self.line_end(self.end_of(&pair.0, &pair.1));
                cut(self.line_start(pair.0.span().start)..end)
            };
            return own.iter().filter(|pair| goes(pair)).map(|pair| lines(&pair)).collect();
        }
        if own.iter().all(|pair| goes(pair)) {
            let (Some(first), Some(last)) = (own.first(), own.last()) else { return Vec::new() };
            // A comma may follow the last.
            let close = map.span().end.saturating_sub(1);
            let rest = self.at(last.1.span().end.max(last.0.span().end)..close);
            return vec![cut(
                first.0.span().start..close - (rest.len() - rest.trim_end().len()).min(rest.len())
            )];
        }
        let mut stays_before = false;
        let mut cuts = Vec::new();
        for (index, pair) in own.iter().enumerate() {
            let end = pair.1.span().end.max(pair.0.span().end);
            if !goes(pair) {
                stays_before = true;
            } else if stays_before {
                let before = index.checked_sub(1).and_then(|index| own.get(index));
                let start = before.map_or(end, |(key, value)| value.span().end.max(key.span().end));
                cuts.push(cut(start..end));
            } else if let Some(next) = own.get(index + 1) {
                cuts.push(cut(pair.0.span().start..next.0.span().start));
            }
        }
        cuts
    }
}

/// Returns the entries that are written out in a mapping, and do not come into it by `<<`.
fn own_entries<'n, 't>(map: &'n Node<'t>) -> Vec<Pair<'n, 't>> {
    let entries = map.as_mapping().unwrap_or_default();
    entries.iter().filter(|(key, _)| is_within(key, map)).collect()
}

/// Whether a key stands in a mapping, and does not come from an anchor elsewhere.
fn is_within(key: &Node<'_>, map: &Node<'_>) -> bool {
    map.span().start <= key.span().start && key.span().end <= map.span().end
}

/// Writes entries as lines of a block.
fn block(entries: &[Entry<'_>], indent: usize, step: usize, newline: &str) -> String {
    let line = |entry: &Entry<'_>| match entry {
        Entry::Text(key, value) => format!("{:indent$}{key}: {}{newline}", "", quote::in_block(value)),
        Entry::Map(key, inner) => {
            format!("{:indent$}{key}:{newline}{}", "", block(inner, indent + step, step, newline))
        }
    };
    entries.iter().map(line).collect()
}

impl Entry<'_> {
    /// Writes an entry for a mapping in braces.
    fn in_braces(&self, braces: &Braces<'_>, step: &str) -> String {
        match self {
            Self::Text(key, value) => {
                format!("{}{}{}", quote::as_json(key), braces.colon, quote::as_json(value))
            }
            Self::Map(key, inner) => {
                format!("{}{}{}", quote::as_json(key), braces.colon, in_braces(inner, braces, step))
            }
        }
    }
}

/// Writes a mapping in braces, as a value in another one.
fn in_braces(entries: &[Entry<'_>], outer: &Braces<'_>, step: &str) -> String {
    let is_long = outer.lead.contains('\n');
    let lead = if is_long { format!("{}{step}", outer.lead) } else { String::new() };
    let inner = Braces { lead: &lead, colon: outer.colon };
    let pieces: Vec<_> = entries.iter().map(|entry| entry.in_braces(&inner, step)).collect();
    let comma = if is_long { format!(",{lead}") } else { outer.comma().to_owned() };
    let end = if is_long { outer.lead } else { "" };
    format!("{{{lead}{}{end}}}", pieces.join(&comma))
}
