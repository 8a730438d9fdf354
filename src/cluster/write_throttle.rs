//! How soon may something be written again?
//!
//! The pause grows while writes fail, or while somebody else undoes them.

use std::time::Duration;

use tokio::time::Instant;

/// Limits how often one thing is written: the first write begins at once, and each one that follows soon
/// after another waits longer. Two programs that undo each other's writes so become slow.
#[derive(Debug, Default)]
pub(super) struct WriteThrottle {
    pause: Duration,
    last: Option<Instant>,
}

impl WriteThrottle {
    const LONGEST: Duration = Duration::from_secs(30);

    /// The shortest wait after a write that failed.
    const AFTER_FAILURE: Duration = Duration::from_secs(1);

    /// How much longer the next write has to wait.
    fn left(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| self.pause.saturating_sub(now.duration_since(last)))
    }

    /// How long to wait after a write that failed.
    pub(super) fn after_failure(&self, now: Instant) -> Duration {
        self.left(now).max(Self::AFTER_FAILURE)
    }

    /// Begins a write.
    ///
    /// # Errors
    /// When it is too soon: how much longer the write has to wait.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), Duration> {
        let left = self.left(now);
        if !left.is_zero() {
            return Err(left);
        }
        // A write that has lasted for well longer than the pause was not undone by anybody.
        let lasted = |last| now.duration_since(last) > self.pause * 4 + Duration::from_secs(1);
        self.pause = if self.last.is_none_or(lasted) {
            Duration::ZERO
        } else {
            (self.pause * 2).clamp(Duration::from_millis(100), Self::LONGEST)
        };
        self.last = Some(now);
        Ok(())
    }

    /// Whether writes were undone or refused so often that an operator should know.
    pub(super) fn is_slow(&self) -> bool {
        self.pause >= Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_grows_slow_and_stays_slow_and_ends_when_something_lasts() {
        let (mut throttle, mut now, mut pauses) = (WriteThrottle::default(), Instant::now(), Vec::new());
        for _ in 0..12 {
            if let Err(left) = throttle.begin(now) {
                now += left;
                assert_eq!(throttle.begin(now), Ok(()));
            }
            pauses.push(throttle.pause.as_millis());
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert!(throttle.is_slow());
        now += Duration::from_mins(3);
        assert_eq!(throttle.begin(now), Ok(()));
        assert_eq!(throttle.begin(now), Ok(()), "it need not wait any more");
    }
}
