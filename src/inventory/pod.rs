//! What is read of a Pod, or of the Pod that a workload's template makes?

use std::collections::BTreeSet;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{Metadata, nullable};
use crate::engine::object::subject::Requester;
use crate::engine::rules::facts::controller_of;

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

/// Who made an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Owner {
    /// The group and version of the kind, as `apps/v1`.
    #[serde(deserialize_with = "nullable")]
    pub api_version: String,
    /// Whether it looks after the object. At most one owner does.
    #[serde(rename = "controller", deserialize_with = "nullable")]
    pub is_controller: bool,
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

    /// Returns the phase, as `Running`; empty in manifests.
    #[must_use]
    pub fn phase(&self) -> &str {
        &self.status.phase
    }

    /// Returns the owner that looks after it.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.metadata.owner_references.iter().find(|owner| owner.is_controller)
    }

    /// Returns who requested the Pod, as far as its owner says so: the workload controller that makes the
    /// Pods of a ReplicaSet, a StatefulSet, a DaemonSet or a Job. Every other Pod that stands for itself was
    /// requested by somebody who is not believed; one of a template by its controller.
    ///
    /// Whoever creates a Pod can write an owner that never made it. So this is for reports on Pods that are
    /// there: no role may be given by it. The API server says who requests a Pod when it is created.
    #[must_use]
    pub fn requester(&self) -> Requester<'static> {
        if self.is_template() {
            return Requester::Assumed;
        }
        self.controller()
            .and_then(|owner| controller_of(&owner.api_version, &owner.kind))
            .map_or(Requester::Unbelieved, Requester::User)
    }

    /// Returns the kind and the name of the workload that it belongs to. For a ReplicaSet of a Deployment it
    /// is the Deployment. Whoever created the Pod may have made it up.
    #[must_use]
    pub fn workload(&self) -> Option<(&str, &str)> {
        let owner = self.metadata.owner_references.first()?;
        let hash = self.metadata.label("pod-template-hash");
        let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
        match deployment {
            Some(name) if owner.kind == "ReplicaSet" => Some(("Deployment", name)),
            _ => Some((&owner.kind, &owner.name)),
        }
    }

    /// Returns what each container has as this environment variable, with the container's name. A container
    /// that has none is left out.
    pub fn variables(&self, name: &str) -> impl Iterator<Item = (&str, &EnvVar)> {
        self.containers().filter_map(move |it| Some((it.name.as_str(), it.env(name)?)))
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

    /// Returns the names of the Secrets that it mounts.
    #[must_use]
    pub fn mounted_secrets(&self) -> BTreeSet<&str> {
        self.mounted(|volume| volume.secret.as_ref(), |source| source.secret.as_ref())
    }

    /// Returns the names of the ConfigMaps that it mounts.
    #[must_use]
    pub fn mounted_config_maps(&self) -> BTreeSet<&str> {
        self.mounted(|volume| volume.config_map.as_ref(), |source| source.config_map.as_ref())
    }

    fn mounted(
        &self,
        whole: impl Fn(&Volume) -> Option<&Named>,
        part: impl Fn(&ProjectedSource) -> Option<&Named>,
    ) -> BTreeSet<&str> {
        let volumes = &self.spec.volumes;
        let parts = volumes.iter().flat_map(|volume| &volume.projected.sources).filter_map(part);
        volumes.iter().filter_map(whole).chain(parts).map(|named| named.name.as_str()).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::object::component::Component;
    use crate::engine::rules::facts::Facts;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    fn owned(references: &serde_json::Value) -> Pod {
        let labels = json!({"app": "registry", "chart": "registry-0.7.0", "release": "gitlab"});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "gitlab", "labels": labels, "ownerReferences": references},
            "spec": {"containers": [{"name": "a", "env": [{"name": "AWS_ROLE_ARN", "value": "r"}]}, {"name": "b"}]},
            "status": {"phase": "Running"},
        });
        Pod { written_kind: "Pod".to_owned(), ..serde_json::from_value(pod).unwrap() }
    }

    /// The component that a decision believes of the Pod.
    fn believed(pod: &Pod) -> Option<Component> {
        let policy = OperatorPolicy::default();
        pod.with_subject(pod.requester(), |subject| Facts::of(subject, &[], &policy).component)
    }

    #[test]
    fn the_labels_of_a_pod_are_believed_where_its_owner_is_one_of_kubernetes_workloads() {
        let owner = |version: &str, kind: &str, controller: &serde_json::Value| {
            owned(&json!([{"apiVersion": version, "kind": kind, "name": "o", "controller": controller}]))
        };
        for (version, kind, name) in [
            ("apps/v1", "ReplicaSet", "replicaset-controller"),
            ("apps/v1", "StatefulSet", "statefulset-controller"),
            ("apps/v1", "DaemonSet", "daemon-set-controller"),
            ("batch/v1", "Job", "job-controller"),
        ] {
            let pod = owner(version, kind, &json!(true));
            let user = format!("system:serviceaccount:kube-system:{name}");
            assert_eq!(pod.requester(), Requester::User(&user));
            assert_eq!(believed(&pod), Some(Component::Registry), "{kind}");
        }
        for pod in [
            owned(&json!(null)),
            owned(&json!([])),
            owner("v1", "ReplicationController", &json!(true)),
            owner("argoproj.io/v1alpha1", "ReplicaSet", &json!(true)),
            owner("apps/v1", "ReplicaSet", &json!(false)),
            owner("apps/v1", "ReplicaSet", &json!(null)),
            owner("v1", "Node", &json!(true)),
        ] {
            assert_eq!((pod.requester(), believed(&pod)), (Requester::Unbelieved, None), "{pod:?}");
        }
        let template = Pod { written_kind: "Deployment".to_owned(), ..owned(&json!([])) };
        assert_eq!(
            (template.requester(), believed(&template)),
            (Requester::Assumed, Some(Component::Registry))
        );
    }

    #[test]
    fn the_roles_that_its_containers_have_are_told_with_their_names() {
        let pod = owned(&json!([]));
        let roles: Vec<_> =
            pod.variables("AWS_ROLE_ARN").map(|(name, it)| (name, it.value.as_deref())).collect();
        assert_eq!((roles.as_slice(), pod.phase()), (&[("a", Some("r"))][..], "Running"));
    }
}
