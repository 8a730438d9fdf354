//! Are the ServiceAccounts that exist as the mapping decides?
//!
//! A ServiceAccount takes three steps:
//! * `service_account_watches` reads it and compares it with what the mapping decides;
//! * `queue` says whether and when it is re-admitted, or left alone and its owner told;
//! * this file sends an empty patch, which the API server brings to the webhook, and reports to the queue.
//!
//! So the webhook stays the only writer, and no field of ours ever gets a second owner.
//!
//! Nothing is kept of what is in sync. Every watch begins anew with a new mapping, and after 10 to 20
//! minutes: whatever was missed, or found no room, is found again.

mod backoff;
mod queue;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Patch;
use kube::core::{Request, Resource};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::events::{Events, Importance, Naming, Notice, Regarding};
use super::failure::Failure;
use super::mapping_freshness::MappingFreshness;
use super::namespaces::KnownNamespaces;
use super::service_account_watches::{Seen, Watches};
use super::service_accounts::with_subject;
use super::watch::Event;
use super::{ApiServer, in_our_name};
use crate::engine::decision::decide;
use crate::engine::rules::ruleset::Ruleset;
use crate::health::Readiness;
use crate::live::Live;
use crate::metrics::{Metrics, RepairLabel, RepairResult};
use crate::telemetry::{causes, duration_in_words};
use backoff::{TIMES, WINDOW};
use queue::{Action, Attempt, JITTER, Observation, RepairQueue, ServiceAccountRef, SyncState};

/// The reason of the Event that tells of a ServiceAccount whose role is changed back again and again.
pub(super) const CHANGED_BACK: &str = "RoleChangedBack";

/// How often what was done is logged.
const REPORT: Duration = Duration::from_secs(10);

/// Namespaces watched at once: each takes a connection. Where more have opted in they take turns.
const WATCHES: usize = 64;

/// The repair of what exists.
pub struct Repair {
    api: ApiServer,
    live: Arc<Live>,
    namespaces: watch::Receiver<KnownNamespaces>,
    freshness: MappingFreshness,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    events: Events,
}

impl Repair {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(
        api: ApiServer,
        live: Arc<Live>,
        namespaces: watch::Receiver<KnownNamespaces>,
        freshness: MappingFreshness,
        readiness: Readiness,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> Self {
        Self { api, live, namespaces, freshness, readiness, metrics, events }
    }

    /// Repairs until stopped.
    pub async fn follow(self, stop: CancellationToken) {
        let (sender, mut observations) = mpsc::channel(256);
        let mut generations = self.live.subscribe();
        let mut namespaces = self.namespaces.clone();
        let mut driver = Driver {
            watches: Watches::new(self.api.clone(), Arc::clone(&self.live), sync_state, WATCHES, sender),
            queue: RepairQueue::new(self.live.load().number),
            repair: Arc::new(self),
            attempts: JoinSet::new(),
            progress: Progress::default(),
        };
        let mut reports = tokio::time::interval(REPORT);
        loop {
            let due = driver.queue.next_due(Instant::now());
            // In this order: what the watches see may make a re-admission needless.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = generations.changed() => match changed {
                    Ok(()) => {
                        let actions = driver.queue.mapping(*generations.borrow_and_update());
                        driver.carry_out(actions);
                    }
                    Err(_) => return,
                },
                changed = namespaces.changed() => match changed {
                    Ok(()) => {
                        let names = namespaces.borrow_and_update().clone().unwrap_or_default();
                        driver.only(&names.enabled);
                    }
                    Err(_) => return,
                },
                Some(seen) = observations.recv() => if let Some(seen) = observation(seen) {
                    let actions = driver.queue.observe(seen, Instant::now(), jitter());
                    driver.carry_out(actions);
                },
                Some(done) = driver.attempts.join_next() => match done {
                    Ok(done) => driver.finished(done),
                    // It panicked.
                    Err(_) => return,
                },
                Some(turn) = driver.watches.next_turn() => if turn.is_err() { return },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let actions = driver.queue.due(Instant::now());
                    driver.carry_out(actions);
                }
                _ = reports.tick() => driver.report(Instant::now()),
            }
        }
    }

    /// Sends the empty patch, if this replica may.
    async fn readmit(&self, account: &ServiceAccountRef) -> (Attempt, Option<Failure>) {
        // Without a webhook that answers a patch has no effect, and by an old mapping it may do harm.
        if self.readiness.check().is_err() || self.freshness.is_in_force().await != Some(true) {
            return (Attempt::Held, None);
        }
        match self.patch(account).await {
            Ok(state) => (Attempt::Answered(state), None),
            Err(failure) => (attempt(&failure), Some(failure)),
        }
    }

    async fn patch(&self, account: &ServiceAccountRef) -> Result<SyncState, Failure> {
        let nothing = Patch::Merge(json!({}));
        let request = Request::new(ServiceAccount::url_path(&(), Some(&account.namespace)));
        let patched =
            self.api.object(request.patch_metadata(&account.name, &in_our_name(), &nothing)).await?;
        let patched: &RawValue = patched.json()?;
        let read = sync_state(&self.live.load().ruleset, patched, &account.namespace);
        read.map(|(_, state)| state).map_err(Failure::json)
    }
}

/// What a watch saw of one ServiceAccount.
fn observation(Seen { namespace, generation, event }: Seen<(Arc<str>, SyncState)>) -> Option<Observation> {
    let (name, state) = match event {
        Event::There(account) => account,
        Event::Gone((name, _)) => (name, SyncState::Gone),
        Event::Listing | Event::Listed => return None,
    };
    Some(Observation { account: ServiceAccountRef { namespace, name }, generation, state })
}

/// The name of a ServiceAccount, and how it stands to what these rules decide.
fn sync_state(
    ruleset: &Ruleset,
    account: &RawValue,
    namespace: &str,
) -> serde_json::Result<(Arc<str>, SyncState)> {
    with_subject(account, namespace, ruleset, |subject, is_deleted| {
        let state = match is_deleted {
            // What is being deleted is not worth a write.
            true => SyncState::Gone,
            false if decide(ruleset, subject).edits.is_empty() => SyncState::InSync,
            false => SyncState::OutOfSync,
        };
        (subject.name.into(), state)
    })
}

/// What a failure means to the queue.
fn attempt(failure: &Failure) -> Attempt {
    match failure.code() {
        Some(404) => Attempt::Answered(SyncState::Gone),
        Some(403 | 422) => Attempt::Refused,
        Some(429) => Attempt::TooManyRequests(failure.retry_after()),
        _ => Attempt::Failed,
    }
}

fn jitter() -> Duration {
    JITTER.mul_f64(fastrand::f64())
}

/// Carries out what the queue says.
struct Driver {
    repair: Arc<Repair>,
    queue: RepairQueue,
    watches: Watches<(Arc<str>, SyncState)>,
    attempts: JoinSet<Done>,
    progress: Progress,
}

/// A re-admission that has come to its end.
struct Done {
    account: ServiceAccountRef,
    attempt: Attempt,
    failure: Option<Failure>,
}

/// What was done since the last report.
#[derive(Default)]
struct Progress {
    repaired: u64,
    no_effect: u64,
    failed: u64,
}

impl Driver {
    fn only(&mut self, namespaces: &BTreeSet<String>) {
        self.watches.only(namespaces);
        let actions = self.queue.only(namespaces);
        self.carry_out(actions);
    }

    fn finished(&mut self, Done { account, attempt, failure }: Done) {
        let actions = self.queue.finished(account.clone(), attempt, Instant::now(), jitter());
        // Nobody needs to know of a failure that the queue does not count.
        let is_counted = actions.iter().any(|action| matches!(action, Action::Count(_)));
        if let Some(failure) = failure.filter(|_| is_counted) {
            log(&account, attempt, &failure);
        }
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Readmit(account) => {
                    let repair = Arc::clone(&self.repair);
                    self.attempts.spawn(async move {
                        let (attempt, failure) = repair.readmit(&account).await;
                        Done { account, attempt, failure }
                    });
                }
                Action::Abandon => self.attempts = JoinSet::new(),
                Action::TellOwner(account, time) => self.tell_owner(&account, time),
                Action::Count(result) => self.count(result),
                Action::ListAgain(namespace) => self.watches.again(&namespace),
            }
        }
    }

    /// Tells the owner of a ServiceAccount that it is left alone for so long, and that somebody must settle
    /// who sets its role.
    fn tell_owner(&self, account: &ServiceAccountRef, time: Duration) {
        let time = duration_in_words(time);
        let ServiceAccountRef { namespace, name } = account;
        tracing::warn!(
            %namespace, %name,
            "ServiceAccount left alone for {time}: it is changed back again and again"
        );
        self.repair.events.tell(Notice {
            regarding: Regarding::service_account(Arc::clone(namespace), Arc::clone(name)),
            importance: Importance::Warning,
            reason: CHANGED_BACK,
            action: "Repair",
            note: format!(
                "its role annotations were changed back {TIMES} times in {} minutes, so they are left alone \
                 for {time}; find what else sets them, or give it the label \
                 gitlab-iam-webhook/inject=disabled",
                WINDOW.as_secs() / 60,
            ),
            naming: Naming::Unique,
        });
    }

    fn count(&mut self, result: RepairResult) {
        match result {
            RepairResult::Repaired => self.progress.repaired += 1,
            RepairResult::NoEffect => self.progress.no_effect += 1,
            RepairResult::Failed | RepairResult::Refused => self.progress.failed += 1,
            RepairResult::LeftAlone => {}
        }
        self.repair.metrics.repairs.get_or_create(&RepairLabel { result }).inc();
    }

    /// Logs what was done, where there is something to say.
    fn report(&mut self, now: Instant) {
        self.queue.forget(now);
        let waiting = self.queue.waiting();
        self.repair.metrics.repairs_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let Progress { repaired, no_effect, failed } = std::mem::take(&mut self.progress);
        if repaired + failed > 0 {
            tracing::info!(repaired, failed, waiting, "ServiceAccounts re-admitted");
        }
        if no_effect > 0 {
            tracing::warn!(
                in_vain = no_effect,
                "re-admitted without effect: the API server does not reach the webhook, or a replica with \
                 another mapping answered"
            );
        }
    }
}

fn log(account: &ServiceAccountRef, attempt: Attempt, failure: &Failure) {
    let ServiceAccountRef { namespace, name } = account;
    match attempt {
        Attempt::Refused => {
            let why = causes(failure);
            tracing::warn!(
                %namespace, %name,
                "ServiceAccount cannot be re-admitted: {why}; next try in an hour"
            );
        }
        Attempt::Failed => failure.log(&format!("re-admitting ServiceAccount {account}")),
        // The API server is busy, or it is gone: both are no faults.
        Attempt::TooManyRequests(_) | Attempt::Answered(_) | Attempt::Held => {}
    }
}
