//! What would a mapping do to the ServiceAccounts that exist? Counted, with the first few names.

use super::decision::{self, Outcome};
use super::ruleset::Ruleset;
use super::subject::Subject;

/// How many names are told.
const NAMES: usize = 3;

/// What a mapping would do, added up one object after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    seen: usize,
    changes: Found,
    orphans: Found,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    count: usize,
    first: Vec<String>,
}

impl Found {
    fn add(&mut self, subject: &Subject<'_>) {
        self.count += 1;
        if self.first.len() < NAMES {
            self.first.push(format!("{}/{}", subject.namespace, subject.name));
        }
    }

    fn names(&self, what: &str) -> Option<String> {
        let more = self.count.checked_sub(self.first.len()).filter(|more| *more > 0);
        let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
        (self.count > 0).then(|| decision::warning(format!("{what} {}{more}", self.first.join(", "))))
    }
}

impl Effect {
    /// Takes one object, as it stands in the cluster.
    pub fn add(&mut self, ruleset: &Ruleset, subject: &Subject<'_>) {
        let decision = decision::decide(ruleset, subject);
        self.seen += 1;
        if !decision.edits.is_empty() {
            self.changes.add(subject);
        }
        if decision.verdicts.iter().any(|verdict| verdict.outcome == Outcome::Orphaned) {
            self.orphans.add(subject);
        }
    }

    /// For whoever edits the mapping. `complete` says whether every object was seen.
    #[must_use]
    pub fn warnings(&self, complete: bool) -> Vec<String> {
        let least = if complete { "" } else { "at least " };
        let all = if complete { "" } else { " looked at in time" };
        let sum = format!(
            "{least}changes {}, orphans {} of {} ServiceAccounts{all}",
            self.changes.count, self.orphans.count, self.seen
        );
        let names = [self.changes.names("changes"), self.orphans.names("orphans")];
        [decision::warning(sum)].into_iter().chain(names.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bounds::Bounds;
    use crate::engine::decision::APPLIED;
    use crate::engine::mapping;
    use crate::engine::subject::{Kind, Requester};

    #[test]
    fn changes_and_orphans_are_counted_and_the_first_are_named() {
        let mapping = "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: \"a*\"}, role: r}\n";
        let ruleset = mapping::compile(mapping, &Bounds::default()).unwrap();
        let role = "arn:aws:iam::123456789012:role/old";
        let applied = format!(r#"{{"annotations":{{"eks.amazonaws.com/role-arn":"{role}"}},"rule":"x"}}"#);
        let ours = [(APPLIED.into(), applied.into()), ("eks.amazonaws.com/role-arn".into(), role.into())];
        let mut effect = Effect::default();
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
            effect.add(&ruleset, &subject);
        }
        assert_eq!(
            effect.warnings(true),
            [
                "gitlab-iam-webhook: changes 4, orphans 1 of 5 ServiceAccounts",
                "gitlab-iam-webhook: changes gitlab/a1, gitlab/a2, gitlab/a3 and 1 more",
                "gitlab-iam-webhook: orphans gitlab/b",
            ]
        );
        assert_eq!(
            effect.warnings(false).first().unwrap(),
            "gitlab-iam-webhook: at least changes 4, orphans 1 of 5 ServiceAccounts looked at in time"
        );
    }
}
