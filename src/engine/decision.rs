//! What should an object's annotations be, and why? The one decision function, whatever the entry point.
//!
//! Who owns a value is told by `gitlab-iam-webhook/applied`, which records each annotation that we set with its value.
//! A value that is still exactly what it records is ours and follows the mapping; every other value is a person's,
//! and only `onConflict: replace` and `remove: true` may touch it.

pub mod explain;
pub mod impact;
mod last_applied;
mod merge;
mod outcome;
pub mod patch;
mod warning;
mod was;

use crate::engine::object::provider::{Keys, Provider};
pub use crate::engine::object::subject::{APPLIED, WAS};
use crate::engine::object::subject::{Kind, Subject, value_of};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::ruleset::{Ruleset, Winners};
use last_applied::LastApplied;
use merge::Merge;
pub use outcome::{Decision, Edit, Outcome, Verdict};
pub use warning::MAX_WARNING;
pub(in crate::engine) use warning::warning;

/// Decides on one object. Deciding again on the outcome changes nothing.
#[must_use]
pub fn decide<'r>(ruleset: &'r Ruleset, subject: &Subject<'_>) -> Decision<'r> {
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
    // What the author of a job may write is not honoured: neither the opt-out nor a record of what is ours.
    if !facts.is_job && subject.is_opted_out() {
        let frozen = |(provider, _)| Verdict { provider, rule: None, role: None, outcome: Outcome::OptedOut };
        decision.verdicts.extend(providers.map(frozen));
        return decision;
    }
    let text = value_of(subject.annotations, APPLIED).filter(|_| !facts.is_job);
    let applied = text.and_then(LastApplied::parse);
    let winners = ruleset.winners(subject, &facts);
    let mut merge = Merge::new(ruleset, subject, &facts, applied.as_ref());
    for (provider, keys) in providers {
        let winner = if provider == Provider::Irsa { winners.irsa } else { winners.pod };
        decision.verdicts.push(merge.merge(provider, keys, winner));
    }
    let (edits, warnings) = merge.finish(text);
    decision.edits = edits;
    decision.warnings = warnings;
    decision.resembles = facts.resembles.filter(|_| winners.irsa.is_none() && winners.pod.is_none());
    if let Some(claim) = unbelieved_claim(&facts, &winners) {
        decision.warnings.push(claim);
    }
    decision
}

/// The providers that act on a kind, with their annotations. On Pods the Pod's own provider comes first.
fn provider_keys(kind: Kind, pod: Provider) -> impl Iterator<Item = (Provider, &'static Keys)> {
    let irsa_keys = match kind {
        Kind::ServiceAccount => Provider::Irsa.service_account_keys(),
        Kind::Pod => Some(Provider::Irsa.pod_keys()),
    };
    let pod = (kind == Kind::Pod).then(|| (pod, pod.pod_keys()));
    pod.into_iter().chain(irsa_keys.map(|keys| (Provider::Irsa, keys)))
}

/// A Pod without a rule whose labels claim a component that its requester cannot vouch for.
fn unbelieved_claim(facts: &Facts<'_>, winners: &Winners<'_>) -> Option<String> {
    let component = facts.disbelieved.filter(|_| winners.irsa.is_none() && winners.pod.is_none())?;
    Some(warning(format_args!(
        "no role: labels say {}, but no workload controller asked for this Pod",
        component.name()
    )))
}
