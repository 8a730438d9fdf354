//! How does a decision see an object of an inventory?

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Metadata, Pod, ServiceAccount};
use crate::engine::decision;
use crate::engine::object::subject::{Kind, Pair, Requester, Subject};

impl Metadata {
    /// Whether an annotation still has the value that the webhook gave it.
    #[must_use]
    pub fn is_ours(&self, key: &str) -> bool {
        decision::is_ours(&pairs(&self.annotations), key)
    }
}

impl ServiceAccount {
    /// Lends the ServiceAccount as a decision sees it.
    pub fn with_subject<T>(&self, see: impl FnOnce(&Subject<'_>) -> T) -> T {
        let metadata = &self.metadata;
        see(&Subject {
            kind: Kind::ServiceAccount,
            namespace: &metadata.namespace,
            name: &metadata.name,
            service_account: &metadata.name,
            labels: &pairs(&metadata.labels),
            annotations: &pairs(&metadata.annotations),
            requester: Requester::Assumed,
        })
    }
}

impl Pod {
    /// Lends the Pod as a decision sees it.
    pub fn with_subject<T>(&self, requester: Requester<'_>, see: impl FnOnce(&Subject<'_>) -> T) -> T {
        let metadata = &self.metadata;
        see(&Subject {
            kind: Kind::Pod,
            namespace: &metadata.namespace,
            name: &metadata.name,
            service_account: self.service_account(),
            labels: &pairs(&metadata.labels),
            annotations: &pairs(&metadata.annotations),
            requester,
        })
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<Pair<'_>> {
    map.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_str()))).collect()
}
