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
use super::ruleset::Ruleset;
use super::yaml::{self, Node, Position};
use reader::{Path, Reader};

/// The key of the ConfigMap that holds the mapping.
pub const CONFIG_MAP_KEY: &str = "mapping.yaml";

/// The most that a ConfigMap can hold, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// How many values a mapping may hold: 20 for each of 20,000 rules. Bounds what reading one takes.
const MAX_NODES: usize = 400_000;

/// How many characters of a mapping the parser may hold before it knows what they are.
const MAX_LOOKAHEAD: usize = 16 << 10;

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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.at, self.message)
        } else {
            write!(f, "{}: {}: {}", self.at, self.path, self.message)
        }
    }
}

/// Everything that is wrong with a mapping, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        match problems.len() {
            1 => f.write_str("1 problem")?,
            count => write!(f, "{count} problems")?,
        }
        problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Reads a mapping: the bare text, or the manifest of a ConfigMap that holds it under `mapping.yaml`.
///
/// # Errors
/// Every problem in it.
pub fn compile(text: &str, bounds: &Bounds) -> Result<Ruleset, Problems> {
    let mut problems = Vec::new();
    let ruleset = read(text, bounds, &mut problems);
    problems.sort_by_key(|problem: &Problem| problem.at);
    match ruleset {
        Some(ruleset) if problems.is_empty() => Ok(ruleset),
        _ => Err(Problems(problems)),
    }
}

fn read(text: &str, bounds: &Bounds, problems: &mut Vec<Problem>) -> Option<Ruleset> {
    let mut report = |at: Position, message: String| {
        problems.push(Problem { at, path: String::new(), message });
    };
    let start = Position { line: 1, column: 1 };
    let documents = match yaml::read_within(text, MAX_NODES, MAX_LOOKAHEAD) {
        Ok(documents) => documents,
        Err(error) => {
            let hint = if error.message.contains("alias") {
                ": text that begins with * or & wants quotes"
            } else {
                ""
            };
            report(error.at, format!("{}{hint}", error.message));
            return None;
        }
    };
    if let Some(config_map) = documents.iter().find(|document| is_config_map(document)) {
        let Some(holder) = config_map.at_path(&["data", CONFIG_MAP_KEY]) else {
            let data = config_map.get("data").and_then(Node::as_mapping).unwrap_or_default();
            let keys: Vec<&str> = data.iter().filter_map(|(key, _)| key.as_text()).collect();
            let has = if keys.is_empty() { String::new() } else { format!("; it has {}", keys.join(", ")) };
            report(config_map.at, format!("this ConfigMap has no `data` key `{CONFIG_MAP_KEY}`{has}"));
            return None;
        };
        let Some(inner) = holder.as_text() else {
            let found = holder.describe();
            report(holder.at, format!("`{CONFIG_MAP_KEY}` must be text, found {found}"));
            return None;
        };
        let mut inside = Vec::new();
        let ruleset = read_bare(inner, bounds, &mut inside);
        let origin = Origin::of(holder);
        problems.extend(inside.into_iter().map(|problem| origin.outside(problem)));
        return ruleset;
    }
    match documents.as_slice() {
        [] => {
            let message = "the mapping is empty: write `rules: []` for a mapping without rules".to_owned();
            report(start, message);
            None
        }
        [document] if document.get("apiVersion").is_some() && document.get("kind").is_some() => {
            let kind = document.get("kind").and_then(Node::as_text).unwrap_or_default();
            let message = format!(
                "this is a {kind}: expected a mapping, or a ConfigMap with the `data` key `{CONFIG_MAP_KEY}`"
            );
            report(document.at, message);
            None
        }
        [document] => {
            let too_long = text.len() > MAX_BYTES;
            if too_long {
                report(start, size_message(text.len()));
            }
            let mut reader = Reader::new(problems);
            rules::read(document, Path::Root, bounds, &mut reader).filter(|_| !too_long)
        }
        [_, second, ..] => {
            report(second.at, "a mapping is one YAML document, here begins a second one".to_owned());
            None
        }
    }
}

/// A mapping that was a ConfigMap's text: a ConfigMap within it would be one too many.
fn read_bare(text: &str, bounds: &Bounds, problems: &mut Vec<Problem>) -> Option<Ruleset> {
    match yaml::read_within(text, MAX_NODES, MAX_LOOKAHEAD) {
        Ok(documents) if documents.iter().any(is_config_map) => {
            let at = Position { line: 1, column: 1 };
            let message = format!("`{CONFIG_MAP_KEY}` holds the manifest of a ConfigMap, not a mapping");
            problems.push(Problem { at, path: String::new(), message });
            None
        }
        _ => read(text, bounds, problems),
    }
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
        match compile(text, &Bounds::default()) {
            Ok(_) => Vec::new(),
            Err(Problems(problems)) => problems.iter().map(Problem::to_string).collect(),
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
