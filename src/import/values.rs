//! Which values does a person give a Helm chart, and where does each of them stand?
//!
//! Files and `--set` are merged as Helm merges them: maps key by key, and anything else as a whole. `null`
//! takes a default of the chart away. Values hold passwords, so that nothing in here prints one.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::ROLE_KEYS;
use super::set::{self, SetError, Step};
use crate::engine::yaml::{self, Limits, Node, ScalarKind, SyntaxError};

/// The longest text of values that is read, in bytes. A Secret of Helm's holds at most 1 MiB of them, packed.
pub const MAX_BYTES: usize = 4 << 20;

/// All values, merged.
#[derive(Default)]
pub struct Values {
    root: Entry,
    /// What was said of the same role twice: the path, and the places of the earlier and the later one.
    overridden: Vec<(String, Place, Place)>,
}

/// A value with its place.
#[derive(Clone, Default)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Default)]
pub(super) enum Value {
    #[default]
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Entry>),
    Map(BTreeMap<String, Entry>),
}

/// The place of a value: the source, and the line and column where it is a file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    source: Rc<str>,
    at: Option<yaml::Position>,
}

/// Why a text is not taken as values.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// It is not YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It is longer than any values are.
    #[error("the values have {0} bytes, at most {MAX_BYTES} are read")]
    Size(usize),
    /// It holds more than one document.
    #[error("values are one YAML document, and this has {0}: give each its own --values")]
    Documents(usize),
    /// It is no mapping.
    #[error("values are a mapping, and this is {0}")]
    NoMapping(&'static str),
    /// The syntax of `--set` is not kept.
    #[error("in `--set`: {0}")]
    Set(#[from] SetError),
}

impl Values {
    /// Merges a file of values over what is there.
    ///
    /// # Errors
    /// When the text is no mapping in YAML or JSON.
    pub fn merge(&mut self, source: &str, text: &str) -> Result<(), ValuesError> {
        self.merge_within(source, text, Limits::MANIFEST)
    }

    /// Does as [`Values::merge`] does, with limits of the caller's own.
    ///
    /// # Errors
    /// When the text is no mapping in YAML or JSON, or goes beyond the limits.
    pub fn merge_within(&mut self, source: &str, text: &str, limits: Limits) -> Result<(), ValuesError> {
        if text.len() > MAX_BYTES {
            return Err(ValuesError::Size(text.len()));
        }
        let documents = yaml::read_apart(text, limits, None, &mut |_, _| {})?;
        let [document] = documents.as_slice() else {
            return if documents.is_empty() { Ok(()) } else { Err(ValuesError::Documents(documents.len())) };
        };
        if document.is_null() {
            return Ok(());
        }
        if document.as_mapping().is_none() {
            return Err(ValuesError::NoMapping(document.describe()));
        }
        let over = Entry::of(document, &source.into());
        self.root.merge(over, &mut Vec::new(), &mut self.overridden);
        Ok(())
    }

    /// Merges what `--set` says over what is there; `as_text` is for `--set-string`.
    ///
    /// # Errors
    /// When it is not in the syntax of `--set`.
    pub fn set(&mut self, text: &str, as_text: bool) -> Result<(), ValuesError> {
        if text.len() > MAX_BYTES {
            return Err(ValuesError::Size(text.len()));
        }
        let source = if as_text { "--set-string" } else { "--set" };
        let place = Place { source: source.into(), at: None };
        for (steps, value) in set::parse(text, as_text, &place)? {
            self.root.put(&steps, Entry { place: place.clone(), value }, &mut self.overridden);
        }
        Ok(())
    }

    /// Lends the top of the values.
    pub(super) fn top(&self) -> Branch<'_> {
        Branch { entry: Some(&self.root), path: Vec::new() }
    }

    /// Returns the roles that were said twice, each with the place that lost and the one that won.
    pub(super) fn overridden(&self) -> impl Iterator<Item = (&str, String, String)> {
        self.overridden.iter().map(|(path, lost, won)| (path.as_str(), lost.to_string(), won.to_string()))
    }
}

/// It names no value, as values hold passwords.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(values)")
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { source: "".into(), at: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{at}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

impl Entry {
    fn of(node: &Node<'_>, source: &Rc<str>) -> Self {
        let value = match &node.value {
            yaml::Value::Mapping(entries) => {
                let entry = |(key, value): &(Node<'_>, Node<'_>)| {
                    Some((key.as_scalar()?.text.to_string(), Self::of(value, source)))
                };
                Value::Map(entries.iter().filter_map(entry).collect())
            }
            yaml::Value::Sequence(items) => {
                Value::List(items.iter().map(|item| Self::of(item, source)).collect())
            }
            yaml::Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Text => Value::Text(scalar.text.to_string()),
                ScalarKind::Boolean(value) => Value::Boolean(value),
                ScalarKind::Number => Value::Number(scalar.text.to_string()),
                ScalarKind::Null => Value::Null,
            },
        };
        Self { place: Place { source: Rc::clone(source), at: Some(node.at) }, value }
    }

    fn merge(&mut self, over: Self, path: &mut Vec<String>, overridden: &mut Vec<(String, Place, Place)>) {
        match (&mut self.value, over.value) {
            (Value::Map(below), Value::Map(entries)) => {
                for (key, entry) in entries {
                    path.push(key);
                    let key = path.last().cloned().unwrap_or_default();
                    match below.get_mut(&key) {
                        Some(present) => present.merge(entry, path, overridden),
                        None => {
                            below.insert(key, entry);
                        }
                    }
                    path.pop();
                }
            }
            (_, value) => {
                let is_role = path.last().is_some_and(|key| is_role_key(key));
                if is_role && self.text() != (Self { place: Place::default(), value: value.clone() }).text() {
                    overridden.push((shown_path(path), self.place.clone(), over.place.clone()));
                }
                *self = Self { place: over.place, value };
            }
        }
    }

    fn put(&mut self, steps: &[Step], entry: Self, overridden: &mut Vec<(String, Place, Place)>) {
        let (mut here, mut path) = (self, Vec::new());
        for step in steps {
            path.push(step.to_string());
            let place = entry.place.clone();
            match step {
                Step::Key(key) => {
                    if !matches!(here.value, Value::Map(_)) {
                        *here = Self { place: place.clone(), value: Value::Map(BTreeMap::new()) };
                    }
                    let Value::Map(map) = &mut here.value else { return };
                    here = map.entry(key.clone()).or_insert_with(|| Self { place, value: Value::Null });
                }
                Step::Index(index) => {
                    if !matches!(here.value, Value::List(_)) {
                        *here = Self { place: place.clone(), value: Value::List(Vec::new()) };
                    }
                    let Value::List(list) = &mut here.value else { return };
                    if list.len() <= *index {
                        list.resize(index + 1, Self { place, value: Value::Null });
                    }
                    let Some(member) = list.get_mut(*index) else { return };
                    here = member;
                }
            }
        }
        if matches!(here.value, Value::Null) {
            *here = entry;
        } else {
            // What `--set` gives takes the place of the whole value, and is never merged into it.
            let over = entry.place.clone();
            if path.last().is_some_and(|key| is_role_key(key)) && here.text() != entry.text() {
                overridden.push((shown_path(&path), here.place.clone(), over));
            }
            *here = entry;
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Boolean(true) => Some("true"),
            Value::Boolean(false) => Some("false"),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

fn is_role_key(key: &str) -> bool {
    ROLE_KEYS.contains(&key) || key == "eksRoleArn"
}

/// Writes a path as a person would: keys with a dot stand in quotes.
pub(super) fn shown_path(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        let is_index = step.starts_with('[');
        if !text.is_empty() && !is_index {
            text.push('.');
        }
        let quote = if step.contains('.') { "\"" } else { "" };
        text.extend([quote, step, quote]);
    }
    text
}

/// A value that may be there, by its path.
#[derive(Clone)]
pub(super) struct Branch<'v> {
    entry: Option<&'v Entry>,
    path: Vec<String>,
}

impl<'v> Branch<'v> {
    /// Returns the value under a key.
    pub(super) fn key(&self, key: &str) -> Self {
        let entry = match self.entry.map(|entry| &entry.value) {
            Some(Value::Map(map)) => map.get(key),
            _ => None,
        };
        self.below(key.to_owned(), entry)
    }

    /// Returns the value under a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Self {
        path.iter().fold(self.clone(), |branch, key| branch.key(key))
    }

    fn below(&self, step: String, entry: Option<&'v Entry>) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { entry, path }
    }

    /// Returns the members of a map or of a list.
    pub(super) fn members(&self) -> Vec<Self> {
        match self.entry.map(|entry| &entry.value) {
            Some(Value::Map(map)) => {
                map.iter().map(|(key, entry)| self.below(key.clone(), Some(entry))).collect()
            }
            Some(Value::List(list)) => {
                let member = |(index, entry)| self.below(format!("[{index}]"), Some(entry));
                list.iter().enumerate().map(member).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether something stands there, be it `null`.
    pub(super) fn is_there(&self) -> bool {
        self.entry.is_some()
    }

    /// Whether something stands there that is not `null`.
    pub(super) fn has_value(&self) -> bool {
        self.entry.is_some_and(|entry| !matches!(entry.value, Value::Null))
    }

    /// Whether a template's `if` takes it as true, as Go's templates do: neither false, 0, empty nor absent.
    pub(super) fn is_true(&self) -> bool {
        self.entry.is_some_and(|entry| match &entry.value {
            Value::Null => false,
            Value::Boolean(value) => *value,
            Value::Number(text) => !text.trim_start_matches(['0', '.', '-', '+', 'x']).is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Map(map) => !map.is_empty(),
        })
    }

    /// Whether it is true where the chart's own value is `default`.
    pub(super) fn is_true_or(&self, default: bool) -> bool {
        if self.is_there() { self.is_true() } else { default }
    }

    /// Whether it is `false` itself.
    pub(super) fn is_false(&self) -> bool {
        self.entry.is_some_and(|entry| matches!(entry.value, Value::Boolean(false)))
    }

    /// Whether it is a map that has something in it.
    pub(super) fn is_filled_map(&self) -> bool {
        matches!(self.entry.map(|entry| &entry.value), Some(Value::Map(map)) if !map.is_empty())
    }

    /// Returns its text, where it is text, a number or a boolean.
    pub(super) fn text(&self) -> Option<&'v str> {
        self.entry.and_then(Entry::text)
    }

    /// Returns its text, where it is text that is not empty.
    pub(super) fn filled_text(&self) -> Option<&'v str> {
        self.text().filter(|text| !text.is_empty())
    }

    /// Returns the path in words.
    pub(super) fn path(&self) -> String {
        shown_path(&self.path)
    }

    /// Returns the place where it stands.
    pub(super) fn place(&self) -> String {
        self.entry.map(|entry| entry.place.to_string()).unwrap_or_default()
    }

    /// Returns the last key of the path.
    pub(super) fn last(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// Returns the steps of the path.
    pub(super) fn steps(&self) -> &[String] {
        &self.path
    }
}
