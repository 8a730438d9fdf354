//! How does the data say what a rule does?
//!
//! A rule is one line, with tabs between its fields: what it does, its name in JSON without the quotes, its
//! role, what happens to a foreign role on objects and on the Pods of jobs, `annotatePods` where the rule
//! says it, and each option as `KEY=VALUE`. No field holds a tab or a line feed: roles and options have
//! grammars without them, and JSON escapes them.

use crate::engine::object::provider::RoleOption;
use crate::engine::rules::rule::{Action, OnConflict, Rule};
use crate::engine::rules::ruleset::Defaults;

/// The record of a rule that is left out. What it would match is left as it is.
pub(super) const STOP: &str = "stop";

/// All options of all providers.
const OPTIONS: [RoleOption; 6] = [
    RoleOption::IrsaAudience,
    RoleOption::IrsaStsRegionalEndpoints,
    RoleOption::IrsaTokenExpiration,
    RoleOption::IrsaSkipContainers,
    RoleOption::PodExternalId,
    RoleOption::PodSessionName,
];

pub(super) fn record(rule: &Rule, defaults: &Defaults) -> String {
    let grant = match &rule.action {
        Action::Skip => return "skip".to_owned(),
        Action::Remove => return "remove".to_owned(),
        Action::Role(grant) => grant,
    };
    let name = serde_json::Value::from(&*rule.name).to_string();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or_default();
    let mut fields = vec![
        "role".to_owned(),
        name.to_owned(),
        grant.role.to_string(),
        word(grant.on_conflict.unwrap_or(defaults.on_conflict)).to_owned(),
        word(grant.on_conflict.unwrap_or(OnConflict::Replace)).to_owned(),
        if grant.irsa.annotate_pods == Some(true) { "annotatePods" } else { "" }.to_owned(),
    ];
    for option in OPTIONS {
        if let Some(value) = grant.option(option) {
            fields.push(format!("{}={value}", option.key()));
        }
    }
    fields.join("\t")
}

fn word(on_conflict: OnConflict) -> &'static str {
    match on_conflict {
        OnConflict::Keep => "keep",
        OnConflict::Replace => "replace",
    }
}
