//! What does the text of a mapping say?
//!
//! Reading it returns a [`Ruleset`], or every problem at once, with line, column and path. `docs/mapping.md`
//! describes the language.

pub mod capped_list;
mod config_map;
mod keys;
pub mod lints;
mod match_block;
mod names;
mod options;
mod problems;
mod reader;
mod rule_list;
mod rules;
mod schema;
mod top;

use crate::engine::mapping::capped_list::CappedList;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::{self, Limits, Node, Position, SyntaxError, SyntaxErrorKind};
pub use config_map::compile_file;
pub use options::TOKEN_EXPIRATION;
pub use problems::{MAX_PROBLEMS, Problem, Problems};
use reader::{Path, Reader};
use rule_list::RuleList;
pub use schema::schema;
use top::Top;

/// The key of the ConfigMap that holds the mapping.
pub const CONFIG_MAP_KEY: &str = "mapping.yaml";

/// How many bytes a ConfigMap can hold.
pub const MAX_BYTES: usize = 1 << 20;

/// How much of a mapping's YAML is read. The values are 20 for each of 20,000 rules, and YAML's own limit for
/// a key is 1024 characters.
const LIMITS: Limits =
    Limits { nodes: 400_000, held: Some(512 << 10), anchors: Some(1000), lookahead: 1024, directives: false };

/// Returns the most bytes that the rules of a text of `text_bytes` may take. Aliases and braces make much of
/// little text, so that even a short text may take a mebibyte.
const fn max_weight(text_bytes: usize) -> usize {
    const MOST: usize = 8 << 20;
    let share = (1_usize << 20).saturating_add(text_bytes.saturating_mul(16));
    if share < MOST { share } else { MOST }
}

/// Returns the most bytes that [`compile`] holds at once for a text of `text_bytes`, beyond the text itself.
/// They are at most 12 MiB, and `tests/memory` checks them. The new [`Ruleset`] is among them, and goes on to
/// hold [`Ruleset::weight`].
#[must_use]
pub const fn weight(text_bytes: usize) -> usize {
    let rules = max_weight(text_bytes);
    // A quarter is for the names and the index while they are made. The rest is for the tree of one rule and
    // for the parser.
    rules + rules / 4 + (2 << 20)
}

/// Reads a mapping's bare text, wherever it comes from. [`weight`] bounds the memory that this takes.
///
/// # Errors
/// Returns the first [`MAX_PROBLEMS`] problems in it.
pub fn compile(text: &str, operator_policy: &OperatorPolicy) -> Result<Ruleset, Problems> {
    let mut problems = CappedList::new(Some(MAX_PROBLEMS), |problem: &Problem| problem.at);
    let ruleset = read(text, operator_policy, &mut problems);
    conclude(ruleset, problems)
}

fn conclude(ruleset: Option<Ruleset>, problems: CappedList<Problem>) -> Result<Ruleset, Problems> {
    let count = problems.count();
    match ruleset {
        Some(ruleset) if count == 0 => Ok(ruleset),
        _ => {
            let first = problems.into_kept();
            Err(Problems { more: count - first.len(), first })
        }
    }
}

/// Reads the text twice, so that never more than one rule is held as a tree. The first time it reads what
/// stands beside the rules, which may come after them, and the second time it reads the rules.
fn read(text: &str, operator_policy: &OperatorPolicy, problems: &mut CappedList<Problem>) -> Option<Ruleset> {
    let mut reader = Reader::new(problems);
    if text.len() > MAX_BYTES {
        reader.report(Position::START, Path::Root, size_message(text.len()));
        return None;
    }
    let mut list = None;
    let mut count = 0;
    let documents = yaml::read_apart(text, LIMITS, Some("rules"), &mut |at, _| {
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
    let mut reading = RuleList::new(&top, operator_policy, max_weight(text.len()));
    let (at, members) = (rules.at, rules.as_sequence().unwrap_or_default());
    if members.is_empty() {
        reading.expect(count, at, &mut reader)?;
        drop(documents);
        let read = yaml::read_apart(text, LIMITS, Some("rules"), &mut |list, rule| {
            if list == at {
                reading.take(&rule, &mut reader);
            }
        });
        if let Err(error) = read {
            report_syntax(&error, &mut reader);
        }
    } else {
        // The list is an alias, so that all rules are there already.
        reading.expect(members.len(), at, &mut reader)?;
        for rule in members {
            reading.take(rule, &mut reader);
        }
    }
    reading.finish(&reader)
}

fn report_syntax(error: &SyntaxError, reader: &mut Reader<'_>) {
    let hint = match error.kind {
        SyntaxErrorKind::AliasWithoutName(_) => ": text that begins with * or & wants quotes",
        _ => "",
    };
    reader.report(error.at, Path::Root, format!("{}{hint}", error.kind));
}

/// Returns the one document of a mapping. Other numbers of documents, and manifests, are reported.
fn the_mapping<'n, 't>(documents: &'n [Node<'t>], reader: &mut Reader<'_>) -> Option<&'n Node<'t>> {
    let (at, message) = match documents {
        [] => (
            Position::START,
            "the mapping is empty: write `rules: []` for a mapping without rules".to_owned(),
        ),
        [document] if is_config_map(document) => {
            let message = format!(
                "this is the manifest of a ConfigMap: expected the mapping itself, the text of its `data` \
                 key `{CONFIG_MAP_KEY}`"
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
        [document] if document.get("rules").is_none() && document.get("mapping").is_some() => {
            let message = "this looks like the values of gitlab-iam-webhook's chart: expected the mapping \
                           itself, which is what stands under `mapping`";
            (document.at, message.to_owned())
        }
        [document] if document.get("rules").is_none() && document.get("global").is_some() => {
            let message = "this looks like the values of GitLab's chart: expected a mapping, which has \
                           `rules` (docs/mapping.md)";
            (document.at, message.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match compile_file(text, &OperatorPolicy::default()) {
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
    fn a_text_that_holds_no_mapping_is_a_problem() {
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
