//! What is a rule called? As it says, or after what it matches; unique in either case.

use std::collections::{HashMap, HashSet};

use crate::engine::rule::Rule;
use crate::engine::yaml::{Node, Value};

/// The longest name, in characters.
pub(super) const MAX_NAME: usize = 63;

/// The names of the rules so far. Names that were given win; made ones give way with a number.
#[derive(Default)]
pub(super) struct Names {
    given: HashMap<String, u32>,
}

/// Marks a name that was made, until all given ones are known.
const MADE: char = '\u{0}';

impl Names {
    /// The line of the rule that has the name already.
    pub(super) fn given(&mut self, name: &str, line: u32) -> Option<u32> {
        if let Some(first) = self.given.get(name) {
            return Some(*first);
        }
        self.given.insert(name.to_owned(), line);
        None
    }

    /// A name that `settle` makes unique.
    pub(super) fn made(mut name: String) -> Box<str> {
        name.insert(0, MADE);
        name.into()
    }

    /// Makes the made names unique.
    pub(super) fn settle(self, rules: &mut [Rule]) {
        let mut taken: HashSet<Box<str>> = self.given.into_keys().map(String::into_boxed_str).collect();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for rule in rules {
            let Some(base) = rule.name.strip_prefix(MADE) else {
                continue;
            };
            // The counter only rises, so that many rules of one name do not try each other's numbers.
            let count = counts.entry(base.to_owned()).or_insert(0);
            let mut name: Box<str> = base.into();
            while !taken.insert(name.clone()) {
                *count = (*count).max(1) + 1;
                name = format!("{base}#{count}").into();
            }
            rule.name = name;
        }
    }
}

/// `component=webservice,sidekiq namespace=legacy`
pub(super) fn made_name(node: Option<&Node<'_>>) -> String {
    fn values(node: &Node<'_>) -> String {
        match &node.value {
            Value::Scalar(scalar) => scalar.text.to_string(),
            Value::Sequence(items) => items.iter().map(values).collect::<Vec<_>>().join(","),
            Value::Mapping(_) => String::new(),
        }
    }
    let entries = node.and_then(Node::as_mapping).unwrap_or_default();
    let mut parts = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(key) = key.as_text() else { continue };
        match value.as_mapping() {
            Some(labels) => parts.extend(
                labels
                    .iter()
                    .filter_map(|(label, value)| Some(format!("{}={}", label.as_text()?, values(value)))),
            ),
            None => parts.push(format!("{key}={}", values(value))),
        }
    }
    let name = parts.join(" ");
    match name.char_indices().nth(MAX_NAME) {
        Some(_) => name.chars().take(MAX_NAME - 1).chain(['…']).collect(),
        None => name,
    }
}
