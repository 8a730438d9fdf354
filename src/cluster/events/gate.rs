//! May one more Event be written?
//!
//! This is pure: the time is given. Nothing here grows without bound: what is remembered was written, and
//! what is written is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// What the tasks of the webhook may write: into one namespace 100 Events at once and 20 a minute, into all
/// of them 300 and 60.
pub(super) const OF_TASKS: Allowance = Allowance {
    namespace: Rate::new(100, Duration::from_secs(3)),
    all: Rate::new(300, Duration::from_secs(1)),
};

/// What reviews may cause: in one namespace 30 Events at once and 6 a minute, in all of them 100 and 20.
/// GitLab's chart has about 15 workloads.
pub(super) const OF_REVIEWS: Allowance = Allowance {
    namespace: Rate::new(30, Duration::from_secs(10)),
    all: Rate::new(100, Duration::from_secs(3)),
};

/// How long it is remembered that something was told. The API server keeps an Event for an hour, unless its
/// `--event-ttl` says otherwise.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Says what may be written.
#[derive(Debug)]
pub(super) struct Gate {
    allowance: Allowance,
    all: Bucket,
    /// The namespaces into which something was written lately.
    namespaces: HashMap<Arc<str>, Bucket>,
    /// When what was told.
    told: HashMap<u64, Instant>,
}

/// What becomes of something to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is written.
    Write,
    /// It was told already.
    Told,
    /// It would be too much.
    TooMany,
}

impl Gate {
    pub(super) fn new(allowance: Allowance, now: Instant) -> Self {
        Self { allowance, all: Bucket { full: now }, namespaces: HashMap::new(), told: HashMap::new() }
    }

    /// Decides on something for this namespace. `known_by` stands for what it says, where it is to be said
    /// once only.
    pub(super) fn admit(&mut self, namespace: &Arc<str>, known_by: Option<u64>, now: Instant) -> Admission {
        let was_told = |at: &Instant| now.duration_since(*at) < REMEMBERED;
        if known_by.and_then(|content| self.told.get(&content)).is_some_and(was_told) {
            return Admission::Told;
        }
        let mut own = self.namespaces.get(namespace).copied().unwrap_or(Bucket { full: now });
        let mut all = self.all;
        if !own.take(self.allowance.namespace, now) || !all.take(self.allowance.all, now) {
            return Admission::TooMany;
        }
        self.namespaces.retain(|_, bucket| bucket.full > now);
        self.told.retain(|_, at| was_told(at));
        self.namespaces.insert(Arc::clone(namespace), own);
        self.all = all;
        if let Some(content) = known_by {
            self.told.insert(content, now);
        }
        Admission::Write
    }

    /// It was not told after all.
    pub(super) fn forget(&mut self, known_by: u64) {
        self.told.remove(&known_by);
    }
}

/// How many Events may be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Into one namespace.
    namespace: Rate,
    /// Into all namespaces together.
    all: Rate,
}

/// So many at once, and then one each time that this has passed.
#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: u32,
    each: Duration,
}

impl Rate {
    const fn new(at_once: u32, each: Duration) -> Self {
        Self { at_once, each }
    }
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When all of it is left again.
    full: Instant,
}

impl Bucket {
    /// Takes one, where one is left.
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full = self.full.max(now) + rate.each;
        let is_left = full.duration_since(now) <= rate.each * rate.at_once;
        if is_left {
            self.full = full;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many are written into a namespace so long after the begin.
    struct Round {
        second: u64,
        namespace: &'static str,
        told: usize,
        written: usize,
    }

    const fn round(second: u64, namespace: &'static str, told: usize, written: usize) -> Round {
        Round { second, namespace, told, written }
    }

    #[test]
    fn a_namespace_has_its_share_of_what_all_may_have() {
        let rounds = [
            (
                "a burst, and no more",
                vec![round(0, "a", 5_000, 100), round(2, "a", 5, 0), round(3, "a", 5, 1)],
            ),
            ("20 a minute", vec![round(0, "a", 200, 100), round(60, "a", 200, 20), round(120, "a", 200, 20)]),
            (
                "a rest fills it",
                vec![round(0, "a", 200, 100), round(300, "a", 200, 100), round(9_999, "a", 200, 100)],
            ),
            ("others have theirs", vec![round(0, "a", 5_000, 100), round(0, "b", 5_000, 100)]),
            (
                "all have one together",
                vec![
                    round(0, "a", 100, 100),
                    round(0, "b", 100, 100),
                    round(0, "c", 100, 100),
                    round(0, "d", 100, 0),
                    round(10, "d", 100, 10),
                ],
            ),
        ];
        for (what, rounds) in rounds {
            let begin = Instant::now();
            let mut gate = Gate::new(OF_TASKS, begin);
            for Round { second, namespace, told, written } in rounds {
                let now = begin + Duration::from_secs(second);
                let admitted =
                    (0..told).filter(|_| gate.admit(&namespace.into(), None, now) == Admission::Write);
                assert_eq!(admitted.count(), written, "{what}: {namespace} after {second} seconds");
            }
        }
    }

    #[test]
    fn reviews_may_cause_less_and_take_nothing_from_the_tasks() {
        let begin = Instant::now();
        let mut gate = Gate::new(OF_REVIEWS, begin);
        let mut written = |namespace: &str, second| {
            let now = begin + Duration::from_secs(second);
            let namespace = namespace.into();
            (0..500).filter(|_| gate.admit(&namespace, None, now) == Admission::Write).count()
        };
        for (namespace, second, want) in
            [("a", 0, 30), ("b", 0, 30), ("c", 0, 30), ("d", 0, 10), ("a", 60, 6), ("b", 60, 6), ("e", 60, 8)]
        {
            assert_eq!(written(namespace, second), want, "{namespace} after {second} seconds");
        }
    }

    #[test]
    fn what_was_told_is_told_again_after_an_hour_or_where_it_failed() {
        let (begin, namespace) = (Instant::now(), Arc::from("a"));
        let mut gate = Gate::new(OF_TASKS, begin);
        let tell = |gate: &mut Gate, content, second| {
            gate.admit(&namespace, Some(content), begin + Duration::from_secs(second))
        };
        for (content, second, want) in [
            (1, 0, Admission::Write),
            (1, 1, Admission::Told),
            (2, 1, Admission::Write),
            (1, 3_599, Admission::Told),
            (1, 3_600, Admission::Write),
            (1, 3_601, Admission::Told),
        ] {
            assert_eq!(tell(&mut gate, content, second), want, "{content} after {second} seconds");
        }
        gate.forget(1);
        assert_eq!(tell(&mut gate, 1, 3_602), Admission::Write);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_what_is_written() {
        let begin = Instant::now();
        let mut gate = Gate::new(OF_TASKS, begin);
        for second in 0..10_000 {
            let now = begin + Duration::from_secs(second);
            for n in 0..20 {
                gate.admit(&format!("ns-{n}-{second}").into(), Some(second * 20 + n), now);
            }
            assert!(gate.namespaces.len() <= 600, "{}", gate.namespaces.len());
            assert!(gate.told.len() <= 3_900, "{}", gate.told.len());
        }
        assert!(gate.told.len() >= 3_600);
    }
}
