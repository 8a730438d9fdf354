//! How is what was imported written as a mapping?

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::rule::{Action, Match, Options, Rule};
use super::{Import, chart};
use crate::engine::object::component::Component;
use crate::engine::yaml::{self, ScalarKind};

/// The most lines that say where one rule comes from.
const MOST_SOURCES: usize = 20;

/// How long the lines of a comment are, where a word is not longer.
const WIDTH: usize = 100;

/// The longest line of a comment, in characters.
const LONGEST: usize = 400;

/// Writes the mapping, with comments that say where each rule comes from.
#[must_use]
pub fn mapping_text(import: &Import, source: &str) -> String {
    let mut text = String::new();
    let words = "Read it before it is used: whoever can create ServiceAccounts or Pods in these \
        namespaces can obtain these roles.";
    prose(&mut text, 0, &format!("`gitlab-iam-webhook import` made this of {source}. {words}"));
    if import.rules.is_empty() {
        text.push_str("rules: []\n");
    } else {
        text.push_str("rules:\n");
    }
    for rule in &import.rules {
        for from in rule.from.iter().take(MOST_SOURCES) {
            prose(&mut text, 2, &format!("from {from}"));
        }
        if let Some(more) = rule.from.len().checked_sub(MOST_SOURCES).filter(|more| *more > 0) {
            comment(&mut text, 2, &format!("and {more} more"));
        }
        for remark in &rule.remarks {
            prose(&mut text, 2, remark);
        }
        text.push_str(&rule_text(rule));
    }
    for suggestion in &import.suggestions {
        text.push('\n');
        prose(&mut text, 2, &format!("To be decided: {}", suggestion.why));
        for line in suggestion.rule.lines() {
            comment(&mut text, 2, line.strip_prefix("  ").unwrap_or(line));
        }
    }
    text
}

/// Writes one rule as a member of the list `rules`.
pub(super) fn rule_text(rule: &Rule) -> String {
    let Rule { matching, provider, action, .. } = rule;
    let mut text = format!("  - match: {{{}}}\n", criteria(matching));
    let _ = writeln!(text, "    provider: {}", provider.name());
    match action {
        Action::Skip => text.push_str("    skip: true\n"),
        Action::Give { role, options } => {
            let _ = writeln!(text, "    role: {}", scalar(role));
            let options = options_of(options);
            if !options.is_empty() {
                let _ = writeln!(text, "    {}: {{{}}}", provider.name(), options.join(", "));
            }
        }
    }
    text
}

fn criteria(matching: &Match) -> String {
    let Match { components, service_accounts, namespaces, release, labels } = matching;
    let mut parts = Vec::new();
    if !components.is_empty() {
        parts.push(format!("component: {}", components_text(components)));
    }
    let mut names = |key: &str, names: &mut dyn Iterator<Item = &String>| {
        let names: Vec<String> = names.map(|name| scalar(name)).collect();
        match names.as_slice() {
            [] => {}
            [name] => parts.push(format!("{key}: {name}")),
            several => parts.push(format!("{key}: [{}]", several.join(", "))),
        }
    };
    names("serviceAccount", &mut service_accounts.iter());
    names("namespace", &mut namespaces.iter());
    names("release", &mut release.iter());
    if !labels.is_empty() {
        let labels = labels.iter().map(|(key, value)| format!("{}: {}", scalar(key), scalar(value)));
        parts.push(format!("labels: {{{}}}", labels.collect::<Vec<_>>().join(", ")));
    }
    parts.join(", ")
}

fn components_text(components: &BTreeSet<Component>) -> String {
    // Those that only Pods are have no ServiceAccount, so that nothing more is given to them.
    if *components == chart::own_components() {
        return "\"*\"".to_owned();
    }
    let names: Vec<&str> = components.iter().map(|component| component.name()).collect();
    match names.as_slice() {
        [name] => (*name).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn options_of(options: &Options) -> Vec<String> {
    let Options { audience, sts_regional_endpoints, token_expiration, external_id, session_name } = options;
    [
        audience.as_ref().map(|text| format!("audience: {}", scalar(text))),
        sts_regional_endpoints.map(|value| format!("stsRegionalEndpoints: {value}")),
        token_expiration.map(|seconds| format!("tokenExpiration: {seconds}")),
        external_id.as_ref().map(|text| format!("externalId: {}", scalar(text))),
        session_name.as_ref().map(|text| format!("sessionName: {}", scalar(text))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Writes a text so that every reader of YAML takes it as that text.
pub(super) fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+=".contains(c);
    let first = text.chars().next();
    let begins = first.is_some_and(|c| c.is_ascii_alphabetic());
    // Some readers take these for booleans and numbers.
    let is_word = ["y", "n"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && !is_word && text.chars().all(is_plain) && !text.ends_with(':') && reads_as_text(text) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

fn reads_as_text(text: &str) -> bool {
    let documents = yaml::read(text).unwrap_or_default();
    let scalar = documents.first().and_then(|node| node.as_scalar());
    scalar.is_some_and(|scalar| scalar.kind == ScalarKind::Text && scalar.text == text)
}

/// Writes a comment of lines that are not too long.
fn prose(text: &mut String, indent: usize, words: &str) {
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
            comment(text, indent, &line);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    comment(text, indent, &line);
}

/// Writes a comment. What others wrote must not end it: a line's end would begin a rule.
fn comment(text: &mut String, indent: usize, words: &str) {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() { c } else { '?' };
    let words: String = words.chars().map(plain).take(LONGEST).collect();
    let _ = writeln!(text, "{:indent$}# {words}", "");
}
