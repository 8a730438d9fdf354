//! What can a decision say?

use std::borrow::Cow;

use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::rule::Rule;

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
    /// What a person must know, each at most [`super::MAX_WARNING`] characters.
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
