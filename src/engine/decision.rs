//! What should the annotations of an object be, and why?
//!
//! [`decide`] is the one decision function, whatever the entry point. The annotation
//! `gitlab-iam-webhook/applied` records each annotation that we set with its value. A value that is still
//! exactly what was recorded is ours, and follows the mapping. Every other value is a person's, and only
//! `onConflict: replace` and `remove: true` may touch it.

pub mod explain;
pub mod forecast;
pub mod impact;
mod last_applied;
mod merge;
mod outcome;
pub mod patch;
mod warning;
mod was;

use crate::engine::object::provider::{Keys, Provider};
pub use crate::engine::object::subject::{APPLIED, WAS};
use crate::engine::object::subject::{Kind, Pair, Subject, value_of};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::ruleset::{Ruleset, Winners};
use last_applied::LastApplied;
use merge::Merge;
pub use outcome::{Decision, Edit, Outcome, Verdict};
pub use warning::MAX_WARNING;
pub(in crate::engine) use warning::warning;
use warning::warning_within;

/// Decides on one object. Deciding again on an object that was changed accordingly changes nothing more.
#[must_use]
pub fn decide<'r>(ruleset: &'r Ruleset, subject: &Subject<'_>) -> Decision<'r> {
    decide_telling(ruleset, subject, MAX_WARNING)
}

/// Decides as [`decide`] does, with warnings of at most so many characters each.
pub(in crate::engine) fn decide_telling<'r>(
    ruleset: &'r Ruleset,
    subject: &Subject<'_>,
    longest_warning: usize,
) -> Decision<'r> {
    let facts = ruleset.facts(subject);
    let providers = provider_keys(subject.kind, ruleset.pod_provider());
    let mut decision = Decision {
        component: facts.component,
        disbelieved: facts.disbelieved,
        resembles: None,
        verdicts: Vec::with_capacity(2),
        edits: Vec::new(),
        warnings: Vec::new(),
    };
    // The author of a job may have written the opt-out and the record of what is ours: neither is honoured.
    if !facts.is_job && subject.is_opted_out() {
        let frozen = |(provider, _)| Verdict { provider, rule: None, role: None, outcome: Outcome::OptedOut };
        decision.verdicts.extend(providers.map(frozen));
        return decision;
    }
    let text = value_of(subject.annotations, APPLIED).filter(|_| !facts.is_job);
    let applied = text.and_then(LastApplied::parse);
    let winners = ruleset.winners(subject, &facts);
    let mut merge = Merge::new(ruleset, subject, &facts, applied.as_ref(), longest_warning);
    for (provider, keys) in providers {
        let winner = if provider == Provider::Irsa { winners.irsa } else { winners.pod };
        decision.verdicts.push(merge.merge(provider, keys, winner));
    }
    let (edits, warnings) = merge.finish(text);
    decision.edits = edits;
    decision.warnings = warnings;
    decision.resembles = facts.resembles.filter(|_| winners.irsa.is_none() && winners.pod.is_none());
    if let Some(claim) = unbelieved_claim(&facts, &winners) {
        decision.warnings.push(warning_within(longest_warning, claim));
    }
    decision
}

/// Whether an annotation still has exactly the value that we recorded, so that it is ours and nobody else's.
#[must_use]
pub fn is_ours(annotations: &[Pair<'_>], key: &str) -> bool {
    let applied = value_of(annotations, APPLIED).and_then(LastApplied::parse);
    let present = value_of(annotations, key);
    present.is_some() && applied.as_ref().and_then(|applied| applied.value(key)) == present
}

/// Returns the providers that act on a kind, with their annotations. On Pods the Pod's own provider comes
/// first.
fn provider_keys(kind: Kind, pod: Provider) -> impl Iterator<Item = (Provider, &'static Keys)> {
    let irsa_keys = match kind {
        Kind::ServiceAccount => Provider::Irsa.service_account_keys(),
        Kind::Pod => Some(Provider::Irsa.pod_keys()),
    };
    let pod = (kind == Kind::Pod).then(|| (pod, pod.pod_keys()));
    pod.into_iter().chain(irsa_keys.map(|keys| (Provider::Irsa, keys)))
}

/// Warns of a Pod that no rule matches, where its labels claim a component that its requester cannot vouch
/// for.
fn unbelieved_claim(facts: &Facts<'_>, winners: &Winners<'_>) -> Option<String> {
    let component = facts.disbelieved.filter(|_| winners.irsa.is_none() && winners.pod.is_none())?;
    Some(format!("no role: labels say {}, but no workload controller asked for this Pod", component.name()))
}
