//! Which rule wins? The rules of one mapping, read top to bottom, for each provider apart: the first that matches decides.

use std::collections::BTreeSet;

use super::index::Index;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Kind, Subject};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::rule::{OnConflict, OnNoRule, Rule};

/// Defaults of a mapping that a decision needs.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// For rules that say nothing, but for job Pods.
    pub on_conflict: OnConflict,
    /// For our own values without a rule.
    pub on_no_rule: OnNoRule,
}

/// Every rule of one mapping, immutable.
#[derive(Debug)]
pub struct Ruleset {
    rules: Box<[Rule]>,
    defaults: Defaults,
    operator_policy: OperatorPolicy,
    /// kube2iam or kiam, whichever the mapping names; they share their annotations.
    pod_provider: Provider,
    /// Usernames that some rule names as `runner`.
    runners: Box<[Box<str>]>,
    /// The labels that some rule looks at, sorted by length, each once.
    label_keys: Box<[Box<str>]>,
    index: Index,
}

/// The rules that decide, one for each provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct Winners<'r> {
    /// For irsa.
    pub irsa: Option<&'r Rule>,
    /// For kube2iam or kiam.
    pub pod: Option<&'r Rule>,
}

impl Ruleset {
    /// Files the rules.
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

    /// How many bytes it holds. Rather more than less: `tests/memory` holds it against the truth.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.rules.iter().map(Rule::weight).sum::<usize>()
    }

    /// In their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The mapping's defaults.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// What the operator allows.
    #[must_use]
    pub fn operator_policy(&self) -> &OperatorPolicy {
        &self.operator_policy
    }

    /// The labels that some rule looks at, sorted by length, each once.
    #[must_use]
    pub fn label_keys(&self) -> &[Box<str>] {
        &self.label_keys
    }

    /// kube2iam or kiam.
    #[must_use]
    pub fn pod_provider(&self) -> Provider {
        self.pod_provider
    }

    /// What is believed of an object.
    #[must_use]
    pub fn facts<'a>(&self, subject: &Subject<'a>) -> Facts<'a> {
        Facts::of(subject, &self.runners, &self.operator_policy)
    }

    /// The first matching rule of each provider.
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

    /// Rules that can only be tried one by one: no literal and no literal prefix in any criterion.
    pub fn unindexed(&self) -> impl Iterator<Item = &Rule> {
        self.index.rest().filter_map(|index| self.rules.get(index as usize))
    }

    /// Rules before `rule` in the mapping that may hold for everything it holds for.
    pub(crate) fn possibly_covering(&self, rule: &Rule) -> impl Iterator<Item = &Rule> {
        self.index.filed_like(&rule.criteria).filter_map(|index| self.rules.get(index as usize))
    }
}
