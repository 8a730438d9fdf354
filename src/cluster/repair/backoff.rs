//! When is one ServiceAccount tried again, and when is it left alone?
//!
//! Everything here is pure: the time is given.

use std::time::Duration;

use tokio::time::Instant;

/// A ServiceAccount that is changed back so often within [`WINDOW`] is left alone: somebody else sets it,
/// too.
pub(super) const TIMES: usize = 3;

/// See [`TIMES`]. It is left alone for this time at first; each further time is twice as long.
pub(super) const WINDOW: Duration = Duration::from_mins(10);

/// A ServiceAccount is left alone for no longer than this.
const LONGEST: Duration = Duration::from_hours(24);

/// The pause after the first try without effect; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a try without effect.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The pause after a refusal: somebody must change a right or another webhook first.
const REFUSED_PAUSE: Duration = Duration::from_hours(1);

/// What is remembered of one ServiceAccount that was out of sync.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// When it came to be in sync lately, whoever did that.
    synced: Vec<Instant>,
    tries: Tries,
    /// How often it was left alone.
    given_up: u32,
    left_alone_until: Option<Instant>,
}

/// What came of the tries since it was in sync.
#[derive(Debug, Default)]
enum Tries {
    /// There was none.
    #[default]
    None,
    /// So many in a row had no effect.
    WithoutEffect(u32),
    /// The API server refused the last one.
    Refused,
}

/// What to do about a ServiceAccount that is out of sync.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is tried after this time.
    Try(Duration),
    /// It has just been changed back once too often: it is left alone for this time.
    GiveUp(Duration),
    /// It is left alone already, for this time from now.
    LeaveAlone(Duration),
}

impl Backoff {
    /// It is out of sync.
    pub(super) fn out_of_sync(&mut self, now: Instant) -> Next {
        if let Some(until) = self.left_alone_until {
            if now < until {
                return Next::LeaveAlone(until.duration_since(now));
            }
            self.left_alone_until = None;
            self.synced.clear();
        }
        self.synced.retain(|at| now.duration_since(*at) < WINDOW);
        if self.synced.len() >= TIMES {
            let time = WINDOW.saturating_mul(2_u32.saturating_pow(self.given_up)).min(LONGEST);
            self.given_up += 1;
            self.left_alone_until = Some(now + time);
            return Next::GiveUp(time);
        }
        Next::Try(match self.tries {
            Tries::None => Duration::ZERO,
            Tries::WithoutEffect(tries) => {
                let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
                FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
            }
            Tries::Refused => REFUSED_PAUSE,
        })
    }

    /// It was out of sync and is in sync now, whoever did that.
    pub(super) fn in_sync(&mut self, now: Instant) {
        self.tries = Tries::None;
        self.synced.push(now);
    }

    /// A try had no effect, or failed.
    pub(super) fn without_effect(&mut self) {
        self.tries = Tries::WithoutEffect(match self.tries {
            Tries::None | Tries::Refused => 1,
            Tries::WithoutEffect(tries) => tries.saturating_add(1),
        });
    }

    /// The API server refused a try.
    pub(super) fn refused(&mut self) {
        self.tries = Tries::Refused;
    }

    /// Whether somebody else seems to set it, too.
    pub(super) fn is_contested(&self) -> bool {
        self.given_up > 0 || self.synced.len() > 1
    }

    /// Whether there is nothing left to remember.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.left_alone_until.is_none_or(|until| now >= until + WINDOW)
            && self.synced.iter().all(|at| now.duration_since(*at) >= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_changed_back_is_left_alone_after_three_times_for_ever_longer() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        for round in 0..3 {
            for _ in 0..3 {
                assert_eq!(backoff.out_of_sync(now), Next::Try(Duration::ZERO));
                now += Duration::from_secs(5);
                backoff.in_sync(now);
            }
            let time = WINDOW * 2_u32.pow(round);
            assert_eq!(backoff.out_of_sync(now), Next::GiveUp(time));
            assert_eq!(backoff.out_of_sync(now), Next::LeaveAlone(time));
            assert!(!backoff.is_over(now));
            now += time;
        }
        assert_eq!(backoff.out_of_sync(now + LONGEST), Next::Try(Duration::ZERO));
    }

    #[test]
    fn now_and_then_is_no_fight() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(backoff.out_of_sync(now), Next::Try(Duration::ZERO));
            backoff.in_sync(now);
            now += WINDOW / 2;
        }
        assert!(backoff.is_over(now + WINDOW));
    }

    #[test]
    fn tries_without_effect_grow_rare_and_start_afresh_once_one_had_effect() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            backoff.without_effect();
            let Next::Try(pause) = backoff.out_of_sync(now) else { panic!() };
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        backoff.in_sync(now);
        assert_eq!(backoff.out_of_sync(now), Next::Try(Duration::ZERO));
    }

    #[test]
    fn after_a_refusal_an_hour_passes_and_the_last_answer_counts() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..2 {
            backoff.without_effect();
        }
        for _ in 0..3 {
            backoff.refused();
            assert_eq!(backoff.out_of_sync(now), Next::Try(REFUSED_PAUSE));
        }
        backoff.without_effect();
        assert_eq!(backoff.out_of_sync(now), Next::Try(FIRST_PAUSE), "it is not refused any more");
    }

    /// Brought in sync at these seconds.
    fn synced_at(begin: Instant, seconds: &[u64]) -> Backoff {
        let mut backoff = Backoff::default();
        for second in seconds {
            backoff.in_sync(begin + Duration::from_secs(*second));
        }
        backoff
    }

    #[test]
    fn what_somebody_else_does_while_it_is_left_alone_does_not_count() {
        let begin = Instant::now();
        let mut backoff = synced_at(begin, &[0, 1, 2]);
        assert_eq!(backoff.out_of_sync(begin), Next::GiveUp(WINDOW));
        for minute in 1..9 {
            backoff.in_sync(begin + Duration::from_mins(minute));
        }
        assert_eq!(backoff.out_of_sync(begin + WINDOW), Next::Try(Duration::ZERO));
    }

    #[test]
    fn the_window_ends_after_ten_minutes() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(synced_at(begin, &[0, 9, 9]).out_of_sync(begin + WINDOW - second), Next::GiveUp(WINDOW));
        assert_eq!(synced_at(begin, &[0, 9, 9]).out_of_sync(begin + WINDOW), Next::Try(Duration::ZERO));
        assert!(!synced_at(begin, &[0, 9]).is_over(begin + WINDOW));
        assert!(synced_at(begin, &[0, 9]).is_over(begin + WINDOW + 9 * second));
    }

    #[test]
    fn one_that_was_left_alone_is_remembered_for_another_window() {
        let begin = Instant::now();
        let mut backoff = synced_at(begin, &[0, 0, 0]);
        assert_eq!(backoff.out_of_sync(begin), Next::GiveUp(WINDOW));
        assert!(!backoff.is_over(begin + WINDOW * 2 - Duration::from_secs(1)));
        assert!(backoff.is_over(begin + WINDOW * 2));
    }

    #[test]
    fn contested_is_what_was_left_alone_or_in_sync_more_than_once() {
        let begin = Instant::now();
        assert!(!Backoff::default().is_contested());
        assert!(!synced_at(begin, &[0]).is_contested());
        assert!(synced_at(begin, &[0, 0]).is_contested());
        let mut left_alone = synced_at(begin, &[0, 0, 0]);
        assert_eq!(left_alone.out_of_sync(begin), Next::GiveUp(WINDOW));
        assert_eq!(left_alone.out_of_sync(begin + WINDOW), Next::Try(Duration::ZERO));
        assert!(left_alone.is_contested());
    }
}
