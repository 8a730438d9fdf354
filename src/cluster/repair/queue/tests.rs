//! What does the queue of re-admissions do, event by event?

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

    /// When something is due next, in seconds; 0 for at once.
    fn next(&self) -> Option<f64> {
        self.queue.next_due(self.begin).map(|at| at.duration_since(self.begin).as_secs_f64())
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
        let mut words: Vec<_> = actions.iter().map(words).collect();
        if matches!(step, Due) {
            // Each replica has an order of its own.
            words.sort();
        }
        words.join(", ")
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
        replica.play(&[(until, Due, "readmit a, readmit b, readmit c")]);
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
        replica.play(&[
            (now, Due, "readmit a, readmit b"),
            (now, End("a", Held), ""),
            (now, End("b", Held), ""),
            (now + 0.9, Due, ""),
        ]);
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
    replica.play(&[(0.45, Due, "readmit f"), (0.47, Due, "readmit d, readmit e")]);
    replica.play(&[(0.48, Due, "readmit c"), (0.5, Due, "")]);
    assert_eq!(replica.next(), None, "it waits for one to end");
    replica.play(&[(0.6, End("d", Answered(InSync)), "Repaired")]);
    assert_eq!(replica.next(), Some(0.49));
    replica.play(&[(0.49, Due, "readmit b"), (0.6, Due, "")]);
}

#[test]
fn replicas_that_see_the_same_list_begin_with_others_and_leave_each_other_what_is_done() {
    const ACCOUNTS: usize = 1_000;
    // One sees what the other did so many re-admissions later.
    const LATE: usize = 20;
    let mut replicas = [RepairQueue::new(1), RepairQueue::new(1)];
    for queue in &mut replicas {
        see_many(queue, "a", ACCOUNTS, OutOfSync);
    }
    let now = Instant::now();
    let mut done = Vec::new();
    while replicas.iter().any(|queue| queue.waiting() > 0) {
        for queue in &mut replicas {
            for action in queue.due(now) {
                let Action::Readmit(account) = action else { panic!("{action:?}") };
                queue.finished(account.clone(), Answered(InSync), now, Duration::ZERO);
                done.push(account);
            }
        }
        for account in done.iter().rev().skip(LATE).take(2 * IN_FLIGHT) {
            for queue in &mut replicas {
                let seen = Observation { account: account.clone(), generation: 1, state: InSync };
                queue.observe(seen, now, Duration::ZERO);
            }
        }
    }
    // In the order of the list each would re-admit all of them.
    assert!((ACCOUNTS..ACCOUNTS + ACCOUNTS / 4).contains(&done.len()), "{}", done.len());
    // What is due later waits for all that was due before, wherever its place in the order is.
    let [mut queue, _] = replicas;
    see_many(&mut queue, "early", 10, OutOfSync);
    let mut early = queue.due(now + JITTER);
    see_many(&mut queue, "late", 10, OutOfSync);
    while early.len() < 10 {
        let Some(Action::Readmit(account)) = early.last() else { panic!("{early:?}") };
        queue.finished(account.clone(), Answered(InSync), now + JITTER, Duration::ZERO);
        early.extend(queue.due(now + JITTER));
    }
    let of_early =
        |action: &Action| matches!(action, Action::Readmit(account) if &*account.namespace == "early");
    assert!(early.iter().all(of_early), "{early:?}");
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
        let seen = Observation { account: account(namespace, &format!("account-{n}")), generation: 1, state };
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
