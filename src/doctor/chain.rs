//! What do the AWS SDKs of a Pod find before its role?
//!
//! They look into the environment first, then for a profile, for web identity, for a credentials file, for a
//! container's endpoint, and at last ask the metadata service, which is where kube2iam and kiam answer.

use std::collections::BTreeSet;

use super::credentials::ONCE_VERIFIED;
use super::findings::{Check, Findings, Place, listed, shown};
use super::view::{PodView, View};
use super::{REFERENCE, SECRETS_NOT_ASKED, Severity};
use crate::inventory::{Container, EnvSource, Hidden, Pod};

const CHAIN: &str = "https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html";

/// Static keys stand in the environment, which comes first.
pub(super) const STATIC_ENV: Check =
    Check { id: "static-keys-in-env", severity: Severity::Problem, reference: CHAIN };

/// A profile is named, which comes before web identity.
pub(super) const PROFILE: Check = Check { id: "aws-profile", severity: Severity::Problem, reference: CHAIN };

/// A credentials file is there, which comes before the metadata service, and hides that web identity fails.
pub(super) const CREDENTIALS_FILE: Check =
    Check { id: "credentials-file", severity: Severity::Warning, reference: CHAIN };

/// Vault's agent writes AWS credentials into the Pod.
pub(super) const VAULT_AGENT: Check = Check {
    id: "vault-agent",
    severity: Severity::Warning,
    reference: "https://developer.hashicorp.com/vault/docs/platform/k8s/injector/annotations",
};

/// EKS Pod Identity gives the Pod other credentials.
pub(super) const POD_IDENTITY: Check =
    Check { id: "pod-identity", severity: Severity::Problem, reference: REFERENCE.pod_identity };

/// The names under which SDKs look for static keys; the Java SDK reads the short ones as well.
const KEYS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "REGISTRY_STORAGE_S3_ACCESSKEY",
    "REGISTRY_STORAGE_S3_SECRETKEY",
];
const PROFILES: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
const FILES: [&str; 2] = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"];

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let mut unknown = Unknown::default();
    for pod in view.expecting() {
        let mut sets = |names: &[&'static str]| containers_that_set(view, pod.pod, names, &mut unknown);
        let (keys, profiles, files) = (sets(&KEYS), sets(&PROFILES), sets(&FILES));
        has_no_static_keys(pod, &keys, findings);
        names_no_profile(pod, &profiles, findings);
        has_no_credentials_file(pod, &files, findings);
        has_no_vault_agent(pod, findings);
        has_no_pod_identity(pod, findings);
    }
    let reason = if view.scene.reads_secrets { NOT_THERE } else { SECRETS_NOT_ASKED };
    for (objects, why) in [(unknown.secrets, reason), (unknown.config_maps, NOT_THERE)] {
        if !objects.is_empty() {
            let objects = listed(objects.iter().map(String::as_str));
            findings.unread(format!("environment variables of Pods from {objects}"), why);
        }
    }
}

const NOT_THERE: &str = "it is not there, or was not read";

/// The objects that give Pods variables, and that were not read.
#[derive(Default)]
struct Unknown {
    secrets: BTreeSet<String>,
    config_maps: BTreeSet<String>,
}

/// A container, and the variables of interest that it sets.
type Setting<'a> = (&'a str, BTreeSet<&'static str>);

/// Returns the containers that set some of these variables. What cannot be known goes to `unknown`.
fn containers_that_set<'a>(
    view: &View<'_>,
    pod: &'a Pod,
    names: &[&'static str],
    unknown: &mut Unknown,
) -> Vec<Setting<'a>> {
    let sets = |container: &'a Container| {
        let found: BTreeSet<&'static str> =
            names.iter().copied().filter(|name| is_set(view, pod, container, name, unknown)).collect();
        (!found.is_empty()).then_some((container.name.as_str(), found))
    };
    pod.containers().filter_map(sets).collect()
}

/// Whether a container has this variable, from wherever. `env` wins over `envFrom`, also where it is empty.
fn is_set(view: &View<'_>, pod: &Pod, container: &Container, name: &str, unknown: &mut Unknown) -> bool {
    if let Some(variable) = container.env(name) {
        return variable.is_set;
    }
    container.env_from.iter().any(|source| {
        let Some(key) = name.strip_prefix(&source.prefix) else { return false };
        gives(view, &pod.metadata.namespace, source, key, unknown)
    })
}

/// Whether a ConfigMap or Secret has a value under this key. One that was not read goes to `unknown`.
fn gives(view: &View<'_>, namespace: &str, source: &EnvSource, key: &str, unknown: &mut Unknown) -> bool {
    let has = |value: Option<&Hidden>| value.is_some_and(|value| !value.expose().is_empty());
    let called = |kind: &str, name: &str| format!("{kind} {}/{}", shown(namespace), shown(name));
    if let Some(reference) = &source.config_map_ref {
        let Some(map) = view.config_map(namespace, &reference.name) else {
            unknown.config_maps.insert(called("ConfigMap", &reference.name));
            return false;
        };
        return has(map.data.get(key));
    }
    let Some(reference) = &source.secret_ref else { return false };
    let Some(secret) = view.secret(namespace, &reference.name) else {
        unknown.secrets.insert(called("Secret", &reference.name));
        return false;
    };
    has(secret.data.get(key)) || has(secret.string_data.get(key))
}

/// Names the containers and variables of some settings.
fn place_and_names(pod: &PodView<'_>, settings: &[Setting<'_>]) -> (Place, String) {
    let containers: Vec<_> = settings.iter().map(|(container, _)| *container).collect();
    let names: BTreeSet<_> = settings.iter().flat_map(|(_, names)| names).copied().collect();
    (Place::of_pod(pod.pod).containers(&containers), names.into_iter().collect::<Vec<_>>().join(" and "))
}

fn has_no_static_keys(pod: &PodView<'_>, settings: &[Setting<'_>], findings: &mut Findings) {
    if settings.is_empty() {
        return;
    }
    let (place, names) = place_and_names(pod, settings);
    let what = format!("its environment sets {names}, which is taken before a role");
    findings.add(
        &STATIC_ENV,
        place,
        what,
        format!("{ONCE_VERIFIED}take {names} out of `env` and `envFrom` of its workload"),
    );
}

fn names_no_profile(pod: &PodView<'_>, settings: &[Setting<'_>], findings: &mut Findings) {
    if settings.is_empty() {
        return;
    }
    let (place, names) = place_and_names(pod, settings);
    let what = format!("its environment sets {names}, and SDKs then read that profile and not the role");
    findings.add(&PROFILE, place, what, format!("take {names} out of the environment of its workload"));
}

fn has_no_credentials_file(pod: &PodView<'_>, settings: &[Setting<'_>], findings: &mut Findings) {
    const WHY: &str = "SDKs take it before the role of kube2iam and kiam, and where web identity fails";
    if !settings.is_empty() {
        let (place, names) = place_and_names(pod, settings);
        let what = format!("its environment names a credentials file ({names}): {WHY}");
        findings.add(
            &CREDENTIALS_FILE,
            place,
            what,
            format!("take {names} out of the environment of its workload"),
        );
    }
    // As /root/.aws, or /home/git/.aws/credentials.
    let is_home = |path: &str| path.split('/').any(|part| part == ".aws");
    let mounting: Vec<_> = pod
        .pod
        .containers()
        .filter(|container| container.volume_mounts.iter().any(|mount| is_home(&mount.mount_path)))
        .map(|container| container.name.as_str())
        .collect();
    if !mounting.is_empty() {
        findings.add(
            &CREDENTIALS_FILE,
            Place::of_pod(pod.pod).containers(&mounting),
            format!("a volume is mounted at .aws, where credentials files are: {WHY}"),
            "take the volume out of its workload, or the `aws_access_key_id` out of the file",
        );
    }
}

fn has_no_vault_agent(pod: &PodView<'_>, findings: &mut Findings) {
    const INJECT: &str = "vault.hashicorp.com/agent-inject";
    let annotations = &pod.pod.metadata.annotations;
    // The agent reads it as Go reads a boolean.
    let is_on = |value: &String| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True");
    if !annotations.get(INJECT).is_some_and(is_on) {
        return;
    }
    let secret = annotations.iter().find(|(key, value)| {
        key.starts_with("vault.hashicorp.com/agent-inject-") && (key.contains("aws") || value.contains("aws"))
    });
    if let Some((key, _)) = secret {
        findings.add(
            &VAULT_AGENT,
            Place::of_pod(pod.pod),
            format!(
                "Vault's agent writes AWS credentials into it ({}), which may come before its role",
                shown(key)
            ),
            format!("take the annotation {} off the Pods of its workload", shown(key)),
        );
    }
}

fn has_no_pod_identity(pod: &PodView<'_>, findings: &mut Findings) {
    if !pod.pod.has_pod_identity() {
        return;
    }
    let account = shown(pod.pod.service_account());
    findings.add(
        &POD_IDENTITY,
        Place::of_pod(pod.pod),
        format!(
            "EKS Pod Identity has a role for its ServiceAccount {account}, so that the annotation with \
             the role \
             is ignored"
        ),
        format!(
            "delete the association (aws eks list-pod-identity-associations --cluster-name CLUSTER, then \
             delete-pod-identity-association), or leave {account} to it with `skip: true` in the mapping"
        ),
    );
}
