//! Which reviews and mappings is everything measured with? The reviews are those that an API server sent.

use std::fmt::Write as _;

use serde_json::{Value, json};

const POD: &[u8] = include_bytes!("../tests/data/reviews/pod-create-webservice-replicaset.json");
const SERVICE_ACCOUNT: &[u8] = include_bytes!("../tests/data/reviews/sa-create-webservice-helm4-apply.json");

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

/// Makes a mapping of so many rules, of which the one at this place, counted from 1, matches the reviews. The
/// literals of the others differ from each other.
pub(crate) fn mapping(rules: usize, place: usize) -> String {
    let mut text = "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules:\n".to_owned();
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
