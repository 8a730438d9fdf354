//! What becomes of the annotations that a value holds: a rule, a decision, or nothing?

use std::collections::BTreeSet;

use super::role::{self, NoRole};
use super::rule::{Action, Match, Options, Rule};
use super::values::Branch;
use super::{Draft, Fate, ROLE_KEYS};
use crate::engine::object::component::Component;
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE, Provider, RoleOption};

/// A role that Pods are given, with the values that give it.
pub(super) struct Granted {
    pub(super) role: role::Role,
    pub(super) options: Options,
    from: String,
}

/// Reads the role of Pods. The first of the layers that says something counts.
pub(super) fn granted(layers: &[Branch<'_>], draft: &mut Draft<'_>) -> Option<Granted> {
    let winner = |key: &str| {
        let there: Vec<Branch<'_>> =
            layers.iter().map(|layer| layer.key(key)).filter(|branch| branch.text().is_some()).collect();
        let filled = there.iter().find(|branch| branch.filled_text().is_some());
        filled.or_else(|| there.first()).cloned()
    };
    for branch in layers.iter().map(|layer| layer.key(IRSA_ROLE)).filter(Branch::has_value) {
        let why = "nothing reads it on Pods: the EKS webhook reads ServiceAccounts";
        let instead = "delete it, and give the ServiceAccount the role with a rule";
        dead(&branch, why, instead, None, draft);
    }
    let branch = winner(POD_ROLE)?;
    let role = match role::of_pods(branch.text()?, draft.terms) {
        Ok(role) => role,
        Err(error) => {
            unusable(&branch, &error, draft);
            return None;
        }
    };
    let options = Options::of_pods(|key| winner(key).and_then(|branch| branch.text()));
    let keys = [POD_ROLE, RoleOption::PodExternalId.key(), RoleOption::PodSessionName.key()];
    for (layer, key) in layers.iter().flat_map(|layer| keys.map(|key| (layer, key))) {
        if layer.key(key).has_value() {
            draft.value(&layer.key(key), Fate::Imported, "a rule takes its place", None);
        }
    }
    Some(Granted { role, options, from: source(&branch) })
}

pub(super) fn add_granted(granted: Granted, matching: Match, draft: &mut Draft<'_>) {
    let Granted { role, options, from } = granted;
    let rule = give_to(draft.terms.pod_provider, role, options, matching);
    add_from(rule, from, draft);
}

/// Makes a rule of the annotations of a ServiceAccount that the chart makes.
pub(super) fn import_account(annotations: &Branch<'_>, matching: &Match, draft: &mut Draft<'_>) {
    let branch = annotations.key(IRSA_ROLE);
    if let Some(text) = branch.text() {
        match role::irsa(text) {
            Ok(role) => {
                let options = Options::irsa(|key| annotations.key(key).text());
                add(give_to(Provider::Irsa, role, options, matching.clone()), &branch, draft);
                for key in [
                    IRSA_ROLE,
                    RoleOption::IrsaAudience.key(),
                    RoleOption::IrsaStsRegionalEndpoints.key(),
                    RoleOption::IrsaTokenExpiration.key(),
                ] {
                    if annotations.key(key).has_value() {
                        draft.value(&annotations.key(key), Fate::Imported, "a rule takes its place", None);
                    }
                }
            }
            Err(error) => unusable(&branch, &error, draft),
        }
    }
    on_account(annotations, draft);
}

/// Says that the annotations of a ServiceAccount do nothing, and suggests what they were meant for.
pub(super) fn dead_account(annotations: &Branch<'_>, why: &str, wanted: Match, draft: &mut Draft<'_>) {
    let branch = annotations.key(IRSA_ROLE);
    if let Some(text) = branch.text() {
        let options = Options::irsa(|key| annotations.key(key).text());
        let rule = role::irsa(text).ok().map(|role| give_to(Provider::Irsa, role, options, wanted));
        dead(&branch, why, "delete it, and give the role with a rule if it is wanted", rule, draft);
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
        draft.suggest(&format!("{} gives nobody this role, as {why}", branch.path()), rule);
    }
}

/// Says that a value is no role.
pub(super) fn unusable(branch: &Branch<'_>, error: &NoRole, draft: &mut Draft<'_>) {
    let fate = match error {
        NoRole::Empty | NoRole::Grammar(_) => Fate::Dead,
        NoRole::Template | NoRole::Brace => Fate::Stays,
    };
    draft.value(branch, fate, &error.to_string(), None);
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
    add_from(rule, source(branch), draft);
}

fn add_from(rule: Rule, from: String, draft: &mut Draft<'_>) {
    let rule = within(Rule { from: [from].into(), ..rule }, draft);
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
