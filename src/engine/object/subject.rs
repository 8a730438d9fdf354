//! What may a decision look at? Exactly this, borrowed from wherever the object came from.

use std::borrow::{Borrow, Cow};

use serde::{Deserialize, Serialize};

/// A label or annotation.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Text that borrows from the JSON it was read from, where no escape stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The kinds of object that are decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1 ServiceAccount`, at CREATE and UPDATE.
    ServiceAccount,
    /// `v1 Pod`, at CREATE.
    Pod,
}

impl Kind {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Pod => "Pod",
        }
    }
}

/// Who asks for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester<'a> {
    /// `request.userInfo.username`, which the API server vouches for.
    User(&'a str),
    /// Not known, as in a file: a Pod is taken to come from its workload's controller, never from a runner.
    Assumed,
}

/// One object as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: Kind,
    /// `request.namespace`, never the object's own word for it.
    pub namespace: &'a str,
    /// The object's name, or its generateName.
    pub name: &'a str,
    /// A ServiceAccount's own name, a Pod's `spec.serviceAccountName` (`default` where it names none).
    pub service_account: &'a str,
    /// `metadata.labels`.
    pub labels: &'a [Pair<'a>],
    /// `metadata.annotations`.
    pub annotations: &'a [Pair<'a>],
    /// Who asks.
    pub requester: Requester<'a>,
}

/// The value under a key, the last one where it stands twice.
#[must_use]
pub fn value_of<'a>(pairs: &'a [Pair<'a>], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
}

/// The longest name of an object, in bytes.
pub const MAX_NAME: usize = 253;

/// The longest value of a label, and the longest name of a namespace, in bytes
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).
pub const MAX_LABEL: usize = 63;

/// The most bytes that all annotations of an object may have together, names and values: more is not stored by the API server
/// (`TotalAnnotationSizeLimitB` in k8s.io/apimachinery/pkg/api/validation/objectmeta.go).
pub const MAX_ANNOTATIONS: usize = 256 << 10;

/// Our own annotation: what we set, as canonical JSON.
pub const APPLIED: &str = "gitlab-iam-webhook/applied";

/// Our own annotation: the role that `replace` put away, as it was.
pub const WAS: &str = "gitlab-iam-webhook/was";

/// Label or annotation that freezes an object when it is `disabled`; the namespace's label of the same name opts in.
pub const INJECT: &str = "gitlab-iam-webhook/inject";

impl Subject<'_> {
    /// Label or annotation `gitlab-iam-webhook/inject: disabled`.
    #[must_use]
    pub fn is_opted_out(&self) -> bool {
        [self.labels, self.annotations].iter().any(|pairs| value_of(pairs, INJECT) == Some("disabled"))
    }
}
