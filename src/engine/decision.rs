//! What should an object's annotations be, and why? The one decision function, whatever the entry point.
//!
//! Who owns a value is told by `gitlab-iam-webhook/applied`, which records each annotation that we set with its value.
//! A value that is still exactly what it records is ours and follows the mapping; every other value is a person's,
//! and only `onConflict: replace` and `remove: true` may touch it.

pub mod explain;
pub mod impact;
mod last_applied;
mod merge;
pub mod patch;
mod was;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::engine::object::component::Component;
use crate::engine::object::provider::{Keys, Provider};
pub use crate::engine::object::subject::{APPLIED, WAS};
use crate::engine::object::subject::{Kind, Subject, value_of};
use crate::engine::rules::rule::{Facts, Rule};
use crate::engine::rules::ruleset::Ruleset;
use last_applied::Applied;
use merge::Settlement;

/// The most characters that the API server should be given as one warning
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).
pub const MAX_WARNING: usize = 120;

/// What came of one provider on one object, from the least to the most worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The review was of something that this webhook does not act on.
    Undecided,
    /// No rule matches, and nothing of ours is there.
    NoRule,
    /// The rule's role stands on the ServiceAccount; a Pod carries nothing.
    OnServiceAccount,
    /// The same, but the Pod runs as `default`, which the rule does not reach.
    DefaultAccount,
    /// The rule says skip.
    Skipped,
    /// The object says `gitlab-iam-webhook/inject: disabled`.
    OptedOut,
    /// Everything is there already.
    InStep,
    /// No rule matches any more, and values of ours are left.
    Orphaned,
    /// Values are set.
    Set,
    /// Values come off.
    Removed,
    /// A foreign role stays.
    Kept,
    /// A foreign role gives way.
    Replaced,
    /// The rule's role cannot be given to this object.
    Refused,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 13] = [
        Self::Undecided,
        Self::NoRule,
        Self::OnServiceAccount,
        Self::DefaultAccount,
        Self::Skipped,
        Self::OptedOut,
        Self::InStep,
        Self::Orphaned,
        Self::Set,
        Self::Removed,
        Self::Kept,
        Self::Replaced,
        Self::Refused,
    ];

    /// The word in logs, metrics and the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::NoRule => "no_rule",
            Self::OnServiceAccount => "on_service_account",
            Self::DefaultAccount => "default_account",
            Self::Skipped => "skipped",
            Self::OptedOut => "opted_out",
            Self::InStep => "in_step",
            Self::Orphaned => "orphaned",
            Self::Set => "set",
            Self::Removed => "removed",
            Self::Kept => "kept",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
        }
    }
}

/// One annotation that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit<'r> {
    /// The annotation.
    pub key: &'static str,
    /// Its new value; `None` takes it off.
    pub value: Option<Cow<'r, str>>,
}

/// What was decided for one provider.
#[derive(Clone, Debug)]
pub struct Verdict<'r> {
    /// The provider.
    pub provider: Provider,
    /// The rule that won.
    pub rule: Option<&'r Rule>,
    /// The role that the rule gives this object; none where it gives none.
    pub role: Option<Cow<'r, str>>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was decided for one object.
#[derive(Clone, Debug)]
pub struct Decision<'r> {
    /// Which part of GitLab it is believed to be.
    pub component: Option<Component>,
    /// What its labels claim, where they are not believed.
    pub disbelieved: Option<Component>,
    /// What a Pod of a chart before 4.9 looks like, where no rule decides on it.
    pub resembles: Option<Component>,
    /// For each provider that acts on this kind.
    pub verdicts: Vec<Verdict<'r>>,
    /// The annotations that change, each key once.
    pub edits: Vec<Edit<'r>>,
    /// What a person must know, each at most [`MAX_WARNING`] characters.
    pub warnings: Vec<String>,
}

impl Decision<'_> {
    /// The outcome most worth telling.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.verdicts.iter().map(|verdict| verdict.outcome).max().unwrap_or(Outcome::NoRule)
    }

    /// The verdict most worth telling.
    #[must_use]
    pub fn leading(&self) -> Option<&Verdict<'_>> {
        self.verdicts.iter().max_by_key(|verdict| verdict.outcome)
    }
}

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
    let applied = text.and_then(Applied::parse);
    let winners = ruleset.winners(subject, &facts);
    let mut settlement = Settlement::new(ruleset, subject, &facts, applied.as_ref());
    for (provider, keys) in providers {
        let winner = if provider == Provider::Irsa { winners.irsa } else { winners.pod };
        decision.verdicts.push(settlement.settle(provider, keys, winner));
    }
    let (edits, warnings) = settlement.finish(text);
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
fn unbelieved_claim(
    facts: &Facts<'_>,
    winners: &crate::engine::rules::ruleset::Winners<'_>,
) -> Option<String> {
    let component = facts.disbelieved.filter(|_| winners.irsa.is_none() && winners.pod.is_none())?;
    Some(warning(format_args!(
        "no role: labels say {}, but no workload controller asked for this Pod",
        component.name()
    )))
}

/// Fits a sentence to what the API server passes on: one line of at most [`MAX_WARNING`] characters.
pub(super) fn warning(text: impl fmt::Display) -> String {
    let mut line = Line { text: String::new(), room: MAX_WARNING };
    // It fails where the line is full, so that no more is made of a long sentence than is passed on.
    let _ = write!(line, "gitlab-iam-webhook: {text}");
    line.text
}

struct Line {
    text: String,
    /// How many characters it still takes.
    room: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let Some(room) = self.room.checked_sub(1) else {
                self.text.pop();
                self.text.push('…');
                return Err(fmt::Error);
            };
            self.room = room;
            self.text.push(if c.is_control() { '?' } else { c });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_made_of_a_long_sentence_than_is_passed_on() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("ever\n")?;
                }
            }
        }
        let line = warning(Endless);
        assert_eq!(line.chars().count(), MAX_WARNING);
        assert!(line.starts_with("gitlab-iam-webhook: ever?ever?") && line.ends_with('…'), "{line}");
        let whole = "x".repeat(MAX_WARNING - "gitlab-iam-webhook: ".len());
        assert_eq!(warning(&whole), format!("gitlab-iam-webhook: {whole}"));
    }
}
