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
                self.due.remove(&(at, entry.key().clone()));
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
        match attempt {
            Attempt::TooManyRequests(wait) => self.hold(now + wait.unwrap_or_default().max(HOLD) + jitter),
            Attempt::Held => self.hold(now + HOLD + jitter),
            _ => {}
        }
        if matches!(meanwhile, Meanwhile::Gone) {
            self.cases.remove(&account);
            return self.list_again(actions);
        }
        let Some(case) = self.cases.get_mut(&account) else { return actions };
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
        while self.next_due().is_some_and(|at| at <= now)
            && let Some((_, account)) = self.due.pop_first()
        {
            if let Some(case) = self.cases.get_mut(&account) {
                case.phase = Phase::InFlight(Meanwhile::Nothing);
                self.in_flight += 1;
                actions.push(Action::Readmit(account));
            }
        }
        actions
    }

    /// When [`Self::due`] has something to do next, if nothing else happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let (at, _) = self.due.first().filter(|_| self.in_flight < IN_FLIGHT)?;
        Some(self.held_until.map_or(*at, |until| until.max(*at)))
    }

    /// How many are not done.
    pub(super) fn waiting(&self) -> usize {
        self.due.len() + self.in_flight
    }

    /// Forgets what is long over.
    pub(super) fn forget(&mut self, now: Instant) {
        self.cases.retain(|_, case| !case.is_resting() || !case.backoff.is_over(now));
    }

    fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
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
mod tests {
    use super::Attempt::{Answered, Failed, Held, Refused, TooManyRequests};
    use super::SyncState::{Gone, InSync, OutOfSync};
    use super::*;

    /// What happens to a queue, and what it is asked.
    enum Step {
        /// The watch in this namespace sees its ServiceAccount, by the mapping of this generation.
        See(&'static str, u64, SyncState),
        /// Whatever is due is asked for.
        Due,
        /// The re-admission in this namespace ends.
        End(&'static str, Attempt),
        Mapping(u64),
        Only(&'static [&'static str]),
    }
    use Step::{Due, End, Mapping, Only, See};

    /// One replica, and its clock.
    struct Replica {
        queue: RepairQueue,
        begin: Instant,
        jitter: Duration,
    }

    fn account(namespace: &str, name: &str) -> ServiceAccountRef {
        ServiceAccountRef { namespace: namespace.into(), name: name.into() }
    }

    /// In few words, so that a table shows them.
    fn words(action: &Action) -> String {
        match action {
            Action::Readmit(account) => format!("readmit {}", account.namespace),
            Action::Abandon => "abandon".to_owned(),
            Action::TellOwner(account, time) => {
                format!("tell {} {}", account.namespace, humantime::format_duration(*time))
            }
            Action::Count(result) => format!("{result:?}"),
            Action::ListAgain(namespace) => format!("list {namespace}"),
        }
    }

    impl Replica {
        fn new() -> Self {
            Self { queue: RepairQueue::new(1), begin: Instant::now(), jitter: Duration::ZERO }
        }

        fn at(&self, seconds: f64) -> Instant {
            self.begin + Duration::from_secs_f64(seconds)
        }

        /// When something is due next, in seconds.
        fn next(&self) -> Option<f64> {
            self.queue.next_due().map(|at| at.duration_since(self.begin).as_secs_f64())
        }

        fn step(&mut self, seconds: f64, step: &Step) -> String {
            let (now, jitter) = (self.at(seconds), self.jitter);
            let actions = match *step {
                See(namespace, generation, state) => {
                    let seen = Observation { account: account(namespace, "x"), generation, state };
                    self.queue.observe(seen, now, jitter)
                }
                Due => self.queue.due(now),
                End(namespace, attempt) => self.queue.finished(account(namespace, "x"), attempt, now, jitter),
                Mapping(generation) => self.queue.mapping(generation),
                Only(names) => self.queue.only(&names.iter().map(|name| (*name).to_owned()).collect()),
            };
            actions.iter().map(words).collect::<Vec<_>>().join(", ")
        }

        /// At so many seconds this happens, and that is to be done.
        fn play(&mut self, table: &[(f64, Step, &str)]) {
            for (row, (seconds, step, expected)) in table.iter().enumerate() {
                assert_eq!(self.step(*seconds, step), *expected, "row {row}, at {seconds} s");
            }
        }
    }

    #[test]
    fn one_out_of_sync_is_re_admitted_once_and_forgotten_when_that_is_long_over() {
        let mut replica = Replica::new();
        replica.play(&[
            (0.0, See("a", 1, InSync), ""),
            (0.0, Due, ""),
            (1.0, See("a", 1, OutOfSync), ""),
            (1.0, See("a", 1, OutOfSync), ""),
            (1.0, Due, "readmit a"),
            (1.0, Due, ""),
            (1.1, End("a", Answered(InSync)), "Repaired"),
            // The watch shows what the re-admission did.
            (1.2, See("a", 1, InSync), ""),
            (1.3, Due, ""),
        ]);
        assert_eq!((replica.next(), replica.queue.waiting(), replica.queue.cases.len()), (None, 0, 1));
        replica.queue.forget(replica.at(600.0));
        assert_eq!(replica.queue.cases.len(), 1);
        replica.queue.forget(replica.at(601.1));
        assert_eq!(replica.queue.cases.len(), 0);
    }

    #[test]
    fn one_that_is_changed_back_three_times_is_left_alone_and_its_owner_told() {
        let mut replica = Replica::new();
        for round in 0..3 {
            let at = f64::from(round) * 10.0;
            replica.play(&[
                (at, See("a", 1, OutOfSync), ""),
                (at, Due, "readmit a"),
                (at, End("a", Answered(InSync)), "Repaired"),
            ]);
        }
        replica.play(&[
            (30.0, See("a", 1, OutOfSync), "LeftAlone, tell a 10m"),
            (40.0, See("a", 1, OutOfSync), ""),
            (629.9, Due, ""),
            // The others go on.
            (100.0, See("b", 1, OutOfSync), ""),
            (100.0, Due, "readmit b"),
        ]);
        assert_eq!(replica.next(), Some(630.0));
        // Somebody else sees to it and changes it back: it is left alone until the same moment, and told
        // once.
        replica.play(&[
            (200.0, See("a", 1, InSync), ""),
            (300.0, See("a", 1, OutOfSync), ""),
            (629.9, Due, ""),
            (630.0, Due, "readmit a"),
            (630.0, End("a", Answered(InSync)), "Repaired"),
        ]);
        // A new mapping is a new start.
        replica.play(&[
            (631.0, Mapping(2), "abandon"),
            (632.0, See("a", 2, OutOfSync), ""),
            (632.0, Due, "readmit a"),
        ]);
    }

    #[test]
    fn one_that_is_changed_back_during_its_re_admission_is_re_admitted_again() {
        Replica::new().play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.1, See("a", 1, OutOfSync), ""),
            (0.1, Due, ""),
            (0.2, End("a", Answered(InSync)), "Repaired"),
            (0.2, Due, "readmit a"),
            // Changed back and in sync again: nothing is left to do.
            (0.3, See("a", 1, OutOfSync), ""),
            (0.4, See("a", 1, InSync), ""),
            (0.5, End("a", Answered(InSync)), "Repaired"),
            (0.5, Due, ""),
        ]);
    }

    #[test]
    fn re_admissions_without_effect_and_failures_are_tried_ever_more_slowly() {
        for (attempt, counted) in [(Answered(OutOfSync), "NoEffect"), (Failed, "Failed")] {
            let mut replica = Replica::new();
            replica.play(&[(0.0, See("a", 1, OutOfSync), ""), (0.0, Due, "readmit a")]);
            let (mut now, mut pauses) = (0.0, Vec::new());
            for _ in 0..11 {
                replica.play(&[(now, End("a", attempt), counted), (now, See("a", 1, OutOfSync), "")]);
                let next = replica.next().unwrap();
                pauses.push(next - now);
                replica.play(&[(next - 0.01, Due, ""), (next, Due, "readmit a")]);
                now = next;
            }
            assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]);
            // Whoever brings it in sync: the next pause is short again.
            replica.play(&[
                (now, End("a", attempt), counted),
                (now, See("a", 1, InSync), ""),
                (now + 1.0, See("a", 1, OutOfSync), ""),
                (now + 1.0, Due, "readmit a"),
                (now + 1.0, End("a", attempt), counted),
            ]);
            assert_eq!(replica.next(), Some(now + 2.0));
        }
    }

    #[test]
    fn what_the_api_server_refuses_is_tried_again_after_an_hour() {
        Replica::new().play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, See("b", 1, OutOfSync), ""),
            (0.0, Due, "readmit a, readmit b"),
            (0.0, End("a", Refused), "Refused"),
            (0.0, End("b", Failed), "Failed"),
            (1.0, Due, "readmit b"),
            (9.0, See("a", 1, OutOfSync), ""),
            (3599.9, Due, ""),
            (3600.0, Due, "readmit a"),
            (3600.0, End("a", Refused), "Refused"),
            (7199.9, Due, ""),
            (7200.0, Due, "readmit a"),
            // The right is there by now, and something else is wrong: that is tried again soon.
            (7200.0, End("a", Failed), "Failed"),
            (7201.0, Due, "readmit a"),
            (7201.0, End("a", Answered(InSync)), "Repaired"),
        ]);
    }

    #[test]
    fn a_429_holds_all_of_them_for_as_long_as_it_says_and_at_least_a_second() {
        let wait = |seconds| TooManyRequests(Some(Duration::from_secs(seconds)));
        for (attempt, until) in [(wait(7), 7.0), (wait(0), 1.0), (TooManyRequests(None), 1.0)] {
            let mut replica = Replica::new();
            replica.play(&[
                (0.0, See("a", 1, OutOfSync), ""),
                (0.0, Due, "readmit a"),
                (0.0, See("b", 1, OutOfSync), ""),
                (0.0, End("a", attempt), "Failed"),
                (0.5, See("c", 1, OutOfSync), ""),
                (until - 0.1, Due, ""),
            ]);
            assert_eq!(replica.next(), Some(until));
            replica.play(&[(until, Due, "readmit b, readmit c, readmit a")]);
        }
        // Of two the longer one counts, and a new mapping does not shorten it.
        let mut replica = Replica::new();
        replica.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, See("b", 1, OutOfSync), ""),
            (0.0, Due, "readmit a, readmit b"),
            (0.0, End("a", wait(30)), "Failed"),
            (1.0, End("b", wait(2)), "Failed"),
            (2.0, Mapping(2), ""),
            (2.0, See("a", 2, OutOfSync), ""),
            (29.9, Due, ""),
            (30.0, Due, "readmit a"),
        ]);
    }

    #[test]
    fn a_429_holds_also_where_the_one_that_got_it_is_gone_and_replicas_do_not_go_on_at_once() {
        let mut replica = Replica::new();
        replica.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.1, See("a", 1, Gone), ""),
            (0.2, See("b", 1, OutOfSync), ""),
        ]);
        replica.jitter = Duration::from_millis(300);
        replica.play(&[(0.5, End("a", TooManyRequests(Some(Duration::from_secs(7)))), "")]);
        assert_eq!(replica.next(), Some(7.8));
        let mut held = Replica::new();
        held.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.2, See("b", 1, OutOfSync), ""),
        ]);
        held.jitter = Duration::from_millis(300);
        held.play(&[(0.5, End("a", Held), "")]);
        assert_eq!(held.next(), Some(1.8), "b too waits for as long");
    }

    #[test]
    fn a_replica_that_is_held_tries_every_second_and_counts_nothing() {
        let mut replica = Replica::new();
        replica.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.0, See("b", 1, OutOfSync), ""),
            (0.0, End("a", Held), ""),
            (0.9, Due, ""),
        ]);
        for second in 1..100 {
            let now = f64::from(second);
            let held = replica.step(now, &Due);
            assert_eq!(held, if second == 1 { "readmit b, readmit a" } else { "readmit a, readmit b" });
            replica.play(&[(now, End("a", Held), ""), (now, End("b", Held), ""), (now + 0.9, Due, "")]);
        }
        // It has not become slower, and no other replica needs to wait for it.
        replica.jitter = Duration::from_millis(300);
        replica.play(&[
            (99.5, See("b", 1, InSync), ""),
            (100.0, Due, "readmit a"),
            (100.0, End("a", Held), ""),
            (101.2, Due, ""),
            (101.3, Due, "readmit a"),
            (101.3, End("a", Answered(InSync)), "Repaired"),
            (102.0, Due, ""),
        ]);
    }

    #[test]
    fn a_new_mapping_abandons_what_is_under_way_and_believes_no_older_observation() {
        Replica::new().play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.0, See("b", 1, OutOfSync), ""),
            (0.1, Mapping(2), "abandon"),
            (0.1, Due, ""),
            // Compared with the mapping before.
            (0.2, See("a", 1, OutOfSync), ""),
            (0.2, See("b", 1, InSync), ""),
            (0.2, Due, ""),
            // It was told after all.
            (0.3, End("a", Answered(InSync)), ""),
            (0.4, See("a", 2, OutOfSync), ""),
            (0.4, Due, "readmit a"),
            // A watch knows of the next mapping first.
            (0.5, See("b", 3, OutOfSync), "abandon"),
            (0.5, Mapping(3), ""),
            (0.5, Mapping(2), ""),
            (0.5, Due, "readmit b"),
            (0.6, End("b", Answered(InSync)), "Repaired"),
            (0.7, Mapping(4), ""),
        ]);
    }

    #[test]
    fn a_namespace_that_leaves_is_forgotten_also_during_a_re_admission() {
        let mut replica = Replica::new();
        replica.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.0, See("b", 1, OutOfSync), ""),
            (0.0, See("c", 1, OutOfSync), ""),
            (0.1, Only(&["c"]), ""),
            (0.1, Due, "readmit c"),
            // Nobody is interested in what became of it any more.
            (0.2, End("a", Failed), ""),
            (0.3, End("c", Answered(InSync)), "Repaired"),
            (9.0, Due, ""),
        ]);
        assert_eq!((replica.queue.waiting(), replica.queue.cases.len()), (0, 1));
        // It leaves and comes back during one re-admission, which is then the only one.
        replica.play(&[
            (10.0, Only(&["a"]), ""),
            (10.0, See("a", 1, OutOfSync), ""),
            (10.0, Due, "readmit a"),
            (10.1, Only(&[]), ""),
            (10.2, Only(&["a"]), ""),
            (10.2, See("a", 1, OutOfSync), ""),
            (10.2, Due, ""),
            (10.3, End("a", Answered(OutOfSync)), "NoEffect"),
            (11.3, Due, "readmit a"),
        ]);
    }

    #[test]
    fn one_that_is_gone_is_forgotten_and_one_that_is_created_again_is_not() {
        let mut replica = Replica::new();
        replica.play(&[
            (0.0, See("waits", 1, OutOfSync), ""),
            (0.0, See("waits", 1, Gone), ""),
            (0.0, Due, ""),
            (1.0, See("a", 1, OutOfSync), ""),
            (1.0, Due, "readmit a"),
            (1.1, See("a", 1, Gone), ""),
            (1.2, End("a", Answered(InSync)), ""),
            // The API server says so itself.
            (2.0, See("b", 1, OutOfSync), ""),
            (2.0, Due, "readmit b"),
            (2.1, End("b", Answered(Gone)), ""),
        ]);
        assert_eq!((replica.queue.waiting(), replica.queue.cases.len()), (0, 0));
        replica.play(&[
            (3.0, See("c", 1, OutOfSync), ""),
            (3.0, Due, "readmit c"),
            (3.1, See("c", 1, OutOfSync), ""),
            (3.2, End("c", Answered(Gone)), ""),
            (3.2, Due, "readmit c"),
            (3.3, See("c", 1, Gone), ""),
            (3.4, See("c", 1, OutOfSync), ""),
            (3.5, End("c", Answered(InSync)), "Repaired"),
            (3.5, Due, "readmit c"),
        ]);
    }

    #[test]
    fn of_two_replicas_one_re_admits_and_the_other_sees_that_it_is_done() {
        let (mut first, mut second) = (Replica::new(), Replica::new());
        second.jitter = Duration::from_millis(400);
        for round in 0..4 {
            let at = f64::from(round);
            let told = if round < 3 { "" } else { "LeftAlone, tell a 10m" };
            // Each sees it out of sync; where it is changed back again and again, both leave it alone.
            first.play(&[(at, See("a", 1, OutOfSync), told)]);
            second.play(&[(at, See("a", 1, OutOfSync), told)]);
            if round == 3 {
                first.play(&[(at + 1.0, Due, "")]);
                second.play(&[(at + 1.0, Due, "")]);
                return;
            }
            first.play(&[(at, Due, "readmit a"), (at + 0.1, End("a", Answered(InSync)), "Repaired")]);
            second.play(&[(at + 0.1, See("a", 1, InSync), ""), (at + 0.4, Due, "")]);
            first.play(&[(at + 0.1, See("a", 1, InSync), ""), (at + 0.5, Due, "")]);
        }
    }

    #[test]
    fn two_replicas_that_re_admit_at_once_count_what_each_of_them_did() {
        let mut second = Replica::new();
        second.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            // What the other one wrote is seen before the answer to our own patch, which changes nothing.
            (0.1, See("a", 1, InSync), ""),
            (0.2, End("a", Answered(InSync)), "Repaired"),
            (0.3, Due, ""),
        ]);
        // It is one change and not two: two more are to come before it is left alone.
        for at in [1.0, 2.0] {
            second.play(&[
                (at, See("a", 1, OutOfSync), ""),
                (at, Due, "readmit a"),
                (at, End("a", Answered(InSync)), "Repaired"),
            ]);
        }
        second.play(&[(3.0, See("a", 1, OutOfSync), "LeftAlone, tell a 10m")]);
    }

    #[test]
    fn replicas_whose_patches_meet_come_apart() {
        // Each round fails for both after 10 seconds, as where the API server is slow because of the two.
        let pauses = |jitter: u64| {
            let mut replica = Replica::new();
            replica.jitter = Duration::from_millis(jitter);
            let mut now = 0.0;
            replica.play(&[(now, See("a", 1, OutOfSync), "")]);
            let mut pauses = Vec::new();
            for _ in 0..9 {
                let due = replica.next().unwrap();
                pauses.push(due - now);
                now = due + 10.0;
                replica.play(&[(due, Due, "readmit a"), (now, End("a", Failed), "Failed")]);
            }
            pauses
        };
        assert_eq!(pauses(0), [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);
        assert_eq!(pauses(250), [0.25, 1.5, 2.75, 5.25, 10.25, 20.25, 40.25, 79.25, 143.25]);
        assert_eq!(pauses(500), [0.5, 2.0, 3.5, 6.5, 12.5, 24.5, 48.5, 94.5, 158.5]);
    }

    #[test]
    fn no_more_than_four_are_under_way_and_jitter_spreads_them() {
        let mut replica = Replica::new();
        for (n, namespace) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
            replica.jitter = Duration::from_millis(500 - 10 * u64::try_from(n).unwrap());
            replica.play(&[(0.0, See(namespace, 1, OutOfSync), "")]);
        }
        assert_eq!(replica.next(), Some(0.45));
        replica.play(&[
            (0.45, Due, "readmit f"),
            (0.5, Due, "readmit e, readmit d, readmit c"),
            (0.5, Due, ""),
        ]);
        assert_eq!(replica.next(), None, "it waits for one to end");
        replica.play(&[(0.6, End("d", Answered(InSync)), "Repaired")]);
        assert_eq!(replica.next(), Some(0.49));
        replica.play(&[(0.6, Due, "readmit b"), (0.7, Due, "")]);
    }

    #[test]
    fn times_that_step_make_nothing_sooner_and_nothing_overflow() {
        let mut replica = Replica::new();
        replica.begin += Duration::from_hours(1);
        let before = replica.begin.checked_sub(Duration::from_mins(30)).unwrap();
        replica.play(&[
            (0.0, See("a", 1, OutOfSync), ""),
            (0.0, Due, "readmit a"),
            (0.0, End("a", Failed), "Failed"),
        ]);
        // An earlier time than the one before.
        assert_eq!(replica.queue.due(before), []);
        replica.queue.forget(before);
        let seen = Observation { account: account("a", "x"), generation: 1, state: InSync };
        assert_eq!(replica.queue.observe(seen, before, Duration::ZERO), []);
        replica.play(&[(0.0, See("a", 1, OutOfSync), ""), (0.0, Due, "readmit a")]);
        replica.play(&[(0.0, End("a", TooManyRequests(Some(Duration::from_mins(1)))), "Failed")]);
        // A year later everything is due, and what came before is long over.
        let year = 365.0 * 86400.0;
        replica.play(&[
            (year, Due, "readmit a"),
            (year, End("a", Answered(InSync)), "Repaired"),
            (year, See("a", 1, OutOfSync), ""),
            (year, Due, "readmit a"),
        ]);
    }

    fn see_many(queue: &mut RepairQueue, namespace: &str, accounts: usize, state: SyncState) -> Vec<Action> {
        let mut actions = Vec::new();
        for n in 0..accounts {
            let seen =
                Observation { account: account(namespace, &format!("account-{n}")), generation: 1, state };
            actions.extend(queue.observe(seen, Instant::now(), Duration::ZERO));
        }
        actions
    }

    #[test]
    fn of_very_many_out_of_step_a_bounded_number_is_remembered_and_the_rest_listed_again() {
        let mut queue = RepairQueue::new(1);
        assert_eq!(see_many(&mut queue, "a", MOST, OutOfSync), []);
        assert_eq!(see_many(&mut queue, "b", 50_000, OutOfSync), [], "there is no room yet");
        assert_eq!(queue.cases.len(), MOST);
        assert!(queue.due.len() <= MOST);
        let actions = see_many(&mut queue, "a", MOST / 2, InSync);
        assert_eq!(actions, [Action::ListAgain("b".into())], "it is told once");
        // Those that are in sync by now make room.
        assert_eq!(see_many(&mut queue, "b", 1_000, OutOfSync), []);
        assert_eq!(queue.cases.keys().filter(|account| &*account.namespace == "b").count(), 1_000);
        assert!(queue.cases.len() <= MOST);
    }

    #[test]
    fn a_full_memory_forgets_those_in_sync_first_then_the_contested_ones_and_never_those_that_wait() {
        let mut queue = RepairQueue::new(1);
        // All of these are in sync by now, and of them only the contested one was changed back.
        see_many(&mut queue, "once", MOST - 3, OutOfSync);
        see_many(&mut queue, "once", MOST - 3, InSync);
        for _ in 0..2 {
            see_many(&mut queue, "contested", 1, OutOfSync);
            see_many(&mut queue, "contested", 1, InSync);
        }
        see_many(&mut queue, "waits", 2, OutOfSync);
        assert_eq!(queue.cases.len(), MOST, "up to here there is room for all of them");
        see_many(&mut queue, "new", 1, OutOfSync);
        let remembered = |queue: &RepairQueue| {
            let mut namespaces: Vec<_> = queue.cases.keys().map(|one| one.namespace.to_string()).collect();
            namespaces.sort();
            namespaces
        };
        assert_eq!(remembered(&queue), ["contested", "new", "waits", "waits"]);
        assert!(queue.cases[&account("contested", "account-0")].backoff.is_contested());

        for _ in 0..2 {
            see_many(&mut queue, "contested", MOST - 3, OutOfSync);
            see_many(&mut queue, "contested", MOST - 3, InSync);
        }
        assert_eq!(queue.cases.len(), MOST);
        see_many(&mut queue, "newer", 1, OutOfSync);
        assert_eq!(remembered(&queue), ["new", "newer", "waits", "waits"]);
    }

    #[test]
    fn a_full_queue_makes_room_when_namespaces_leave_and_forgets_those_left_out_with_theirs() {
        let mut queue = RepairQueue::new(1);
        see_many(&mut queue, "a", MOST, OutOfSync);
        see_many(&mut queue, "b", 1, OutOfSync);
        see_many(&mut queue, "c", 1, OutOfSync);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(queue.only(&names(&["a", "c"])), []);
        assert_eq!(queue.only(&names(&["c"])), [Action::ListAgain("c".into())]);
        assert_eq!((queue.waiting(), queue.cases.len()), (0, 0));
        // A new mapping lists everything anyway.
        see_many(&mut queue, "c", MOST + 1, OutOfSync);
        assert_eq!(queue.mapping(2), []);
        assert_eq!(queue.only(&names(&["c"])), []);
    }
}
