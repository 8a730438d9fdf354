//! Are the ServiceAccounts that exist as decided? One that is not is re-admitted: an empty merge patch, which the API server brings to
//! the webhook. The webhook stays the only writer, and no field of ours ever gets a second owner.
//!
//! One watch a namespace that has opted in, of metadata alone, and nothing is kept of what is as decided. A new mapping begins every
//! watch anew, and so does the time: whatever was missed, or found no room, is found again.

mod backoff;
mod events;
mod watches;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Patch;
use kube::core::{Request, Resource};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};

use super::failure::Failure;
use super::mapping_freshness::MappingFreshness;
use super::namespaces::OptedIn;
use super::{ApiServer, in_our_name};
use crate::health::Readiness;
use crate::live::Live;
use crate::metrics::{Metrics, RepairLabel, RepairResult};
use backoff::{Backoff, Next};
use events::Telling;
use watches::{Key, Seen, State, Watches, judge};

/// Patches under way at once.
const IN_FLIGHT: usize = 4;

/// Each waits a random part of it before it is tried: of several replicas one is first, and the others see that it is done.
const JITTER: Duration = Duration::from_millis(500);

/// ServiceAccounts remembered at once, each with at most half a kilobyte. What finds no room is listed again when half of them are done.
const MOST: usize = 5_000;

/// Between two looks at whether the webhook itself is ready and its mapping the newest one.
const NOT_NOW: Duration = Duration::from_secs(1);

/// The repair of what exists.
pub struct Repair {
    api: ApiServer,
    live: Arc<Live>,
    namespaces: watch::Receiver<OptedIn>,
    newest: MappingFreshness,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// What came of one try.
enum Tried {
    Found(State),
    Failed(Failure),
    /// Nothing was tried.
    NotNow,
}

impl Repair {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(
        api: ApiServer,
        live: Arc<Live>,
        namespaces: watch::Receiver<OptedIn>,
        newest: MappingFreshness,
        readiness: Readiness,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { api, live, namespaces, newest, readiness, metrics }
    }

    /// Repairs until stopped.
    pub async fn follow(self, stop: CancellationToken) {
        let (sender, mut seen) = mpsc::channel(256);
        let mut watches = Watches::new(self.api.clone(), Arc::clone(&self.live), sender);
        let mut generations = self.live.subscribe();
        let mut namespaces = self.namespaces.clone();
        let mut work = Work::new(self);
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        loop {
            // In this order: what the watches say may make a try needless.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = generations.changed() => match changed {
                    Ok(()) => work.begin_anew(*generations.borrow_and_update()),
                    Err(_) => return,
                },
                changed = namespaces.changed() => match changed {
                    Ok(()) => {
                        let names = namespaces.borrow_and_update().clone().unwrap_or_default();
                        watches.only(&names);
                        work.only(&names);
                    }
                    Err(_) => return,
                },
                Some(seen) = seen.recv() => work.take(seen, Instant::now()),
                Some(done) = work.under_way.join_next() => match done {
                    Ok((key, generation, tried)) => work.tried(key, generation, tried, Instant::now()),
                    Err(error) if error.is_panic() => return,
                    // Begun anew meanwhile.
                    Err(_) => {}
                },
                Some(in_panic) = watches.ended_in_panic() => if in_panic { return },
                () = tokio::time::sleep_until(work.held_until), if work.is_held() => {}
                Some(due) = work.queue.next(), if work.under_way.len() < IN_FLIGHT && !work.is_held() => {
                    work.try_now(due.into_inner());
                }
                _ = ticks.tick() => work.tell(Instant::now()),
            }
            for namespace in work.left_out() {
                watches.again(&namespace);
            }
        }
    }
}

fn jitter() -> Duration {
    JITTER.mul_f64(fastrand::f64())
}

/// What is to be done, and what is remembered.
struct Work {
    repair: Arc<Repair>,
    telling: Telling,
    generation: u64,
    cases: HashMap<Key, Case>,
    /// Namespaces of which some found no room.
    left_out: BTreeSet<Arc<str>>,
    queue: DelayQueue<Key>,
    under_way: JoinSet<(Key, u64, Tried)>,
    /// The API server asked for patience until then.
    held_until: Instant,
    progress: Progress,
}

#[derive(Default)]
struct Case {
    patience: Backoff,
    queued: Option<delay_queue::Key>,
    under_way: bool,
    /// It was out of step again while a try was under way.
    again: bool,
}

impl Case {
    fn is_busy(&self) -> bool {
        self.queued.is_some() || self.under_way
    }
}

/// For the log: since it was last said.
#[derive(Default)]
struct Progress {
    repaired: u64,
    in_vain: u64,
    failed: u64,
}

impl Work {
    fn new(repair: Repair) -> Self {
        Self {
            generation: repair.live.load().number,
            telling: Telling::new(repair.api.clone()),
            repair: Arc::new(repair),
            cases: HashMap::new(),
            left_out: BTreeSet::new(),
            queue: DelayQueue::new(),
            under_way: JoinSet::new(),
            held_until: Instant::now(),
            progress: Progress::default(),
        }
    }

    /// By a new mapping nothing is known; the watches say everything again.
    fn begin_anew(&mut self, generation: u64) {
        if generation > self.generation {
            self.generation = generation;
            self.cases.clear();
            self.left_out.clear();
            self.queue.clear();
            self.under_way.abort_all();
        }
    }

    /// Namespaces that are not opted in any more are forgotten.
    fn only(&mut self, names: &BTreeSet<String>) {
        let queue = &mut self.queue;
        self.left_out.retain(|namespace| names.contains(&**namespace));
        self.cases.retain(|(namespace, _), case| {
            let stays = names.contains(&**namespace);
            if let Some(queued) = case.queued.take_if(|_| !stays) {
                queue.try_remove(&queued);
            }
            stays
        });
    }

    fn take(&mut self, Seen { key, generation, state }: Seen, now: Instant) {
        self.begin_anew(generation);
        if generation < self.generation {
            return;
        }
        match state {
            State::OutOfStep => self.enqueue(&key, now),
            State::InStep | State::Gone => {
                let Some(case) = self.cases.get_mut(&key) else { return };
                case.again = false;
                if let Some(queued) = case.queued.take() {
                    self.queue.try_remove(&queued);
                    if state == State::InStep {
                        case.patience.mended(now);
                    }
                }
                if state == State::Gone {
                    self.cases.remove(&key);
                }
            }
        }
    }

    /// The namespaces to list again: there is room by now for what found none.
    fn left_out(&mut self) -> BTreeSet<Arc<str>> {
        if self.queue.len() + self.under_way.len() > MOST / 2 {
            BTreeSet::new()
        } else {
            std::mem::take(&mut self.left_out)
        }
    }

    /// Whether there is room for another one. Where it is needed, those that are in step by now are forgotten.
    fn has_room(&mut self) -> bool {
        if self.queue.len() + self.under_way.len() >= MOST {
            return false;
        }
        if self.cases.len() >= MOST {
            self.cases.retain(|_, case| case.is_busy() || case.patience.is_a_fight());
        }
        if self.cases.len() >= MOST {
            self.cases.retain(|_, case| case.is_busy());
        }
        true
    }

    fn enqueue(&mut self, key: &Key, now: Instant) {
        if !self.cases.contains_key(key) && !self.has_room() {
            self.left_out.insert(Arc::clone(&key.0));
            return;
        }
        let case = self.cases.entry(key.clone()).or_default();
        if case.queued.is_some() || case.under_way {
            case.again = case.under_way;
            return;
        }
        let next = case.patience.out_of_step(now);
        let (Next::Try(time) | Next::LeaveAlone(time) | Next::GiveUp(time)) = next;
        case.queued = Some(self.queue.insert(key.clone(), time + jitter()));
        if matches!(next, Next::GiveUp(_)) {
            self.repair.count(RepairResult::LeftAlone);
            self.telling.tell_owner(key, time);
        }
    }

    fn try_now(&mut self, key: Key) {
        let Some(case) = self.cases.get_mut(&key) else { return };
        case.queued = None;
        case.under_way = true;
        let (repair, generation) = (Arc::clone(&self.repair), self.generation);
        self.under_way.spawn(async move {
            let tried = repair.readmit(&key).await;
            (key, generation, tried)
        });
    }

    fn tried(&mut self, key: Key, generation: u64, tried: Tried, now: Instant) {
        // What was begun under an older mapping is no case any more.
        let Some(case) = self.cases.get_mut(&key).filter(|_| generation == self.generation) else { return };
        case.under_way = false;
        let again = std::mem::take(&mut case.again);
        match tried {
            Tried::NotNow => case.queued = Some(self.queue.insert(key, NOT_NOW + jitter())),
            Tried::Found(State::InStep) => {
                self.progress.repaired += 1;
                self.repair.count(RepairResult::Repaired);
                case.patience.mended(now);
                if again {
                    self.enqueue(&key, now);
                }
            }
            Tried::Found(State::Gone) => drop(self.cases.remove(&key)),
            Tried::Found(State::OutOfStep) => {
                self.progress.in_vain += 1;
                self.repair.count(RepairResult::NoEffect);
                case.patience.in_vain();
                self.enqueue(&key, now);
            }
            Tried::Failed(failure) => {
                self.progress.failed += 1;
                self.failed(&key, &failure);
                self.enqueue(&key, now);
            }
        }
    }

    fn failed(&mut self, key: &Key, failure: &Failure) {
        let Some(case) = self.cases.get_mut(key) else { return };
        match failure.code() {
            Some(403 | 422) => {
                let (namespace, name) = key;
                tracing::warn!(%namespace, %name, "ServiceAccount cannot be re-admitted: {failure}; next try in an hour");
                self.repair.count(RepairResult::Refused);
                case.patience.refused();
                return;
            }
            Some(429) => {
                let wait = failure.retry_after().unwrap_or_default().max(Duration::from_secs(1));
                self.held_until = Instant::now() + wait;
            }
            _ => failure.log(&format!("re-admitting ServiceAccount {}/{}", key.0, key.1)),
        }
        self.repair.count(RepairResult::Failed);
        case.patience.in_vain();
    }

    fn is_held(&self) -> bool {
        Instant::now() < self.held_until
    }

    /// Every ten seconds, where there is something to say; forgets what is long over.
    fn tell(&mut self, now: Instant) {
        self.cases.retain(|_, case| case.is_busy() || !case.patience.is_over(now));
        let waiting = self.queue.len() + self.under_way.len();
        self.repair.metrics.repairs_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let Progress { repaired, in_vain, failed } = std::mem::take(&mut self.progress);
        if repaired + failed > 0 {
            tracing::info!(repaired, failed, waiting, "ServiceAccounts re-admitted");
        }
        if in_vain > 0 {
            tracing::warn!(
                in_vain,
                "re-admitted without effect: the API server does not reach the webhook, or a replica with another mapping answered"
            );
        }
    }
}

impl Repair {
    fn count(&self, result: RepairResult) {
        self.metrics.repairs.get_or_create(&RepairLabel { result }).inc();
    }

    async fn readmit(&self, (namespace, name): &Key) -> Tried {
        // Without a webhook that answers, or by a mapping that others have left behind, a try would be in vain or worse.
        if self.readiness.check().is_err() {
            return Tried::NotNow;
        }
        if self.newest.is_in_force().await != Some(true) {
            return Tried::NotNow;
        }
        let nothing = Patch::Merge(json!({}));
        let accounts = Request::new(ServiceAccount::url_path(&(), Some(namespace)));
        let patched = self.api.object(accounts.patch_metadata(name, &in_our_name(), &nothing)).await;
        let judged = patched.and_then(|account| {
            let account: &RawValue = account.json()?;
            judge(&self.live.load().ruleset, account, namespace).map_err(Failure::Json)
        });
        match judged {
            Ok((_, state)) => Tried::Found(state),
            Err(failure) if failure.code() == Some(404) => Tried::Found(State::Gone),
            Err(failure) => Tried::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::read::tests::nobody;
    use crate::engine::rules::operator_policy::OperatorPolicy;
    use crate::mapping_loader::MappingLoader;
    use crate::memory::Pool;

    fn work() -> Work {
        let metrics = Arc::new(Metrics::default());
        let live =
            MappingLoader::new(&metrics, OperatorPolicy::default(), String::new(), &Pool::new(0)).live();
        let (_, taken) = watch::channel(crate::cluster::observed::Observed::NotYet);
        let (_, namespaces) = watch::channel(None);
        let newest = MappingFreshness::new(nobody(), "ns/role-mapping".parse().unwrap(), taken);
        Work::new(Repair::new(nobody(), live, namespaces, newest, Readiness::default(), metrics))
    }

    fn out_of_step(work: &mut Work, namespace: &str, accounts: usize) {
        for n in 0..accounts {
            let key = (namespace.into(), format!("account-{n}").into());
            work.take(Seen { key, generation: 0, state: State::OutOfStep }, Instant::now());
        }
    }

    fn in_step(work: &mut Work, namespace: &str, accounts: usize) {
        for n in 0..accounts {
            let key = (namespace.into(), format!("account-{n}").into());
            work.take(Seen { key, generation: 0, state: State::InStep }, Instant::now());
        }
    }

    #[tokio::test]
    async fn of_very_many_out_of_step_a_bounded_number_is_remembered_and_the_rest_listed_again() {
        let mut work = work();
        out_of_step(&mut work, "a", MOST);
        out_of_step(&mut work, "b", 50_000);
        assert_eq!(work.cases.len(), MOST);
        assert!(work.queue.len() <= MOST);
        assert!(work.left_out().is_empty(), "there is no room yet");
        in_step(&mut work, "a", MOST / 2);
        let left_out = work.left_out();
        assert_eq!(left_out.iter().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
        assert!(work.left_out().is_empty(), "it is told once");
        // Those that are in step by now make room.
        out_of_step(&mut work, "b", 1_000);
        assert_eq!(work.cases.keys().filter(|(namespace, _)| &**namespace == "b").count(), 1_000);
        assert!(work.cases.len() <= MOST);
    }
}
