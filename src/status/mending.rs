//! What brings objects in step, and in which order?

use std::collections::BTreeSet;

use super::row::{Mend, Row};
use super::state::State;

/// A workload that is to be restarted: `deployment`, namespace and name.
pub(super) type Workload<'a> = (&'a str, &'static str, &'a str);

/// What is to be done, in the order in which it is to be done. Each is there once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mending<'a> {
    /// ServiceAccounts that the webhook is to decide on again, by namespace and name.
    pub readmit: BTreeSet<(&'a str, &'a str)>,
    /// ServiceAccounts whose role something else changes back.
    pub settle: BTreeSet<(&'a str, &'a str)>,
    /// Workloads that are to be restarted, by namespace, resource and name.
    pub restart: BTreeSet<Workload<'a>>,
    /// Workloads that are to be restarted once their ServiceAccounts are in step.
    pub restart_later: BTreeSet<Workload<'a>>,
    /// What is to be done by hand, with the objects, by namespace, kind and name.
    pub by_hand: BTreeSet<(&'static str, &'a str, &'a str, &'a str)>,
}

impl<'a> Mending<'a> {
    /// Gathers what mends these rows.
    pub(super) fn of(rows: &'a [Row]) -> Self {
        let mut all = Self::default();
        for row in rows {
            let (namespace, name) = (row.namespace.as_str(), row.name.as_str());
            match &row.mend {
                None => {}
                Some(Mend::Readmit) => drop(all.readmit.insert((namespace, name))),
                Some(Mend::Settle) => drop(all.settle.insert((namespace, name))),
                Some(Mend::Restart { resource, name }) => {
                    all.restart.insert((namespace, *resource, name.as_str()));
                }
                Some(Mend::AfterAccount { resource, name }) => {
                    all.restart_later.insert((namespace, *resource, name.as_str()));
                }
                Some(Mend::ByHand(what)) => {
                    all.by_hand.insert((*what, namespace, row.kind.as_str(), name));
                }
            }
        }
        // A workload has one restart: where one of its Pods has to wait, it waits.
        all.restart.retain(|workload| !all.restart_later.contains(workload));
        all
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a ServiceAccount in this state has its role only after somebody did something.
pub(super) fn is_first(account: State) -> bool {
    matches!(account, State::Drift | State::Contested)
}
