//! Does each ServiceAccount carry what the mapping decides for it?

use super::Severity;
use super::findings::{Check, Findings, Place, shown, word};
use super::view::{AccountView, View};
use crate::engine::decision::Outcome;

/// A ServiceAccount does not carry what the mapping decides.
pub(super) const OUT_OF_STEP: Check =
    Check { id: "account-out-of-step", severity: Severity::Problem, reference: "docs/operating.md" };

/// A role that somebody else set stays in place of the mapping's.
pub(super) const KEPT: Check =
    Check { id: "role-kept", severity: Severity::Warning, reference: "docs/mapping.md" };

/// The role of a rule cannot be given.
pub(super) const REFUSED: Check =
    Check { id: "role-refused", severity: Severity::Problem, reference: "docs/mapping.md" };

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for account in view.accounts.values() {
        let metadata = &account.account.metadata;
        let place = Place::of("ServiceAccount", metadata);
        match account.outcome {
            Outcome::Set | Outcome::Replaced | Outcome::Removed => is_in_step(view, account, place, findings),
            Outcome::Kept => findings.add(
                &KEPT,
                place,
                kept(account),
                "write `onConflict: replace` into the rule, or take the role out of the chart's values",
            ),
            Outcome::Refused => refused(place, &account.told, findings),
            _ => {}
        }
    }
    for pod in &view.pods {
        if let Some(told) = &pod.refused {
            refused(Place::of_pod(pod.pod), told, findings);
        }
    }
}

/// Names both roles whole: what the decision tells is cut to the length of a warning of the API server's.
fn kept(account: &AccountView<'_>) -> String {
    match (account.present, &account.rule) {
        (Some(present), Some((rule, role))) => format!(
            "somebody else set its role {}, which is kept; rule {} of the mapping would give {}",
            shown(present),
            shown(rule),
            shown(role)
        ),
        _ => format!("somebody else set its role: {}", account.told),
    }
}

fn named(role: Option<&str>) -> String {
    role.filter(|role| !role.is_empty()).map_or_else(|| "none".to_owned(), shown)
}

fn is_in_step(view: &View<'_>, account: &AccountView<'_>, place: Place, findings: &mut Findings) {
    let metadata = &account.account.metadata;
    // Only what is in a cluster was or was not admitted.
    if !view.scene.inventory.is_live || view.our_label(&metadata.namespace) != Some("enabled") {
        return;
    }
    let (present, role) = (named(account.present), named(account.role.as_deref()));
    let what = if present == role {
        format!("it has the role {role}, but not the annotations that go with it in the mapping")
    } else {
        format!(
            "its role is {present}, but the mapping gives it {role}: the webhook has not seen it since the \
             mapping gives that"
        )
    };
    let (namespace, name) = (word(&metadata.namespace), word(&metadata.name));
    let fix = format!(
        "have the webhook decide again (kubectl -n {namespace} patch serviceaccount {name} --type merge \
         --patch '{{}}'), and restart its Pods; with `repair.enabled` in the values of \
         gitlab-iam-webhook's chart, the webhook patches such ServiceAccounts itself"
    );
    findings.add(&OUT_OF_STEP, place, what, fix);
}

fn refused(place: Place, told: &str, findings: &mut Findings) {
    findings.add(
        &REFUSED,
        place,
        told.to_owned(),
        "mend the rule's role, or allow it (`allowedRoles` in the values of gitlab-iam-webhook's chart)",
    );
}
