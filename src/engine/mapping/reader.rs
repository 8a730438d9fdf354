//! How are values read from the tree of a mapping, and problems reported?

use std::collections::HashSet;
use std::fmt;

use super::capped_list::CappedList;
use super::keys::{Key, names};
use super::problems::Problem;
use crate::engine::rules::cost::Steps;
use crate::engine::rules::glob::{Glob, GlobError};
use crate::engine::yaml::{Node, Position, ScalarKind, Value};

/// How many members a list may have. It bounds what one rule costs.
pub(super) const MAX_LIST: usize = 1000;

/// The longest text in bytes. It is twice the longest ARN that IAM allows, which leaves room for
/// placeholders.
pub(super) const MAX_TEXT: usize = 4096;

/// The longest key in bytes. It is a label's: a prefix of 253, a slash and a name of 63.
pub(super) const MAX_KEY: usize = 317;

/// The longest word that is compared with known words, in bytes. A longer one takes many steps and is like
/// none of them.
const MAX_LIKENED: usize = 64;

/// The path from the top of the mapping to a value. It is made into text only for a problem.
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

/// How many steps it may take to read a mapping. Each byte of a text takes one, where aliases are followed,
/// and so does each byte that a brace makes. A mapping of 1 MiB without aliases takes two million steps.
const MAX_READING: usize = 40_000_000;

/// Reads values, and gathers problems. A value that cannot be read is reported and left out.
pub(super) struct Reader<'r> {
    problems: &'r mut CappedList<Problem>,
    /// The steps that are left of [`MAX_READING`].
    steps: Steps,
}

/// Which keys may stand in a mapping.
#[derive(Clone, Copy)]
pub(super) enum Allowed<'k> {
    /// Any key may stand there.
    Any,
    /// Only these keys may stand there.
    Only(&'k [Key]),
    /// Only `keys` may stand there, and whoever writes one of `inner` is told that it belongs under the key
    /// `block`.
    OnlyOrUnder { keys: &'k [Key], block: &'k str, inner: &'k [Key] },
}

/// The entries of a mapping whose keys have been checked.
pub(super) struct Fields<'n, 't> {
    entries: Vec<(&'n str, &'n Node<'t>)>,
    /// Whether no key was left out because it is unknown, stands there twice or is no text.
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
    pub(super) fn new(problems: &'r mut CappedList<Problem>) -> Self {
        Self { problems, steps: Steps::new(MAX_READING) }
    }

    pub(super) fn report(&mut self, at: Position, path: Path<'_>, message: impl Into<String>) {
        self.problems.add(at, || Problem::new(at, &path.to_string(), &message.into()));
    }

    /// Reports a word that is none of those that are known.
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

    /// Whether no problem has been found so far.
    pub(super) fn has_no_problem(&self) -> bool {
        self.problems.count() == 0
    }

    /// Reads the entries of a mapping whose keys are allowed. Every other key is reported.
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
                && !has(keys, key)
            {
                match allowed {
                    Allowed::OnlyOrUnder { block, inner, .. } if has(inner, key) => {
                        self.report(name.at, path.key(key), format!("`{key}` belongs under `{block}`"));
                    }
                    _ => self.report_unknown(name.at, path.key(key), "key", key, &names(keys)),
                }
                continue;
            }
            taken.push((key, value));
        }
        Some(Fields { whole: taken.len() == entries.len(), entries: taken })
    }

    /// Takes steps, and returns whether that many were left. Where not, this is reported, and nothing more is
    /// read.
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
            "the mapping takes too long to read, and is not read on from here: aliases and braces make \
             much of little text",
        );
    }

    /// Whether the steps are used up, so that nothing more is read.
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

    /// Reads one of a few words.
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

    /// Reads one value, or a list of values, each with its own path. An empty list is a problem.
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

fn has(keys: &[Key], name: &str) -> bool {
    keys.iter().any(|key| key.name == name)
}

/// Says why a value is not text, and how it becomes text.
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

/// Returns the beginning of a text that may be of any length.
pub(super) fn brief(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_LIKENED)).unwrap_or_default()
}

/// Says that a word is unknown, and names the known word that it is most like, or all known words.
fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    // Half of GitLab's components begin with `gitlab-`, and nobody remembers which half.
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
