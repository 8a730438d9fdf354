//! Which ServiceAccounts are not as decided? One watch for each namespace that has opted in, in bounded memory however many there are.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::ApiServer;
use crate::cluster::service_accounts::{self, with_subject};
use crate::cluster::watch::{Event, follow};
use crate::engine::decision::decide;
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;

/// Namespaces listed at once.
const LISTING: usize = 2;

/// Namespaces watched at once: each takes a connection. Where more have opted in they take turns of [`TURN`], in their order.
const WATCHES: usize = 64;

/// See [`WATCHES`].
const TURN: Duration = Duration::from_secs(30);

/// How often everything is looked at again, whatever the watches said, and up to twice that.
const AGAIN: Duration = Duration::from_mins(10);

/// A ServiceAccount: namespace and name.
pub(super) type Key = (Arc<str>, Arc<str>);

/// What a watch saw.
pub(super) struct Seen {
    pub(super) key: Key,
    /// By which mapping it was judged.
    pub(super) generation: u64,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    InStep,
    OutOfStep,
    Gone,
}

/// The watches that are on, and the namespaces that wait for their turn.
pub(super) struct Watches {
    shared: Shared,
    opted_in: BTreeSet<Arc<str>>,
    waiting: VecDeque<Arc<str>>,
    running: HashMap<Arc<str>, CancellationToken>,
    tasks: JoinSet<Arc<str>>,
}

/// What a watch needs.
#[derive(Clone)]
struct Shared {
    api: ApiServer,
    live: Arc<Live>,
    sender: mpsc::Sender<Seen>,
    listing: Arc<Semaphore>,
    namespaces: Arc<AtomicUsize>,
}

impl Watches {
    /// None yet; what they see goes to `sender`.
    pub(super) fn new(api: ApiServer, live: Arc<Live>, sender: mpsc::Sender<Seen>) -> Self {
        let listing = Arc::new(Semaphore::new(LISTING));
        Self {
            shared: Shared { api, live, sender, listing, namespaces: Arc::default() },
            opted_in: BTreeSet::new(),
            waiting: VecDeque::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Whether the next turn to end did so by a panic; none while none runs. Whose turn it was waits for the next one.
    pub(super) async fn ended_in_panic(&mut self) -> Option<bool> {
        match self.tasks.join_next().await? {
            Ok(namespace) => {
                self.running.remove(&namespace);
                if self.opted_in.contains(&namespace) {
                    self.waiting.push_back(namespace);
                }
                self.fill();
                Some(false)
            }
            Err(error) => Some(error.is_panic()),
        }
    }

    /// In these namespaces, and no others.
    pub(super) fn only(&mut self, names: &BTreeSet<String>) {
        self.shared.namespaces.store(names.len(), Ordering::Relaxed);
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
                // One whose turn is just ending is there again; it waits when it has ended.
                if !self.running.contains_key(&name) {
                    self.waiting.push_back(name);
                }
            }
        }
        self.fill();
    }

    /// Lists this one again, soon.
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

/// Nobody listens.
struct Closed;

impl Watch {
    /// Until its turn is over, or nobody listens.
    async fn turn(self) {
        let mut generations = self.shared.live.subscribe();
        let mut over = std::pin::pin!(self.is_over());
        loop {
            generations.borrow_and_update();
            tokio::select! {
                Closed = self.look() => return,
                // Judged by a new mapping, everything may be different.
                changed = generations.changed() => if changed.is_err() { return },
                () = &mut over => return,
            }
        }
    }

    async fn is_over(&self) {
        let end = Instant::now() + AGAIN + AGAIN.mul_f64(fastrand::f64());
        loop {
            tokio::time::sleep(TURN).await;
            if Instant::now() >= end || self.shared.namespaces.load(Ordering::Relaxed) > WATCHES {
                return;
            }
        }
    }

    /// Lists and watches; ends when nobody listens.
    async fn look(&self) -> Closed {
        let (api, what) = (self.shared.api.clone(), service_accounts::collection(&self.namespace));
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
                Ok(Event::Gone(seen)) => Seen { state: State::Gone, ..seen },
                Err(failure) => {
                    listing = None;
                    // Said once for each outage: there are many of these watches.
                    if !std::mem::replace(&mut failing, true) {
                        let namespace = &self.namespace;
                        tracing::warn!(%namespace, "watching ServiceAccounts: {failure}; trying again");
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

    fn read(&self, account: &RawValue) -> serde_json::Result<Seen> {
        let live = self.shared.live.load();
        let (name, state) = judge(&live.ruleset, account, &self.namespace)?;
        Ok(Seen { key: (Arc::clone(&self.namespace), name), generation: live.number, state })
    }
}

/// How a ServiceAccount stands, by its metadata.
pub(super) fn judge(
    ruleset: &Ruleset,
    account: &RawValue,
    namespace: &str,
) -> serde_json::Result<(Arc<str>, State)> {
    with_subject(account, namespace, ruleset, |subject, is_deleted| {
        let state = match is_deleted {
            // On its way out nothing is worth a write.
            true => State::Gone,
            false if decide(ruleset, subject).edits.is_empty() => State::InStep,
            false => State::OutOfStep,
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
        // Its turn ends, and the next one has its own.
        watches.again(&running);
        assert_eq!(watches.ended_in_panic().await, Some(false));
        assert!(watches.running.contains_key(&next) && !watches.running.contains_key(&running));
        assert_eq!(watches.waiting.back(), Some(&running));
        watches.only(&BTreeSet::new());
        while watches.ended_in_panic().await.is_some() {}
        assert_eq!((watches.running.len(), watches.waiting.len()), (0, 0));
        let one = Watch { shared: watches.shared.clone(), namespace: "ns".into() };
        let size = size_of_val(&one.turn());
        assert!(size <= 8 << 10, "{size} bytes for each that is watched");
    }
}
