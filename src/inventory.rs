//! What does a command look at in a cluster or in manifests?
//!
//! The same few fields are read from both, so that whoever judges them need not know where they come from.
//! What could not be read is kept as well: it is never taken for something that is not there.

mod hidden;
mod manifests;
mod pod;
mod subject;
mod unread;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

pub use hidden::Hidden;
pub use manifests::{ReadError, Stated, read};
pub use pod::{Container, EnvSource, EnvVar, Mount, Owner, Pod, PodSpec, ProjectedSource, Volume};
pub use unread::{Listed, Unread};

/// What was read.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Whether it comes from a cluster. Manifests tell less: no Pods that run, and no Namespaces that
    /// somebody else made.
    pub is_live: bool,
    /// The Namespaces.
    pub namespaces: Vec<Namespace>,
    /// The ServiceAccounts.
    pub service_accounts: Vec<ServiceAccount>,
    /// The Pods that run, the Pod templates of CronJobs, and in manifests the Pod templates of every
    /// workload.
    pub pods: Vec<Pod>,
    /// The ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// The Secrets; none where their reading was not asked for.
    pub secrets: Vec<Secret>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// What is read of `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The name, or the generateName where there is no name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The generateName.
    #[serde(deserialize_with = "nullable")]
    pub generate_name: String,
    /// The namespace; empty where the object names none.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// The labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// Who made it and deletes it with himself.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<Owner>,
    /// When it was created, as RFC 3339; empty in manifests.
    #[serde(deserialize_with = "nullable")]
    pub creation_timestamp: String,
    /// When it was told to go, as RFC 3339; empty where it was not.
    #[serde(deserialize_with = "nullable")]
    pub deletion_timestamp: String,
}

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// What is read of its metadata.
    pub metadata: Metadata,
}

/// A ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// What is read of its metadata.
    pub metadata: Metadata,
}

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// What is read of its metadata.
    pub metadata: Metadata,
    /// The texts. They can hold credentials, although they should not: no value may be printed.
    #[serde(deserialize_with = "nullable")]
    pub data: BTreeMap<String, Hidden>,
}

/// A Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// What is read of its metadata.
    pub metadata: Metadata,
    /// The type, as `helm.sh/release.v1`.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// The values, which stand there in base64.
    #[serde(deserialize_with = "nullable")]
    pub data: BTreeMap<String, Hidden>,
    /// The values that a manifest states as text.
    #[serde(rename = "stringData", deserialize_with = "nullable")]
    pub string_data: BTreeMap<String, Hidden>,
}

/// Reads null as the default: the API server takes it as if the key were absent.
pub(crate) fn nullable<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

impl Inventory {
    /// Whether objects of this kind in this namespace may be missing, as not all could be read.
    #[must_use]
    pub fn may_lack(&self, kind: Listed, namespace: &str) -> bool {
        self.unread.iter().any(|unread| unread.is_about(kind, namespace))
    }

    /// Adds what was read elsewhere.
    pub fn add(&mut self, other: Self) {
        let Self { is_live: _, namespaces, service_accounts, pods, config_maps, secrets, unread } = other;
        self.namespaces.extend(namespaces);
        self.service_accounts.extend(service_accounts);
        self.pods.extend(pods);
        self.config_maps.extend(config_maps);
        self.secrets.extend(secrets);
        self.unread.extend(unread);
    }
}

impl Metadata {
    /// Returns the label of this key.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Returns the annotation of this key.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}
