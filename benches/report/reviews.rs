//! Which reviews are sent? Two that an API server sent: a ServiceAccount of GitLab's webservice, and its Pod
//! with as much environment as a real one has.

use std::fmt::Write as _;

const POD: &[u8] = include_bytes!("../../tests/data/reviews/pod-create-webservice-replicaset.json");
const SERVICE_ACCOUNT: &[u8] =
    include_bytes!("../../tests/data/reviews/sa-create-webservice-helm4-apply.json");

/// Each with its name, as an API server sends it: without white space.
pub(crate) fn all() -> [(&'static str, Vec<u8>); 2] {
    [("ServiceAccount", service_account()), ("9 kB Pod", pod_of_9_kb())]
}

fn service_account() -> Vec<u8> {
    let review: serde_json::Value = serde_json::from_slice(SERVICE_ACCOUNT).unwrap();
    serde_json::to_vec(&review).unwrap()
}

fn pod_of_9_kb() -> Vec<u8> {
    let mut review: serde_json::Value = serde_json::from_slice(POD).unwrap();
    let variable =
        |n| serde_json::json!({"name": format!("SETTING_NUMBER_{n}"), "value": "some length of text"});
    review["request"]["object"]["spec"]["containers"][0]["env"] = (0..64).map(variable).collect();
    serde_json::to_vec(&review).unwrap()
}

/// A mapping of so many rules, of which the last is that of both reviews.
pub(crate) fn mapping(rules: usize) -> String {
    let mut text = "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules:\n".to_owned();
    for n in 1..rules {
        let matched = format!("{{serviceAccount: account-{n}, namespace: namespace-{n}}}");
        writeln!(text, "  - {{match: {matched}, role: role-{n}}}").unwrap();
    }
    text.push_str("  - {match: {component: webservice, namespace: gitlab}, role: gitlab}\n");
    text
}
