//! What becomes of the role that `onConflict: replace` put away?

use super::last_applied::LastApplied;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Subject, WAS, value_of};
use crate::engine::rules::arn::MAX_ARN;

/// The annotation `gitlab-iam-webhook/was` of one object. It holds at most one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was<'d> {
    /// No role is put away, or it has come back.
    Empty,
    /// This role was put away, and comes back once our role comes off.
    Waiting(&'d str),
    /// A role was put away, but our role is no longer on the object as we set it. Whoever took ours off did
    /// not want the old one back either, so that it never comes back.
    Ended,
    /// This very decision put a role away.
    Taken,
}

impl<'d> Was<'d> {
    /// Tells it from the object's annotations and the record of what was last applied.
    pub(super) fn of(subject: &'d Subject<'d>, applied: Option<&LastApplied<'_>>) -> Self {
        let current = |key| value_of(subject.annotations, key);
        let is_withdrawn = |role| {
            let recorded = applied.and_then(|applied| applied.value(role));
            recorded.is_some() && recorded != current(role)
        };
        match current(WAS) {
            None => Self::Empty,
            Some(_) if Provider::ALL.iter().any(|provider| is_withdrawn(provider.pod_keys().role)) => {
                Self::Ended
            }
            Some(was) => Self::Waiting(was),
        }
    }
}

/// Whether a value is short enough to be a role. A longer one is of use to nobody, and moving it to another
/// annotation would make the answer longer than the question.
pub(super) fn is_movable(role: &str) -> bool {
    role.len() <= MAX_ARN
}
