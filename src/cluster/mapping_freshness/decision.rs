//! Is an answer about the mapping's version still fresh, and did the watch on it fall silent?
//!
//! Everything here is pure: the time, chance, and all that was seen are given.

use std::time::Duration;

use tokio::time::Instant;

use super::Taken;
use crate::cluster::observed::Observed;

/// For how long an answer holds.
const HOLDS: Duration = Duration::from_secs(1);

/// How often it is looked whether the watch is behind, and by chance up to a tenth later.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// For how long the watch may be behind an answer: what it has to tell is under way.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// Whether the mapping in force is the newest one in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Newest,
    Outdated,
    /// The API server did not say.
    Unknown,
}

/// The last answer, and when it was given.
#[derive(Debug, Default)]
pub(super) struct Freshness(Option<(Instant, Answer)>);

impl Freshness {
    /// The last answer; none where there is none that still holds, and the API server is to be asked.
    pub(super) fn last_answer(&self, now: Instant) -> Option<Answer> {
        let (at, answer) = self.0?;
        (now.duration_since(at) < HOLDS).then_some(answer)
    }

    /// Notes which version the API server said is the newest one, while the watch had taken that one.
    pub(super) fn answered(
        &mut self,
        newest: Option<&Observed<String>>,
        taken: &Taken,
        now: Instant,
    ) -> Answer {
        let answer = match newest {
            None => Answer::Unknown,
            Some(newest) if newest == taken => Answer::Newest,
            Some(_) => Answer::Outdated,
        };
        self.0 = Some((now, answer));
        answer
    }
}

/// Whether the watch on the mapping fell silent, by one look after another.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// What the watch had taken when it was seen to be behind; nothing while it is not.
    behind: Option<Taken>,
}

/// What one look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The watch goes on, as far as anybody can say.
    Goes,
    /// The watch is behind, and has told nothing for a while: it is to be begun anew.
    FellSilent,
}

impl Silence {
    /// How long to wait before the next look. `chance` is from 0 to 1, so that replicas do not all ask at
    /// once.
    pub(super) fn rest(&self, chance: f64) -> Duration {
        if self.behind.is_some() { UNDER_WAY } else { LOOK_EVERY.mul_f64(1.0 + chance / 10.0) }
    }

    /// One look, by what the watch has taken and by what the API server answered.
    pub(super) fn look(&mut self, taken: Taken, answer: Answer) -> Look {
        let before = self.behind.take();
        // Before the watch has told anything, it cannot be behind.
        if answer != Answer::Outdated || !taken.is_known() {
            return Look::Goes;
        }
        match before {
            None => self.behind = Some(taken),
            Some(before) if before == taken => return Look::FellSilent,
            // It told something meanwhile, so it is not silent.
            Some(_) => {}
        }
        Look::Goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{Newest, Outdated, Unknown};

    fn version(text: &str) -> Taken {
        Observed::Present(text.to_owned())
    }

    #[test]
    fn in_force_is_what_was_taken_where_it_is_the_newest_version_and_absent_is_a_version_too() {
        for (newest, taken, answer) in [
            (Some(version("4")), version("4"), Newest),
            (Some(version("5")), version("4"), Outdated),
            (Some(version("4")), version("5"), Outdated),
            (Some(version("4")), Observed::Absent, Outdated),
            (Some(Observed::Absent), version("4"), Outdated),
            (Some(Observed::Absent), Observed::Absent, Newest),
            (Some(version("4")), Observed::NotYet, Outdated),
            (Some(Observed::Absent), Observed::NotYet, Outdated),
            (None, version("4"), Unknown),
            (None, Observed::NotYet, Unknown),
        ] {
            let said = Freshness::default().answered(newest.as_ref(), &taken, Instant::now());
            assert_eq!(said, answer, "{newest:?} {taken:?}");
        }
    }

    #[test]
    fn an_answer_holds_for_a_second_and_no_answer_holds_as_long() {
        for newest in [Some(version("4")), Some(version("5")), None] {
            let (mut freshness, now) = (Freshness::default(), Instant::now());
            assert_eq!(freshness.last_answer(now), None, "nobody has asked");
            let answer = freshness.answered(newest.as_ref(), &version("4"), now);
            for (milliseconds, holds) in [(0, true), (999, true), (1_000, false), (60_000, false)] {
                let last = freshness.last_answer(now + Duration::from_millis(milliseconds));
                assert_eq!(last, holds.then_some(answer), "after {milliseconds} ms");
            }
        }
    }

    /// For each look: what was taken, what was answered, and how many seconds to wait for the next look; none
    /// where the watch fell silent.
    type Looks<'a> = &'a [(&'a Taken, Answer, Option<u64>)];

    #[test]
    fn a_watch_fell_silent_that_is_behind_and_tells_nothing_for_a_while() {
        let (four, five) = (version("4"), version("5"));
        let cases: [(&str, Looks<'_>); 9] = [
            ("it goes", &[(&four, Newest, Some(5)), (&four, Newest, Some(5)), (&five, Newest, Some(5))]),
            ("it is behind twice", &[(&four, Outdated, Some(2)), (&four, Outdated, None)]),
            ("it catches up", &[(&four, Outdated, Some(2)), (&five, Newest, Some(5))]),
            (
                "it is behind by another version, and again",
                &[
                    (&four, Outdated, Some(2)),
                    (&five, Outdated, Some(5)),
                    (&five, Outdated, Some(2)),
                    (&five, Outdated, None),
                ],
            ),
            (
                "nobody answers in between",
                &[(&four, Outdated, Some(2)), (&four, Unknown, Some(5)), (&four, Outdated, Some(2))],
            ),
            ("nobody answers", &[(&four, Unknown, Some(5)), (&four, Unknown, Some(5))]),
            (
                "it has told nothing yet",
                &[(&Observed::NotYet, Outdated, Some(5)), (&Observed::NotYet, Outdated, Some(5))],
            ),
            (
                "a mapping was created and not told",
                &[(&Observed::Absent, Outdated, Some(2)), (&Observed::Absent, Outdated, None)],
            ),
            ("there is none", &[(&Observed::Absent, Newest, Some(5)), (&Observed::Absent, Newest, Some(5))]),
        ];
        for (what, looks) in cases {
            let mut silence = Silence::default();
            for (number, (taken, answer, rest)) in looks.iter().enumerate() {
                match (silence.look((*taken).clone(), *answer), rest) {
                    (Look::Goes, Some(rest)) => {
                        assert_eq!(silence.rest(0.0), Duration::from_secs(*rest), "{what}, look {number}");
                    }
                    (Look::FellSilent, None) => {}
                    (look, _) => panic!("{what}, look {number}: {look:?}"),
                }
            }
        }
        assert_eq!(Silence::default().rest(1.0), Duration::from_millis(5_500));
    }
}
