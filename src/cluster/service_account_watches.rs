//! Which ServiceAccounts are in a set of namespaces, and how do they stand to the mapping in force?
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

use super::ApiServer;
use super::service_accounts;
use super::watch::{Event, follow};
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;
use crate::telemetry::causes;

/// Namespaces listed at once.
const LISTING: usize = 2;

/// How long a namespace is watched where others wait for their turn.
const TURN: Duration = Duration::from_secs(30);

/// A namespace is listed again after this time and at most twice this time, whatever its watch said.
const AGAIN: Duration = Duration::from_mins(10);

/// What a watch saw in a namespace.
pub(super) struct Seen<T> {
    pub(super) namespace: Arc<str>,
    /// The generation of the mapping by which it was judged.
    pub(super) generation: u64,
    pub(super) event: Event<T>,
}

/// Reads a ServiceAccount of this namespace, and judges it by these rules.
pub(super) type Judge<T> = fn(&Ruleset, &RawValue, &str) -> serde_json::Result<T>;

/// The watches that are running, and the namespaces that wait for their turn.
pub(super) struct Watches<T> {
    shared: Shared<T>,
    watched: BTreeSet<Arc<str>>,
    waiting: VecDeque<Arc<str>>,
    running: HashMap<Arc<str>, CancellationToken>,
    tasks: JoinSet<Arc<str>>,
}

/// What every watch needs.
struct Shared<T> {
    api: ApiServer,
    live: Arc<Live>,
    judge: Judge<T>,
    sender: mpsc::Sender<Seen<T>>,
    listing: Arc<Semaphore>,
    /// How many namespaces are watched at once. Each takes a connection. Where there are more, they take
    /// turns of [`TURN`].
    most: usize,
    /// How many namespaces are to be watched.
    namespaces: Arc<AtomicUsize>,
}

// Deriving it would ask for `T: Clone`.
impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            api: self.api.clone(),
            live: Arc::clone(&self.live),
            judge: self.judge,
            sender: self.sender.clone(),
            listing: Arc::clone(&self.listing),
            most: self.most,
            namespaces: Arc::clone(&self.namespaces),
        }
    }
}

impl<T: Send + 'static> Watches<T> {
    /// Nothing is watched yet. No more namespaces than `most` will be watched at once, and what the watches
    /// see goes to `sender`.
    pub(super) fn new(
        api: ApiServer,
        live: Arc<Live>,
        judge: Judge<T>,
        most: usize,
        sender: mpsc::Sender<Seen<T>>,
    ) -> Self {
        let listing = Arc::new(Semaphore::new(LISTING));
        Self {
            shared: Shared { api, live, judge, sender, listing, most, namespaces: Arc::default() },
            watched: BTreeSet::new(),
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
            if self.watched.contains(&namespace) {
                self.waiting.push_back(namespace);
            }
            self.fill();
        }))
    }

    /// Watches these namespaces and no others.
    pub(super) fn only(&mut self, names: &BTreeSet<String>) {
        self.shared.namespaces.store(names.len(), Ordering::Relaxed);
        self.watched.retain(|name| names.contains(&**name));
        self.waiting.retain(|name| names.contains(&**name));
        for (name, stop) in &self.running {
            if !names.contains(&**name) {
                stop.cancel();
            }
        }
        for name in names {
            if !self.watched.contains(name.as_str()) {
                let name: Arc<str> = name.as_str().into();
                self.watched.insert(Arc::clone(&name));
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
        while self.running.len() < self.shared.most
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

struct Watch<T> {
    shared: Shared<T>,
    namespace: Arc<str>,
}

/// Nobody receives what is seen any more.
struct Closed;

impl<T: Send + 'static> Watch<T> {
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
            if Instant::now() >= end || self.shared.namespaces.load(Ordering::Relaxed) > self.shared.most {
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
            let (generation, event) = match event {
                Ok(Event::Listing) => {
                    listing = self.shared.listing.acquire().await.ok();
                    (self.shared.live.load().number, Event::Listing)
                }
                Ok(Event::Listed) => {
                    (failing, listing) = (false, None);
                    (self.shared.live.load().number, Event::Listed)
                }
                Ok(Event::There((generation, account))) => (generation, Event::There(account)),
                Ok(Event::Gone((generation, account))) => (generation, Event::Gone(account)),
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
            let namespace = Arc::clone(&self.namespace);
            if self.shared.sender.send(Seen { namespace, generation, event }).await.is_err() {
                break;
            }
        }
        drop(listing);
        Closed
    }

    fn read(&self, account: &RawValue) -> serde_json::Result<(u64, T)> {
        let live = self.shared.live.load();
        let judged = (self.shared.judge)(&live.ruleset, account, &self.namespace)?;
        Ok((live.number, judged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::read::tests::nobody;
    use crate::engine::mapping;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    #[tokio::test]
    async fn however_many_namespaces_there_are_the_same_few_are_watched_at_once_in_turns() {
        const WATCHES: usize = 64;
        let (sender, _seen) = mpsc::channel(1);
        let rules = mapping::compile("rules: []", &OperatorPolicy::default()).unwrap();
        let live = Arc::new(Live::new(rules));
        let mut watches = Watches::new(nobody(), live, |_, _, _| Ok(()), WATCHES, sender);
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
