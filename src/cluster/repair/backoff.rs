//! When is a ServiceAccount tried again, and when is it left alone? Pure: the time is given.

use std::time::Duration;

use tokio::time::Instant;

/// One that is changed back so often within [`WINDOW`] is somebody else's.
const TIMES: usize = 3;

/// See [`TIMES`]; also for how long it is left alone the first time. Each further time is twice as long.
const WINDOW: Duration = Duration::from_mins(10);

/// The longest time for which one is left alone.
const LONGEST: Duration = Duration::from_hours(24);

/// Between two tries without effect, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// After the API server has refused: nothing but a change of something else helps.
const REFUSED_PAUSE: Duration = Duration::from_hours(1);

/// What is remembered of one ServiceAccount that was not as decided.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// When it came to be as decided, lately.
    mended: Vec<Instant>,
    /// Tries in a row that came to nothing.
    in_vain: u32,
    /// How often it was left alone.
    given_up: u32,
    left_alone_until: Option<Instant>,
}

/// What to do about one that is not as decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try after this time.
    Try(Duration),
    /// It has just been changed back once too often: it is left alone, for so long.
    GiveUp(Duration),
    /// It is being left alone, for so long still.
    LeaveAlone(Duration),
}

impl Backoff {
    /// It is not as decided.
    pub(super) fn out_of_step(&mut self, now: Instant) -> Next {
        if let Some(until) = self.left_alone_until {
            if now < until {
                return Next::LeaveAlone(until.duration_since(now));
            }
            self.left_alone_until = None;
            self.mended.clear();
        }
        self.mended.retain(|at| now.duration_since(*at) < WINDOW);
        if self.mended.len() >= TIMES {
            let time = WINDOW.saturating_mul(2_u32.saturating_pow(self.given_up)).min(LONGEST);
            self.given_up += 1;
            self.left_alone_until = Some(now + time);
            return Next::GiveUp(time);
        }
        let pause = match self.in_vain {
            0 => Duration::ZERO,
            u32::MAX => REFUSED_PAUSE,
            tries => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries - 1)).min(LONGEST_PAUSE),
        };
        Next::Try(pause)
    }

    /// It was not as decided, and is now, whoever saw to it.
    pub(super) fn mended(&mut self, now: Instant) {
        self.in_vain = 0;
        self.mended.push(now);
    }

    /// A try came to nothing.
    pub(super) fn in_vain(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// The API server refused a try.
    pub(super) fn refused(&mut self) {
        self.in_vain = u32::MAX;
    }

    /// Whether somebody else seems to set it, too.
    pub(super) fn is_a_fight(&self) -> bool {
        self.given_up > 0 || self.mended.len() > 1
    }

    /// Whether there is nothing left to remember.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.left_alone_until.is_none_or(|until| now >= until + WINDOW)
            && self.mended.iter().all(|at| now.duration_since(*at) >= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_changed_back_is_left_alone_after_three_times_for_ever_longer() {
        let (mut patience, mut now) = (Backoff::default(), Instant::now());
        for round in 0..3 {
            for _ in 0..3 {
                assert_eq!(patience.out_of_step(now), Next::Try(Duration::ZERO));
                now += Duration::from_secs(5);
                patience.mended(now);
            }
            let time = WINDOW * 2_u32.pow(round);
            assert_eq!(patience.out_of_step(now), Next::GiveUp(time));
            assert_eq!(patience.out_of_step(now), Next::LeaveAlone(time));
            assert!(!patience.is_over(now));
            now += time;
        }
        assert_eq!(patience.out_of_step(now + LONGEST), Next::Try(Duration::ZERO));
    }

    #[test]
    fn now_and_then_is_no_fight() {
        let (mut patience, mut now) = (Backoff::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(patience.out_of_step(now), Next::Try(Duration::ZERO));
            patience.mended(now);
            now += WINDOW / 2;
        }
        assert!(patience.is_over(now + WINDOW));
    }

    #[test]
    fn tries_without_effect_grow_rare_and_start_afresh_once_one_had_effect() {
        let (mut patience, now) = (Backoff::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            patience.in_vain();
            let Next::Try(pause) = patience.out_of_step(now) else { panic!() };
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        patience.mended(now);
        assert_eq!(patience.out_of_step(now), Next::Try(Duration::ZERO));
    }
}
