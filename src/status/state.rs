//! How does what an object has compare with what it should have?

/// How an object stands. The names are stable: they stand in the table, in JSON and in docs/status.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Something else changes the role back again and again.
    Contested,
    /// It is not as decided.
    Drift,
    /// A Pod that runs has not the role that it would have if it started now.
    Stale,
    /// A Pod runs as `default`, though the mapping gives its component a role.
    OnDefault,
    /// The candidate mapping would change it.
    Changes,
    /// The rule's role cannot be given to it.
    Refused,
    /// A role that somebody else gave it stays in place of the rule's.
    Conflict,
    /// It carries a role of ours that no rule gives any more.
    Orphaned,
    /// Its namespace is only observed.
    Observed,
    /// What it should have cannot be known here.
    Unknown,
    /// The rule that matches it says skip.
    Skipped,
    /// It has opted out.
    OptedOut,
    /// It is as decided.
    InStep,
    /// No rule is about it.
    NoRule,
}

impl State {
    /// All states, the worst first.
    pub const ALL: [Self; 14] = [
        Self::Contested,
        Self::Drift,
        Self::Stale,
        Self::OnDefault,
        Self::Changes,
        Self::Refused,
        Self::Conflict,
        Self::Orphaned,
        Self::Observed,
        Self::Unknown,
        Self::Skipped,
        Self::OptedOut,
        Self::InStep,
        Self::NoRule,
    ];

    /// Returns the word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Contested => "contested",
            Self::Drift => "drift",
            Self::Stale => "stale",
            Self::OnDefault => "on-default",
            Self::Changes => "changes",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
            Self::Orphaned => "orphaned",
            Self::Observed => "observed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
            Self::OptedOut => "opted-out",
            Self::InStep => "in-step",
            Self::NoRule => "no-rule",
        }
    }

    /// Returns what it means, in a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Contested => "Something else changes its role back again and again, and it is left alone.",
            Self::Drift => "It does not carry what the mapping decides.",
            Self::Stale => {
                "The Pod runs with another role than it would have if it started now, or with none."
            }
            Self::OnDefault => "The Pod runs as default, though the mapping gives its component a role.",
            Self::Changes => "The candidate mapping would change it.",
            Self::Refused => "The rule's role cannot be given to it.",
            Self::Conflict => "A role that somebody else gave it stays in place of the rule's.",
            Self::Orphaned => "It has a role of ours that no rule gives any more.",
            Self::Observed => "Its namespace is observed: nothing is written there.",
            Self::Unknown => "What it should have cannot be known here.",
            Self::Skipped => "It is left alone on purpose: a rule or a label of it says skip.",
            Self::OptedOut => "It has opted out.",
            Self::InStep => "It has what the mapping decides.",
            Self::NoRule => "No rule is about it.",
        }
    }

    /// Whether the webhook leaves it alone.
    pub(super) fn is_left_alone(self) -> bool {
        matches!(self, Self::NoRule | Self::Skipped | Self::OptedOut)
    }

    /// Whether it is worth a line of what a mapping would change.
    pub(super) fn is_news(self) -> bool {
        self != Self::InStep && !self.is_left_alone()
    }

    /// Whether it is not as decided, and could be: somebody should do something.
    #[must_use]
    pub fn is_drift(self) -> bool {
        matches!(self, Self::Contested | Self::Drift | Self::Stale | Self::OnDefault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_states_stand_in_their_order_each_with_a_name_of_its_own() {
        assert!(State::ALL.is_sorted());
        let names: std::collections::BTreeSet<_> = State::ALL.iter().map(|state| state.name()).collect();
        assert_eq!(names.len(), State::ALL.len());
    }
}
