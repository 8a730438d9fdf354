//! What is wrong with an installation of the webhook?

mod gaps;
mod mapping;
mod registration;
mod running;
mod trust;

use std::time::SystemTime;

pub use gaps::gaps;

use crate::doctor::{Finding, Severity};
use crate::engine::rules::ruleset::Ruleset;
use crate::installation::{Installation, Webhook};

/// The names of the checks of an installation. `docs/doctor.md` has a row for each.
pub const CHECKS: [&str; 13] = [
    "not-installed",
    "registration",
    "namespace-selector",
    "failure-policy",
    "timeout",
    "ca-bundle",
    "certificate",
    "deployment",
    "endpoints",
    "versions",
    "reach",
    "mapping",
    "eks-webhook",
];

/// What the findings are about, and where they are collected.
struct Checkup<'a> {
    installation: &'a Installation,
    /// The mapping by which is decided, or which was given instead.
    ruleset: Option<&'a Ruleset>,
    now: SystemTime,
    findings: Vec<Finding>,
}

/// What is told of a finding, beside how bad it is.
struct Told {
    check: &'static str,
    place: String,
    what: String,
    fix: String,
    reference: &'static str,
}

/// Returns all that is wrong. `ruleset` is the mapping by which is decided, where it is known.
#[must_use]
pub fn examine(installation: &Installation, ruleset: Option<&Ruleset>, now: SystemTime) -> Vec<Finding> {
    let mut checkup = Checkup { installation, ruleset, now, findings: Vec::new() };
    // What does not run explains most of the rest.
    running::check(&mut checkup);
    registration::check(&mut checkup);
    trust::check(&mut checkup);
    mapping::check(&mut checkup);
    checkup.findings
}

/// The finding where the cluster has no installation at all, or none whose configurations have this name.
#[must_use]
pub fn not_installed(name: Option<&str>) -> Finding {
    let what = name.map_or_else(
        || "none of them is of gitlab-iam-webhook".to_owned(),
        |name| format!("none of them has the name {name}"),
    );
    Finding {
        severity: Severity::Problem,
        check: "not-installed",
        place: "webhook configurations".to_owned(),
        what: format!("{what}, so nothing gives ServiceAccounts and Pods their roles"),
        fix: "install the chart, in a namespace of its own: helm install gitlab-iam-webhook \
              charts/gitlab-iam-webhook --namespace gitlab-iam-webhook --create-namespace"
            .to_owned(),
        reference: "README.md",
    }
}

impl Checkup<'_> {
    fn problem(&mut self, told: Told) {
        self.find(Severity::Problem, told);
    }

    fn warning(&mut self, told: Told) {
        self.find(Severity::Warning, told);
    }

    fn find(&mut self, severity: Severity, told: Told) {
        let Told { check, place, what, fix, reference } = told;
        self.findings.push(Finding { severity, check, place, what, fix, reference });
    }

    /// The Deployment, as a place.
    fn deployment(&self) -> String {
        format!("Deployment {}/{}", self.installation.namespace, self.installation.service)
    }
}

/// The faults of entries, each once, with the names of all entries that have it.
fn together(webhooks: &[Webhook], fault: impl Fn(&Webhook) -> Option<String>) -> Vec<(String, String)> {
    let mut faults: Vec<(String, Vec<&str>)> = Vec::new();
    for webhook in webhooks {
        let Some(what) = fault(webhook) else { continue };
        match faults.iter_mut().find(|(known, _)| *known == what) {
            Some((_, names)) => names.push(&webhook.name),
            None => faults.push((what, vec![&webhook.name])),
        }
    }
    faults.into_iter().map(|(what, names)| (what, names.join(", "))).collect()
}

#[cfg(test)]
mod tests;
