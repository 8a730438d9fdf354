//! How does the API server itself decide by a mapping, without a webhook?
//!
//! A `MutatingAdmissionPolicy` decides as [`crate::engine::decision`] does. Its text ([`TEXT`]) is the same
//! for every mapping, and the roles that the operator allows stand in it. What differs is its parameter, a
//! ConfigMap that holds a mapping as data. `docs/policy.md` describes both.

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
use class::Class;
pub use objects::{Objects, Placed, value};
pub use text::{AllowedRoleError, TEXT, spec};

/// The format of the data. A policy does nothing with data of another format, so that policy and parameter
/// can be changed in any order.
pub const FORMAT: &str = "1";

/// The most bytes of data, keys and values together. A ConfigMap holds 1 MiB, and the record of who manages
/// its fields takes some more.
pub const MAX_BYTES: usize = 1_000_000;

/// The most bytes that the rules may weigh in memory. Rules of which data could be made that fits weigh less.
const MAX_WEIGHT: usize = 3 << 20;

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

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The data is too long.
    #[error("with it the data would have {0} bytes, and at most {MAX_BYTES} are taken")]
    Bytes(usize),
    /// The rules have too much to say.
    #[error("with it the rules would weigh more than {MAX_WEIGHT} bytes in memory")]
    Weight,
    /// One object could take too many steps of CEL.
    #[error("with it one {0} could take {1} units of CEL's cost, and at most {max} are taken", max = budget::MAX)]
    Cost(&'static str, u64),
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
    let mut data = fitting(ruleset, &users, 0).map_err(|_| TooLarge::Users(bytes(&users)))?;
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

/// Returns how many of the first rules are not too much to be looked at. All that is made of them meanwhile is
/// bounded so, before it is known whether they fit.
fn light(ruleset: &Ruleset) -> usize {
    let weights = ruleset.rules().iter().scan(0, |sum, rule| {
        *sum += rule.weight();
        Some(*sum)
    });
    weights.take_while(|sum| *sum <= MAX_WEIGHT).count()
}

/// Who is believed for more than a username, which holds whatever rules are left out.
fn users(ruleset: &Ruleset) -> Result<BTreeMap<String, String>, TooLarge> {
    let mut data = BTreeMap::new();
    let runners: BTreeSet<String> = ruleset
        .rules()
        .iter()
        .flat_map(|rule| &rule.criteria.runners)
        .filter_map(|runner| index::runner_value(runner))
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
    let bytes = bytes(&data);
    if bytes > MAX_BYTES {
        return Err(Why::Bytes(bytes));
    }
    budget::check(&data)?;
    Ok(data)
}

fn bytes(data: &BTreeMap<String, String>) -> usize {
    data.iter().map(|(key, value)| key.len() + value.len()).sum()
}
