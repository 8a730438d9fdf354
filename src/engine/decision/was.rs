//! What becomes of the role that `replace` put away?

use super::last_applied::LastApplied;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Subject, WAS, value_of};
use crate::engine::rules::arn::MAX_ARN;

/// `gitlab-iam-webhook/was` of one object: it holds one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was<'d> {
    /// Nothing is put away, or it has come back.
    Empty,
    /// It comes back when our role goes.
    Waiting(&'d str),
    /// A role of ours is no longer on the object as we set it. Somebody withdrew it, and with it what it stood for.
    Ended,
    /// This decision put a role away.
    Taken,
}

impl<'d> Was<'d> {
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

/// Whether a value is short enough to be a role. One that is not can be used by nobody, and moving it to another
/// annotation would make the answer longer than the question.
pub(super) fn is_movable(role: &str) -> bool {
    role.len() <= MAX_ARN
}
