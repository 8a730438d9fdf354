//! How long is it before the next try? What fails, and what does not last, is not tried again at once.

use std::time::Duration;

use tokio::time::Instant;

/// The pauses of a watch that fails: half a second, doubled up to 5 seconds, and by chance up to half as long again. Short, because
/// the watches of a webhook are few, and whoever waits for a role waits for them.
#[derive(Default)]
pub(super) struct RetryBackoff(u32);

impl RetryBackoff {
    /// The next one.
    pub(super) fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1);
        pause.min(Duration::from_secs(5)).mul_f64(1.0 + fastrand::f64() / 2.0)
    }

    /// Something went well: the next one is short again.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Pauses between writes that fail or do not last: none at first, then ever longer. Somebody who writes something else
/// again and again is answered ever more slowly.
#[derive(Default)]
pub(super) struct WriteThrottle {
    pause: Duration,
    last: Option<Instant>,
}

impl WriteThrottle {
    const LONGEST: Duration = Duration::from_secs(30);

    /// After a write that failed, at first.
    const AGAIN: Duration = Duration::from_secs(1);

    /// How long the next write has to wait still.
    fn left(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| self.pause.saturating_sub(now.duration_since(last)))
    }

    /// How long to wait after a write that failed.
    pub(super) fn after_failure(&self, now: Instant) -> Duration {
        self.left(now).max(Self::AGAIN)
    }

    /// A write begins.
    ///
    /// # Errors
    /// Not yet: how long it has to wait still.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), Duration> {
        let left = self.left(now);
        if !left.is_zero() {
            return Err(left);
        }
        // What has lasted for well longer than the pause is no fight.
        let lasted = |last| now.duration_since(last) > self.pause * 4 + Duration::from_secs(1);
        self.pause = if self.last.is_none_or(lasted) {
            Duration::ZERO
        } else {
            (self.pause * 2).clamp(Duration::from_millis(100), Self::LONGEST)
        };
        self.last = Some(now);
        Ok(())
    }

    /// Whether it has come so far that somebody should know.
    pub(super) fn is_slow(&self) -> bool {
        self.pause >= Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_grows_slow_and_stays_slow_and_ends_when_something_lasts() {
        let (mut pace, mut now, mut pauses) = (WriteThrottle::default(), Instant::now(), Vec::new());
        for _ in 0..12 {
            if let Err(left) = pace.begin(now) {
                now += left;
                assert_eq!(pace.begin(now), Ok(()));
            }
            pauses.push(pace.pause.as_millis());
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert!(pace.is_slow());
        now += Duration::from_mins(3);
        assert_eq!(pace.begin(now), Ok(()));
        assert_eq!(pace.begin(now), Ok(()), "it need not wait any more");
    }
}
