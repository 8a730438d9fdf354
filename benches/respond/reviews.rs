//! Which reviews are answered, and by which mappings?

use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use serde_json::Value;

use crate::captured::{self, review};

/// The names of the reviews that [`captured::review`] makes.
pub(crate) const REVIEWS: [&str; 4] = ["service-account", "pod-2kB", "pod-9kB", "pod-100kB"];

/// Returns a ServiceAccount of so many bytes, most of which are labels. What nobody reads must cost no more
/// than its bytes.
pub(crate) fn service_account_of(bytes: usize) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&review("service-account")).unwrap();
    let labels = review["request"]["object"]["metadata"]["labels"].as_object_mut().unwrap();
    for n in 0..bytes / 16 {
        labels.insert(format!("label-{n:06}"), "".into());
    }
    serde_json::to_vec(&review).unwrap()
}

/// Where the rule stands that matches the reviews.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    First,
    Last,
    Nowhere,
}

impl Match {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Nowhere => "none",
        }
    }
}

/// Makes a mapping of so many rules.
pub(crate) fn mapping(rules: usize, matching: Match) -> String {
    let place = match matching {
        Match::First => 1,
        Match::Last => rules,
        Match::Nowhere => 0,
    };
    captured::mapping(rules, place)
}

pub(crate) fn ruleset(text: &str) -> Ruleset {
    compile(text, &OperatorPolicy::default()).unwrap()
}
