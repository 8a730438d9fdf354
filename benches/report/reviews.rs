//! Which reviews are sent? Two that an API server sent: a ServiceAccount of GitLab's webservice, and its Pod
//! with as much environment as a real one has.

use crate::captured;

/// Each with its name, as an API server sends it: without white space.
pub(crate) fn all() -> [(&'static str, Vec<u8>); 2] {
    [("ServiceAccount", "service-account"), ("9 kB Pod", "pod-9kB")].map(|(title, name)| {
        let review: serde_json::Value = serde_json::from_slice(&captured::review(name)).unwrap();
        (title, serde_json::to_vec(&review).unwrap())
    })
}

/// A mapping of so many rules, of which the last is that of both reviews.
pub(crate) fn mapping(rules: usize) -> String {
    captured::mapping(rules, rules)
}
