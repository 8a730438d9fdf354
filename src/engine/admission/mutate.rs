//! How is an AdmissionReview about a ServiceAccount or a Pod answered?
//!
//! A review is read in place, for the rules of one mapping, and only what a decision could read is kept. What
//! is kept is unescaped only once its size is known ([`Request::weight`]), so that a review never takes a
//! multiple of its bytes.

use std::borrow::Cow;

use super::reply::Response;
use super::request::{Request, parse};
use super::wire::ReviewError;
use crate::engine::decision::patch;
use crate::engine::decision::{self, Decision, Outcome, Verdict};
use crate::engine::object::component::Component;
use crate::engine::object::owner::Owner;
use crate::engine::object::provider::Provider;
use crate::engine::rules::ruleset::Ruleset;

/// Whether the answer carries its patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `/mutate` answers with the patch.
    Mutate,
    /// `/observe` makes the same decision and answers without the patch.
    Observe,
}

impl Mode {
    /// Returns the word in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Observe => "observe",
        }
    }
}

/// The answer to a review, and what there is to say about it. It borrows from the request and the mapping.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The AdmissionReview to send, as JSON.
    pub body: Vec<u8>,
    /// `request.uid`
    pub uid: Cow<'a, str>,
    /// The operation, such as `CREATE` or `UPDATE`.
    pub operation: Cow<'a, str>,
    /// The kind of the object, as it was sent.
    pub kind: Cow<'a, str>,
    /// `request.namespace`
    pub namespace: Cow<'a, str>,
    /// The object's name, or its generateName where it has no name yet.
    pub name: Cow<'a, str>,
    /// Whether the request is a dry run, so that nothing will be stored.
    pub dry_run: bool,
    /// The warnings for a person.
    pub warnings: Vec<String>,
    /// What was decided, without its warnings; `None` where the webhook does not act on such a review.
    pub decision: Option<Decision<'a>>,
    /// The role that does not reach this Pod of GitLab's, where the Pod runs as `default`.
    pub unreached: Option<Unreached<'a>>,
}

/// A role that the mapping gives to a part of GitLab, and that does not reach a Pod of it, because the Pod
/// runs as the ServiceAccount `default`.
///
/// It is told only where a workload controller is about to create the Pod, so that nobody else can cause it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached<'a> {
    /// The part of GitLab.
    pub component: Component,
    /// What gives it a ServiceAccount of its own.
    pub advice: &'static str,
    /// The rule that gives the role.
    pub rule: &'a str,
    /// The role.
    pub role: Cow<'a, str>,
    /// The workload that the Pod belongs to, where it is known.
    pub owner: Option<Owner<'a>>,
}

impl Reply<'_> {
    /// Returns the outcome that is most worth telling.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.decision.as_ref().map_or(Outcome::Undecided, Decision::outcome)
    }
}

/// Answers one AdmissionReview: the one pure call of the admission path. The server makes it in its two
/// parts, [`parse`] and [`Request::answer`], and asks in between how much memory the answer takes.
///
/// # Errors
/// Returns an error where the body is no AdmissionReview that can be answered. The HTTP answer is then 400
/// with its text.
pub fn respond<'a>(body: &'a [u8], ruleset: &'a Ruleset, mode: Mode) -> Result<Reply<'a>, ReviewError> {
    parse(body, ruleset)?.answer(mode)
}

impl<'a> Request<'a> {
    /// Decides on the object by the rules that the request was read for, and writes the answer.
    ///
    /// # Errors
    /// Returns an error where the request lacks its object, or holds bytes that are not UTF-8.
    pub fn answer(self, mode: Mode) -> Result<Reply<'a>, ReviewError> {
        let names = self.names()?;
        let (decision, patch, mut warnings) = match self.acts_on() {
            Ok(kind) => {
                let metadata = self.metadata.as_ref().ok_or(ReviewError::NoObject)?;
                let pairs = metadata.pairs()?;
                let mut decision = decision::decide(self.ruleset, &self.subject(kind, &names, &pairs));
                let patch = patch::patch(&decision.edits, pairs.annotations.as_deref());
                let patch = patch.map_err(ReviewError::Answer)?;
                let warnings = std::mem::take(&mut decision.warnings);
                (Some(decision), patch, warnings)
            }
            Err(reason) => (None, Vec::new(), vec![decision::warning(reason)]),
        };
        if mode == Mode::Observe
            && let Some(decision) = decision.as_ref().filter(|_| !patch.is_empty())
        {
            warnings.insert(0, observed(decision));
        }
        let response = Response {
            uid: &self.uid,
            patch: Some(patch).filter(|patch| mode == Mode::Mutate && !patch.is_empty()),
            warnings: &warnings,
            audit_annotations: audit_annotations(mode, decision.as_ref()),
        };
        let body = response.into_body()?;
        let unreached = decision.as_ref().and_then(|decision| self.unreached(decision));
        Ok(Reply {
            body,
            uid: self.uid,
            operation: self.operation,
            kind: self.kind,
            namespace: self.namespace,
            name: names.shown,
            dry_run: self.dry_run,
            warnings,
            decision,
            unreached,
        })
    }

    /// Returns the role that does not reach a Pod. The component of a Pod is believed of workload controllers
    /// and of runners only, and for a job's Pod there is no advice.
    fn unreached(&self, decision: &Decision<'a>) -> Option<Unreached<'a>> {
        let missed = |verdict: &&Verdict<'_>| verdict.outcome == Outcome::DefaultAccount;
        let verdict = decision.verdicts.iter().find(missed).filter(|_| !self.dry_run)?;
        let component = decision.component?;
        Some(Unreached {
            component,
            advice: component.account_advice()?,
            rule: &verdict.rule?.name,
            role: verdict.role.clone()?,
            // What cannot be read names nobody.
            owner: self.metadata.as_ref().and_then(|metadata| metadata.owner().ok().flatten()),
        })
    }
}

fn observed(decision: &Decision<'_>) -> String {
    let Some(verdict) = decision.leading() else {
        return String::new();
    };
    let rule = verdict.rule.map_or("none", |rule| &*rule.name);
    decision::warning(match &verdict.role {
        Some(role) => format!("observed, not written: role {role}, rule {rule}"),
        None => format!("observed, not written: values come off, rule {rule}"),
    })
}

/// Returns the rule, the role and the outcome for each provider, which the API server writes into its audit
/// log.
fn audit_annotations<'a>(mode: Mode, decision: Option<&'a Decision<'_>>) -> Vec<(&'static str, &'a str)> {
    let mut annotations = Vec::with_capacity(7);
    let told = |outcome| !matches!(outcome, Outcome::NoRule | Outcome::Undecided);
    let verdicts = decision.map(|decision| decision.verdicts.as_slice()).unwrap_or_default();
    for verdict in verdicts.iter().filter(|verdict| told(verdict.outcome)) {
        let [outcome, rule, role] = match verdict.provider {
            Provider::Irsa => ["irsa-outcome", "irsa-rule", "irsa-role"],
            Provider::Kube2iam => ["kube2iam-outcome", "kube2iam-rule", "kube2iam-role"],
            Provider::Kiam => ["kiam-outcome", "kiam-rule", "kiam-role"],
        };
        annotations.push((outcome, verdict.outcome.name()));
        annotations.extend(verdict.rule.map(|winner| (rule, &*winner.name)));
        annotations.extend(verdict.role.as_deref().map(|given| (role, given)));
    }
    if mode == Mode::Observe && !annotations.is_empty() {
        annotations.push(("mode", mode.name()));
    }
    annotations
}
