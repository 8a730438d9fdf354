//! What can a decision say?

use std::borrow::Cow;

use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::rule::Rule;

/// What came of one provider on one object. The outcomes are ordered from the least to the most worth
/// telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The webhook does not act on what the review is about.
    Undecided,
    /// No rule matches, and no value of ours is there.
    NoRule,
    /// The rule's role belongs on the ServiceAccount, and nothing is written on the Pod.
    OnServiceAccount,
    /// The rule's role belongs on a ServiceAccount, but the Pod runs as `default`, which the rule does not
    /// match.
    DefaultAccount,
    /// The rule says skip.
    Skipped,
    /// The object says `gitlab-iam-webhook/inject: disabled`.
    OptedOut,
    /// Everything that the rule wants is there already.
    InStep,
    /// No rule matches any more, and values of ours are still there.
    Orphaned,
    /// Values are set or changed.
    Set,
    /// Values are taken off.
    Removed,
    /// A foreign role stays in place of the rule's.
    Kept,
    /// A foreign role gives way to the rule's.
    Replaced,
    /// The rule's role cannot be given to this object.
    Refused,
}

impl Outcome {
    /// All outcomes.
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

    /// Returns those that a decision on a ServiceAccount can have.
    pub fn of_service_accounts() -> impl Iterator<Item = Self> {
        let of_others = [Self::Undecided, Self::OnServiceAccount, Self::DefaultAccount];
        Self::ALL.into_iter().filter(move |outcome| !of_others.contains(outcome))
    }

    /// Returns the word in logs, metrics and the audit log.
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
    /// The key of the annotation.
    pub key: &'static str,
    /// The new value; `None` takes the annotation off.
    pub value: Option<Cow<'r, str>>,
}

/// What was decided for one provider.
#[derive(Clone, Debug)]
pub struct Verdict<'r> {
    /// The provider.
    pub provider: Provider,
    /// The rule that won, where one did.
    pub rule: Option<&'r Rule>,
    /// The role that the rule gives the object, where it gives one.
    pub role: Option<Cow<'r, str>>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was decided for one object.
#[derive(Clone, Debug)]
pub struct Decision<'r> {
    /// The component that the object is believed to be.
    pub component: Option<Component>,
    /// The component that its labels claim, where they are not believed.
    pub disbelieved: Option<Component>,
    /// The component that a Pod of a chart before 4.9 looks like, where no rule decides on the Pod.
    pub resembles: Option<Component>,
    /// What was decided for each provider that acts on objects of this kind.
    pub verdicts: Vec<Verdict<'r>>,
    /// The annotations that change. Each key is there once.
    pub edits: Vec<Edit<'r>>,
    /// The warnings for a person. At admission each has at most [`super::MAX_WARNING`] characters.
    pub warnings: Vec<String>,
}

impl Decision<'_> {
    /// Returns the outcome that is most worth telling.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.verdicts.iter().map(|verdict| verdict.outcome).max().unwrap_or(Outcome::NoRule)
    }

    /// Returns the value of an annotation once this is carried out. `present` is the one that it has now.
    #[must_use]
    pub fn after<'d>(&'d self, key: &str, present: Option<&'d str>) -> Option<&'d str> {
        let edit = self.edits.iter().find(|edit| edit.key == key);
        edit.map_or(present, |edit| edit.value.as_deref())
    }

    /// Returns the verdict that is most worth telling.
    #[must_use]
    pub fn leading(&self) -> Option<&Verdict<'_>> {
        self.verdicts.iter().max_by_key(|verdict| verdict.outcome)
    }
}
