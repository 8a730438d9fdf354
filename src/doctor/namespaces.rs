//! Is GitLab in namespaces that have opted in, and has nothing else opted in or been left behind?

use std::collections::{BTreeMap, BTreeSet};

use super::Severity;
use super::findings::{Check, Findings, Place, listed, shown, word};
use super::view::{AccountView, View};
use crate::engine::object::component::Component;
use crate::engine::object::provider::{Keys, Provider};
use crate::engine::object::subject::{APPLIED, INJECT};

const OPERATING: &str = "docs/operating.md";

/// GitLab is in a namespace that carries no label of ours, or one that does nothing.
pub(super) const NOT_LABELLED: Check =
    Check { id: "namespace-not-labelled", severity: Severity::Problem, reference: OPERATING };

/// GitLab is in a namespace that is only observed.
pub(super) const OBSERVED: Check =
    Check { id: "namespace-observed", severity: Severity::Warning, reference: OPERATING };

/// The webhook's own namespace, or kube-system, carries our label.
pub(super) const OWN_NAMESPACE: Check =
    Check { id: "own-namespace", severity: Severity::Problem, reference: "docs/security.md" };

/// A namespace carries our label, but the webhook was told to work in others only.
pub(super) const NOT_SERVED: Check =
    Check { id: "namespace-not-served", severity: Severity::Problem, reference: OPERATING };

/// A ServiceAccount carries roles that we set, in a namespace that has not opted in.
pub(super) const ORPHAN: Check = Check { id: "orphan", severity: Severity::Warning, reference: OPERATING };

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (namespace, components) in with_gitlab(view) {
        has_opted_in(view, namespace, &components, findings);
    }
    for namespace in &view.scene.inventory.namespaces {
        let name = namespace.metadata.name.as_str();
        let label = namespace.metadata.label(INJECT).unwrap_or_default();
        if !matches!(label, "" | "disabled") {
            has_a_label_that_acts(view, name, label, findings);
        }
    }
    for account in view.accounts.values() {
        is_no_orphan(view, account, findings);
    }
}

/// Returns the namespaces in which something of GitLab's expects a role, with what that is.
fn with_gitlab<'v>(view: &'v View<'_>) -> BTreeMap<&'v str, BTreeSet<&'static str>> {
    let mut found: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
    // Where the mapping is known, a namespace in which it decides nothing needs no label.
    let is_unknown = view.scene.ruleset.is_none();
    for pod in view.expecting() {
        let is_decided = pod.has_rule || view.account_of(pod).is_some_and(|account| account.has_rule);
        if let (Some(component), true) = (pod.component, is_unknown || is_decided) {
            found.entry(&pod.pod.metadata.namespace).or_default().insert(component.name());
        }
    }
    for account in view.accounts.values() {
        if let (Some(component), true) = (account.component, account.has_rule) {
            found.entry(&account.account.metadata.namespace).or_default().insert(Component::name(component));
        }
    }
    found
}

fn is_excepted(view: &View<'_>, namespace: &str) -> bool {
    namespace == "kube-system" || view.scene.own_namespaces.iter().any(|own| own == namespace)
}

fn has_opted_in(view: &View<'_>, namespace: &str, found: &BTreeSet<&'static str>, findings: &mut Findings) {
    let Some(label) = view.our_label(namespace).filter(|_| !is_excepted(view, namespace)) else { return };
    let Some(metadata) = view.namespace(namespace).map(|namespace| &namespace.metadata) else { return };
    let place = Place::of("Namespace", metadata);
    // With the label, nothing more is admitted while nobody answers, where the failure policy is Fail.
    let first = if view.scene.is_webhook_broken {
        "first mend the problems of the webhook above, then: "
    } else {
        ""
    };
    let command = format!("{first}kubectl label namespace {} --overwrite {INJECT}=enabled", word(namespace));
    let components = listed(found.iter().copied());
    match label {
        "enabled" | "disabled" => {}
        "observe" => findings.add(
            &OBSERVED,
            place,
            format!("GitLab is in it ({components}), but it is only observed: no role is written"),
            command,
        ),
        "" => findings.add(
            &NOT_LABELLED,
            place,
            format!("GitLab is in it ({components}), but nobody opted it in: no role is written"),
            command,
        ),
        other => findings.add(
            &NOT_LABELLED,
            place,
            format!("GitLab is in it ({components}), but its label {INJECT}={} does nothing", shown(other)),
            command,
        ),
    }
}

fn has_a_label_that_acts(view: &View<'_>, namespace: &str, label: &str, findings: &mut Findings) {
    let Some(metadata) = view.namespace(namespace).map(|namespace| &namespace.metadata) else { return };
    let label = shown(label);
    if is_excepted(view, namespace) {
        findings.add(
            &OWN_NAMESPACE,
            Place::of("Namespace", metadata),
            format!(
                "its label {INJECT}={label} does nothing: the webhook's own namespace and \
                 kube-system are left alone"
            ),
            format!(
                "kubectl label namespace {} {INJECT}-, and run GitLab in a namespace of its \
                 own",
                word(namespace)
            ),
        );
    } else if let Some(served) = view.scene.served_namespaces.filter(|served| !served.is_empty())
        && !served.iter().any(|one| one == namespace)
    {
        findings.add(
            &NOT_SERVED,
            Place::of("Namespace", metadata),
            format!(
                "its label {INJECT}={label} does nothing: the webhook works in {} only",
                listed(served.iter().map(String::as_str))
            ),
            format!("add {} to `namespaces` in the values of gitlab-iam-webhook's chart", word(namespace)),
        );
    }
}

fn is_no_orphan(view: &View<'_>, account: &AccountView<'_>, findings: &mut Findings) {
    let metadata = &account.account.metadata;
    let Some(label) = view.our_label(&metadata.namespace).filter(|label| *label != "enabled") else { return };
    let keys: Vec<String> = Provider::Irsa
        .service_account_keys()
        .into_iter()
        .flat_map(Keys::iter)
        .filter(|key| metadata.is_ours(key))
        .map(|key| format!("{key}-"))
        .collect();
    if keys.is_empty() {
        return;
    }
    let state =
        if label.is_empty() { "has not opted in".to_owned() } else { format!("says {}", shown(label)) };
    let (namespace, name) = (word(&metadata.namespace), word(&metadata.name));
    findings.add(
        &ORPHAN,
        Place::of("ServiceAccount", metadata),
        format!(
            "it carries a role that this webhook set, but its namespace {state}: nothing keeps it \
             in step any more"
        ),
        format!(
            "take it off (kubectl -n {namespace} annotate serviceaccount {name} {} {APPLIED}-), or opt the \
             namespace in (kubectl label namespace {namespace} --overwrite {INJECT}=enabled)",
            keys.join(" ")
        ),
    );
}
