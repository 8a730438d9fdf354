//! What becomes of the annotations that a value holds: a rule, a decision, or nothing?

use std::collections::BTreeSet;

use super::role::{self, NoRole};
use super::rule::{Action, Match, Options, Rule};
use super::values::Branch;
use super::{Draft, Fate, ROLE_KEYS, problem_of};
use crate::engine::object::component::Component;
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE, Provider, RoleOption};

/// The annotations of a ServiceAccount that a rule writes.
const ACCOUNT_KEYS: [&str; 4] = [
    IRSA_ROLE,
    RoleOption::IrsaAudience.key(),
    RoleOption::IrsaStsRegionalEndpoints.key(),
    RoleOption::IrsaTokenExpiration.key(),
];

/// Why a chart makes no ServiceAccount where nobody asks for one.
pub(super) const NOT_ENABLED: &str =
    "the chart makes no ServiceAccount, because no `serviceAccount.enabled` is true";

/// What to do instead of a value that does nothing.
pub(super) fn rule_instead(why: &str) -> &'static str {
    if why == NOT_ENABLED {
        "delete it; if the role is wanted, set global.serviceAccount.enabled=true, so that there is a \
         ServiceAccount, and give the role with a rule"
    } else {
        "delete it, and give the role with a rule if it is wanted"
    }
}

/// Returns the value of a key that counts: that of the first layer that says something, or else an empty one.
fn winner<'v>(layers: &[Branch<'v>], key: &str) -> Option<Branch<'v>> {
    let there: Vec<Branch<'v>> =
        layers.iter().map(|layer| layer.key(key)).filter(|branch| branch.text().is_some()).collect();
    let filled = there.iter().find(|branch| branch.filled_text().is_some());
    filled.or_else(|| there.first()).cloned()
}

/// Says of these keys that a rule takes their place.
fn imported(layers: &[Branch<'_>], keys: &[&str], draft: &mut Draft<'_>) {
    for (layer, key) in layers.iter().flat_map(|layer| keys.iter().map(move |key| (layer, key))) {
        if layer.key(key).has_value() {
            draft.value(&layer.key(key), Fate::Imported, "a rule takes its place", None);
        }
    }
}

/// Reads the role of Pods, and makes a rule of it that looks at nothing yet.
pub(super) fn granted(layers: &[Branch<'_>], draft: &mut Draft<'_>) -> Option<Rule> {
    for branch in layers.iter().map(|layer| layer.key(IRSA_ROLE)).filter(Branch::has_value) {
        let why = "nothing reads it on Pods: the EKS webhook reads ServiceAccounts";
        let instead = "delete it, and give the ServiceAccount the role with a rule";
        dead(&branch, why, instead, None, draft);
    }
    let branch = winner(layers, POD_ROLE)?;
    let options = Options::of_pods(|key| winner(layers, key).and_then(|branch| branch.text()));
    let rule = role::of_pods(branch.text()?, draft.terms)
        .map(|role| give_to(draft.terms.pod_provider, role, options, Match::default()));
    let rule = usable(rule, &branch, draft)?;
    let keys = [POD_ROLE, RoleOption::PodExternalId.key(), RoleOption::PodSessionName.key()];
    imported(layers, &keys, draft);
    Some(Rule { from: [source(&branch)].into(), ..rule })
}

/// Adds the rule of [`granted`], for what it is to look at.
pub(super) fn add_granted(rule: Rule, matching: Match, draft: &mut Draft<'_>) {
    let rule = within(Rule { matching, ..rule }, draft);
    draft.rules.push(rule);
}

/// Makes a rule of the annotations of a ServiceAccount that the chart makes.
pub(super) fn import_account(layers: &[Branch<'_>], matching: &Match, draft: &mut Draft<'_>) {
    if let Some(branch) = winner(layers, IRSA_ROLE) {
        let options = Options::irsa(|key| winner(layers, key).and_then(|branch| branch.text()));
        let rule = role::irsa(branch.text().unwrap_or_default())
            .map(|role| give_to(Provider::Irsa, role, options, matching.clone()));
        if let Some(rule) = usable(rule, &branch, draft) {
            add(rule, &branch, draft);
            imported(layers, &ACCOUNT_KEYS, draft);
        }
    }
    for layer in layers {
        on_account(layer, draft);
    }
}

/// Returns a rule that `check` takes, or says why there is none.
fn usable(rule: Result<Rule, NoRole>, branch: &Branch<'_>, draft: &mut Draft<'_>) -> Option<Rule> {
    let problem = match rule {
        Ok(rule) => match problem_of(&rule) {
            None => return Some(rule),
            Some(problem) => NoRole::Problem(problem),
        },
        Err(error) => error,
    };
    let fate = match problem {
        NoRole::Empty | NoRole::Grammar(_) => Fate::Dead,
        NoRole::Template | NoRole::Brace | NoRole::Problem(_) => Fate::Stays,
    };
    draft.value(branch, fate, &problem.to_string(), None);
    None
}

/// Says that the annotations of a ServiceAccount do nothing, and suggests what they were meant for.
pub(super) fn dead_account(annotations: &Branch<'_>, why: &str, wanted: Match, draft: &mut Draft<'_>) {
    let branch = annotations.key(IRSA_ROLE);
    if let Some(text) = branch.text() {
        let options = Options::irsa(|key| annotations.key(key).text());
        let rule = role::irsa(text).ok().map(|role| give_to(Provider::Irsa, role, options, wanted));
        dead(&branch, why, rule_instead(why), rule, draft);
    }
    // Where the annotations of all charts go, these would come to light.
    for branch in ACCOUNT_KEYS.map(|key| annotations.key(key)).into_iter().filter(Branch::has_value) {
        draft.value(&branch, Fate::Dead, why, None);
    }
    on_account(annotations, draft);
}

fn on_account(annotations: &Branch<'_>, draft: &mut Draft<'_>) {
    let branch = annotations.key(POD_ROLE);
    if branch.has_value() {
        let why = "nothing reads it on ServiceAccounts: kube2iam and kiam read Pods";
        dead(&branch, why, "delete it, or put it on the Pods", None, draft);
    }
}

pub(super) fn dead_on_pods(annotations: &Branch<'_>, why: &str, component: Component, draft: &mut Draft<'_>) {
    for branch in ROLE_KEYS.map(|key| annotations.key(key)).into_iter().filter(Branch::has_value) {
        let provider = draft.terms.pod_provider;
        let role = branch.text().filter(|_| branch.last() == POD_ROLE);
        let rule = role
            .and_then(|text| role::of_pods(text, draft.terms).ok())
            .map(|role| give(provider, role, Options::default(), component));
        dead(&branch, why, "delete it, and give the role with a rule if it is wanted", rule, draft);
    }
}

/// Says that a value does nothing, and suggests a rule for what it was meant for.
pub(super) fn dead(branch: &Branch<'_>, why: &str, instead: &str, rule: Option<Rule>, draft: &mut Draft<'_>) {
    draft.value(branch, Fate::Dead, why, Some(instead));
    if let Some(rule) = rule {
        let rule = within(Rule { from: [source(branch)].into(), ..rule }, draft);
        let first = if instead == rule_instead(NOT_ENABLED) {
            "; set global.serviceAccount.enabled=true first, so that there is a ServiceAccount"
        } else {
            ""
        };
        draft.suggest(&format!("{} gives nobody this role, as {why}{first}", branch.path()), rule);
    }
}

pub(super) fn source(branch: &Branch<'_>) -> String {
    format!("{} ({})", branch.path(), branch.place())
}

pub(super) fn of_component(component: Component) -> Match {
    Match { components: [component].into(), ..Match::default() }
}

pub(super) fn give(provider: Provider, role: role::Role, options: Options, component: Component) -> Rule {
    give_to(provider, role, options, of_component(component))
}

pub(super) fn give_to(provider: Provider, role: role::Role, options: Options, matching: Match) -> Rule {
    Rule {
        matching,
        provider,
        action: Action::Give { role: role.text, options },
        from: BTreeSet::new(),
        remarks: role.remark.map(str::to_owned).into_iter().collect(),
    }
}

pub(super) fn add(rule: Rule, branch: &Branch<'_>, draft: &mut Draft<'_>) {
    let rule = within(Rule { from: [source(branch)].into(), ..rule }, draft);
    draft.rules.push(rule);
}

/// Puts a rule into the namespaces and the release that are meant.
fn within(mut rule: Rule, draft: &Draft<'_>) -> Rule {
    rule.matching.namespaces.clone_from(&draft.terms.namespaces);
    // The label of the release stands among others where a rule looks at labels of old charts.
    if !rule.matching.components.is_empty() {
        rule.matching.release.clone_from(&draft.terms.release);
    }
    rule
}
