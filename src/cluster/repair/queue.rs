//! Which ServiceAccounts are re-admitted, and when?
//!
//! Everything here is pure: what was seen, the time and the jitter are arguments, and what is to be done is
//! returned.
//!
//! Times are monotonic: a clock of the machine that is set forward or back changes nothing here. They may
//! stand still while a machine is suspended, so that a pause becomes longer by the clock on the wall and
//! never shorter.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Backoff, Next};
use crate::metrics::RepairResult;

/// Re-admissions under way at once.
const IN_FLIGHT: usize = 4;

/// ServiceAccounts remembered at once, each with at most half a kilobyte. The namespaces of those that find
/// no room are listed again when half of them are done.
const MOST: usize = 5_000;

/// How long the queue is held where nothing can be tried, and after a 429 that does not say for how long.
const HOLD: Duration = Duration::from_secs(1);

/// The longest jitter. Each re-admission waits for a random part of it: of several replicas one is first, and
/// the others see that it is done.
pub(super) const JITTER: Duration = Duration::from_millis(500);

/// How much a pause grows at most with the jitter.
const LONGEST_SPREAD: Duration = Duration::from_secs(30);

/// A ServiceAccount by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceAccountRef {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl fmt::Display for ServiceAccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How a ServiceAccount stands to what the mapping decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncState {
    /// It is as decided.
    InSync,
    /// The webhook would change it.
    OutOfSync,
    /// It is not there any more, or is being deleted.
    Gone,
}

/// What a watch saw.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) account: ServiceAccountRef,
    /// The generation of the mapping that it was compared with.
    pub(super) generation: u64,
    pub(super) state: SyncState,
}

/// What came of one re-admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The API server answered, and this is how the ServiceAccount stands.
    Answered(SyncState),
    /// The API server refused it, and would do so again.
    Refused,
    /// The API server asked to wait (429), perhaps for so long.
    TooManyRequests(Option<Duration>),
    /// It failed in any other way.
    Failed,
    /// Nothing was sent: this replica is not ready, or its mapping may not be the newest.
    Held,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Re-admit it, and report to [`RepairQueue::finished`] what came of it.
    Readmit(ServiceAccountRef),
    /// Drop every re-admission that is under way; nothing of them may be reported any more.
    Abandon,
    /// Tell its owner that it is left alone for so long.
    TellOwner(ServiceAccountRef, Duration),
    /// Count this result.
    Count(RepairResult),
    /// List the ServiceAccounts of this namespace again: some of them found no room.
    ListAgain(Arc<str>),
}

/// The ServiceAccounts to be re-admitted, and what is remembered of them.
pub(super) struct RepairQueue {
    generation: u64,
    cases: HashMap<ServiceAccountRef, Case>,
    /// Those that wait, by when they are due.
    due: BTreeSet<(Instant, ServiceAccountRef)>,
    /// Those that were due when the ones before them were done, by a number that `order` makes of each.
    batch: BTreeSet<(u64, ServiceAccountRef)>,
    /// An order of this replica's own. Of a long list each replica begins with others, and before it comes to
    /// those of another replica, it has seen that they are done.
    order: RandomState,
    in_flight: usize,
    /// Namespaces of which some found no room.
    left_out: BTreeSet<Arc<str>>,
    /// Nothing is tried before.
    held_until: Option<Instant>,
}

#[derive(Default)]
struct Case {
    backoff: Backoff,
    phase: Phase,
}

/// How far a ServiceAccount has come.
#[derive(Clone, Copy, Default)]
enum Phase {
    /// Nothing is to be done; what came before is remembered.
    #[default]
    Resting,
    /// It is due then.
    Waiting(Instant),
    /// It is being re-admitted.
    InFlight(Meanwhile),
}

/// What was seen of a ServiceAccount last while it is being re-admitted.
#[derive(Clone, Copy)]
enum Meanwhile {
    /// Nothing was seen, or it is in sync.
    Nothing,
    /// It is out of sync again.
    OutOfSync,
    /// It is gone, or its namespace has left.
    Gone,
}

impl Case {
    fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting)
    }
}

impl RepairQueue {
    /// An empty queue for this generation of the mapping.
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            cases: HashMap::new(),
            due: BTreeSet::new(),
            batch: BTreeSet::new(),
            order: RandomState::new(),
            in_flight: 0,
            left_out: BTreeSet::new(),
            held_until: None,
        }
    }

    /// A mapping came into force: everything is forgotten, since the watches show everything again.
    pub(super) fn mapping(&mut self, generation: u64) -> Vec<Action> {
        if generation <= self.generation {
            return Vec::new();
        }
        let abandoned = self.in_flight > 0;
        // What the API server asked for is not forgotten.
        *self = Self { held_until: self.held_until, ..Self::new(generation) };
        abandoned.then_some(Action::Abandon).into_iter().collect()
    }

    /// No other namespaces than these are opted in: what is remembered of others is forgotten.
    pub(super) fn only(&mut self, namespaces: &BTreeSet<String>) -> Vec<Action> {
        self.left_out.retain(|namespace| namespaces.contains(&**namespace));
        self.due.retain(|(_, account)| namespaces.contains(&*account.namespace));
        self.batch.retain(|(_, account)| namespaces.contains(&*account.namespace));
        self.cases.retain(|account, case| {
            if namespaces.contains(&*account.namespace) {
                return true;
            }
            let in_flight = matches!(case.phase, Phase::InFlight(_));
            if in_flight {
                *case = Case { phase: Phase::InFlight(Meanwhile::Gone), ..Case::default() };
            }
            in_flight
        });
        self.list_again(Vec::new())
    }

    /// A watch saw a ServiceAccount.
    pub(super) fn observe(&mut self, seen: Observation, now: Instant, jitter: Duration) -> Vec<Action> {
        let mut actions = self.mapping(seen.generation);
        if seen.generation < self.generation {
            return actions;
        }
        let account = seen.account;
        if seen.state == SyncState::OutOfSync {
            self.enqueue(account, now, jitter, &mut actions);
            return self.list_again(actions);
        }
        let Entry::Occupied(mut entry) = self.cases.entry(account) else { return actions };
        match (entry.get().phase, seen.state) {
            (Phase::InFlight(_), SyncState::Gone) => {
                entry.insert(Case { phase: Phase::InFlight(Meanwhile::Gone), ..Case::default() });
            }
            (Phase::InFlight(_), _) => entry.get_mut().phase = Phase::InFlight(Meanwhile::Nothing),
            (Phase::Waiting(at), state) => {
                if !self.due.remove(&(at, entry.key().clone())) {
                    self.batch.remove(&(self.order.hash_one(entry.key()), entry.key().clone()));
                }
                if state == SyncState::Gone {
                    entry.remove();
                } else {
                    let case = entry.get_mut();
                    case.phase = Phase::Resting;
                    case.backoff.in_sync(now);
                }
            }
            (Phase::Resting, SyncState::Gone) => drop(entry.remove()),
            (Phase::Resting, _) => {}
        }
        self.list_again(actions)
    }

    /// A re-admission that [`Action::Readmit`] asked for has come to its end.
    pub(super) fn finished(
        &mut self,
        account: ServiceAccountRef,
        attempt: Attempt,
        now: Instant,
        jitter: Duration,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(case) = self.cases.get_mut(&account) else { return actions };
        let Phase::InFlight(meanwhile) = case.phase else { return actions };
        case.phase = Phase::Resting;
        self.in_flight -= 1;
        // All the others wait too. With the jitter, replicas do not all go on at once.
        let hold = match attempt {
            Attempt::TooManyRequests(wait) => Some(wait.unwrap_or_default().max(HOLD)),
            Attempt::Held => Some(HOLD),
            _ => None,
        };
        self.held_until = self.held_until.max(hold.map(|time| now + time + jitter));
        if matches!(meanwhile, Meanwhile::Gone) {
            self.cases.remove(&account);
            return self.list_again(actions);
        }
        let is_changed_again = matches!(meanwhile, Meanwhile::OutOfSync);
        let (result, is_due_again) = match attempt {
            Attempt::Answered(SyncState::InSync) => {
                case.backoff.in_sync(now);
                (Some(RepairResult::Repaired), is_changed_again)
            }
            Attempt::Answered(SyncState::Gone) => {
                self.cases.remove(&account);
                // It may have been created again since.
                (None, is_changed_again)
            }
            Attempt::Answered(SyncState::OutOfSync) => {
                case.backoff.without_effect();
                (Some(RepairResult::NoEffect), true)
            }
            Attempt::Refused => {
                case.backoff.refused();
                (Some(RepairResult::Refused), true)
            }
            Attempt::TooManyRequests(_) | Attempt::Failed => {
                case.backoff.without_effect();
                (Some(RepairResult::Failed), true)
            }
            Attempt::Held => {
                self.wait(account.clone(), now + HOLD + jitter);
                (None, false)
            }
        };
        actions.extend(result.map(Action::Count));
        if is_due_again {
            self.enqueue(account, now, jitter, &mut actions);
        }
        self.list_again(actions)
    }

    /// What is due by now is to be re-admitted, as far as there is room and nothing holds the queue.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while self.next_due(now).is_some_and(|at| at <= now) {
            if self.batch.is_empty() {
                self.next_batch(now);
            }
            let Some((_, account)) = self.batch.pop_first() else { break };
            if let Some(case) = self.cases.get_mut(&account) {
                case.phase = Phase::InFlight(Meanwhile::Nothing);
                self.in_flight += 1;
                actions.push(Action::Readmit(account));
            }
        }
        actions
    }

    /// Takes what is due by now as the next batch.
    fn next_batch(&mut self, now: Instant) {
        while self.due.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, account)) = self.due.pop_first()
        {
            self.batch.insert((self.order.hash_one(&account), account));
        }
    }

    /// When [`Self::due`] has something to do next, if nothing else happens before.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.in_flight >= IN_FLIGHT {
            return None;
        }
        let at = if self.batch.is_empty() { self.due.first()?.0 } else { now };
        Some(self.held_until.map_or(at, |until| until.max(at)))
    }

    /// How many are not done.
    pub(super) fn waiting(&self) -> usize {
        self.due.len() + self.batch.len() + self.in_flight
    }

    /// Forgets what is long over.
    pub(super) fn forget(&mut self, now: Instant) {
        self.cases.retain(|_, case| !case.is_resting() || !case.backoff.is_over(now));
    }

    fn enqueue(
        &mut self,
        account: ServiceAccountRef,
        now: Instant,
        jitter: Duration,
        actions: &mut Vec<Action>,
    ) {
        if !self.cases.contains_key(&account) && !self.has_room() {
            self.left_out.insert(account.namespace);
            return;
        }
        let case = self.cases.entry(account.clone()).or_default();
        match &mut case.phase {
            Phase::Waiting(_) => return,
            Phase::InFlight(meanwhile) => {
                *meanwhile = Meanwhile::OutOfSync;
                return;
            }
            Phase::Resting => {}
        }
        let time = match case.backoff.out_of_sync(now) {
            Next::Try(time) => time + spread(time, jitter),
            Next::LeaveAlone(time) => time,
            Next::GiveUp(time) => {
                actions.push(Action::Count(RepairResult::LeftAlone));
                actions.push(Action::TellOwner(account.clone(), time));
                time
            }
        };
        self.wait(account, now + time + jitter);
    }

    fn wait(&mut self, account: ServiceAccountRef, until: Instant) {
        if let Some(case) = self.cases.get_mut(&account) {
            case.phase = Phase::Waiting(until);
            self.due.insert((until, account));
        }
    }

    /// Whether there is room for another one. Where room is needed, those that are in sync by now are
    /// forgotten, and those that somebody else sets, too, last.
    fn has_room(&mut self) -> bool {
        if self.waiting() >= MOST {
            return false;
        }
        if self.cases.len() >= MOST {
            self.cases.retain(|_, case| !case.is_resting() || case.backoff.is_contested());
        }
        if self.cases.len() >= MOST {
            self.cases.retain(|_, case| !case.is_resting());
        }
        true
    }

    /// Adds the namespaces to list again, once there is room for what found none.
    fn list_again(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        if self.waiting() <= MOST / 2 {
            actions.extend(std::mem::take(&mut self.left_out).into_iter().map(Action::ListAgain));
        }
        actions
    }
}

/// How much longer a pause becomes: up to half as long again. Replicas whose tries fail because they meet,
/// each under way for many seconds, so come apart.
fn spread(pause: Duration, jitter: Duration) -> Duration {
    (pause / 2).min(LONGEST_SPREAD).mul_f64(jitter.div_duration_f64(JITTER).min(1.0))
}

#[cfg(test)]
mod tests;
