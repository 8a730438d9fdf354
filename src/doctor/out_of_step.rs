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
                format!("somebody else set its role: {}", account.told),
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
        format!("its role is {present}, and the mapping decides for {role}: it was not admitted since")
    };
    let (namespace, name) = (word(&metadata.namespace), word(&metadata.name));
    let fix = format!(
        "kubectl -n {namespace} patch serviceaccount {name} --type merge --patch '{{}}', and restart \
         its Pods; \
         `--repair` does it by itself"
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
