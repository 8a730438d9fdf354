//! Who learns that a role does not reach the Pods of a workload, because they run as `default`? The workload
//! gets an Event.
//!
//! Whoever reaches the port can send reviews that no API server asked for. Such Events therefore have an
//! allowance of their own, so that they keep no other Event from being written. They are only written in
//! namespaces that carry our label, and only on kinds that make Pods.

use std::sync::Arc;

use tokio::sync::watch;

use super::events::{Events, Importance, Naming, Notice, Regarding};
use super::namespaces::KnownNamespaces;
use crate::engine::admission::mutate::Unreached;

/// Tells workloads that their Pods run as `default`.
#[derive(Clone, Debug)]
pub struct DefaultAccounts {
    events: Events,
    namespaces: watch::Receiver<KnownNamespaces>,
}

impl DefaultAccounts {
    /// Tells those in these namespaces.
    #[must_use]
    pub fn new(events: &Events, namespaces: watch::Receiver<KnownNamespaces>) -> Self {
        Self { events: events.for_reviews(), namespaces }
    }

    /// Has an Event written on the workload, if it is known. This never waits.
    pub fn tell(&self, namespace: &str, unreached: &Unreached<'_>) {
        let Some(owner) = &unreached.owner else { return };
        let is_labelled = self
            .namespaces
            .borrow()
            .as_ref()
            .is_some_and(|known| known.enabled.contains(namespace) || known.observed.contains(namespace));
        if !is_labelled {
            return;
        }
        let Unreached { component, advice, rule, role, .. } = unreached;
        self.events.tell(Notice {
            regarding: Regarding {
                api_version: owner.api_version,
                kind: owner.kind,
                namespace: namespace.into(),
                name: (*owner.name).into(),
                uid: Some(Arc::from(&*owner.uid)),
            },
            importance: Importance::Warning,
            reason: "RunsAsDefault",
            action: "Decide",
            note: format!(
                "its Pods run as the ServiceAccount `default`, which the role of {} does not reach: {role} \
                 (rule {rule}). Unless something else gives them a role, they use that of their node, or \
                 none. To mend it, {advice}. More is in docs/operating.md of gitlab-iam-webhook",
                component.name(),
            ),
            naming: Naming::ByContent,
        });
    }
}
