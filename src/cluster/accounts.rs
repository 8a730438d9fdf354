//! How is a ServiceAccount in the cluster decided on? By its metadata alone, as the webhook does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::engine::subject::{Kind, Pair, Requester, Subject};

/// Lends the ServiceAccount as a decision sees it.
pub(super) fn with_subject<T>(metadata: &ObjectMeta, see: impl FnOnce(&Subject<'_>) -> T) -> T {
    let name = metadata.name.as_deref().unwrap_or_default();
    let (labels, annotations) = (pairs(metadata.labels.as_ref()), pairs(metadata.annotations.as_ref()));
    see(&Subject {
        kind: Kind::ServiceAccount,
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        name,
        service_account: name,
        labels: &labels,
        annotations: &annotations,
        requester: Requester::Assumed,
    })
}

fn pairs(map: Option<&BTreeMap<String, String>>) -> Vec<Pair<'_>> {
    let pairs = map.into_iter().flatten();
    pairs.map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_str()))).collect()
}
