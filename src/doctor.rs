//! What is wrong with an installation or with GitLab beside it, and how is it mended?
//!
//! The checks are pure: what they look at was collected before, in a cluster or in manifests. Each file is a
//! family of them, and `CHECKS` names them all, as docs/doctor.md does.

mod accounts;
mod annotations;
mod chain;
mod credentials;
mod findings;
pub mod installation;
mod metadata_roles;
mod namespaces;
mod out_of_step;
mod regional_sts;
mod runner_cache;
mod secrets;
mod stale;
#[cfg(test)]
mod tests;
mod values;
mod view;

pub use findings::{Check, Findings, MAX_FINDINGS, Place};
pub use values::ValuesFile;

use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Inventory, Unread};
use view::View;

/// What the checks look at.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The objects.
    pub inventory: &'a Inventory,
    /// The mapping, where one is known.
    pub ruleset: Option<&'a Ruleset>,
    /// Whether the inventory's Secrets may be looked at.
    pub reads_secrets: bool,
    /// The values that GitLab is installed with, where somebody handed them in.
    pub values: &'a [ValuesFile],
    /// The namespaces in which the webhook itself runs.
    pub own_namespaces: &'a [String],
    /// The chart's `namespaces`: the only ones that the webhook works in. `None` where they are not known, or
    /// it works in all.
    pub served_namespaces: Option<&'a [String]>,
    /// Whether the webhook itself is known to have a problem: a namespace that is opted in before that is
    /// mended may be left without new ServiceAccounts.
    pub is_webhook_broken: bool,
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
    /// `docs/doctor.md` has a row of that name.
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

/// Why Secrets are not looked at where nobody asked for them.
pub const SECRETS_NOT_ASKED: &str = "Secrets are read with --secrets only";

/// Something that was not looked at, so that nothing is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What it is, as `Secret gitlab/storage key connection`.
    pub what: String,
    /// Why, in words.
    pub why: String,
}

impl From<&Unread> for Gap {
    fn from(unread: &Unread) -> Self {
        Self { what: unread.to_string(), why: unread.why.clone() }
    }
}

/// What came of all checks.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// How many more findings there are than are told.
    pub more: usize,
    /// What was not looked at, and why.
    pub unread: Vec<Gap>,
}

/// Pages that several checks refer to.
struct References {
    irsa: &'static str,
    object_storage: &'static str,
    pod_identity: &'static str,
    kube2iam: &'static str,
    kiam: &'static str,
}

const REFERENCE: References = References {
    irsa: "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
    object_storage: "https://docs.gitlab.com/charts/advanced/external-object-storage/aws-iam-roles/",
    pod_identity: "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html",
    kube2iam: "https://github.com/jtblin/kube2iam#namespace-restrictions",
    kiam: "https://github.com/uswitch/kiam#overview",
};

/// Every check of GitLab and of its objects, in the order of docs/doctor.md.
pub const CHECKS: &[&Check] = &[
    &namespaces::NOT_LABELLED,
    &namespaces::OBSERVED,
    &namespaces::OWN_NAMESPACE,
    &namespaces::NOT_SERVED,
    &namespaces::ORPHAN,
    &accounts::DEFAULT_ACCOUNT,
    &accounts::ACCOUNT_WITHOUT_LABELS,
    &accounts::SHARED_ACCOUNT,
    &accounts::ACCOUNT_MISSING,
    &accounts::ROLE_NOT_ARN,
    &out_of_step::OUT_OF_STEP,
    &out_of_step::KEPT,
    &out_of_step::REFUSED,
    &annotations::TYPO,
    &annotations::WRONG_OBJECT,
    &annotations::WITHOUT_EFFECT,
    &stale::WITHOUT_ROLE,
    &stale::OTHER_ROLE,
    &stale::ROLE_BY_HAND,
    &chain::STATIC_ENV,
    &chain::PROFILE,
    &chain::CREDENTIALS_FILE,
    &chain::VAULT_AGENT,
    &chain::POD_IDENTITY,
    &regional_sts::REGIONAL_STS,
    &regional_sts::CHINA_STS,
    &metadata_roles::KIAM_NAMESPACE,
    &metadata_roles::KUBE2IAM_NAMESPACE,
    &metadata_roles::BARE_ROLE,
    &metadata_roles::HOST_NETWORK,
    &metadata_roles::METADATA_DISABLED,
    &credentials::STATIC_KEYS,
    &credentials::USE_IAM_PROFILE,
    &credentials::STORAGE_ENDPOINT,
    &credentials::STORAGE_PROVIDER,
    &credentials::REGISTRY_KEYS,
    &credentials::REGISTRY_ENDPOINT,
    &credentials::REGISTRY_V4AUTH,
    &credentials::S3CMD_KEYS,
    &credentials::S3CMD_POD_IDENTITY,
    &runner_cache::KEYS,
    &runner_cache::AUTHENTICATION_TYPE,
    &runner_cache::ASSUMES_ROLE,
    &runner_cache::LEGACY_ADAPTER,
    &values::DEAD_VALUE,
];

/// Runs every check of GitLab and of its objects.
pub fn examine(scene: &Scene<'_>, findings: &mut Findings) {
    let view = View::of(scene);
    namespaces::check(&view, findings);
    accounts::check(&view, findings);
    out_of_step::check(&view, findings);
    annotations::check(&view, findings);
    stale::check(&view, findings);
    chain::check(&view, findings);
    regional_sts::check(&view, findings);
    metadata_roles::check(&view, findings);
    credentials::check(&view, findings);
    runner_cache::check(&view, findings);
    values::check(&view, findings);
}
