//! What may a decision look at?

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A label or an annotation: its key and its value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A text that was read from JSON. It borrows from the JSON unless it has escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The kinds of object that are decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1 ServiceAccount`, at CREATE and UPDATE.
    ServiceAccount,
    /// `v1 Pod`, at CREATE.
    Pod,
}

impl Kind {
    /// Returns the name that Kubernetes gives the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Pod => "Pod",
        }
    }
}

/// Who requests the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester<'a> {
    /// The API server says `request.userInfo.username`, and vouches for it.
    User(&'a str),
    /// Nobody is known to request it, as in a file. A Pod is then taken to come from its workload's
    /// controller, and never from a runner.
    Assumed,
    /// Somebody requested it whose name is not known, as with a Pod that runs and has no owner who is
    /// believed. It is taken to be neither a workload controller nor a runner.
    Unbelieved,
}

/// One object as a decision sees it. It borrows from wherever the object came from.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The kind of the object.
    pub kind: Kind,
    /// `request.namespace`, and never what the object itself says.
    pub namespace: &'a str,
    /// The object's name, or its generateName.
    pub name: &'a str,
    /// The name of a ServiceAccount itself, or `spec.serviceAccountName` of a Pod (`default` where it names
    /// none).
    pub service_account: &'a str,
    /// `metadata.labels`.
    pub labels: &'a [Pair<'a>],
    /// `metadata.annotations`.
    pub annotations: &'a [Pair<'a>],
    /// Who requests the object.
    pub requester: Requester<'a>,
}

/// Returns the value under a key. Where the key stands twice the last one counts.
#[must_use]
pub fn value_of<'a>(pairs: &'a [Pair<'a>], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
}

/// The longest name of an object, in bytes.
pub const MAX_NAME: usize = 253;

/// The longest value of a label, and the longest name of a namespace, in bytes
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).
pub const MAX_LABEL: usize = 63;

/// The most bytes that the keys and values of all annotations of an object may have together: the API server
/// stores no more (`TotalAnnotationSizeLimitB` in k8s.io/apimachinery/pkg/api/validation/objectmeta.go).
pub const MAX_ANNOTATIONS: usize = 256 << 10;

/// The key of our own annotation that records what we set, as canonical JSON.
pub const APPLIED: &str = "gitlab-iam-webhook/applied";

/// The key of our own annotation that keeps the role which `onConflict: replace` replaced.
pub const WAS: &str = "gitlab-iam-webhook/was";

/// The key of the label or annotation that freezes an object where its value is `disabled`. The label of the
/// same key on a namespace opts the namespace in.
pub const INJECT: &str = "gitlab-iam-webhook/inject";

impl Subject<'_> {
    /// Whether the object has the label or annotation `gitlab-iam-webhook/inject: disabled`.
    #[must_use]
    pub fn is_opted_out(&self) -> bool {
        [self.labels, self.annotations].iter().any(|pairs| value_of(pairs, INJECT) == Some("disabled"))
    }
}
