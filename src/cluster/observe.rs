//! What would the mapping do to the ServiceAccounts of observed namespaces?
//!
//! They are reported at once, whether or not anybody touches them, and again where an edit of the mapping or
//! of a ServiceAccount changes the answer: in the log, in a metric and in Events. Nothing else is written.
//! `outcomes` says what is news; this file reads ServiceAccounts and tells.

mod outcomes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ApiServer;
use super::events::{Events, Importance, Naming, Notice, Regarding};
use super::namespaces::KnownNamespaces;
use super::service_account_watches::Watches;
use super::service_accounts::with_subject;
use crate::engine::decision::{Outcome, decide, forecast};
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;
use crate::metrics::{Metrics, ObservedLabel};
use outcomes::{Account, Action, Forecast, Outcomes, Told};

/// Namespaces watched at once: each takes a connection. Where more are observed they take turns.
const WATCHES: usize = 16;

/// How soon the metric follows.
const COUNT: Duration = Duration::from_secs(1);

/// Reports on observed namespaces.
pub struct Observe {
    api: ApiServer,
    live: Arc<Live>,
    namespaces: watch::Receiver<KnownNamespaces>,
    events: Events,
    metrics: Arc<Metrics>,
}

impl Observe {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(
        api: ApiServer,
        live: Arc<Live>,
        namespaces: watch::Receiver<KnownNamespaces>,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { api, live, namespaces, events, metrics }
    }

    /// Reports until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let (sender, mut seen) = mpsc::channel(256);
        let mut watches = Watches::new(self.api.clone(), Arc::clone(&self.live), judge, WATCHES, sender);
        let mut outcomes = Outcomes::new();
        let mut count_at = None;
        loop {
            let due = outcomes.next_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.namespaces.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = self.namespaces.borrow_and_update().clone().unwrap_or_default();
                    watches.only(&known.observed);
                    outcomes.only(known.observed);
                    count_at.get_or_insert_with(|| Instant::now() + COUNT);
                }
                () = sleep_until(due) => self.carry_out(outcomes.due(Instant::now())),
                () = sleep_until(count_at) => {
                    self.count(&outcomes.counts());
                    count_at = None;
                }
                Some(turn) = watches.next_turn() => if turn.is_err() { return },
                Some(seen) = seen.recv() => {
                    self.carry_out(outcomes.see(seen, Instant::now()));
                    count_at.get_or_insert_with(|| Instant::now() + COUNT);
                }
            }
        }
    }

    fn carry_out(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Log(told) => log(&told),
                Action::LogAndEvent(told) => {
                    log(&told);
                    self.events.tell(notice(told));
                }
                Action::Summarise(namespace, counts) => self.events.tell(summary(namespace, &counts)),
                Action::SayTooMany => tracing::warn!(
                    "more than {} ServiceAccounts are observed: where there are most, not all are reported",
                    outcomes::MOST
                ),
            }
        }
    }

    fn count(&self, counts: &BTreeMap<Outcome, usize>) {
        for outcome in Outcome::of_service_accounts() {
            let count = counts.get(&outcome).copied().unwrap_or_default();
            let gauge = self.metrics.observed_service_accounts.get_or_create(&ObservedLabel { outcome });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Sleeps until then, or for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A ServiceAccount, and what these rules would do to it.
fn judge(ruleset: &Ruleset, account: &RawValue, namespace: &str) -> serde_json::Result<Account> {
    let uid = uid(account)?;
    with_subject(account, namespace, ruleset, |subject, is_deleted| {
        let forecast = (!is_deleted).then(|| {
            let decision = decide(ruleset, subject);
            Forecast { outcome: decision.outcome(), sentence: forecast::sentence(&decision, subject) }
        });
        Account { name: subject.name.into(), uid, forecast }
    })
}

fn uid(account: &RawValue) -> serde_json::Result<Option<Arc<str>>> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        uid: Option<String>,
    }
    let object: Object = serde_json::from_str(account.get())?;
    Ok(object.metadata.uid.map(Arc::from))
}

fn log(Told { namespace, name, forecast: Forecast { outcome, sentence }, .. }: &Told) {
    tracing::info!(%namespace, %name, outcome = outcome.name(), "observed ServiceAccount: {sentence}");
}

/// The Event on a ServiceAccount.
fn notice(Told { namespace, name, uid, forecast: Forecast { outcome, sentence } }: Told) -> Notice {
    // It is told where something else was told before.
    let nothing = (Importance::Normal, "NothingWouldBeWritten");
    let (importance, reason) = outcomes::reason(outcome).unwrap_or(nothing);
    Notice {
        regarding: Regarding { uid, ..Regarding::service_account(namespace, name) },
        importance,
        reason,
        action: "Observe",
        note: format!("observed, and not written: {sentence}"),
        naming: Naming::ByContent,
    }
}

/// The Event on a namespace whose ServiceAccounts are too many to get one each.
fn summary(namespace: Arc<str>, counts: &BTreeMap<Outcome, usize>) -> Notice {
    let mut note = format!("observed, and not written: {} ServiceAccounts", counts.values().sum::<usize>());
    let mut colon = ": ";
    for (outcome, count) in counts {
        // Writing to a string does not fail.
        let _ = write!(note, "{colon}{count} {}", outcome.name());
        colon = ", ";
    }
    note.push_str("; not each of them has an Event, and the log of gitlab-iam-webhook names them all");
    Notice {
        regarding: Regarding::namespace(namespace),
        importance: Importance::Normal,
        reason: "ServiceAccountsObserved",
        action: "Observe",
        note,
        naming: Naming::ByContent,
    }
}
