//! Do the Pods run as ServiceAccounts that the mapping's roles reach?

use std::collections::BTreeMap;

use super::findings::{Check, Findings, Place, listed, shown, word};
use super::view::{AccountView, PodView, View};
use super::{REFERENCE, Severity};
use crate::engine::object::component::Component;
use crate::engine::rules::arn;

/// Pods run as `default` while a role is mapped for their component.
pub(super) const DEFAULT_ACCOUNT: Check = Check {
    id: "default-account",
    severity: Severity::Problem,
    reference: "https://docs.gitlab.com/charts/charts/globals/#service-accounts",
};

/// A component is mapped, but the ServiceAccount of its Pods carries no labels of a chart.
pub(super) const ACCOUNT_WITHOUT_LABELS: Check = Check {
    id: "account-without-labels",
    severity: Severity::Problem,
    reference: "https://gitlab.com/gitlab-org/cloud-native/gitlab-operator/-/issues/927",
};

/// Components that share a ServiceAccount are mapped to different roles.
pub(super) const SHARED_ACCOUNT: Check = Check {
    id: "shared-account",
    severity: Severity::Problem,
    reference: "https://gitlab.com/gitlab-org/gitlab/-/issues/572486",
};

/// Pods name a ServiceAccount that does not exist.
pub(super) const ACCOUNT_MISSING: Check = Check {
    id: "account-missing",
    severity: Severity::Problem,
    reference: "https://gitlab.com/gitlab-org/charts/gitlab/-/issues/3087",
};

/// The role of a ServiceAccount is no ARN.
pub(super) const ROLE_NOT_ARN: Check =
    Check { id: "role-not-arn", severity: Severity::Problem, reference: REFERENCE.irsa };

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for pod in &view.pods {
        runs_as_default(pod, findings);
        names_an_account_that_is_there(view, pod, findings);
    }
    shared_accounts(view, findings);
    for account in view.accounts.values() {
        has_an_arn(account, findings);
    }
}

fn runs_as_default(view: &PodView<'_>, findings: &mut Findings) {
    let (true, Some((rule, role))) = (view.is_unreached, &view.irsa_rule) else { return };
    let component = view.component.map_or("this Pod", Component::name);
    let what = format!(
        "it runs as the ServiceAccount `default`, which the role {} of {component} (rule {}) does not reach",
        shown(role),
        shown(rule)
    );
    let fix = view.component.and_then(Component::account_advice).map_or_else(
        || {
            "map it with `provider: kube2iam` or `kiam`: no value of its chart gives it a ServiceAccount"
                .to_owned()
        },
        |advice| format!("{advice}, and run helm upgrade"),
    );
    findings.add(&DEFAULT_ACCOUNT, Place::of_pod(view.pod), what, fix);
}

fn names_an_account_that_is_there<'a>(view: &View<'a>, pod: &PodView<'a>, findings: &mut Findings) {
    let (namespace, name) = (pod.pod.metadata.namespace.as_str(), pod.pod.service_account());
    if pod.component.is_none() || view.account_of(pod).is_some() {
        return;
    }
    if !view.scene.inventory.is_live {
        // Each namespace has a `default`, which no chart writes.
        if name != "default" {
            let what = format!("ServiceAccount {}/{}", shown(namespace), shown(name));
            findings.unread(what, "Pods name it, and it is in none of the manifests");
        }
        return;
    }
    if !view.knows_accounts(namespace) {
        return;
    }
    findings.add(
        &ACCOUNT_MISSING,
        Place::of_pod(pod.pod),
        format!("it names the ServiceAccount {}, which does not exist", shown(name)),
        format!("kubectl -n {} create serviceaccount {}", word(namespace), word(name)),
    );
}

/// Looks at the accounts that several Pods share, of which no rule decides on the account itself.
fn shared_accounts(view: &View<'_>, findings: &mut Findings) {
    let mut wanted: BTreeMap<(&str, &str), BTreeMap<&str, Component>> = BTreeMap::new();
    for pod in view.pods.iter().filter(|pod| !pod.is_unreached) {
        if let (Some(component), Some((_, role))) = (pod.component, &pod.irsa_rule) {
            let key = (pod.pod.metadata.namespace.as_str(), pod.pod.service_account());
            wanted.entry(key).or_default().entry(role).or_insert(component);
        }
    }
    for (key, roles) in wanted {
        let Some(account) = view.accounts.get(&key) else { continue };
        if account.has_rule || account.present.is_some_and(|role| !role.is_empty()) {
            continue;
        }
        let place = Place::of("ServiceAccount", &account.account.metadata);
        let components = listed(roles.values().map(|component| component.name()));
        let Some(role) = roles.keys().next() else { continue };
        if roles.len() > 1 {
            let what = format!(
                "the Pods of {components} share it, the mapping gives them different roles, and a \
                 ServiceAccount can have one"
            );
            let fix = format!(
                "give each its own account (without global.serviceAccount.name), or decide for one role: {}",
                rule_to_paste(key, role)
            );
            findings.add(&SHARED_ACCOUNT, place, what, fix);
        } else if account.component.is_none() {
            let what = format!(
                "the Pods of {components} run as it, but it lacks the labels of GitLab's charts (app, chart, \
                 release), so that no rule by component matches it"
            );
            let fix = format!("add this rule to the mapping: {}", rule_to_paste(key, role));
            findings.add(&ACCOUNT_WITHOUT_LABELS, place, what, fix);
        }
    }
}

/// Returns the rule that gives a ServiceAccount a role, whoever made it. JSON is YAML, too.
pub(super) fn rule_to_paste((namespace, name): (&str, &str), role: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(shown(text)).to_string();
    let (namespace, name, role) = (quoted(namespace), quoted(name), quoted(role));
    format!("- {{match: {{namespace: {namespace}, serviceAccount: {name}}}, provider: irsa, role: {role}}}")
}

fn has_an_arn(account: &AccountView<'_>, findings: &mut Findings) {
    let Some(role) = account.present else { return };
    let Err(error) = arn::check_arn(role) else { return };
    let metadata = &account.account.metadata;
    findings.add(
        &ROLE_NOT_ARN,
        Place::of("ServiceAccount", metadata),
        format!("its annotation eks.amazonaws.com/role-arn is no role: {}", shown(&error.to_string())),
        format!(
            "kubectl -n {} annotate serviceaccount {} --overwrite \
             eks.amazonaws.com/role-arn=arn:aws:iam::ACCOUNT:role/NAME",
            word(&metadata.namespace),
            word(&metadata.name)
        ),
    );
}
