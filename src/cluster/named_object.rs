//! How is one object read that a person names, as `deploy/gitlab-registry`?

use std::fmt;

use kube::api::GetParams;
use kube::core::Request;
use serde::Deserialize;

use super::ApiServer;
use super::inventory::CollectError;
use crate::engine::object::dns_name::is_dns_name;
use crate::installation::Seen;
use crate::inventory::{Metadata, Namespace};

/// The kinds that can be named.
const KINDS: [Kind; 8] = [
    Kind { name: "ServiceAccount", group: "", names: ["serviceaccounts", "serviceaccount", "sa"] },
    Kind { name: "Pod", group: "", names: ["pods", "po", "pod"] },
    Kind { name: "Deployment", group: "apps", names: ["deployments", "deployment", "deploy"] },
    Kind { name: "StatefulSet", group: "apps", names: ["statefulsets", "statefulset", "sts"] },
    Kind { name: "DaemonSet", group: "apps", names: ["daemonsets", "daemonset", "ds"] },
    Kind { name: "ReplicaSet", group: "apps", names: ["replicasets", "replicaset", "rs"] },
    Kind { name: "Job", group: "batch", names: ["jobs", "jobs", "job"] },
    Kind { name: "CronJob", group: "batch", names: ["cronjobs", "cj", "cronjob"] },
];

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name in manifests.
    pub name: &'static str,
    group: &'static str,
    /// The names in commands. The first is that of several, as in paths, and the last is the usual one.
    names: [&'static str; 3],
}

/// An object that somebody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// The kind.
    pub kind: &'static Kind,
    /// The name.
    pub name: String,
}

/// Why a text names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has not the form of a name with its kind.
    #[error("it has not the form KIND/NAME, as sa/gitlab-registry has")]
    Form,
    /// The kind is none that is decided on.
    #[error(
        "{0} is no kind that gets a role: name a sa, pod, deploy, sts, ds, rs, job or cronjob, as \
         sa/gitlab-registry"
    )]
    Kind(String),
    /// No object can have the name.
    #[error("no object has the name {0}: a name has the letters a to z, digits, - and .")]
    Name(String),
}

impl Kind {
    /// Returns the kind of this name in manifests.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Returns the kind that a command names, as kubectl does: `deploy`, `Deployments`, `deployments.apps`
    /// or `deployments.v1.apps`.
    fn named(word: &str) -> Option<&'static Self> {
        let word = word.to_ascii_lowercase();
        let (name, rest) = word.split_once('.').unwrap_or((&word, ""));
        let kind = KINDS.iter().find(|kind| kind.names.contains(&name))?;
        let group = rest.strip_prefix("v1.").unwrap_or(rest);
        (rest.is_empty() || group == kind.group).then_some(kind)
    }

    /// Returns the names in commands. The last is the usual one.
    #[must_use]
    pub fn names(&self) -> [&'static str; 3] {
        self.names
    }

    /// Returns the usual names of all kinds.
    pub fn usual_names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|Self { names: [.., usual], .. }| *usual)
    }

    /// The path of the objects of this kind.
    fn path(&self, namespace: &str) -> String {
        let [plural, ..] = self.names;
        match self.group {
            "" => format!("/api/v1/namespaces/{namespace}/{plural}"),
            group => format!("/apis/{group}/v1/namespaces/{namespace}/{plural}"),
        }
    }
}

impl std::str::FromStr for NamedObject {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (word, name) = text.split_once('/').ok_or(NameError::Form)?;
        if word.is_empty() || name.is_empty() || name.contains('/') {
            return Err(NameError::Form);
        }
        let kind = Kind::named(word).ok_or_else(|| NameError::Kind(word.to_owned()))?;
        if !is_dns_name(name) {
            return Err(NameError::Name(name.to_owned()));
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl NamedObject {
    /// Whether a text is this object, in this namespace. Somebody may answer in the API server's place.
    fn is(&self, text: &str, namespace: &str) -> bool {
        serde_json::from_str::<Whole>(text).is_ok_and(|Whole { kind, metadata }| {
            kind == self.kind.name && metadata.name == self.name && metadata.namespace == namespace
        })
    }
}

/// What says which object it is.
#[derive(Deserialize)]
struct Whole {
    kind: String,
    metadata: Metadata,
}

impl fmt::Display for NamedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name, self.name)
    }
}

/// Reads an object of a namespace, as JSON.
///
/// # Errors
/// When the API server does not answer.
pub async fn read(
    api: &ApiServer,
    namespace: &str,
    object: &NamedObject,
) -> Result<Seen<String>, CollectError> {
    let request = Request::new(object.kind.path(namespace)).get(&object.name, &GetParams::default());
    match api.object_or_none(request).await {
        Ok(Some(held)) => Ok(match held.into_text() {
            Some(text) if object.is(&text, namespace) => Seen::There(text),
            Some(_) => Seen::Unread("the answer is about another object".to_owned()),
            None => Seen::Unread("the answer is not text in UTF-8".to_owned()),
        }),
        Ok(None) => Ok(Seen::Missing),
        Err(failure) => Ok(Seen::Unread(CollectError::unless_refused(&object.to_string(), failure)?)),
    }
}

/// Reads the labels of a namespace.
///
/// # Errors
/// When the API server does not answer.
pub async fn read_namespace(api: &ApiServer, name: &str) -> Result<Seen<Metadata>, CollectError> {
    let request = Request::new("/api/v1/namespaces").get_metadata(name, &GetParams::default());
    let read = api.object_or_none(request).await;
    match read.and_then(|held| held.map(|held| held.json::<Namespace>()).transpose()) {
        Ok(Some(namespace)) => Ok(Seen::There(namespace.metadata)),
        Ok(None) => Ok(Seen::Missing),
        Err(failure) => {
            Ok(Seen::Unread(CollectError::unless_refused(&format!("Namespace {name}"), failure)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_that_kubectl_takes() {
        for (text, kind) in [
            ("sa/a", "ServiceAccount"),
            ("serviceaccounts/a", "ServiceAccount"),
            ("serviceaccounts.v1./a", "ServiceAccount"),
            ("pods/a", "Pod"),
            ("po/a", "Pod"),
            ("Deployment/a", "Deployment"),
            ("deploy/a", "Deployment"),
            ("deployments.apps/a", "Deployment"),
            ("deployment.v1.apps/a", "Deployment"),
            ("sts/a", "StatefulSet"),
            ("ds/a", "DaemonSet"),
            ("rs/a", "ReplicaSet"),
            ("jobs.batch/a", "Job"),
            ("cj/a", "CronJob"),
        ] {
            let named: NamedObject = text.parse().unwrap();
            assert_eq!((named.kind.name, named.name.as_str()), (kind, "a"), "{text}");
        }
        for (text, words) in [
            ("a", "it has not the form KIND/NAME"),
            ("sa/", "it has not the form KIND/NAME"),
            ("/a", "it has not the form KIND/NAME"),
            ("sa/a/b", "it has not the form KIND/NAME"),
            ("svc/a", "svc is no kind that gets a role"),
            ("deploy.batch/a", "deploy.batch is no kind that gets a role"),
            ("sa/A", "no object has the name A"),
            ("sa/..", "no object has the name .."),
            ("sa/a?b", "no object has the name a?b"),
        ] {
            let error = text.parse::<NamedObject>().unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn each_kind_has_its_path() {
        let path = |name: &str| Kind::of(name).unwrap().path("n");
        assert_eq!(path("ServiceAccount"), "/api/v1/namespaces/n/serviceaccounts");
        assert_eq!(path("CronJob"), "/apis/batch/v1/namespaces/n/cronjobs");
        let usual: Vec<&str> = Kind::usual_names().collect();
        assert_eq!(usual, ["sa", "pod", "deploy", "sts", "ds", "rs", "job", "cronjob"]);
    }
}
