//! Which expressions say whether a rule matches an object?
//!
//! An object is one text: its component, its namespace, its ServiceAccount and its release, and of a job also
//! the project and the runner, each followed by a line feed. A rule is one expression over this text, so that
//! the API server matches it in one step. A release that the object has is written behind `=`, so that it
//! differs from none.

use super::class::Class;
use crate::engine::object::component::Component;
use crate::engine::rules::glob::Glob;
use crate::engine::rules::rule::Criteria;

/// Returns the expression over the text of an object.
pub(super) fn fixed(class: Class, criteria: &Criteria) -> String {
    let mut fields = [
        match class {
            Class::Account | Class::Pod => either(criteria.components.iter().map(name)),
            // The component of these is no question.
            Class::Default | Class::Job => None,
        },
        either(criteria.namespaces.iter().flat_map(Glob::regexes)),
        match class {
            Class::Default => None,
            _ => either(criteria.service_accounts.iter().flat_map(Glob::regexes)),
        },
        either(criteria.releases.iter().flat_map(Glob::regexes)).map(|release| format!("={release}")),
        either(criteria.projects.iter().map(ToString::to_string)),
        either(criteria.runners.iter().filter_map(|user| runner(user)).map(|name| escaped(&name))),
    ]
    .to_vec();
    // What stands behind the last criterion may be anything.
    while fields.last().is_some_and(Option::is_none) {
        fields.pop();
    }
    let fields: String =
        fields.iter().map(|field| format!("{}\\n", field.as_deref().unwrap_or(".*"))).collect();
    if fields.is_empty() { fields } else { format!("^{fields}") }
}

/// Returns the expression over the value of a label.
pub(super) fn label(globs: &[Glob]) -> String {
    format!("^{}$", either(globs.iter().flat_map(Glob::regexes)).unwrap_or_default())
}

/// Returns how the data writes a runner, from its username.
pub(super) fn runner(user: &str) -> Option<String> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(format!("{namespace}.{name}"))
}

fn name(component: Component) -> String {
    component.name().to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('.', "\\.")
}

/// Returns an expression for any of these, or `None` where there are none or one of them matches everything.
fn either(mut expressions: impl Iterator<Item = String>) -> Option<String> {
    let first = expressions.next()?;
    let Some(second) = expressions.next() else { return Some(first) };
    let all: Vec<String> = [first, second].into_iter().chain(expressions).collect();
    Some(format!("(?:{})", all.join("|")))
}
