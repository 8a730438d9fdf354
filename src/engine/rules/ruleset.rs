//! Which rule of a mapping wins for an object?
//!
//! Rules are read from top to bottom, for each provider apart, and the first one that matches decides.

use std::collections::BTreeSet;

use super::index::Index;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Kind, Subject};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::rule::{OnConflict, OnNoRule, Rule};

/// The defaults of a mapping that a decision needs.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// What holds for rules that do not say `onConflict`. For the Pods of jobs that is always `replace`.
    pub on_conflict: OnConflict,
    /// What happens to our own values where no rule wins.
    pub on_no_rule: OnNoRule,
}

/// All rules of one mapping. They never change: another mapping makes another ruleset.
#[derive(Debug)]
pub struct Ruleset {
    rules: Box<[Rule]>,
    defaults: Defaults,
    operator_policy: OperatorPolicy,
    /// The provider for Pods, which is kiam where the mapping names it, and otherwise kube2iam. Both read the
    /// same annotations.
    pod_provider: Provider,
    /// The usernames that some rule names as `runner`, sorted.
    runners: Box<[Box<str>]>,
    /// The keys of the labels that some rule looks at, sorted by length, each once.
    label_keys: Box<[Box<str>]>,
    index: Index,
}

/// The rules that win for an object, one for each provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct Winners<'r> {
    /// The rule that wins for irsa.
    pub irsa: Option<&'r Rule>,
    /// The rule that wins for the provider for Pods.
    pub pod: Option<&'r Rule>,
}

impl Ruleset {
    /// Makes a ruleset, and files its rules in the index.
    #[must_use]
    pub fn new(rules: Vec<Rule>, defaults: Defaults, operator_policy: OperatorPolicy) -> Self {
        let uses_kiam = rules.iter().any(|rule| {
            rule.providers.contains(Provider::Kiam) && !rule.providers.contains(Provider::Kube2iam)
        });
        let pod_provider = if uses_kiam { Provider::Kiam } else { Provider::Kube2iam };
        let mut runners: Vec<Box<str>> =
            rules.iter().flat_map(|rule| rule.criteria.runners.iter().cloned()).collect();
        runners.sort_unstable();
        runners.dedup();
        let label_keys: BTreeSet<(usize, &str)> = rules
            .iter()
            .flat_map(|rule| rule.criteria.labels.iter().map(|(key, _)| (key.len(), &**key)))
            .collect();
        let label_keys = label_keys.into_iter().map(|(_, key)| key.into()).collect();
        let index = Index::new(&rules);
        let (rules, runners) = (rules.into(), runners.into());
        Self { rules, defaults, operator_policy, pod_provider, runners, label_keys, index }
    }

    /// Returns how many bytes it holds. The number is rather too large than too small: `tests/memory`
    /// compares it with what the allocator counts.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.rules.iter().map(Rule::weight).sum::<usize>()
    }

    /// Returns the rules in the order of the mapping.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the mapping's defaults.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Returns what the operator allows.
    #[must_use]
    pub fn operator_policy(&self) -> &OperatorPolicy {
        &self.operator_policy
    }

    /// Returns the keys of the labels that some rule looks at, sorted by length, each once.
    #[must_use]
    pub fn label_keys(&self) -> &[Box<str>] {
        &self.label_keys
    }

    /// Returns the provider for Pods, which is kube2iam or kiam.
    #[must_use]
    pub fn pod_provider(&self) -> Provider {
        self.pod_provider
    }

    /// Whether some rule is about this provider in particular. A rule that says `skip` without a provider
    /// stands for all of them: only such a rule can be about kube2iam and kiam at once.
    #[must_use]
    pub fn names_provider(&self, provider: Provider) -> bool {
        self.rules.iter().any(|rule| {
            let is_for_all =
                rule.providers.contains(Provider::Kube2iam) && rule.providers.contains(Provider::Kiam);
            rule.providers.contains(provider) && !is_for_all
        })
    }

    /// Tells what is believed of an object.
    #[must_use]
    pub fn facts<'a>(&self, subject: &Subject<'a>) -> Facts<'a> {
        Facts::of(subject, &self.runners, &self.operator_policy)
    }

    /// Finds the first matching rule of each provider.
    #[must_use]
    pub fn winners(&self, subject: &Subject<'_>, facts: &Facts<'_>) -> Winners<'_> {
        let mut winners = Winners::default();
        let wants_pod = subject.kind == Kind::Pod;
        for index in self.index.candidates(subject, facts) {
            let Some(rule) = self.rules.get(index as usize) else {
                continue;
            };
            let irsa = winners.irsa.is_none() && rule.providers.contains(Provider::Irsa);
            let pod = wants_pod && winners.pod.is_none() && rule.providers.contains(self.pod_provider);
            if (irsa || pod) && rule.criteria.mismatch(subject, facts).is_none() {
                if irsa {
                    winners.irsa = Some(rule);
                }
                if pod {
                    winners.pod = Some(rule);
                }
                if winners.irsa.is_some() && (winners.pod.is_some() || !wants_pod) {
                    break;
                }
            }
        }
        winners
    }

    /// Returns the rules that can only be tried one by one, because no criterion has a literal or a literal
    /// prefix.
    pub fn unindexed(&self) -> impl Iterator<Item = &Rule> {
        self.index.rest().filter_map(|index| self.rules.get(index as usize))
    }

    /// Returns the rules that may match whatever `rule` matches. Some of them do not, and some stand after
    /// it.
    pub(crate) fn possibly_covering(&self, rule: &Rule) -> impl Iterator<Item = &Rule> {
        self.index.filed_like(&rule.criteria).filter_map(|index| self.rules.get(index as usize))
    }
}
