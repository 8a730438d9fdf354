//! Which component is each of GitLab's objects, and what does a mapping make of it?
//!
//! The objects are ServiceAccounts of the charts 4.x to 9.x, and Pods of the charts 4.9 to 9.x.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;

use gitlab_iam_webhook::engine::decision::decide;
use gitlab_iam_webhook::engine::object::component::Component;
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::object::subject::Requester;
use serde_json::Value;

use crate::support::{data, ruleset};

/// The names in the file that are components under another name. Those with `None` are no component to us.
fn component_of(name: &str) -> Option<&str> {
    match name {
        "task-runner" => Some("toolbox"),
        "gitlab-runner" => Some("runner"),
        "gitlab-zoekt" => Some("zoekt"),
        "shared-secrets" | "upgrade-check" | "webservice-test" | "cert-manager" | "nginx-ingress"
        | "postgresql" | "redis" | "prometheus" => None,
        other if other.starts_with('(') => None,
        other => Some(other),
    }
}

#[test]
fn each_of_the_72_objects_is_recognised_and_annotated() {
    let text = fs::read_to_string(data("gitlab-objects.yaml")).unwrap();
    let mapping = fs::read_to_string(data("one-rule-per-component.yaml")).unwrap();
    let ruleset = ruleset(&mapping);
    let mut seen = HashSet::new();
    let mut table = String::new();
    for document in text.split("\n---\n").filter(|document| document.starts_with("#@ ")) {
        let (header, manifest) = document.split_once('\n').unwrap();
        let header: Value = serde_json::from_str(header.strip_prefix("#@ ").unwrap()).unwrap();
        let case = header["case"].as_str().unwrap();
        let objects = manifest::read(manifest).unwrap();
        assert_eq!(objects.len(), 1, "{case}");
        let subject = objects[0].subject("gitlab", Requester::User(header["user"].as_str().unwrap()));
        let decision = decide(&ruleset, &subject);
        let component = decision.component.map(Component::name);
        assert_eq!(component, component_of(header["component"].as_str().unwrap()), "{case}");
        assert!(seen.insert(case.to_owned()), "{case} stands twice");

        let outcomes: Vec<String> = decision
            .verdicts
            .iter()
            .map(|verdict| format!("{}={}", verdict.provider.name(), verdict.outcome.name()))
            .collect();
        writeln!(table, "{case}: {} {}", component.unwrap_or("-"), outcomes.join(" ")).unwrap();
        for edit in decision.edits.iter().filter(|edit| !edit.key.ends_with("/applied")) {
            writeln!(table, "  {}: {}", edit.key, edit.value.as_deref().unwrap_or("(off)")).unwrap();
        }
    }
    assert_eq!(seen.len(), 72);
    insta::assert_snapshot!(table);
}
