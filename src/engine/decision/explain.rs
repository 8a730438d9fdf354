//! Which rules were tried for a decision, why did they not match, and what does a Pod get by its account?

use std::borrow::Cow;

use crate::engine::decision::{self, Decision, Verdict};
use crate::engine::object::provider::{IRSA_ROLE, Provider};
use crate::engine::object::subject::{Subject, value_of};
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
    /// The decision itself. The same function makes it as at admission, but its warnings are not cut.
    pub decision: Decision<'a>,
}

/// Explains the decision on one object.
#[must_use]
pub fn explain<'a>(ruleset: &'a Ruleset, subject: &Subject<'a>) -> Explanation<'a> {
    let facts = ruleset.facts(subject);
    let decision = decision::decide_telling(ruleset, subject, usize::MAX);
    let traces = decision
        .verdicts
        .iter()
        .filter(|verdict| verdict.outcome != decision::Outcome::OptedOut)
        .map(|verdict| trace(ruleset, subject, &facts, verdict.provider))
        .collect();
    Explanation { facts, traces, decision }
}

/// What a Pod gets through its ServiceAccount, which is where irsa reads the role.
#[derive(Clone, Debug)]
pub struct ThroughAccount<'a> {
    /// What was decided for irsa on the ServiceAccount.
    pub verdict: Verdict<'a>,
    /// The role on the ServiceAccount once it is as decided, whoever set it.
    pub role: Option<Cow<'a, str>>,
    /// The role that it carries now.
    pub present: Option<&'a str>,
}

/// Tells which role the Pods of a ServiceAccount get. `None` says that nothing was decided for irsa.
#[must_use]
pub fn through_account<'a>(ruleset: &'a Ruleset, account: &Subject<'a>) -> Option<ThroughAccount<'a>> {
    let decision = decision::decide(ruleset, account);
    let present = value_of(account.annotations, IRSA_ROLE);
    let role = match decision.edits.into_iter().find(|edit| edit.key == IRSA_ROLE) {
        Some(edit) => edit.value,
        None => present.map(Cow::Borrowed),
    };
    let verdict = decision.verdicts.into_iter().find(|verdict| verdict.provider == Provider::Irsa)?;
    Some(ThroughAccount { verdict, role, present })
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
