//! Which roles does a rule give by kube2iam or kiam?
//!
//! Such a role trusts the node and not the Pod, so that only the role's name is asked for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::pattern::{self, Alphabet, is_pattern};
use crate::engine::decision::decide;
use crate::engine::object::subject::Requester;
use crate::engine::rules::glob::Glob;
use crate::engine::rules::role_template::Placeholder;
use crate::engine::rules::rule::{Criteria, Grant, Rule};
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Inventory, Pod};

/// The most roles that one rule may stand for.
const MAX_ROLES: usize = 1000;

/// Returns the roles of a rule, or why they cannot be told without the Pods.
pub(super) fn roles(
    ruleset: &Ruleset,
    rule: &Rule,
    grant: &Grant,
    inventory: Option<&Inventory>,
) -> Result<BTreeSet<String>, String> {
    let mut filled = vec![Vec::new()];
    for placeholder in grant.role.placeholders() {
        match (literals(&rule.criteria, placeholder), inventory) {
            (Some(values), _) => filled = with_each(&filled, placeholder, &values)?,
            (None, Some(inventory)) => return Ok(roles_of_pods(ruleset, rule, inventory)),
            (None, None) => {
                return Err(format!("its role has {placeholder}, which its match does not name literally"));
            }
        }
    }
    let fill = |values: &Vec<(Placeholder, String)>| {
        let value = |wanted| {
            values.iter().find(|(placeholder, _)| *placeholder == wanted).map(|(_, value)| value.as_str())
        };
        let role = grant.role.fill(value).ok()?.into_owned();
        let is_allowed = ruleset.operator_policy().allows_somewhere(&rule.criteria.namespaces, &role);
        is_allowed.then_some(role)
    };
    Ok(filled.iter().filter_map(fill).collect())
}

type Filled = Vec<(Placeholder, String)>;

fn with_each(filled: &[Filled], placeholder: Placeholder, values: &[String]) -> Result<Vec<Filled>, String> {
    // A placeholder may stand in a role twice, and is filled once.
    if filled.iter().flatten().any(|(other, _)| *other == placeholder) {
        return Ok(filled.to_vec());
    }
    if filled.len() * values.len() > MAX_ROLES {
        return Err(format!("its role stands for more than {MAX_ROLES} roles"));
    }
    let with = |start: &Filled, value: &String| [start.clone(), vec![(placeholder, value.clone())]].concat();
    Ok(filled.iter().flat_map(|start| values.iter().map(move |value| with(start, value))).collect())
}

/// Returns all values that a placeholder can have, where the rule names them.
fn literals(criteria: &Criteria, placeholder: Placeholder) -> Option<Vec<String>> {
    let names = |globs: &[Glob], alphabet| {
        let patterns = pattern::patterns(globs, alphabet).ok()?;
        (!globs.is_empty() && !patterns.iter().any(|pattern| is_pattern(pattern))).then_some(patterns)
    };
    match placeholder {
        Placeholder::Namespace => names(&criteria.namespaces, Alphabet::Namespace),
        Placeholder::ServiceAccount => names(&criteria.service_accounts, Alphabet::ServiceAccount),
        Placeholder::Release => {
            let is_literal = !criteria.releases.is_empty() && criteria.releases.iter().all(Glob::is_literal);
            is_literal.then(|| criteria.releases.iter().flat_map(Glob::flat).map(str::to_owned).collect())
        }
        Placeholder::Component => {
            let components = criteria.components.iter().map(|component| component.name().to_owned());
            Some(components.collect::<Vec<_>>()).filter(|names| !names.is_empty())
        }
        Placeholder::Project => {
            let projects = criteria.projects.iter().map(ToString::to_string).collect::<Vec<_>>();
            Some(projects).filter(|projects| !projects.is_empty())
        }
    }
}

/// Returns the roles that the rule gives to the Pods of an inventory.
fn roles_of_pods(ruleset: &Ruleset, rule: &Rule, inventory: &Inventory) -> BTreeSet<String> {
    let runners = || rule.criteria.runners.iter().map(|runner| Requester::User(runner));
    let role = |pod: &Pod, requester| {
        pod.with_subject(requester, |subject| {
            let verdicts = decide(ruleset, subject).verdicts;
            let ours = verdicts.into_iter().find(|verdict| {
                verdict.provider == ruleset.pod_provider()
                    && verdict.rule.is_some_and(|winner| winner.name == rule.name)
            })?;
            ours.role.map(Cow::into_owned)
        })
    };
    let pods = inventory.pods.iter();
    pods.flat_map(|pod| {
        std::iter::once(Requester::Assumed).chain(runners()).filter_map(move |requester| role(pod, requester))
    })
    .collect()
}
