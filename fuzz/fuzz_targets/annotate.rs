//! Is every text annotated so that doing it again changes nothing, or refused?
//!
//! `annotate` itself proves that nothing else changed: a text that it refuses for that is looked for here too.
#![no_main]

use std::sync::LazyLock;

use gitlab_iam_webhook::engine::annotate::{AnnotateError, Circumstances, annotate};
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use libfuzzer_sys::fuzz_target;

static RULESET: LazyLock<Ruleset> = LazyLock::new(|| {
    let text = "account: \"123456789012\"\nonNoRule: remove\nrules:\n  - {match: {serviceAccount: \"*\"}, \
                provider: [irsa, kube2iam], role: x}\n";
    compile(text, &OperatorPolicy::default()).expect("the mapping is good")
});

fuzz_target!(|text: &str| {
    let circumstances = Circumstances { namespace: Some("gitlab"), user: None };
    match annotate(text, &RULESET, &circumstances) {
        Ok(once) => {
            let twice = annotate(&once.text, &RULESET, &circumstances).expect("what it wrote can be read");
            assert!(twice.splices.is_empty(), "{text}\n{}", once.text);
        }
        // Anchors, keys with `?` and old ends of lines are refused, and known to be.
        Err(AnnotateError::OtherChange { .. }) if !text.contains(['&', '?', '\r', '!', '%', '\t']) => {
            panic!("not annotated: {text}");
        }
        Err(_) => {}
    }
});
