//! Does every text become a YAML tree whose spans lie in the text, or an error?
//!
//! Manifests are read as well, and decided on.
#![no_main]

use std::sync::LazyLock;

use gitlab_iam_webhook::engine::decision::explain::explain;
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use gitlab_iam_webhook::engine::object::subject::Requester;
use gitlab_iam_webhook::engine::yaml::{Node, Value, read};
use libfuzzer_sys::fuzz_target;

static RULESET: LazyLock<Ruleset> = LazyLock::new(|| {
    let text = include_str!("../../docs/mapping.example.yaml");
    compile(text, &OperatorPolicy::default()).expect("the example is good")
});

fn check(node: &Node<'_>, text: &str) {
    assert!(text.get(node.span()).is_some(), "{:?} is no part of the text", node.span());
    match &node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter().for_each(|item| check(item, text)),
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            check(key, text);
            check(value, text);
        }),
    }
}

fuzz_target!(|text: &str| {
    if let Ok(documents) = read(text) {
        documents.iter().for_each(|document| check(document, text));
    }
    if let Ok(objects) = manifest::read(text) {
        for object in &objects {
            drop(explain(&RULESET, &object.subject("default", Requester::Assumed)));
        }
    }
});
