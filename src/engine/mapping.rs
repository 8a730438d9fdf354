//! What does a mapping say? Text in; a [`Ruleset`], or every problem at once with line, column and path, out.
//!
//! The language is described in `docs/mapping.md`.

mod match_block;
mod names;
mod options;
mod reader;
mod rules;

use std::fmt;

use super::bounds::Bounds;
use super::first::First;
use super::ruleset::Ruleset;
use super::yaml::{self, Limits, Node, Position, SyntaxError};
use reader::{Path, Reader};
use rules::{RulesReading, Top};

/// The key of the ConfigMap that holds the mapping.
pub const CONFIG_MAP_KEY: &str = "mapping.yaml";

/// The most that a ConfigMap can hold, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// How many problems are told where memory is not the user's own; the rest is counted.
pub const MAX_PROBLEMS: usize = 100;

/// The most bytes of a problem's path, and of its message: both quote what the mapping says.
const MAX_PATH: usize = 250;
const MAX_MESSAGE: usize = 500;

/// What reading a mapping takes. Values: 20 for each of 20,000 rules. Keys have at most 1024 characters in YAML.
const LIMITS: Limits =
    Limits { nodes: 400_000, held: 512 << 10, anchors: 1000, lookahead: 1024, directives: false };

/// The most bytes that the rules of a text of so many bytes may come to. Aliases and braces make much of little, so that a short text
/// has its share as well.
const fn max_weight(text_bytes: usize) -> usize {
    const MOST: usize = 8 << 20;
    let share = (1_usize << 20).saturating_add(text_bytes.saturating_mul(16));
    if share < MOST { share } else { MOST }
}

/// The most bytes that [`compile`] holds at once for a text of so many bytes, beyond the text itself. The new [`Ruleset`] is among
/// them, and goes on with [`Ruleset::weight`]. At most 12 MiB; `tests/memory` holds it to that.
#[must_use]
pub const fn weight(text_bytes: usize) -> usize {
    let rules = max_weight(text_bytes);
    // A quarter for the names and the index while they are made; a rule's tree while it grows; the parser.
    rules + rules / 4 + (2 << 20)
}

/// One thing that is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands in the text that was read.
    pub at: Position,
    /// Where it stands in the mapping: `rules[2].match.component`. Empty for the mapping as a whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// What is quoted in them is cut to what a log or an answer can take.
    fn new(at: Position, path: &str, message: &str) -> Self {
        Self { at, path: shorten(path, MAX_PATH), message: shorten(message, MAX_MESSAGE) }
    }
}

/// Leaves out the middle of a long text: a sentence says at its ends what it is about. One line in any case.
fn shorten(text: &str, longest: usize) -> String {
    let parts = if text.len() <= longest {
        [text, "", ""]
    } else {
        let head = text.get(..text.floor_char_boundary(longest / 2)).unwrap_or_default();
        let tail = text.get(text.ceil_char_boundary(text.len() - longest / 2)..).unwrap_or_default();
        [head, "…", tail]
    };
    parts.concat().replace(char::is_control, "?")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.at, self.message)
        } else {
            write!(f, "{}: {}: {}", self.at, self.path, self.message)
        }
    }
}

/// What is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// In the order of the text.
    pub first: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl Problems {
    /// The one problem of a text as a whole.
    pub(super) fn of_the_whole(message: &str) -> Self {
        Self { first: vec![Problem::new(START, "", message)], more: 0 }
    }

    /// How many there are in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.first.len() + self.more
    }

    /// `and 3 more`, where there are more.
    #[must_use]
    pub fn rest(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more", self.more))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => f.write_str("1 problem")?,
            count => write!(f, "{count} problems")?,
        }
        self.first.iter().try_for_each(|problem| write!(f, "\n  {problem}"))?;
        self.rest().map_or(Ok(()), |rest| write!(f, "\n  {rest}"))
    }
}

impl std::error::Error for Problems {}

const START: Position = Position { line: 1, column: 1 };

/// Reads a mapping's bare text, as it comes from anywhere: what it takes is bounded by [`weight`].
///
/// # Errors
/// The first [`MAX_PROBLEMS`] problems in it.
pub fn compile(text: &str, bounds: &Bounds) -> Result<Ruleset, Problems> {
    let mut problems = First::new(MAX_PROBLEMS, |problem: &Problem| problem.at);
    let ruleset = read(text, bounds, &mut problems);
    conclude(ruleset, problems)
}

/// Reads a mapping from a file of the user's own: the bare text, or the manifest of a ConfigMap that holds it under `mapping.yaml`.
///
/// # Errors
/// Every problem in it.
pub fn compile_file(text: &str, bounds: &Bounds) -> Result<Ruleset, Problems> {
    let mut problems = First::new(usize::MAX, |problem: &Problem| problem.at);
    // What is no YAML is no manifest either, and says so as a mapping.
    let documents = yaml::read(text).unwrap_or_default();
    let Some(config_map) = documents.iter().find(|document| is_config_map(document)) else {
        let ruleset = read(text, bounds, &mut problems);
        return conclude(ruleset, problems);
    };
    let Some(holder) = config_map.at_path(&["data", CONFIG_MAP_KEY]) else {
        let data = config_map.get("data").and_then(Node::as_mapping).unwrap_or_default();
        let keys: Vec<&str> = data.iter().filter_map(|(key, _)| key.as_text()).collect();
        let has = if keys.is_empty() { String::new() } else { format!("; it has {}", keys.join(", ")) };
        let message = format!("this ConfigMap has no `data` key `{CONFIG_MAP_KEY}`{has}");
        problems.add(config_map.at, || Problem::new(config_map.at, "", &message));
        return conclude(None, problems);
    };
    let Some(inner) = holder.as_text() else {
        let message = format!("`{CONFIG_MAP_KEY}` must be text, found {}", holder.describe());
        problems.add(holder.at, || Problem::new(holder.at, "", &message));
        return conclude(None, problems);
    };
    let ruleset = read(inner, bounds, &mut problems);
    let origin = Origin::of(holder);
    conclude(ruleset, problems).map_err(|Problems { first, more }| {
        let first = first.into_iter().map(|problem| origin.outside(problem)).collect();
        Problems { first, more }
    })
}

fn conclude(ruleset: Option<Ruleset>, problems: First<Problem>) -> Result<Ruleset, Problems> {
    let count = problems.count();
    match ruleset {
        Some(ruleset) if count == 0 => Ok(ruleset),
        _ => {
            let first = problems.into_kept();
            Err(Problems { more: count - first.len(), first })
        }
    }
}

/// Reads the text twice, so that never more than one rule of it is held as a tree: what stands beside the rules, which may come after
/// them, and then the rules.
fn read(text: &str, bounds: &Bounds, problems: &mut First<Problem>) -> Option<Ruleset> {
    let mut reader = Reader::new(problems);
    if text.len() > MAX_BYTES {
        reader.report(START, Path::Root, size_message(text.len()));
        return None;
    }
    let mut list = None;
    let mut count = 0;
    let documents = yaml::read_apart(text, LIMITS, "rules", &mut |at, _| {
        count += usize::from(*list.get_or_insert(at) == at);
    });
    let documents = match documents {
        Ok(documents) => documents,
        Err(error) => {
            report_syntax(&error, &mut reader);
            return None;
        }
    };
    let document = the_mapping(&documents, &mut reader)?;
    let (top, rules) = Top::read(document, &mut reader)?;
    let mut reading = RulesReading::new(&top, bounds, max_weight(text.len()));
    let (at, members) = (rules.at, rules.as_sequence().unwrap_or_default());
    if members.is_empty() {
        reading.expect(count, at, &mut reader)?;
        drop(documents);
        let read = yaml::read_apart(text, LIMITS, "rules", &mut |list, rule| {
            if list == at {
                reading.take(&rule, &mut reader);
            }
        });
        if let Err(error) = read {
            report_syntax(&error, &mut reader);
        }
    } else {
        // They came by an alias, so that all of them are there already.
        reading.expect(members.len(), at, &mut reader)?;
        for rule in members {
            reading.take(rule, &mut reader);
        }
    }
    reading.finish(&reader)
}

fn report_syntax(error: &SyntaxError, reader: &mut Reader<'_>) {
    let is_one = error.message.starts_with("not YAML") && error.message.contains("alias");
    let hint = if is_one { ": text that begins with * or & wants quotes" } else { "" };
    reader.report(error.at, Path::Root, format!("{}{hint}", error.message));
}

/// The one document, where it is no manifest.
fn the_mapping<'n, 't>(documents: &'n [Node<'t>], reader: &mut Reader<'_>) -> Option<&'n Node<'t>> {
    let (at, message) = match documents {
        [] => (START, "the mapping is empty: write `rules: []` for a mapping without rules".to_owned()),
        [document] if is_config_map(document) => {
            let message = format!(
                "this is the manifest of a ConfigMap: expected the mapping itself, the text of its `data` key `{CONFIG_MAP_KEY}`"
            );
            (document.at, message)
        }
        [document] if document.get("apiVersion").is_some() && document.get("kind").is_some() => {
            let kind = document.get("kind").and_then(Node::as_text).unwrap_or_default();
            let message = format!(
                "this is a {kind}: expected a mapping, or a ConfigMap with the `data` key `{CONFIG_MAP_KEY}`"
            );
            (document.at, message)
        }
        [document] => return Some(document),
        [_, second, ..] => (second.at, "a mapping is one YAML document, here begins a second one".to_owned()),
    };
    reader.report(at, Path::Root, message);
    None
}

pub(super) fn size_message(bytes: usize) -> String {
    format!("the mapping has {bytes} bytes, a ConfigMap holds at most {MAX_BYTES}")
}

fn is_config_map(document: &Node<'_>) -> bool {
    document.get("kind").and_then(Node::as_text) == Some("ConfigMap") && document.get("apiVersion").is_some()
}

/// Where the text of a ConfigMap's value stands in the manifest around it.
enum Origin {
    /// A `|` block: line 1 of the text is this line, and each line is indented by so many columns.
    Block { first_line: u32, indent: u32 },
    /// Quoted or folded: lines inside do not stand in the source as they are.
    Scalar(Position),
}

impl Origin {
    fn of(node: &Node<'_>) -> Self {
        match node.as_scalar().filter(|scalar| scalar.literal_block) {
            Some(scalar) => {
                // The node begins at the first line that is not blank.
                let blank = scalar.text.chars().take_while(|c| *c == '\n').fold(0, |lines, _| lines + 1);
                Self::Block { first_line: node.at.line - blank, indent: node.at.column - 1 }
            }
            None => Self::Scalar(node.at),
        }
    }

    fn outside(&self, problem: Problem) -> Problem {
        let Problem { at, path, message } = problem;
        match self {
            Self::Block { first_line, indent } => {
                let at = Position { line: at.line + first_line - 1, column: at.column + indent };
                Problem { at, path, message }
            }
            Self::Scalar(node) => {
                Problem { at: *node, path, message: format!("{message} (at {at} of {CONFIG_MAP_KEY})") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match compile_file(text, &Bounds::default()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.first.iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn a_mapping_without_rules_is_valid() {
        assert!(problems("rules: []\n").is_empty());
    }

    #[test]
    fn a_config_maps_problems_stand_where_they_stand_in_the_manifest() {
        let manifest = "apiVersion: v1\nkind: ConfigMap\ndata:\n  mapping.yaml: |\n\n    # first\n    rules:\n      - match: {component: registri}\n        role: arn:aws:iam::123456789012:role/x\n";
        assert_eq!(
            problems(manifest),
            ["8:28: rules[0].match.component: unknown component `registri`; did you mean `registry`?"]
        );
        let quoted = "apiVersion: v1\nkind: ConfigMap\ndata:\n  mapping.yaml: \"rules: 5\"\n";
        assert_eq!(
            problems(quoted),
            ["4:17: rules: must be a list of rules, found a number (at 1:8 of mapping.yaml)"]
        );
        let none = "apiVersion: v1\nkind: ConfigMap\ndata: {}\n";
        assert_eq!(problems(none), ["1:1: this ConfigMap has no `data` key `mapping.yaml`"]);
    }

    #[test]
    fn texts_that_hold_no_mapping_say_so() {
        assert_eq!(
            problems(""),
            ["1:1: the mapping is empty: write `rules: []` for a mapping without rules"]
        );
        assert_eq!(
            problems("rules: []\n---\nrules: []\n"),
            ["3:1: a mapping is one YAML document, here begins a second one"]
        );
        let long = format!("rules: []\n# {}\n", "x".repeat(MAX_BYTES));
        assert_eq!(
            problems(&long),
            [format!("1:1: the mapping has {} bytes, a ConfigMap holds at most 1048576", long.len())]
        );
    }
}
