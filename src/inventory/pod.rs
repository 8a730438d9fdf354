//! What is read of a Pod, or of the Pod that a workload's template makes?

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{Metadata, nullable};

/// The environment variables whose values decide which credentials the AWS SDK takes. None of them is one.
const READ: [&str; 14] = [
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// A Pod, or the one that a template makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// The kind that stands in the manifest: `Pod`, or the kind of the workload whose template it is.
    #[serde(skip)]
    pub written_kind: String,
    /// What is read of its metadata. For a template, the name and the namespace are the workload's.
    pub metadata: Metadata,
    /// What is read of its specification.
    #[serde(deserialize_with = "nullable")]
    pub spec: PodSpec,
    #[serde(deserialize_with = "nullable")]
    status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "nullable")]
    phase: String,
}

/// What is read of `spec` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    #[serde(deserialize_with = "nullable")]
    service_account_name: String,
    #[serde(deserialize_with = "nullable")]
    service_account: String,
    /// Whether it has the node's own network, and so the node's address.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// The containers that run before the others.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<Container>,
    /// The containers.
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<Container>,
    /// The volumes.
    #[serde(deserialize_with = "nullable")]
    pub volumes: Vec<Volume>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// The name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The image.
    #[serde(deserialize_with = "nullable")]
    pub image: String,
    /// The environment variables.
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<EnvVar>,
    /// The ConfigMaps and Secrets whose keys become environment variables.
    #[serde(deserialize_with = "nullable")]
    pub env_from: Vec<EnvSource>,
    /// Where volumes are mounted.
    #[serde(deserialize_with = "nullable")]
    pub volume_mounts: Vec<Mount>,
}

/// An environment variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvVar {
    /// The name.
    pub name: String,
    /// The value, where it stands there and is known to be no credential.
    pub value: Option<String>,
    /// Whether it is given a value that is not the empty text, wherever that stands.
    pub is_set: bool,
}

/// A ConfigMap or a Secret that `envFrom` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvSource {
    /// What is put before each key.
    #[serde(deserialize_with = "nullable")]
    pub prefix: String,
    /// The ConfigMap.
    #[serde(deserialize_with = "nullable")]
    pub config_map_ref: Option<Named>,
    /// The Secret.
    #[serde(deserialize_with = "nullable")]
    pub secret_ref: Option<Named>,
}

/// The name of another object of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Named {
    /// The name.
    #[serde(alias = "secretName", deserialize_with = "nullable")]
    pub name: String,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mount {
    /// The name of the volume.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The path in the container.
    #[serde(deserialize_with = "nullable")]
    pub mount_path: String,
    /// The path in the volume.
    #[serde(deserialize_with = "nullable")]
    pub sub_path: String,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Volume {
    /// The name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The Secret.
    #[serde(deserialize_with = "nullable")]
    pub secret: Option<Named>,
    /// The ConfigMap.
    #[serde(deserialize_with = "nullable")]
    pub config_map: Option<Named>,
    /// What is put together in it.
    #[serde(deserialize_with = "nullable")]
    pub projected: Projected,
    /// Whether it comes from a path of the node.
    #[serde(deserialize_with = "nullable")]
    pub host_path: Option<HostPath>,
}

/// What is put together in a projected volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Projected {
    /// The parts.
    #[serde(deserialize_with = "nullable")]
    pub sources: Vec<ProjectedSource>,
}

/// A part of a projected volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProjectedSource {
    /// The Secret.
    #[serde(deserialize_with = "nullable")]
    pub secret: Option<Named>,
    /// The ConfigMap.
    #[serde(deserialize_with = "nullable")]
    pub config_map: Option<Named>,
    /// The token of the ServiceAccount.
    #[serde(deserialize_with = "nullable")]
    pub service_account_token: Option<TokenSource>,
}

/// A token of the Pod's ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TokenSource {
    /// For whom it is made out; empty for the API server.
    #[serde(deserialize_with = "nullable")]
    pub audience: String,
}

/// A path of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HostPath {
    /// The path.
    #[serde(deserialize_with = "nullable")]
    pub path: String,
}

/// Who made an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// The kind, as `ReplicaSet`.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// The name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

impl Pod {
    /// Whether it is the Pod that a workload makes, and not one that stands there itself.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.written_kind != "Pod"
    }

    /// Whether it has ended, so that it needs no role any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Returns the name of its ServiceAccount, which is `default` where it names none.
    #[must_use]
    pub fn service_account(&self) -> &str {
        let PodSpec { service_account_name, service_account, .. } = &self.spec;
        [service_account_name.as_str(), service_account.as_str(), "default"]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or("default")
    }

    /// Returns all of its containers; those that run first come first.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().chain(&self.spec.containers)
    }
}

impl Container {
    /// Returns the environment variable of this name. The last one counts, as for the kubelet.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&EnvVar> {
        self.env.iter().rev().find(|variable| variable.name == name)
    }
}

impl<'de> Deserialize<'de> for EnvVar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Found {
            #[serde(deserialize_with = "nullable")]
            name: String,
            #[serde(deserialize_with = "nullable")]
            value: String,
            value_from: Option<IgnoredAny>,
        }
        let Found { name, value, value_from } = Found::deserialize(from)?;
        let is_set = !value.is_empty() || value_from.is_some();
        let value = (READ.contains(&name.as_str()) && value_from.is_none()).then_some(value);
        Ok(Self { name, value, is_set })
    }
}
