//! What is kept of one object?

use super::state::State;
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::arn::MAX_ARN;

/// One object, and for a Pod one provider. A Pod that gets roles from two providers has two rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The namespace.
    pub namespace: String,
    /// `ServiceAccount`, `Pod`, or the kind of the workload whose template it is.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The part of GitLab that it is, or looks like.
    pub component: Option<Component>,
    /// Whose role it is about. `None` for a Pod that has none and is to have none.
    pub provider: Option<Provider>,
    /// The rule that decides.
    pub rule: Option<String>,
    /// The role that it should have.
    pub wanted: Option<String>,
    /// The role that it has.
    pub actual: Option<String>,
    /// How the two compare.
    pub state: State,
    /// How they would compare if its namespace were not only observed.
    pub would_be: Option<State>,
    /// What the columns do not say, in a sentence without a full stop; it may be empty.
    pub detail: String,
    /// Whether the mapping in force has no rule for it and the candidate has one. `None` where the mapping in
    /// force is not known, or no candidate is looked at.
    pub is_newly_covered: Option<bool>,
    /// Whether the candidate does something about it that the mapping in force does not, or something keeps
    /// it from doing so. Where no candidate is looked at, every row counts.
    pub is_touched: bool,
    /// What brings it in step.
    pub mend: Option<Mend>,
}

/// What brings one object in step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// The webhook decides on the ServiceAccount again, once the API server admits it again.
    Readmit,
    /// Somebody finds out what else sets its role.
    Settle,
    /// This workload is restarted.
    Restart {
        /// `deployment`, `statefulset` or `daemonset`.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// The same, but its ServiceAccount is not in step yet: a Pod that starts before gets the older role.
    AfterAccount {
        /// `deployment`, `statefulset` or `daemonset`.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// Nothing restarts it: this is to be done, in words.
    ByHand(&'static str),
}

impl Row {
    /// How many bytes of text it keeps.
    pub(super) fn bytes(&self) -> usize {
        let Self { namespace, kind, name, rule, wanted, actual, detail, .. } = self;
        let optional = [rule, wanted, actual].into_iter().flatten();
        [namespace, kind, name, detail].into_iter().chain(optional).map(String::len).sum()
    }
}

/// The longest name that is kept, in bytes. The API server takes no longer one, and manifests may have any.
const MAX_NAME: usize = 253;

/// Keeps a role of others. Annotations may be longer than any role.
pub(super) fn role(text: &str) -> String {
    cut(text, MAX_ARN)
}

/// Keeps a name.
pub(super) fn name(text: &str) -> String {
    cut(text, MAX_NAME)
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", text.get(..text.floor_char_boundary(most)).unwrap_or_default())
}
