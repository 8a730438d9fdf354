//! What is wrong with an installation or with GitLab beside it, and how is it mended?
//!
//! The checks are pure: what they look at was collected before, in a cluster or in manifests.

pub mod installation;

use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Inventory, Unread};

/// What the checks look at.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The objects.
    pub inventory: &'a Inventory,
    /// The mapping, where one is known.
    pub ruleset: Option<&'a Ruleset>,
    /// Whether the inventory's Secrets may be looked at.
    pub reads_secrets: bool,
    /// The namespaces in which the webhook itself runs.
    pub own_namespaces: &'a [String],
    /// The chart's `namespaces`: the only ones that the webhook works in. `None` where they are not known, or
    /// it works in all.
    pub served_namespaces: Option<&'a [String]>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A role does not arrive, or is not used.
    Problem,
    /// A role may not arrive under conditions that cannot be seen here.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the check, as `static-keys`. It never changes, so that scripts can know it, and
    /// `docs/troubleshooting.md` has a heading of that name.
    pub check: &'static str,
    /// The object, as `Secret gitlab/object-storage`.
    pub place: String,
    /// What is wrong, in a sentence without a full stop.
    pub what: String,
    /// How to mend it, as an imperative sentence without a full stop.
    pub fix: String,
    /// Where this can be read up: an issue or a page.
    pub reference: &'static str,
}

/// What came of all checks.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why.
    pub unread: Vec<Unread>,
}

/// Runs every check of GitLab and of its objects.
#[must_use]
pub fn examine(_: &Scene<'_>) -> Report {
    Report::default()
}
