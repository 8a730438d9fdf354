//! Does every text that comes as a mapping become a ruleset or problems with a place, and never a panic?
#![no_main]

use gitlab_iam_webhook::engine::mapping::lints::lint;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match compile(text, &OperatorPolicy::default()) {
        Ok(ruleset) => {
            drop(lint(&ruleset, text.len()));
        }
        Err(problems) => {
            assert!(!problems.first.is_empty(), "a refusal has its reason");
            for problem in problems.first {
                assert!(problem.at.line >= 1 && problem.at.column >= 1, "{problem}");
                assert!(!problem.message.is_empty());
            }
        }
    }
});
