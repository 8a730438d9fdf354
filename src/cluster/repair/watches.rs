//! Which ServiceAccounts are not as decided? One watch for each namespace that has opted in, in bounded memory however many there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::utils::Backoff;
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::accounts::{ListError, Pages, with_subject};
use crate::cluster::pauses::Pauses;
use crate::cluster::{Failure, within};
use crate::engine::decision::decide;
use crate::engine::ruleset::Ruleset;
use crate::live::Live;

/// Namespaces listed at once.
const LISTING: usize = 2;

/// Namespaces watched at once: each takes a connection. Where more have opted in they take turns of [`TURN`].
const WATCHES: usize = 64;

/// See [`WATCHES`].
const TURN: Duration = Duration::from_secs(30);

/// Between two watches on the same namespace.
const BETWEEN: Duration = Duration::from_millis(200);

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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    InStep,
    OutOfStep,
    Gone,
}

/// One watch for each namespace.
pub(super) struct Watches {
    client: Client,
    live: Arc<Live>,
    sender: mpsc::Sender<Seen>,
    turns: Arc<Turns>,
    running: HashMap<String, CancellationToken>,
    tasks: JoinSet<()>,
}

impl Watches {
    /// None yet; what they see goes to `sender`.
    pub(super) fn new(client: Client, live: Arc<Live>, sender: mpsc::Sender<Seen>) -> Self {
        let turns = Arc::new(Turns {
            listing: Semaphore::new(LISTING),
            watching: Semaphore::new(WATCHES),
            namespaces: AtomicUsize::new(0),
        });
        Self { client, live, sender, turns, running: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Whether the next one to end did so by a panic; none while none runs.
    pub(super) async fn ended_in_panic(&mut self) -> Option<bool> {
        self.tasks.join_next().await.map(|ended| ended.is_err_and(|error| error.is_panic()))
    }

    /// In these namespaces, and no others.
    pub(super) fn only(&mut self, names: &BTreeSet<String>) {
        self.turns.namespaces.store(names.len(), Ordering::Relaxed);
        self.running.retain(|name, stop| {
            let stays = names.contains(name);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for name in names {
            if !self.running.contains_key(name) {
                let stop = CancellationToken::new();
                self.running.insert(name.clone(), stop.clone());
                let watch = Watch {
                    client: self.client.clone(),
                    namespace: name.as_str().into(),
                    live: Arc::clone(&self.live),
                    sender: self.sender.clone(),
                    turns: Arc::clone(&self.turns),
                };
                self.tasks
                    .spawn(async move { stop.run_until_cancelled(watch.follow()).await.unwrap_or_default() });
            }
        }
    }
}

struct Watch {
    client: Client,
    namespace: Arc<str>,
    live: Arc<Live>,
    sender: mpsc::Sender<Seen>,
    turns: Arc<Turns>,
}

/// What the watches share, so that memory does not follow the number of namespaces.
struct Turns {
    listing: Semaphore,
    watching: Semaphore,
    namespaces: AtomicUsize,
}

/// Why a watch ended.
enum Ended {
    /// Nobody listens.
    Closed,
    /// The API server ends each after some minutes.
    Over,
    /// What it went on from is too old: everything is to be listed again.
    Expired,
    Failed(String),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Api(kube::Error::Api(status)) if status.code == 410 => Self::Expired,
            failure => Self::Failed(failure.to_string()),
        }
    }
}

impl From<ListError> for Ended {
    fn from(error: ListError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Watch {
    /// Until nobody listens.
    async fn follow(self) {
        let mut generations = self.live.subscribe();
        loop {
            let _turn = self.turns.watching.acquire().await;
            generations.borrow_and_update();
            tokio::select! {
                () = self.look() => return,
                // Judged by a new mapping, everything may be different.
                changed = generations.changed() => if changed.is_err() { return },
                () = self.time_is_up() => {}
            }
        }
    }

    async fn time_is_up(&self) {
        let end = Instant::now() + AGAIN + AGAIN.mul_f64(fastrand::f64());
        loop {
            tokio::time::sleep(TURN).await;
            if Instant::now() >= end || self.turns.namespaces.load(Ordering::Relaxed) > WATCHES {
                return;
            }
        }
    }

    /// Lists and watches; ends when nobody listens.
    async fn look(&self) {
        let (mut pauses, mut failing) = (Pauses::default(), false);
        let mut version = None;
        loop {
            let ended = match version.take() {
                None => match self.list().await {
                    Ok(listed) => {
                        (version, failing) = (Some(listed), false);
                        pauses.reset();
                        continue;
                    }
                    Err(ended) => ended,
                },
                Some(from) => self.watch(from, &mut version).await,
            };
            match ended {
                Ended::Closed => return,
                Ended::Over => tokio::time::sleep(BETWEEN).await,
                Ended::Expired => version = None,
                Ended::Failed(why) => {
                    // Said once for each outage: there are many of these watches.
                    if !std::mem::replace(&mut failing, true) {
                        let namespace = &self.namespace;
                        tracing::warn!(%namespace, "watching ServiceAccounts: {why}; trying again");
                    }
                    tokio::time::sleep(pauses.next().unwrap_or_default()).await;
                }
            }
        }
    }

    /// Everything there is, and from where to watch on.
    async fn list(&self) -> Result<String, Ended> {
        let _turn = self.turns.listing.acquire().await;
        let mut pages = Pages::new(self.client.clone(), &self.namespace);
        let mut version = None;
        while let Some(page) = pages.next().await? {
            for account in page.accounts {
                self.tell(account, false).await?;
            }
            version = page.version;
        }
        Ok(version.unwrap_or_default())
    }

    /// What changes from there on. `reached` is told how far it came.
    async fn watch(&self, from: String, reached: &mut Option<String>) -> Ended {
        let api: Api<PartialObjectMeta<ServiceAccount>> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let reached = reached.insert(from);
        let parameters = WatchParams::default();
        let begun = within(api.watch(&parameters, reached));
        let events = match begun.await {
            Ok(events) => events,
            Err(failure) => return failure.into(),
        };
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let (account, gone) = match event {
                Ok(WatchEvent::Added(account) | WatchEvent::Modified(account)) => (account, false),
                Ok(WatchEvent::Deleted(account)) => (account, true),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    reached.clone_from(&bookmark.metadata.resource_version);
                    continue;
                }
                Ok(WatchEvent::Error(status)) => return Failure::Api(kube::Error::Api(status)).into(),
                Err(error) => return Failure::Api(error).into(),
            };
            if let Some(version) = &account.metadata.resource_version {
                reached.clone_from(version);
            }
            if let Err(ended) = self.tell(account.metadata, gone).await {
                return ended;
            }
        }
        Ended::Over
    }

    async fn tell(&self, account: ObjectMeta, gone: bool) -> Result<(), Ended> {
        let live = self.live.load_full();
        let state = if gone { State::Gone } else { judge(&live.ruleset, &account) };
        let key = (Arc::clone(&self.namespace), account.name.unwrap_or_default().into());
        let seen = Seen { key, generation: live.number, state };
        self.sender.send(seen).await.map_err(|_| Ended::Closed)
    }
}

/// How a ServiceAccount stands, by its metadata.
pub(super) fn judge(ruleset: &Ruleset, metadata: &ObjectMeta) -> State {
    // On its way out nothing is worth a write.
    if metadata.deletion_timestamp.is_some() {
        return State::Gone;
    }
    let in_step = with_subject(metadata, |subject| decide(ruleset, subject).edits.is_empty());
    if in_step { State::InStep } else { State::OutOfStep }
}
