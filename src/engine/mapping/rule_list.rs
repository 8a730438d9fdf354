//! How do the rules of a mapping become a ruleset, and what may they take together?

use std::collections::HashSet;

use super::match_block;
use super::names::{NameOrigin, Names};
use super::reader::{Allowed, Path, Reader};
use super::rules::{RULE_KEYS, RuleReading};
use super::top::Top;
use crate::engine::object::provider::{Provider, ProviderSet};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::rule::Rule;
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::{Node, Position};

/// How many rules a mapping may have. More do not fit into a ConfigMap unless aliases stand for them.
pub(super) const MAX_RULES: usize = 20_000;

/// How many steps all globs of a mapping may take on one object at the worst. They take some milliseconds.
const MAX_STEPS: usize = 1_000_000;

/// How many different labels the rules may look at. A decision looks for each of them on the object.
const MAX_LABEL_KEYS: usize = 256;

/// Takes the rules of a mapping one after the other.
pub(super) struct RuleList<'a> {
    top: &'a Top,
    operator_policy: &'a OperatorPolicy,
    /// The most bytes that all rules may take.
    max_weight: usize,
    /// How many rules have been taken.
    count: usize,
    /// The rules so far. They are dropped at the first problem, because there will be no ruleset then.
    rules: Vec<Rule>,
    /// Where the name of each rule comes from.
    origins: Vec<NameOrigin>,
    weight: usize,
    steps: usize,
    label_keys: HashSet<Box<str>>,
    names: Names,
    pod_provider: Option<(Provider, Position)>,
}

impl<'a> RuleList<'a> {
    pub(super) fn new(top: &'a Top, operator_policy: &'a OperatorPolicy, max_weight: usize) -> Self {
        Self {
            top,
            operator_policy,
            max_weight,
            count: 0,
            rules: Vec::new(),
            origins: Vec::new(),
            weight: 0,
            steps: 0,
            label_keys: HashSet::new(),
            names: Names::default(),
            pod_provider: None,
        }
    }

    /// Makes room for so many rules. Returns `None` where they are too many.
    pub(super) fn expect(&mut self, count: usize, at: Position, reader: &mut Reader<'_>) -> Option<()> {
        if count > MAX_RULES {
            let message = format!("has {count} rules, at most {MAX_RULES} are served");
            reader.report(at, Path::Root.key("rules"), message);
            return None;
        }
        self.rules.reserve_exact(count);
        Some(())
    }

    /// Reads the next rule.
    pub(super) fn take(&mut self, item: &Node<'_>, reader: &mut Reader<'_>) {
        let list = Path::Root.key("rules");
        let path = list.index(self.count);
        self.count += 1;
        if reader.is_exhausted() {
            return;
        }
        let allowed = Allowed::OnlyOrUnder { keys: &RULE_KEYS, block: "match", inner: &match_block::KEYS };
        let Some(fields) = reader.fields(item, path, allowed) else {
            return;
        };
        let reading = RuleReading {
            fields: &fields,
            node: item,
            path,
            top: self.top,
            operator_policy: self.operator_policy,
        };
        let Some((rule, origin)) = reading.read(reader, &mut self.names) else { return };
        // `skip` without a provider stands for all of them, and so does not say which of the two a mapping
        // uses. A rule that names both has been reported.
        let both = ProviderSet::default().with(Provider::Kube2iam).with(Provider::Kiam);
        if !rule.providers.covers(both) {
            for provider in rule.providers.iter().filter(|provider| *provider != Provider::Irsa) {
                let (first, at) = *self.pod_provider.get_or_insert((provider, rule.at));
                if first != provider {
                    let at_node = fields.get("provider").map_or(item.at, |node| node.at);
                    let message = format!(
                        "{} and {} in one mapping would write the same annotation: line {} uses {}",
                        provider.name(),
                        first.name(),
                        at.line,
                        first.name()
                    );
                    reader.report(at_node, path.key("provider"), message);
                }
            }
        }
        self.weigh(&rule, path, reader);
        if reader.has_no_problem() {
            self.rules.push(rule);
            self.origins.push(origin);
        } else {
            (self.rules, self.origins) = (Vec::new(), Vec::new());
        }
    }

    /// Adds up what the rules take. The rule with which they take too much is reported.
    fn weigh(&mut self, rule: &Rule, path: Path<'_>, reader: &mut Reader<'_>) {
        let (weight, steps) = (rule.weight(), rule.steps());
        if goes_over(&mut self.weight, weight, self.max_weight) {
            let message = format!(
                "with this rule, which comes to {weight} bytes in memory, the rules come to more than the \
                 {} that a mapping of this length may take: lists, braces and aliases make much of little \
                 text",
                self.max_weight
            );
            reader.report(rule.at, path, message);
        }
        if goes_over(&mut self.steps, steps, MAX_STEPS) {
            let message = format!(
                "with this rule, whose globs may take {steps} steps, one decision may take more than \
                 {MAX_STEPS}: globs with several `*` take many, above all with `?` or `[` between them"
            );
            reader.report(rule.at, path, message);
        }
        let mut keys = self.label_keys.len();
        if keys <= MAX_LABEL_KEYS {
            self.label_keys.extend(rule.criteria.labels.iter().map(|(key, _)| key.clone()));
            let new = self.label_keys.len() - keys;
            if goes_over(&mut keys, new, MAX_LABEL_KEYS) {
                let message =
                    format!("with this rule the rules look at more than {MAX_LABEL_KEYS} different labels");
                reader.report(rule.at, path, message);
            }
        }
    }

    /// Returns the ruleset, where there is no problem.
    pub(super) fn finish(mut self, reader: &Reader<'_>) -> Option<Ruleset> {
        if !reader.has_no_problem() {
            return None;
        }
        self.names.make_unique(&mut self.rules, &self.origins);
        Some(Ruleset::new(self.rules, self.top.defaults.clone(), self.operator_policy.clone()))
    }
}

/// Adds to a sum. Returns whether this very addition took the sum over the most that it may be.
fn goes_over(sum: &mut usize, more: usize, most: usize) -> bool {
    let before = *sum;
    *sum += more;
    before <= most && *sum > most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_addition_goes_over_that_passes_the_most() {
        let mut sum = 0;
        for (more, is_over, want) in
            [(4, false, 4), (6, false, 10), (0, false, 10), (1, true, 11), (0, false, 11), (5, false, 16)]
        {
            assert_eq!(goes_over(&mut sum, more, 10), is_over, "{more} more");
            assert_eq!(sum, want);
        }
        assert!(goes_over(&mut 3, 90, 10));
    }
}
