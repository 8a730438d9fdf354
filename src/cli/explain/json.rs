//! How is an explanation told to programs?

use serde_json::{Value, json};

use super::shown::{Place, Shown};
use crate::engine::decision::Verdict;
use crate::engine::decision::explain::{Explanation, Tried};
use crate::engine::object::component::Component;
use crate::engine::object::subject::Requester;

pub(super) fn of(shown: &Shown<'_>) -> Value {
    let Shown { heading, subject, explanation, live, .. } = shown;
    let Explanation { facts, decision, .. } = explanation;
    let edits: serde_json::Map<String, Value> =
        decision.edits.iter().map(|edit| (edit.key.to_owned(), json!(edit.value))).collect();
    let mut value = json!({
        "kind": heading.kind,
        "namespace": subject.namespace,
        "name": heading.name,
        "line": heading.line,
        "serviceAccount": subject.service_account,
        "component": facts.component.map(Component::name),
        "resembles": facts.resembles.map(Component::name),
        "disbelievedComponent": facts.disbelieved.map(Component::name),
        "requesterAssumed": subject.requester == Requester::Assumed,
        "providers": providers(explanation),
        "throughServiceAccount": shown.is_pod().then(|| through_account(shown)),
        "annotations": edits,
        "warnings": decision.warnings,
    });
    if let (Some(live), Some(fields)) = (live, value.as_object_mut()) {
        let requester = match subject.requester {
            Requester::User(user) if !user.is_empty() => Some(user),
            _ => None,
        };
        fields.insert("requester".to_owned(), json!(requester));
        fields.insert("notSentBecause".to_owned(), json!(live.not_sent));
        if let Some(runs) = &live.runs {
            fields.insert("runsWith".to_owned(), json!(runs.role));
            fields.insert("stale".to_owned(), json!(runs.is_stale));
            fields.insert("notStaleBecause".to_owned(), json!(runs.apart));
        }
    }
    value
}

fn providers(explanation: &Explanation<'_>) -> Vec<Value> {
    let Explanation { traces, decision, .. } = explanation;
    let provider = |verdict: &Verdict<'_>| {
        let trace = traces.iter().find(|trace| trace.provider == verdict.provider);
        let tried = trace.map(|trace| trace.tried.as_slice()).unwrap_or_default();
        let tried = tried.iter().map(|Tried { rule, mismatch }| {
            json!({
                "rule": rule.name,
                "line": rule.at.line,
                "matches": mismatch.is_none(),
                "mismatch": mismatch,
            })
        });
        json!({
            "provider": verdict.provider.name(),
            "outcome": verdict.outcome.name(),
            "rule": verdict.rule.map(|rule| &rule.name),
            "role": verdict.role,
            "tried": tried.collect::<Vec<_>>(),
        })
    };
    decision.verdicts.iter().map(provider).collect()
}

fn through_account(shown: &Shown<'_>) -> Value {
    let known = shown.through_account();
    let gets = known.map(|(_, gets)| gets);
    let line = match known {
        Some((Place::Line { line, .. }, _)) => Some(line),
        _ => None,
    };
    json!({
        "inInput": line.is_some(),
        "line": line,
        "outcome": gets.map(|gets| gets.verdict.outcome.name()),
        "rule": gets.and_then(|gets| gets.verdict.rule).map(|rule| &rule.name),
        "role": gets.and_then(|gets| gets.role.as_deref()),
        "present": gets.and_then(|gets| gets.present),
    })
}
