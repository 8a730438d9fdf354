//! Which ServiceAccounts of the namespaces that have opted in are out of sync?
//!
//! Each namespace has one watch. Memory is bounded, however many namespaces and ServiceAccounts there are.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::queue::{Observation, ServiceAccountRef, SyncState};
use crate::cluster::ApiServer;
use crate::cluster::service_accounts::{self, with_subject};
use crate::cluster::watch::{Event, follow};
use crate::engine::decision::decide;
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;
use crate::telemetry::causes;

/// Namespaces listed at once.
const LISTING: usize = 2;

/// Namespaces watched at once: each takes a connection. Where more have opted in they take turns of [`TURN`].
const WATCHES: usize = 64;

/// How long a namespace is watched where others wait for their turn. See [`WATCHES`].
const TURN: Duration = Duration::from_secs(30);

/// A namespace is listed again after this time and at most twice this time, whatever its watch said.
const AGAIN: Duration = Duration::from_mins(10);

/// The watches that are running, and the namespaces that wait for their turn.
pub(super) struct Watches {
    shared: Shared,
    opted_in: BTreeSet<Arc<str>>,
    waiting: VecDeque<Arc<str>>,
    running: HashMap<Arc<str>, CancellationToken>,
    tasks: JoinSet<Arc<str>>,
}

/// What every watch needs.
#[derive(Clone)]
struct Shared {
    api: ApiServer,
    live: Arc<Live>,
    sender: mpsc::Sender<Observation>,
    listing: Arc<Semaphore>,
    /// How many namespaces have opted in.
    opted_in: Arc<AtomicUsize>,
}

impl Watches {
    /// Nothing is watched yet. What the watches see goes to `sender`.
    pub(super) fn new(api: ApiServer, live: Arc<Live>, sender: mpsc::Sender<Observation>) -> Self {
        let listing = Arc::new(Semaphore::new(LISTING));
        Self {
            shared: Shared { api, live, sender, listing, opted_in: Arc::default() },
            opted_in: BTreeSet::new(),
            waiting: VecDeque::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Waits until a turn ends, and begins the next one; `None` while none is running. The namespace whose
    /// turn ended waits for another one.
    ///
    /// # Errors
    /// When the watch ended by a panic.
    pub(super) async fn next_turn(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.tasks.join_next().await?;
        Some(ended.map(|namespace| {
            self.running.remove(&namespace);
            if self.opted_in.contains(&namespace) {
                self.waiting.push_back(namespace);
            }
            self.fill();
        }))
    }

    /// Watches these namespaces and no others.
    pub(super) fn only(&mut self, names: &BTreeSet<String>) {
        self.shared.opted_in.store(names.len(), Ordering::Relaxed);
        self.opted_in.retain(|name| names.contains(&**name));
        self.waiting.retain(|name| names.contains(&**name));
        for (name, stop) in &self.running {
            if !names.contains(&**name) {
                stop.cancel();
            }
        }
        for name in names {
            if !self.opted_in.contains(name.as_str()) {
                let name: Arc<str> = name.as_str().into();
                self.opted_in.insert(Arc::clone(&name));
                // Where its last turn is just ending, it is added when that has ended.
                if !self.running.contains_key(&name) {
                    self.waiting.push_back(name);
                }
            }
        }
        self.fill();
    }

    /// Ends the turn of this namespace, so that its next one begins with a list.
    pub(super) fn again(&mut self, namespace: &Arc<str>) {
        if let Some(stop) = self.running.get(namespace) {
            stop.cancel();
        }
    }

    fn fill(&mut self) {
        while self.running.len() < WATCHES
            && let Some(namespace) = self.waiting.pop_front()
        {
            let stop = CancellationToken::new();
            self.running.insert(Arc::clone(&namespace), stop.clone());
            let watch = Watch { shared: self.shared.clone(), namespace: Arc::clone(&namespace) };
            self.tasks.spawn(async move {
                stop.run_until_cancelled(watch.turn()).await;
                namespace
            });
        }
    }
}

struct Watch {
    shared: Shared,
    namespace: Arc<str>,
}

/// Nobody receives what is seen any more.
struct Closed;

impl Watch {
    /// Watches until the turn is over, or nobody receives any more.
    async fn turn(self) {
        let mut generations = self.shared.live.subscribe();
        let mut over = std::pin::pin!(self.is_over());
        loop {
            generations.borrow_and_update();
            tokio::select! {
                Closed = self.look() => return,
                // By a new mapping everything may be decided differently.
                changed = generations.changed() => if changed.is_err() { return },
                () = &mut over => return,
            }
        }
    }

    async fn is_over(&self) {
        let end = Instant::now() + AGAIN + AGAIN.mul_f64(fastrand::f64());
        loop {
            tokio::time::sleep(TURN).await;
            if Instant::now() >= end || self.shared.opted_in.load(Ordering::Relaxed) > WATCHES {
                return;
            }
        }
    }

    /// Lists and watches for as long as somebody receives what is seen.
    async fn look(&self) -> Closed {
        let api = self.shared.api.clone();
        let what = service_accounts::collection(&api, &self.namespace);
        let mut events = std::pin::pin!(follow(api, what, |account| self.read(account)));
        let (mut failing, mut listing) = (false, None);
        while let Some(event) = events.next().await {
            let seen = match event {
                Ok(Event::Listing) => {
                    listing = self.shared.listing.acquire().await.ok();
                    continue;
                }
                Ok(Event::Listed) => {
                    (failing, listing) = (false, None);
                    continue;
                }
                Ok(Event::There(seen)) => seen,
                Ok(Event::Gone(seen)) => Observation { state: SyncState::Gone, ..seen },
                Err(failure) => {
                    listing = None;
                    // Each outage is logged once a watch: there are many watches.
                    if !std::mem::replace(&mut failing, true) {
                        let namespace = &self.namespace;
                        let why = causes(&failure);
                        tracing::warn!(%namespace, "watching ServiceAccounts: {why}; trying again");
                    }
                    continue;
                }
            };
            if self.shared.sender.send(seen).await.is_err() {
                break;
            }
        }
        drop(listing);
        Closed
    }

    fn read(&self, account: &RawValue) -> serde_json::Result<Observation> {
        let live = self.shared.live.load();
        let (name, state) = sync_state(&live.ruleset, account, &self.namespace)?;
        let account = ServiceAccountRef { namespace: Arc::clone(&self.namespace), name };
        Ok(Observation { account, generation: live.number, state })
    }
}

/// The name of a ServiceAccount, and how it stands to what these rules decide.
pub(super) fn sync_state(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::read::tests::nobody;
    use crate::engine::mapping;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    #[tokio::test]
    async fn however_many_namespaces_opt_in_the_same_few_are_watched_at_once_in_turns() {
        let (sender, _seen) = mpsc::channel(1);
        let rules = mapping::compile("rules: []", &OperatorPolicy::default()).unwrap();
        let mut watches = Watches::new(nobody(), Arc::new(Live::new(rules)), sender);
        let names: BTreeSet<String> = (0..10_000).map(|n| format!("ns-{n}")).collect();
        watches.only(&names);
        assert_eq!((watches.running.len(), watches.waiting.len()), (WATCHES, 10_000 - WATCHES));
        let next = watches.waiting.front().cloned().unwrap();
        let running = watches.running.keys().next().cloned().unwrap();
        // A turn ends, and that of the next namespace begins.
        watches.again(&running);
        assert!(watches.next_turn().await.unwrap().is_ok());
        assert!(watches.running.contains_key(&next) && !watches.running.contains_key(&running));
        assert_eq!(watches.waiting.back(), Some(&running));
        watches.only(&BTreeSet::new());
        while watches.next_turn().await.is_some() {}
        assert_eq!((watches.running.len(), watches.waiting.len()), (0, 0));
        let one = Watch { shared: watches.shared.clone(), namespace: "ns".into() };
        let size = size_of_val(&one.turn());
        assert!(size <= 8 << 10, "{size} bytes for each that is watched");
    }
}
