//! How does the API server itself decide by a mapping, without a webhook?
//!
//! A `MutatingAdmissionPolicy` decides as the webhook does. Its text ([`TEXT`]) is the same for every
//! mapping, and the roles that the operator allows stand in it. What differs is its parameter, a ConfigMap
//! that holds a mapping as data. `docs/policy.md` describes both.

mod budget;
mod class;
mod index;
mod matcher;
mod objects;
mod record;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::engine::rules::rule::OnNoRule;
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::Position;
pub use budget::{MAX_BYTES, Why};
use class::Class;
pub use objects::{Objects, Placed, is_escaped, value};
pub use text::{AllowedRoleError, TEXT, spec};

/// The format of the data. A policy does nothing with data of another format, so that policy and parameter
/// can be changed in any order.
pub const FORMAT: &str = "1";

/// A mapping as the parameter of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The data of the ConfigMap.
    pub data: BTreeMap<String, String>,
    /// The rules that are not in the data, in the order of the mapping. Where an object is matched by no
    /// rule before them, the policy leaves the object as it is.
    pub left_out: Vec<LeftOut>,
}

/// A rule that the policy does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The name of the rule.
    pub rule: String,
    /// The place where it stands in the mapping.
    pub at: Position,
    /// Why it is left out.
    pub why: Why,
}

/// Why a mapping cannot be a parameter, not even with some of its rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The username of a workload controller cannot stand in the data.
    #[error("the workload controller {0:?} holds a line break")]
    WorkloadController(String),
    /// The runners and workload controllers alone are too many.
    #[error("runners and workload controllers alone take {0} bytes, and at most {MAX_BYTES} are taken")]
    Users(usize),
}

/// Compiles a mapping into data.
///
/// # Errors
/// Returns an error where not even the mapping without its rules fits. Rules that do not fit are no error:
/// they are left out.
pub fn parameter(ruleset: &Ruleset) -> Result<Parameter, TooLarge> {
    let users = users(ruleset)?;
    let all = light(ruleset);
    let mut why = match fitting(ruleset, &users, all) {
        Ok(data) if all == ruleset.rules().len() => return Ok(Parameter { data, left_out: Vec::new() }),
        Ok(_) => Why::Weight,
        Err(why) => why,
    };
    // As many rules as fit, found by halving: `fits` is a number that does, `over` one that does not.
    let (mut fits, mut over) = (0, all + usize::from(why == Why::Weight));
    let mut data = fitting(ruleset, &users, 0).map_err(|_| TooLarge::Users(budget::bytes(&users)))?;
    while over - fits > 1 {
        let middle = fits + (over - fits) / 2;
        match fitting(ruleset, &users, middle) {
            Ok(larger) => (fits, data) = (middle, larger),
            Err(reason) => (over, why) = (middle, reason),
        }
    }
    let left_out = ruleset.rules().iter().skip(fits);
    let left_out = left_out.map(|rule| LeftOut { rule: rule.name.to_string(), at: rule.at, why }).collect();
    Ok(Parameter { data, left_out })
}

/// Returns how many of the first rules are not too much to be looked at. All that is made of them meanwhile
/// is bounded so, before it is known whether they fit.
fn light(ruleset: &Ruleset) -> usize {
    let weights = ruleset.rules().iter().scan(0, |sum, rule| {
        *sum += rule.weight();
        Some(*sum)
    });
    weights.take_while(|sum| *sum <= budget::MAX_WEIGHT).count()
}

/// Who is believed for more than a username, which holds whatever rules are left out.
fn users(ruleset: &Ruleset) -> Result<BTreeMap<String, String>, TooLarge> {
    let mut data = BTreeMap::new();
    let runners: BTreeSet<String> = ruleset
        .rules()
        .iter()
        .flat_map(|rule| &rule.criteria.runners)
        .filter_map(|runner| matcher::runner(runner))
        .collect();
    if !runners.is_empty() {
        let lines: String = runners.iter().map(|runner| format!("\n{runner}")).collect();
        data.insert("runners".to_owned(), lines + "\n");
    }
    let controllers = &ruleset.operator_policy().workload_controllers;
    if let Some(broken) = controllers.iter().find(|user| user.contains('\n')) {
        return Err(TooLarge::WorkloadController(broken.clone()));
    }
    if !controllers.is_empty() {
        data.insert("controllers".to_owned(), controllers.join("\n"));
    }
    Ok(data)
}

/// Returns the data with the first `count` rules, where they fit.
fn fitting(
    ruleset: &Ruleset,
    users: &BTreeMap<String, String>,
    count: usize,
) -> Result<BTreeMap<String, String>, Why> {
    let mut data = users.clone();
    let on_no_rule = match ruleset.defaults().on_no_rule {
        OnNoRule::Keep => "keep",
        OnNoRule::Remove => "remove",
    };
    data.insert("format".to_owned(), FORMAT.to_owned());
    data.insert("onNoRule".to_owned(), on_no_rule.to_owned());
    data.insert("podProvider".to_owned(), ruleset.pod_provider().name().to_owned());
    for class in Class::ALL {
        index::file(class, ruleset, count, &mut data)?;
    }
    let mut rules: String = ruleset
        .rules()
        .iter()
        .take(count)
        .enumerate()
        .map(|(number, rule)| format!("\n{number}\t{}", record::record(rule, ruleset.defaults())))
        .collect();
    if count < ruleset.rules().len() {
        let _ = write!(rules, "\n{count}\t{}", record::STOP);
    }
    data.insert("rules".to_owned(), rules);
    budget::check(&data)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mapping;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    fn data(mapping: &str) -> BTreeMap<String, String> {
        let operator = OperatorPolicy {
            workload_controllers: vec!["a".into(), "b".into()],
            ..OperatorPolicy::default()
        };
        let parameter = parameter(&mapping::compile(mapping, &operator).unwrap()).unwrap();
        assert_eq!(parameter.left_out, []);
        parameter.data
    }

    #[test]
    fn each_class_of_objects_has_the_rules_that_can_match_it() {
        let data = data(
            "account: '123456789012'
onNoRule: remove
rules:
  - {name: one, match: {component: registry, namespace: 'ci-*'}, role: 'x-{release}', irsa: {audience: aud}}
  - {name: two, match: {serviceAccount: [default, gitlab]}, role: two, onConflict: replace}
  - {name: 'a \"b\"', match: {project: 42, runner: ci/gitlab.runner}, provider: kiam, role: x}
  - {name: four, match: {labels: {a/b: '[!x]y'}}, provider: [irsa, kiam], skip: true}
",
        );
        let want = [
            (
                "account.component",
                "\nregistry\t0\tirsa\t^(?:registry|registry-migrations)\\nci-.*\\n\nregistry-migrations\t0\tirsa\t^(?:registry|registry-migrations)\\nci-.*\\n",
            ),
            (
                "account.index",
                "serviceAccount\t0\taccount.serviceAccount\ncomponent\t0\taccount.component\nalways\t0\taccount.always",
            ),
            ("account.always", "\n\t3\tirsa\t\ta/b\t^[^\\nx]y$"),
            ("default.always", "\n\t1\tirsa\t"),
            ("job.project", "\n42\t2\tpod\t^.*\\n.*\\n.*\\n.*\\n42\\nci\\.gitlab\\.runner\\n"),
            ("pod.always", "\n\t3\tirsa pod\t\ta/b\t^[^\\nx]y$"),
            ("controllers", "a\nb"),
            ("runners", "\nci.gitlab.runner\n"),
            ("format", "1"),
            ("onNoRule", "remove"),
            ("podProvider", "kiam"),
            (
                "rules",
                "\n0\trole\tone\tarn:aws:iam::123456789012:role/x-{release}\tkeep\treplace\t\teks.amazonaws.com/audience=aud\n1\trole\ttwo\tarn:aws:iam::123456789012:role/two\treplace\treplace\t\n2\trole\ta \\\"b\\\"\tarn:aws:iam::123456789012:role/x\tkeep\treplace\t\n3\tskip",
            ),
        ];
        for (key, text) in want {
            assert_eq!(data.get(key).map(String::as_str), Some(text), "{key}");
        }
        assert!(!data.contains_key("job.always"), "a rule that does not name jobs is none of theirs");
    }

    #[test]
    fn a_glob_that_matches_any_value_files_no_rule() {
        let data = data("account: '123456789012'\nrules: [{match: {namespace: ['*', gitlab]}, role: x}]");
        assert_eq!(data["account.always"], "\n\t0\tirsa\t^.*\\n(?:.*|gitlab)\\n");
    }

    #[test]
    fn the_cost_is_that_of_the_value_that_most_rules_share() {
        let cost = |mapping: &str| budget::Search::of(Class::Account, &data(mapping)).cost;
        let head = "account: '123456789012'\nrules:\n";
        let rule = |n: usize, namespace: &str| {
            format!("  - {{match: {{component: registry, namespace: {namespace}}}, role: r{n}}}\n")
        };
        let apart: String = (0..9).map(|n| rule(n, &format!("n-{n}"))).collect();
        let shared: String = (0..9).map(|n| rule(n, "\"*x\"")).collect();
        let one = cost(&format!("{head}{}", rule(0, "\"*x\"")));
        let (apart, shared) = (cost(&format!("{head}{apart}")), cost(&format!("{head}{shared}")));
        assert!(apart < 2 * one && shared > 5 * one && shared < 9 * one, "{one} {apart} {shared}");
    }

    #[test]
    fn a_user_with_a_line_break_cannot_stand_in_the_data() {
        let operator =
            OperatorPolicy { workload_controllers: vec!["a\nb".into()], ..OperatorPolicy::default() };
        let error = parameter(&mapping::compile("rules: []", &operator).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the workload controller \"a\\nb\" holds a line break");
    }
}
