//! Which reviews are answered, and by which mappings?

use std::fmt::Write as _;

use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use serde_json::{Value, json};

const POD: &[u8] = include_bytes!("../../tests/data/reviews/pod-create-webservice-replicaset.json");
const SERVICE_ACCOUNT: &[u8] =
    include_bytes!("../../tests/data/reviews/sa-create-webservice-helm4-apply.json");

/// The names of the reviews that [`review`] makes.
pub(crate) const REVIEWS: [&str; 4] = ["service-account", "pod-2kB", "pod-9kB", "pod-100kB"];

/// Returns a review by its name: the ServiceAccount as it was captured, or the captured Pod with so many
/// variables that it has that size, as a real webservice of 9 kB has.
pub(crate) fn review(name: &str) -> Vec<u8> {
    let (size, variables) = match name {
        "service-account" => return SERVICE_ACCOUNT.to_vec(),
        "pod-2kB" => (1_900..2_100, 6),
        "pod-9kB" => (8_800..9_600, 64),
        "pod-100kB" => (99_000..101_000, 1_500),
        _ => panic!("there is no review `{name}`"),
    };
    let mut review: Value = serde_json::from_slice(POD).unwrap();
    let object = &mut review["request"]["object"];
    if name == "pod-2kB" {
        // Nothing is left of what the API server writes into a Pod by itself.
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
        let account = object["spec"]["serviceAccountName"].take();
        object["spec"] = json!({"serviceAccountName": account, "containers": [{"name": "webservice"}]});
    }
    let variable = |n| json!({"name": format!("SETTING_NUMBER_{n}"), "value": "a value of some length"});
    object["spec"]["containers"][0]["env"] = (0..variables).map(variable).collect();
    let review = serde_json::to_vec(&review).unwrap();
    assert!(size.contains(&review.len()), "{name} has {} bytes", review.len());
    review
}

/// Returns a ServiceAccount of so many bytes, most of which are labels. What nobody reads must cost no more
/// than its bytes.
pub(crate) fn service_account_of(bytes: usize) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(SERVICE_ACCOUNT).unwrap();
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

/// Makes a mapping. The literals of the rules that do not match differ from each other.
pub(crate) fn mapping(rules: usize, matching: Match) -> String {
    let mut text = "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules:\n".to_owned();
    let place = match matching {
        Match::First => 1,
        Match::Last => rules,
        Match::Nowhere => 0,
    };
    for n in 1..=rules {
        if n == place {
            text.push_str("  - {match: {component: webservice, namespace: gitlab}, role: gitlab}\n");
            continue;
        }
        writeln!(
            text,
            "  - {{match: {{serviceAccount: account-{n}, namespace: namespace-{n}}}, role: role-{n}}}"
        )
        .unwrap();
    }
    text
}

pub(crate) fn ruleset(text: &str) -> Ruleset {
    compile(text, &OperatorPolicy::default()).unwrap()
}
