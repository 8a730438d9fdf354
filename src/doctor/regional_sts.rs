//! Is STS asked at an endpoint that the partition of the role has?

use super::Severity;
use std::collections::BTreeSet;

use super::findings::{Check, Findings, Place, shown, word};
use super::view::{PodView, View};
use crate::engine::object::component::Component;
use crate::engine::object::provider::RoleOption;

/// A role is of a partition that has only regional endpoints, and nothing asks for these.
pub(super) const REGIONAL_STS: Check = Check {
    id: "regional-sts",
    severity: Severity::Warning,
    reference: "https://gitlab.com/gitlab-org/gitlab/-/issues/354570",
};

/// Fog asks an endpoint that China does not have.
pub(super) const CHINA_STS: Check = Check {
    id: "china-sts",
    severity: Severity::Problem,
    reference: "https://gitlab.com/gitlab-org/gitlab/-/merge_requests/165708",
};

/// The components in which Fog works with object storage.
const WITH_FOG: [Component; 4] =
    [Component::Webservice, Component::Sidekiq, Component::Toolbox, Component::Migrations];

const ENDPOINTS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
const ENDPOINT: &str = "AWS_ENDPOINT_URL_STS";

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    // The EKS webhook tells Pods so by default.
    let with_regional: BTreeSet<(&str, &str)> = view
        .pods
        .iter()
        .filter(|pod| has(pod, ENDPOINTS, Some("regional")))
        .map(|pod| (pod.pod.metadata.namespace.as_str(), pod.pod.service_account()))
        .collect();
    for account in view.accounts.values() {
        let Some(partition) = account.role.as_deref().and_then(partition).filter(|one| *one != "aws") else {
            continue;
        };
        let metadata = &account.account.metadata;
        let is_regional = with_regional.contains(&(metadata.namespace.as_str(), metadata.name.as_str()));
        if !account.has_regional_sts && !is_regional {
            findings.add(
                &REGIONAL_STS,
                Place::of("ServiceAccount", metadata),
                format!(
                    "its role is of {}, which has no global STS, and nothing asks for a regional \
                     one",
                    shown(partition)
                ),
                format!(
                    "write `irsa: {{stsRegionalEndpoints: true}}` at the top of the mapping, or kubectl \
                     -n {} \
                     annotate serviceaccount {} {}=true",
                    word(&metadata.namespace),
                    word(&metadata.name),
                    RoleOption::IrsaStsRegionalEndpoints.key()
                ),
            );
        }
    }
    for pod in &view.pods {
        let is_chinese = pod.irsa.as_deref().and_then(partition) == Some("aws-cn");
        let has_fog = pod.component.is_some_and(|component| WITH_FOG.contains(&component));
        if is_chinese && has_fog && !has(pod, ENDPOINT, None) {
            findings.add(
                &CHINA_STS,
                Place::of_pod(pod.pod),
                "Fog asks sts.REGION.amazonaws.com, which China does not have (it ends in .cn there)",
                format!(
                    "set {ENDPOINT}=https://sts.cn-north-1.amazonaws.com.cn (or of cn-northwest-1) with \
                     global.extraEnv in the values of GitLab's chart; it takes GitLab 17.4 or later"
                ),
            );
        }
    }
}

/// Returns the partition of a role.
fn partition(role: &str) -> Option<&str> {
    role.strip_prefix("arn:")?.split(':').next()
}

/// Whether some container has a variable, with this value where one is asked for.
fn has(pod: &PodView<'_>, name: &str, value: Option<&str>) -> bool {
    pod.pod
        .containers()
        .filter_map(|container| container.env(name))
        .any(|variable| variable.is_set && (value.is_none() || variable.value.as_deref() == value))
}
