//! How are values taken out of the tree, and problems gathered on the way?

use std::collections::HashSet;
use std::fmt;

use super::first::First;
use super::problems::Problem;
use crate::engine::rules::cost::Steps;
use crate::engine::rules::glob::{Glob, GlobError};
use crate::engine::yaml::{Node, Position, ScalarKind, Value};

/// The longest list of one criterion; keeps the cost of one rule in bounds.
const MAX_LIST: usize = 1000;

/// The longest text in bytes: twice the longest ARN that IAM allows, for its placeholders.
const MAX_TEXT: usize = 4096;

/// The longest key in bytes, which is a label's: a prefix of 253, a slash and a name of 63.
const MAX_KEY: usize = 317;

/// Nothing longer is likened to known words: that takes steps, and finds nothing.
const MAX_LIKENED: usize = 64;

/// The way from the top of the mapping to a value, made into text only for a problem.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Key(&'p Self, &'p str),
    Index(&'p Self, usize),
}

impl Path<'_> {
    pub(super) fn key<'p>(&'p self, key: &'p str) -> Path<'p> {
        Path::Key(self, key)
    }

    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Path::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// How many steps it may take to read a mapping: one for each byte of a text, aliases followed, and for each that a brace makes. A text
/// of 1 MiB without aliases takes two million.
const MAX_READING: usize = 40_000_000;

/// Gathers problems; whatever cannot be read is reported and left out.
pub(super) struct Reader<'r> {
    problems: &'r mut First<Problem>,
    /// What is left of [`MAX_READING`].
    steps: Steps,
}

/// Which keys may stand in a mapping.
#[derive(Clone, Copy)]
pub(super) enum Allowed<'k> {
    /// Any key may stand there.
    Any,
    /// Only these keys may stand there.
    Only(&'k [&'k str]),
    /// Only `keys` may stand there, and whoever writes one of `inner` is told that it belongs under the key `block`.
    OnlyOrUnder { keys: &'k [&'k str], block: &'k str, inner: &'k [&'k str] },
}

/// The entries of a mapping whose keys have been checked.
pub(super) struct Fields<'n, 't> {
    entries: Vec<(&'n str, &'n Node<'t>)>,
    /// No key was left out for being unknown, twice there, or no text.
    pub(super) whole: bool,
}

impl<'n, 't> Fields<'n, 't> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node<'t>> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'n str, &'n Node<'t>)> {
        self.entries.iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'r> Reader<'r> {
    pub(super) fn new(problems: &'r mut First<Problem>) -> Self {
        Self { problems, steps: Steps::new(MAX_READING) }
    }

    pub(super) fn report(&mut self, at: Position, path: Path<'_>, message: impl Into<String>) {
        self.problems.add(at, || Problem::new(at, &path.to_string(), &message.into()));
    }

    /// A word that is none of those that are known.
    pub(super) fn report_unknown(
        &mut self,
        at: Position,
        path: Path<'_>,
        what: &str,
        found: &str,
        known: &[&str],
    ) {
        self.problems.add(at, || Problem::new(at, &path.to_string(), &unknown(what, found, known)));
    }

    /// No problem has been found so far.
    pub(super) fn is_content(&self) -> bool {
        self.problems.count() == 0
    }

    /// The entries of a mapping whose keys are allowed; every other key is reported.
    pub(super) fn fields<'n, 't>(
        &mut self,
        node: &'n Node<'t>,
        path: Path<'_>,
        allowed: Allowed<'_>,
    ) -> Option<Fields<'n, 't>> {
        let Some(entries) = node.as_mapping() else {
            self.report(node.at, path, format!("must be a mapping, found {}", node.describe()));
            return None;
        };
        let mut seen = HashSet::with_capacity(entries.len());
        let mut taken: Vec<(&'n str, &'n Node<'t>)> = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let Some(key) = name.as_text() else {
                let found = name.describe();
                self.report(name.at, path, format!("a key must be text, found {found}"));
                continue;
            };
            if key.len() > MAX_KEY {
                let message = format!("the key has {} bytes, at most {MAX_KEY} are taken", key.len());
                self.report(name.at, path, message);
                continue;
            }
            if !seen.insert(key) {
                self.report(name.at, path.key(key), format!("the key `{key}` stands here twice"));
                continue;
            }
            if let Allowed::Only(keys) | Allowed::OnlyOrUnder { keys, .. } = allowed
                && !keys.contains(&key)
            {
                match allowed {
                    Allowed::OnlyOrUnder { block, inner, .. } if inner.contains(&key) => {
                        self.report(name.at, path.key(key), format!("`{key}` belongs under `{block}`"));
                    }
                    _ => self.report_unknown(name.at, path.key(key), "key", key, keys),
                }
                continue;
            }
            taken.push((key, value));
        }
        Some(Fields { whole: taken.len() == entries.len(), entries: taken })
    }

    /// Whether so many more steps may be taken; where not, that has been reported, and nothing more is read.
    fn may_take(&mut self, steps: usize, at: Position, path: Path<'_>) -> bool {
        if self.is_exhausted() {
            return false;
        }
        let may = self.steps.take(steps);
        if !may {
            self.report_exhaustion(at, path);
        }
        may
    }

    fn report_exhaustion(&mut self, at: Position, path: Path<'_>) {
        self.report(
            at,
            path,
            "the mapping takes too long to read, and is not read on from here: aliases and braces make much of little text",
        );
    }

    /// Nothing more is read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.steps.are_used_up()
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node<'_>, path: Path<'_>) -> Option<&'n str> {
        match node.as_text() {
            Some(text) if text.len() <= MAX_TEXT => {
                return self.may_take(text.len() + 16, node.at, path).then_some(text);
            }
            Some(text) => {
                let message = format!("has {} bytes, at most {MAX_TEXT} are taken", text.len());
                self.report(node.at, path, message);
            }
            None => self.report(node.at, path, not_text(node)),
        }
        None
    }

    pub(super) fn boolean(&mut self, node: &Node<'_>, path: Path<'_>) -> Option<bool> {
        match node.as_scalar().map(|scalar| scalar.kind) {
            Some(ScalarKind::Boolean(value)) => Some(value),
            _ => {
                self.report(node.at, path, format!("must be true or false, found {}", node.describe()));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        node: &Node<'_>,
        path: Path<'_>,
        what: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(node, path)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.report_unknown(node.at, path, what, text, &known);
        }
        found
    }

    /// One value or a list of them, each with its own path; an empty list is a problem.
    pub(super) fn each<'n, 't>(
        &mut self,
        node: &'n Node<'t>,
        path: Path<'_>,
        mut read: impl FnMut(&mut Self, &'n Node<'t>, Path<'_>),
    ) {
        match &node.value {
            Value::Sequence(items) if items.is_empty() => {
                self.report(node.at, path, "an empty list matches nothing; leave the key out");
            }
            Value::Sequence(items) if items.len() > MAX_LIST => {
                self.report(
                    node.at,
                    path,
                    format!("has {} members, at most {MAX_LIST} are taken", items.len()),
                );
            }
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.is_exhausted() {
                        return;
                    }
                    read(self, item, path.index(index));
                }
            }
            _ => read(self, node, path),
        }
    }

    pub(super) fn globs(&mut self, node: &Node<'_>, path: Path<'_>) -> Box<[Glob]> {
        let mut globs = Vec::with_capacity(1);
        self.each(node, path, |reader, item, path| {
            let Some(text) = reader.text(item, path) else {
                return;
            };
            match Glob::within(text, &mut reader.steps) {
                Ok(glob) => globs.push(glob),
                Err(GlobError::TooManySteps) => reader.report_exhaustion(item.at, path),
                Err(error) => reader.report(item.at, path, error.to_string()),
            }
        });
        globs.into()
    }
}

/// Why a value is not text, and how it becomes text.
fn not_text(node: &Node<'_>) -> String {
    match node.as_scalar() {
        Some(scalar) if scalar.kind != ScalarKind::Null => {
            let found = node.describe();
            let text = brief(&scalar.text);
            format!("must be text, but YAML reads {text} as {found}: write it in quotes")
        }
        None if node.as_mapping().is_some_and(|entries| entries.len() == 1) => {
            "must be text, found a mapping: a placeholder at the start wants quotes, as in \"{component}\""
                .to_owned()
        }
        _ => format!("must be text, found {}", node.describe()),
    }
}

/// The beginning of a text that may be of any length.
pub(super) fn brief(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_LIKENED)).unwrap_or_default()
}

/// `unknown key `rol`; did you mean `role`?`
fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    // Half of GitLab's names begin with it, and nobody remembers which half.
    let other_spelling = match found.strip_prefix("gitlab-") {
        Some(rest) => rest.to_owned(),
        None => format!("gitlab-{found}"),
    };
    if known.contains(&other_spelling.as_str()) {
        return format!("unknown {what} `{found}`; did you mean `{other_spelling}`?");
    }
    let known_words = if found.len() > MAX_LIKENED { &[] } else { known };
    let likeness = |word: &str| strsim::jaro_winkler(&word.to_lowercase(), &found.to_lowercase());
    let nearest = known_words
        .iter()
        .map(|word| (likeness(word), *word))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness >= 0.8);
    match nearest {
        Some((_, word)) => format!("unknown {what} `{found}`; did you mean `{word}`?"),
        None => format!("unknown {what} `{found}`; known are {}", known.join(", ")),
    }
}
