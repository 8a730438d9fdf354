//! What is a rule called?
//!
//! A rule is called as it says, or after what it matches where it says nothing. The name is unique in either
//! case.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::rules::rule::Rule;
use crate::engine::yaml::{Node, Value};

/// The longest name, in characters.
pub(super) const MAX_NAME: usize = 63;

/// The names that rules say themselves. A name that was made is changed by a number where another rule has
/// it.
///
/// Only hashes of 64 bits are held: there may be 20,000 names, and their texts are in the rules.
#[derive(Default)]
pub(super) struct Names {
    given: HashMap<u64, u32>,
}

/// Where a rule's name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameOrigin {
    /// The rule says it.
    Given,
    /// It was made from what the rule matches, and gives way to others with a number.
    Made,
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Names {
    /// Takes a name that a rule on this line says. Returns the line of the rule that has the name already, if
    /// one has it.
    pub(super) fn given(&mut self, name: &str, line: u32) -> Option<u32> {
        let key = hash(name);
        if let Some(first) = self.given.get(&key) {
            return Some(*first);
        }
        self.given.insert(key, line);
        None
    }

    /// Makes every name unique that was made. `origins` says of each rule where its name comes from.
    pub(super) fn make_unique(self, rules: &mut [Rule], origins: &[NameOrigin]) {
        let mut taken: HashSet<u64> = self.given.into_keys().collect();
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for (rule, _) in rules.iter_mut().zip(origins).filter(|(_, origin)| **origin == NameOrigin::Made) {
            // The counter only rises, so that many rules of one name do not try each other's numbers.
            let count = counts.entry(hash(&rule.name)).or_insert(0);
            if taken.insert(hash(&rule.name)) {
                continue;
            }
            rule.name = loop {
                *count = (*count).max(1) + 1;
                let name = format!("{}#{count}", rule.name);
                if taken.insert(hash(&name)) {
                    break name.into();
                }
            };
        }
    }
}

/// A name while it is made. It takes no more than it may hold, because an alias can stand for a long text
/// many times.
#[derive(Default)]
struct Growing {
    text: String,
    characters: usize,
}

impl Growing {
    fn push(&mut self, part: &str) {
        for c in part.chars().take(MAX_NAME + 1 - self.characters) {
            // No name that is given has control characters either.
            self.text.push(if c.is_control() { ' ' } else { c });
            self.characters += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.characters > MAX_NAME
    }

    fn push_values(&mut self, node: &Node<'_>) {
        match &node.value {
            Value::Scalar(scalar) => self.push(&scalar.text),
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.is_full() {
                        return;
                    }
                    self.push(if index > 0 { "," } else { "" });
                    self.push_values(item);
                }
            }
            Value::Mapping(_) => {}
        }
    }

    fn push_entry(&mut self, key: &str, value: &Node<'_>) {
        if self.characters > 0 {
            self.push(" ");
        }
        self.push(key);
        self.push("=");
        self.push_values(value);
    }
}

/// Makes a name from what a rule matches, such as `component=webservice,sidekiq namespace=legacy`.
pub(super) fn made_name(node: Option<&Node<'_>>) -> String {
    let mut name = Growing::default();
    for (key, value) in node.and_then(Node::as_mapping).unwrap_or_default() {
        let Some(key) = key.as_text() else { continue };
        match value.as_mapping() {
            Some(labels) => {
                for (label, value) in labels {
                    if let Some(label) = label.as_text() {
                        name.push_entry(label, value);
                    }
                }
            }
            None => name.push_entry(key, value),
        }
    }
    if name.is_full() {
        return name.text.chars().take(MAX_NAME - 1).chain(['…']).collect();
    }
    name.text
}

#[cfg(test)]
mod tests {
    use crate::engine::mapping::compile;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    #[test]
    fn a_name_that_is_made_has_no_control_characters() {
        let text = r#"rules: [{match: {serviceAccount: ["a\tb", "\u0085", made]}, skip: true}]"#;
        let ruleset = compile(text, &OperatorPolicy::default()).unwrap();
        assert_eq!(&*ruleset.rules()[0].name, "serviceAccount=a b, ,made");
    }
}
