//! Is every body that comes as a review answered, if at all, by a patch that touches annotations only?
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static RULESETS: LazyLock<[Ruleset; 3]> = LazyLock::new(|| {
    [
        include_str!("../../docs/mapping.example.yaml"),
        include_str!("../../tests/data/one-rule-per-component.yaml"),
        "account: \"123456789012\"\nonConflict: replace\nonNoRule: remove\nprovider: [irsa, kube2iam]\nrules:\n  - {match: {namespace: \"*\"}, role: \"{serviceAccount}\", irsa: {annotatePods: true}}\n",
    ]
    .map(|text| compile(text, &OperatorPolicy::default()).expect("the mapping is good"))
});

fn without_annotations(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    object
}

fuzz_target!(|bytes: &[u8]| {
    for ruleset in RULESETS.iter() {
        let Ok(reply) = respond(bytes, ruleset, Mode::Mutate) else { continue };
        let answer: Value = serde_json::from_slice(&reply.body).expect("the answer is JSON");
        assert_eq!(answer["response"]["allowed"], true);
        let Some(patch) = answer["response"]["patch"].as_str() else { continue };
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).expect("the patch is base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("the patch is a JSON Patch");
        // What a decision does not read is skipped, and may hold bytes that are not UTF-8.
        let Ok(review) = serde_json::from_slice::<Value>(bytes) else { continue };
        let Some(before) = review.get("request").and_then(|request| request.get("object")) else { continue };
        if !before.is_object() || !before["metadata"].is_object() {
            continue;
        }
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).expect("the patch applies");
        assert_eq!(without_annotations(&after), without_annotations(before));
    }
});
