//! Do kube2iam and kiam let a Pod have the role that its annotation names?

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};

use super::findings::{Check, Findings, Place, listed, shown, word};
use super::view::{PodView, View};
use super::{REFERENCE, Severity};
use crate::engine::object::provider::{POD_ROLE, Provider};
use crate::engine::rules::arn::MAX_ARN;
use crate::engine::rules::role_template::is_arn;
use crate::inventory::Namespace;

/// kiam lets no Pod of the namespace have the role.
pub(super) const KIAM_NAMESPACE: Check =
    Check { id: "kiam-namespace", severity: Severity::Problem, reference: REFERENCE.kiam };

/// kube2iam's restriction of the namespace does not name the role.
pub(super) const KUBE2IAM_NAMESPACE: Check =
    Check { id: "kube2iam-namespace", severity: Severity::Warning, reference: REFERENCE.kube2iam };

/// A role is a bare name, which only kube2iam's or kiam's own base makes a role of.
pub(super) const BARE_ROLE: Check = Check {
    id: "bare-role",
    severity: Severity::Warning,
    reference: "https://github.com/jtblin/kube2iam#base-arn-auto-discovery",
};

/// A Pod with the node's address cannot be told from others on the node.
pub(super) const HOST_NETWORK: Check = Check {
    id: "host-network",
    severity: Severity::Problem,
    reference: "https://github.com/jtblin/kube2iam#iptables",
};

/// The Pod's SDKs never ask the metadata service.
pub(super) const METADATA_DISABLED: Check = Check {
    id: "metadata-disabled",
    severity: Severity::Problem,
    reference: "https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html",
};

const PERMITTED: &str = "iam.amazonaws.com/permitted";
const ALLOWED: &str = "iam.amazonaws.com/allowed-roles";

/// The most bytes that a compiled pattern may take: whoever may annotate the Namespace wrote it.
const MAX_PATTERN: usize = 1 << 20;

/// The most roles of the Pods of a namespace that are tried.
const MAX_ROLES: usize = 500;

/// The most patterns of a namespace that are tried.
const MAX_PATTERNS: usize = 200;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let mut roles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pod in &view.pods {
        let Some(role) = &pod.pod_role else { continue };
        let of_namespace = roles.entry(&pod.pod.metadata.namespace).or_default();
        if role.len() <= MAX_ARN && of_namespace.len() < MAX_ROLES {
            of_namespace.insert(role);
        }
        is_a_full_role(role, pod, findings);
        reaches_the_metadata_service(pod, findings);
    }
    let names = |provider| view.scene.ruleset.is_some_and(|ruleset| ruleset.names_provider(provider));
    for (name, roles) in roles {
        let Some(namespace) = view.namespace(name) else { continue };
        let permitted = namespace.metadata.annotation(PERMITTED);
        let allowed = namespace.metadata.annotation(ALLOWED);
        if names(Provider::Kiam) || permitted.is_some() && !names(Provider::Kube2iam) {
            kiam_permits(namespace, permitted, &roles, findings);
        }
        if let (Some(allowed), false) = (allowed, names(Provider::Kiam)) {
            kube2iam_allows(namespace, allowed, &roles, findings);
        }
    }
}

fn is_a_full_role(role: &str, pod: &PodView<'_>, findings: &mut Findings) {
    if is_arn(role) {
        return;
    }
    let what = if role.is_empty() {
        format!(
            "its annotation {POD_ROLE} is empty, which is not as if it were absent: no role has that name"
        )
    } else if role.starts_with('/') {
        format!(
            "its role {} begins with `/`: kube2iam puts it behind its base as it is, and asks for role//...",
            shown(role)
        )
    } else {
        format!(
            "its role {} is a bare name: only a --base-role-arn of kube2iam or kiam, which is not seen \
             here, makes a role of it",
            shown(role)
        )
    };
    let fix = "name the role by its full ARN: write `account` at the top of the mapping, or the ARN \
         into the annotation";
    findings.add(&BARE_ROLE, Place::of_pod(pod.pod), what, fix);
}

fn reaches_the_metadata_service(pod: &PodView<'_>, findings: &mut Findings) {
    if pod.pod.spec.host_network {
        findings.add(
            &HOST_NETWORK,
            Place::of_pod(pod.pod),
            "it has the address of its node, by which kube2iam and kiam cannot tell it apart: it gets \
             the node's role",
            "set `hostNetwork: false`, or map its ServiceAccount with `provider: irsa`",
        );
    }
    let disabled: Vec<_> = pod
        .pod
        .containers()
        .filter(|container| {
            let variable = container.env("AWS_EC2_METADATA_DISABLED").and_then(|one| one.value.as_deref());
            variable.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        })
        .map(|container| container.name.as_str())
        .collect();
    if !disabled.is_empty() {
        findings.add(
            &METADATA_DISABLED,
            Place::of_pod(pod.pod).containers(&disabled),
            "AWS_EC2_METADATA_DISABLED keeps its SDKs from the metadata service, where kube2iam and \
             kiam answer",
            "take AWS_EC2_METADATA_DISABLED out of the environment of its workload",
        );
    }
}

/// kiam matches the full ARN, anchored at both ends, against the one pattern of the Namespace.
fn kiam_permits(
    namespace: &Namespace,
    permitted: Option<&str>,
    roles: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let place = Place::of("Namespace", &namespace.metadata);
    let forbidden: Vec<&str> = match permitted.filter(|pattern| !pattern.is_empty()) {
        None => roles.iter().copied().collect(),
        Some(pattern) => match compiled(&format!("^(?:{pattern})$")) {
            Some(regex) => {
                // What a bare name becomes is not known here.
                roles.iter().copied().filter(|role| is_arn(role) && !regex.is_match(role)).collect()
            }
            None => {
                let what = format!("the pattern of its annotation {PERMITTED} cannot be judged here");
                findings.unread(format!("Namespace {}", shown(&namespace.metadata.name)), what);
                return;
            }
        },
    };
    if forbidden.is_empty() {
        return;
    }
    let what = match permitted {
        None => format!("it has no annotation {PERMITTED}, without which kiam gives its Pods no role"),
        Some(_) => format!("its annotation {PERMITTED} does not match {}", listed(forbidden.iter().copied())),
    };
    let escaped: Vec<_> = forbidden.iter().take(5).map(|role| regex::escape(role)).collect();
    let wanted = match permitted.filter(|pattern| !pattern.is_empty()) {
        Some(pattern) => format!("({pattern})|{}", escaped.join("|")),
        None => escaped.join("|"),
    };
    let fix = format!(
        "kubectl annotate namespace {} --overwrite {}",
        word(&namespace.metadata.name),
        word(&format!("{PERMITTED}={wanted}"))
    );
    findings.add(&KIAM_NAMESPACE, place, what, fix);
}

/// kube2iam takes a JSON array of globs or regular expressions, each also behind its base. Which of both it
/// was told is not seen here, so that a role is called forbidden only where neither reading allows it.
fn kube2iam_allows(namespace: &Namespace, allowed: &str, roles: &BTreeSet<&str>, findings: &mut Findings) {
    let place = Place::of("Namespace", &namespace.metadata);
    let command = |roles: &[&str]| {
        let roles = serde_json::to_string(roles).unwrap_or_default();
        let annotation = word(&format!("{ALLOWED}={roles}"));
        format!("kubectl annotate namespace {} --overwrite {annotation}", word(&namespace.metadata.name))
    };
    let Ok(items) = serde_json::from_str::<Vec<String>>(allowed) else {
        let what =
            format!("its annotation {ALLOWED} is no JSON array of texts, so that kube2iam allows nothing");
        let roles: Vec<_> = roles.iter().copied().take(5).collect();
        findings.add(&KUBE2IAM_NAMESPACE, place, what, command(&roles));
        return;
    };
    if items.len() > MAX_PATTERNS {
        findings.unread(
            format!("Namespace {}", shown(&namespace.metadata.name)),
            format!("its annotation {ALLOWED} has more than {MAX_PATTERNS} roles"),
        );
        return;
    }
    let allowed: Vec<Allowed> = items.iter().map(|item| Allowed::of(item)).collect();
    let forbidden: Vec<&str> =
        roles.iter().copied().filter(|role| !allowed.iter().any(|item| item.allows(role))).collect();
    if forbidden.is_empty() {
        return;
    }
    let wanted: Vec<&str> = items.iter().map(String::as_str).chain(forbidden.iter().copied()).collect();
    let what = format!(
        "its annotation {ALLOWED} does not name {}: kube2iam refuses it where it runs with \
         --namespace-restrictions",
        listed(forbidden.iter().copied())
    );
    findings.add(&KUBE2IAM_NAMESPACE, place, what, command(&wanted));
}

/// A role that kube2iam allows, in both readings. A pattern that cannot be read here may allow everything.
struct Allowed {
    is_arn: bool,
    glob: Option<Regex>,
    regex: Option<Regex>,
}

impl Allowed {
    fn of(item: &str) -> Self {
        let is_arn = is_arn(item);
        let item = if is_arn { item } else { name_of(item) };
        let glob = regex::escape(item).replace(r"\*", ".*");
        Self { is_arn, glob: compiled(&format!("^(?:{glob})$")), regex: compiled(item) }
    }

    fn allows(&self, role: &str) -> bool {
        let role = if self.is_arn && is_arn(role) { role } else { name_of(role) };
        [&self.glob, &self.regex].into_iter().any(|one| one.as_ref().is_none_or(|one| one.is_match(role)))
    }
}

/// Returns a role's path and name, which is what stands behind a base.
fn name_of(role: &str) -> &str {
    role.split_once(":role/").map_or(role, |(_, name)| name).trim_start_matches('/')
}

fn compiled(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN).nest_limit(50).build().ok()
}
