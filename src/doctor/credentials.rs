//! Do the Secrets of object storage, of the registry and of s3cmd let their programs use a role?

use std::collections::BTreeSet;

use super::findings::{Check, Findings, Place, listed, shown};
use super::secrets::{self, Content, Keys};
use super::view::{PodView, View};
use super::{REFERENCE, SECRETS_NOT_ASKED, Severity};
use crate::engine::object::component::Component;
use crate::inventory::{Pod, Secret};

/// Object storage has static keys.
pub(super) const STATIC_KEYS: Check =
    Check { id: "static-keys", severity: Severity::Problem, reference: REFERENCE.object_storage };

/// Fog is not told to use a role.
pub(super) const USE_IAM_PROFILE: Check = Check {
    id: "use-iam-profile",
    severity: Severity::Problem,
    reference: "https://github.com/fog/fog-aws/issues/162",
};

/// Object storage names an endpoint.
pub(super) const STORAGE_ENDPOINT: Check = Check {
    id: "storage-endpoint",
    severity: Severity::Warning,
    reference: "https://gitlab.com/gitlab-org/charts/gitlab/-/issues/3148",
};

/// Object storage is not that of AWS.
pub(super) const STORAGE_PROVIDER: Check =
    Check { id: "storage-provider", severity: Severity::Warning, reference: REFERENCE.object_storage };

const REGISTRY: &str = "https://docs.gitlab.com/charts/charts/registry/#storage";

/// The registry has static keys.
pub(super) const REGISTRY_KEYS: Check =
    Check { id: "registry-keys", severity: Severity::Problem, reference: REGISTRY };

/// The registry names an endpoint.
pub(super) const REGISTRY_ENDPOINT: Check =
    Check { id: "registry-endpoint", severity: Severity::Warning, reference: REGISTRY };

/// The registry signs in a way that a role's keys cannot be used with.
pub(super) const REGISTRY_V4AUTH: Check =
    Check { id: "registry-v4auth", severity: Severity::Problem, reference: REGISTRY };

const S3CMD: &str = "https://github.com/s3tools/s3cmd/issues/1218";

/// s3cmd has static keys.
pub(super) const S3CMD_KEYS: Check =
    Check { id: "s3cmd-keys", severity: Severity::Problem, reference: S3CMD };

/// s3cmd knows nothing of EKS Pod Identity.
pub(super) const S3CMD_POD_IDENTITY: Check = Check {
    id: "s3cmd-pod-identity",
    severity: Severity::Problem,
    reference: "https://docs.gitlab.com/charts/backup-restore/",
};

/// Without the keys, nothing works where the role does not.
pub(super) const ONCE_VERIFIED: &str = "once `gitlab-iam-webhook verify` says ok for its ServiceAccount, ";

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    if !view.scene.reads_secrets {
        if !view.pods.is_empty() || !view.accounts.is_empty() {
            findings.unread(
                "Secrets: those of object storage, registry, s3cmd and the runner's cache, and the values of \
                 Helm's releases",
                SECRETS_NOT_ASKED,
            );
        }
        return;
    }
    let mounting = view.mounting(Pod::mounted_secrets);
    let with_roles: BTreeSet<&str> =
        view.expecting().map(|pod| pod.pod.metadata.namespace.as_str()).collect();
    for secret in view.secrets() {
        let metadata = &secret.metadata;
        let pods = mounting.get(&(metadata.namespace.as_str(), metadata.name.as_str()));
        let expecting: Vec<&PodView<'_>> =
            pods.into_iter().flatten().copied().filter(|pod| pod.expects_role).collect();
        for key in secrets::keys(secret) {
            // Some other Secret than those that are mounted is GitLab's where it has the chart's own key, or
            // the name of GitLab's documentation for s3cmd, which is mounted while a backup is made.
            let is_gitlabs = key == "connection" || metadata.name.ends_with("s3cmd-config");
            let is_meant = !expecting.is_empty()
                || pods.is_none() && is_gitlabs && with_roles.contains(metadata.namespace.as_str());
            if is_meant {
                judge(secret, key, &expecting, findings);
            }
        }
    }
}

fn judge(secret: &Secret, key: &str, pods: &[&PodView<'_>], findings: &mut Findings) {
    let place = Place::of("Secret", &secret.metadata).at(&format!("key {key}"));
    match secrets::content(secret, key) {
        Content::ObjectStorage(keys) => object_storage(&keys, &place, &readers(pods), findings),
        Content::Registry(keys) => registry(&keys, &place, findings),
        Content::S3cmd(keys) => s3cmd(&keys, &place, pods, findings),
        Content::Other => {}
        Content::Unreadable => {
            let metadata = &secret.metadata;
            let what =
                format!("Secret {}/{} key {}", shown(&metadata.namespace), shown(&metadata.name), shown(key));
            findings.unread(what, "it is not the short YAML text that is expected there");
        }
    }
}

/// Names the components that read a Secret.
fn readers(pods: &[&PodView<'_>]) -> String {
    let names: BTreeSet<_> = pods.iter().filter_map(|pod| pod.component).map(Component::name).collect();
    if names.is_empty() { String::new() } else { format!(" ({} read it)", listed(names)) }
}

fn object_storage(keys: &Keys, place: &Place, readers: &str, findings: &mut Findings) {
    let mut add = |check, what: String, fix: &str| findings.add(check, place.clone(), what, fix);
    if !keys.is_aws("provider") {
        let what = if keys.is_set("provider") {
            format!("its `provider` is not AWS, so that no role is used{readers}")
        } else {
            format!("it has no `provider`{readers}")
        };
        add(&STORAGE_PROVIDER, what, "write `provider: AWS`, or take the role out of the mapping");
        return;
    }
    let statics: Vec<_> =
        ["aws_access_key_id", "aws_secret_access_key"].into_iter().filter(|key| keys.has(key)).collect();
    if !statics.is_empty() {
        let names = statics.join(" and ");
        let what = if statics.iter().any(|key| keys.is_set(key)) {
            format!("it has {names}, which GitLab takes instead of the role{readers}")
        } else {
            format!("it has {names} with nothing in it, which Fog takes for a key all the same{readers}")
        };
        add(&STATIC_KEYS, what, &format!("{ONCE_VERIFIED}take {names} out of it, and restart the Pods"));
    }
    if !keys.is_true("use_iam_profile") {
        let state = if keys.has("use_iam_profile") { "does not say true" } else { "is missing" };
        let what = format!("`use_iam_profile` {state}, without which Fog never asks for a role{readers}");
        add(&USE_IAM_PROFILE, what, "write `use_iam_profile: true` into it, and restart the Pods");
    }
    let endpoints: Vec<_> = ["endpoint", "host"].into_iter().filter(|key| keys.is_set(key)).collect();
    if !endpoints.is_empty() {
        let names = endpoints.join(" and ");
        let what = format!(
            "it has `{names}`, where older GitLab sends its calls of STS as well (WebIdentityErr, \
             status code \
             405){readers}"
        );
        add(
            &STORAGE_ENDPOINT,
            what,
            &format!("take `{names}` out of it, unless it is there for FIPS or IPv6"),
        );
    }
}

fn registry(keys: &Keys, place: &Place, findings: &mut Findings) {
    let mut add = |check, what: String, fix: &str| findings.add(check, place.clone(), what, fix);
    let statics: Vec<_> = ["accesskey", "secretkey"].into_iter().filter(|key| keys.is_set(key)).collect();
    if !statics.is_empty() {
        let names = statics.join(" and ");
        let what = format!("it has {names}, which the registry takes instead of the role");
        add(&REGISTRY_KEYS, what, &format!("{ONCE_VERIFIED}take {names} out of it, and restart the Pods"));
    }
    if keys.is_set("regionendpoint") {
        let what = "it has `regionendpoint`, which is for stores that only resemble S3 and have no roles";
        add(
            &REGISTRY_ENDPOINT,
            what.to_owned(),
            "take `regionendpoint` out of it where the bucket is in AWS",
        );
    }
    if keys.is_false("v4auth") {
        let what = "it says `v4auth: false`, but the keys of a role want signatures of version 4";
        add(&REGISTRY_V4AUTH, what.to_owned(), "write `v4auth: true`, and restart the Pods");
    }
}

fn s3cmd(keys: &Keys, place: &Place, pods: &[&PodView<'_>], findings: &mut Findings) {
    let statics: Vec<_> = ["access_key", "secret_key"].into_iter().filter(|key| keys.is_set(key)).collect();
    if !statics.is_empty() {
        let names = statics.join(" and ");
        let what = format!("it has {names}, which s3cmd takes instead of the role when it makes backups");
        findings.add(
            &S3CMD_KEYS,
            place.clone(),
            what,
            format!("{ONCE_VERIFIED}take {names} out of it, and leave bucket_location"),
        );
    }
    if pods.iter().any(|pod| pod.pod.has_pod_identity()) {
        findings.add(
            &S3CMD_POD_IDENTITY,
            place.clone(),
            "s3cmd makes the backups, and knows nothing of the EKS Pod Identity that its Pods have",
            "set gitlab.toolbox.backups.cron.extraArgs to `--s3tool awscli`, or delete the association",
        );
    }
}
