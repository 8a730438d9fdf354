//! Which of what the watches see is told, when, and how often?

use super::*;

/// A row of a table: what happens, and what is told by it.
struct Step {
    second: u64,
    generation: u64,
    event: Event<Account>,
    /// Each as `event NAME OUTCOME` or `log NAME OUTCOME`.
    told: &'static [&'static str],
}

fn account(name: &str, outcome: Outcome, sentence: &str) -> Account {
    let forecast = Some(Forecast { outcome, sentence: sentence.to_owned() });
    Account { name: name.into(), uid: None, forecast }
}

fn there(name: &str, outcome: Outcome) -> Event<Account> {
    Event::There(account(name, outcome, outcome.name()))
}

fn gone(name: &str) -> Event<Account> {
    Event::Gone(account(name, Outcome::NoRule, "as it was last"))
}

fn step(second: u64, generation: u64, event: Event<Account>, told: &'static [&'static str]) -> Step {
    Step { second, generation, event, told }
}

fn names(names: &[&str]) -> Arc<BTreeSet<String>> {
    Arc::new(names.iter().map(|name| (*name).to_owned()).collect())
}

fn words(actions: &[Action]) -> Vec<String> {
    let told = |how: &str, told: &Told| format!("{how} {} {}", told.name, told.forecast.outcome.name());
    let words = actions.iter().map(|action| match action {
        Action::Log(account) => told("log", account),
        Action::LogAndEvent(account) => told("event", account),
        Action::Summarise(namespace, counts) => {
            let counts = counts.iter().map(|(outcome, count)| format!(" {}={count}", outcome.name()));
            format!("summary {namespace}{}", counts.collect::<String>())
        }
        Action::SayTooMany => "too many".to_owned(),
    });
    words.collect()
}

fn see(
    outcomes: &mut Outcomes,
    namespace: &str,
    generation: u64,
    event: Event<Account>,
    now: Instant,
) -> Vec<String> {
    words(&outcomes.see(Seen { namespace: namespace.into(), generation, event }, now))
}

#[test]
fn what_is_worth_telling_is_told_once_and_again_where_it_changes() {
    use Outcome::{InStep, Kept, NoRule, Orphaned, Refused, Set};
    let tables: Vec<(&str, Vec<Step>)> = vec![
        ("before there is a mapping nothing is", vec![step(0, 0, there("a", Set), &[])]),
        (
            "at once, and not again",
            vec![step(0, 1, there("a", Set), &["event a set"]), step(1, 1, there("a", Set), &[])],
        ),
        (
            "not where nothing would be written",
            vec![step(0, 1, there("a", NoRule), &[]), step(1, 1, there("a", InStep), &[])],
        ),
        (
            "by a new mapping only what changed",
            vec![
                step(0, 1, there("a", Set), &["event a set"]),
                step(0, 1, there("b", Kept), &["event b kept"]),
                step(0, 1, there("c", InStep), &[]),
                step(9, 2, there("a", Set), &[]),
                step(9, 2, there("b", Refused), &["event b refused"]),
                step(9, 2, there("c", Orphaned), &["event c orphaned"]),
            ],
        ),
        (
            "that nothing would be written any more is news",
            vec![
                step(0, 1, there("a", Set), &["event a set"]),
                step(9, 2, there("a", NoRule), &["event a no_rule"]),
                step(10, 2, there("a", InStep), &[]),
            ],
        ),
        (
            "another role is news",
            vec![
                step(0, 1, Event::There(account("a", Set, "role x")), &["event a set"]),
                step(9, 2, Event::There(account("a", Set, "role y")), &["event a set"]),
            ],
        ),
        (
            "the older mapping says nothing beside the newer one",
            vec![
                step(0, 2, there("a", Set), &["event a set"]),
                step(0, 1, there("a", Kept), &[]),
                step(0, 1, there("b", Kept), &[]),
                step(1, 2, there("a", Set), &[]),
                step(1, 2, there("b", Set), &["event b set"]),
            ],
        ),
        (
            "one that was created anew is told anew",
            vec![
                step(0, 1, there("a", Set), &["event a set"]),
                step(1, 1, gone("a"), &[]),
                step(2, 1, there("a", Set), &["event a set"]),
            ],
        ),
        (
            "what a list does not show is gone, also where the mapping changed meanwhile",
            vec![
                step(0, 1, there("a", Set), &["event a set"]),
                step(0, 1, there("b", Set), &["event b set"]),
                step(1, 2, there("c", Set), &["event c set"]),
                step(2, 2, Event::Listing, &[]),
                step(2, 1, there("a", Set), &[]),
                step(2, 2, there("c", Set), &[]),
                step(2, 2, Event::Listed, &[]),
                step(3, 2, there("a", Set), &[]),
                step(3, 2, there("b", Set), &["event b set"]),
            ],
        ),
        (
            "a list that broke off takes nothing away",
            vec![
                step(0, 1, there("a", Set), &["event a set"]),
                step(1, 1, Event::Listing, &[]),
                step(2, 1, Event::Listing, &[]),
                step(2, 1, there("a", Set), &[]),
                step(2, 1, Event::Listed, &[]),
                step(3, 1, there("a", Set), &[]),
            ],
        ),
    ];
    for (what, steps) in tables {
        let (mut outcomes, begun) = (Outcomes::new(), Instant::now());
        outcomes.only(names(&["team"]));
        for (n, Step { second, generation, event, told }) in steps.into_iter().enumerate() {
            let now = begun + Duration::from_secs(second);
            assert_eq!(see(&mut outcomes, "team", generation, event, now), told, "{what}, step {n}");
        }
    }
}

#[test]
fn the_counts_are_those_of_what_is_there() {
    let (mut outcomes, now) = (Outcomes::new(), Instant::now());
    outcomes.only(names(&["a", "b"]));
    let deleted = Account { forecast: None, ..account("y", Outcome::Set, "") };
    for (namespace, event) in [
        ("a", there("x", Outcome::Set)),
        ("a", there("y", Outcome::Set)),
        ("a", there("z", Outcome::NoRule)),
        ("a", there("z", Outcome::Kept)),
        ("b", there("x", Outcome::Set)),
        ("b", there("y", Outcome::InStep)),
        ("c", there("x", Outcome::Set)),
        ("a", Event::There(deleted)),
        ("b", gone("y")),
    ] {
        see(&mut outcomes, namespace, 1, event, now);
    }
    assert_eq!(outcomes.counts(), [(Outcome::Set, 2), (Outcome::Kept, 1)].into());
    outcomes.only(names(&["b"]));
    assert_eq!(outcomes.counts(), [(Outcome::Set, 1)].into());
}

#[test]
fn beyond_a_hundred_at_once_a_namespace_is_summed_up() {
    let (mut outcomes, begun) = (Outcomes::new(), Instant::now());
    outcomes.only(names(&["large", "small"]));
    let at = |second| begun + Duration::from_secs(second);
    let all = |outcomes: &mut Outcomes, generation, outcome, second| {
        let told = (0..150)
            .flat_map(|n| see(outcomes, "large", generation, there(&format!("a{n}"), outcome), at(second)));
        let told: Vec<String> = told.collect();
        let events = told.iter().filter(|told| told.starts_with("event")).count();
        (events, told.len() - events)
    };
    assert_eq!(all(&mut outcomes, 1, Outcome::Set, 0), (100, 50));
    assert_eq!(see(&mut outcomes, "small", 1, there("a", Outcome::Set), at(0)), ["event a set"]);
    assert_eq!((words(&outcomes.due(at(4))), outcomes.next_due()), (vec![], Some(at(5))));
    assert_eq!(words(&outcomes.due(at(5))), ["summary large set=150"]);
    assert_eq!(outcomes.next_due(), None);
    // Soon after, everything is summed up, and a minute after the first summary at the soonest.
    assert_eq!(all(&mut outcomes, 2, Outcome::Kept, 10), (0, 150));
    assert_eq!(all(&mut outcomes, 3, Outcome::Refused, 20), (0, 150));
    assert_eq!((words(&outcomes.due(at(64))), outcomes.next_due()), (vec![], Some(at(65))));
    assert_eq!(words(&outcomes.due(at(65))), ["summary large refused=150"]);
    // Later there is room again.
    assert_eq!(all(&mut outcomes, 4, Outcome::Kept, 300), (100, 50));
    // Of what has left nothing is told.
    outcomes.only(names(&["small"]));
    assert_eq!(outcomes.next_due(), None);
}

#[test]
fn of_many_namespaces_those_that_come_last_are_summed_up() {
    let (mut outcomes, now) = (Outcomes::new(), Instant::now());
    outcomes.only(names(&["a", "b", "c"]));
    let events = ["a", "b", "c"].map(|namespace| {
        let told = (0..80)
            .flat_map(|n| see(&mut outcomes, namespace, 1, there(&format!("x{n}"), Outcome::Set), now));
        told.filter(|told| told.starts_with("event")).count()
    });
    assert_eq!(events, [80, 80, 40]);
    assert_eq!(words(&outcomes.due(now + SETTLE)), ["summary c set=80"]);
}

#[test]
fn whoever_creates_and_deletes_without_end_gets_a_bounded_number_of_events() {
    let (mut outcomes, begun) = (Outcomes::new(), Instant::now());
    outcomes.only(names(&["team"]));
    let mut told = 0;
    for second in 0..3_600 {
        let now = begun + Duration::from_secs(second);
        told += outcomes.due(now).len();
        for n in 0..10 {
            let name = format!("a{second}-{n}");
            let seen = see(&mut outcomes, "team", 1, there(&name, Outcome::Set), now);
            told += seen.iter().filter(|told| told.starts_with("event")).count();
            see(&mut outcomes, "team", 1, gone(&name), now);
        }
    }
    // A hundred in five minutes, and a summary a minute.
    assert!(told <= 12 * 100 + 60, "{told} Events in an hour");
}

#[test]
fn no_more_are_known_than_there_is_room_for() {
    let (mut outcomes, now) = (Outcomes::new(), Instant::now());
    outcomes.only(names(&["team"]));
    let all: Vec<String> = (0..MOST + 10)
        .flat_map(|n| see(&mut outcomes, "team", 1, there(&format!("a{n}"), Outcome::InStep), now))
        .collect();
    assert_eq!(all, ["too many"], "which is said once");
    assert_eq!(outcomes.counts(), [(Outcome::InStep, MOST)].into());
    let bytes = outcomes.known.capacity() * (size_of::<(u64, Known)>() + 1);
    assert!(bytes <= 600 << 10, "{bytes} bytes");
}

#[test]
fn whoever_fills_a_namespace_does_not_silence_the_others() {
    let (mut outcomes, now) = (Outcomes::new(), Instant::now());
    outcomes.only(names(&["crowd", "team"]));
    let crowd = |outcomes: &mut Outcomes, from: usize| -> Vec<String> {
        let accounts = from..from + MOST;
        accounts
            .flat_map(|n| see(outcomes, "crowd", 1, there(&format!("a{n}"), Outcome::InStep), now))
            .collect()
    };
    assert_eq!(crowd(&mut outcomes, 0), Vec::<String>::new());
    let team = |outcomes: &mut Outcomes, n: usize| {
        see(outcomes, "team", 1, there(&format!("b{n}"), Outcome::Set), now)
    };
    assert_eq!(team(&mut outcomes, 0), ["too many", "event b0 set"]);
    for n in 1..50 {
        assert_eq!(team(&mut outcomes, n), [format!("event b{n} set")]);
    }
    // More of the crowd change nothing, and neither does a list of all of them.
    assert_eq!(crowd(&mut outcomes, MOST), Vec::<String>::new());
    see(&mut outcomes, "crowd", 1, Event::Listing, now);
    assert_eq!(crowd(&mut outcomes, 0), Vec::<String>::new());
    see(&mut outcomes, "crowd", 1, Event::Listed, now);
    assert_eq!(team(&mut outcomes, 0), Vec::<String>::new(), "it is known");
    assert_eq!(outcomes.counts(), [(Outcome::InStep, MOST - 50), (Outcome::Set, 50)].into());
    // Whoever has as many has no right to more.
    for n in 50..MOST / 2 {
        assert_eq!(team(&mut outcomes, n).len(), 1, "{n}");
    }
    assert_eq!(team(&mut outcomes, MOST), Vec::<String>::new());
    assert_eq!(outcomes.known.len(), MOST);
    for n in 0..MOST {
        see(&mut outcomes, "team", 1, gone(&format!("b{n}")), now);
    }
    outcomes.only(names(&["team"]));
    assert_eq!(outcomes.counts(), [].into());
    assert!(outcomes.sizes.values().all(|size| *size == 0), "{:?}", outcomes.sizes);
}
