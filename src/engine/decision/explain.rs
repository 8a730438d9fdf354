//! Which rules were tried for a decision, and why did they not match?

use crate::engine::decision::{self, Decision};
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::Subject;
use crate::engine::rules::facts::Facts;
use crate::engine::rules::rule::Rule;
use crate::engine::rules::ruleset::Ruleset;

/// One rule that was tried for one provider.
#[derive(Clone, Debug)]
pub struct Tried<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Why it does not match. It is `None` for the winner, which is the last one that was tried.
    pub mismatch: Option<String>,
}

/// What was tried for one provider.
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// The provider.
    pub provider: Provider,
    /// The rules of that provider in their order, up to the winner.
    pub tried: Vec<Tried<'a>>,
}

/// A decision, and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// What is believed of the object.
    pub facts: Facts<'a>,
    /// The rules that were tried, for each provider that has a verdict.
    pub traces: Vec<Trace<'a>>,
    /// The decision itself. The same function makes it as at admission.
    pub decision: Decision<'a>,
}

/// Explains the decision on one object.
#[must_use]
pub fn explain<'a>(ruleset: &'a Ruleset, subject: &Subject<'a>) -> Explanation<'a> {
    let facts = ruleset.facts(subject);
    let decision = decision::decide(ruleset, subject);
    let traces = decision
        .verdicts
        .iter()
        .filter(|verdict| verdict.outcome != decision::Outcome::OptedOut)
        .map(|verdict| trace(ruleset, subject, &facts, verdict.provider))
        .collect();
    Explanation { facts, traces, decision }
}

fn trace<'a>(
    ruleset: &'a Ruleset,
    subject: &Subject<'a>,
    facts: &Facts<'a>,
    provider: Provider,
) -> Trace<'a> {
    let mut tried = Vec::new();
    for rule in ruleset.rules().iter().filter(|rule| rule.providers.contains(provider)) {
        let mismatch = rule.criteria.mismatch(subject, facts).map(|mismatch| mismatch.to_string());
        let won = mismatch.is_none();
        tried.push(Tried { rule, mismatch });
        if won {
            break;
        }
    }
    Trace { provider, tried }
}
