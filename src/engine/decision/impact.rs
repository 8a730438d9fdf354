//! What would a mapping do to the ServiceAccounts that exist?
//!
//! They are only counted and never named, because anybody may ask who may edit the mapping.

use crate::engine::decision::warning::{MAX_WARNING, PREFIX};
use crate::engine::decision::{self, Decision, Outcome};
use crate::engine::object::subject::Subject;
use crate::engine::rules::ruleset::Ruleset;

/// What names the objects that are only counted here.
const NAMES_THEM: &str = "; see `kubectl gitlab-iam status`";

/// Counts what a mapping would do to one object after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    seen: usize,
    changes: usize,
    orphans: usize,
}

impl Impact {
    /// Counts one object as it stands in the cluster.
    pub fn add(&mut self, ruleset: &Ruleset, subject: &Subject<'_>) {
        self.count(&decision::decide(ruleset, subject));
    }

    /// Counts one object by what was decided on it.
    pub fn count(&mut self, decision: &Decision<'_>) {
        self.seen += 1;
        if !decision.edits.is_empty() {
            self.changes += 1;
        }
        if decision.verdicts.iter().any(|verdict| verdict.outcome == Outcome::Orphaned) {
            self.orphans += 1;
        }
    }

    /// How many objects were counted.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// How many of them change.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// How many of them are orphans.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.orphans
    }

    /// Returns the counts in words, for whoever edits the mapping: `self` counts the objects that are
    /// written, and `observed` those that are not. `complete` says whether every object was counted.
    #[must_use]
    pub fn warnings(&self, observed: Option<&Self>, complete: bool) -> Vec<String> {
        let least = if complete { "" } else { "at least " };
        let all = if complete { "" } else { " looked at in time" };
        let told = |Self { seen, changes, orphans }: &Self, would: &str| {
            let told = format!("{would} {changes}, orphans {orphans} of {seen} ServiceAccounts{all}");
            let has_room = PREFIX.len() + told.len() + NAMES_THEM.len() <= MAX_WARNING;
            let is_told = complete && changes + orphans > 0 && has_room;
            told + if is_told { NAMES_THEM } else { "" }
        };
        let sum = told(self, &format!("{least}changes"));
        let observed =
            observed.map(|counts| told(counts, format!("observed: would change {least}").trim_end()));
        [Some(sum), observed].into_iter().flatten().map(decision::warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decision::APPLIED;
    use crate::engine::mapping;
    use crate::engine::object::subject::{Kind, Requester};
    use crate::engine::rules::operator_policy::OperatorPolicy;

    #[test]
    fn changes_and_orphans_are_counted_and_nobody_is_named() {
        let mapping = "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: \"a*\"}, role: r}\n";
        let ruleset = mapping::compile(mapping, &OperatorPolicy::default()).unwrap();
        let role = "arn:aws:iam::123456789012:role/old";
        let applied = format!(r#"{{"annotations":{{"eks.amazonaws.com/role-arn":"{role}"}},"rule":"x"}}"#);
        let ours = [(APPLIED.into(), applied.into()), ("eks.amazonaws.com/role-arn".into(), role.into())];
        let mut impact = Impact::default();
        for name in ["a1", "a2", "a3", "a4", "b"] {
            let annotations: &[_] = if name == "b" { &ours } else { &[] };
            let subject = Subject {
                kind: Kind::ServiceAccount,
                namespace: "gitlab",
                name,
                service_account: name,
                labels: &[],
                annotations,
                requester: Requester::Assumed,
            };
            impact.add(&ruleset, &subject);
        }
        let changes =
            "gitlab-iam-webhook: changes 4, orphans 1 of 5 ServiceAccounts; see `kubectl gitlab-iam status`";
        assert_eq!(impact.warnings(None, true), [changes]);
        let nothing = Impact::default().warnings(None, true);
        assert_eq!(nothing, ["gitlab-iam-webhook: changes 0, orphans 0 of 0 ServiceAccounts"]);
        let most = Impact { seen: 100_000, changes: 100_000, orphans: 100_000 }.warnings(Some(&impact), true);
        assert!(most.iter().all(|warning| !warning.ends_with('…')), "{most:?}");
        let many = Impact { seen: 99_999, changes: 9_999, orphans: 9_999 };
        let many = Impact::default().warnings(Some(&many), true);
        assert!(
            many.iter().any(|warning| warning.ends_with("; see `kubectl gitlab-iam status`")),
            "{many:?}"
        );
        assert_eq!(
            impact.warnings(None, false).first().unwrap(),
            "gitlab-iam-webhook: at least changes 4, orphans 1 of 5 ServiceAccounts looked at in time"
        );
        assert_eq!(
            impact.warnings(Some(&impact), true),
            [
                changes,
                "gitlab-iam-webhook: observed: would change 4, orphans 1 of 5 ServiceAccounts; \
                 see `kubectl gitlab-iam status`"
            ]
        );
    }
}
