//! How long does a watch that fails wait before its next try?

use std::time::Duration;

/// The waits of a watch that fails: half a second, doubled up to 5 seconds, and by chance up to half as long
/// again. They are short, because the watches of a webhook are few, and whoever waits for a role waits for
/// them.
#[derive(Default)]
pub(super) struct RetryBackoff(u32);

impl RetryBackoff {
    const SHORTEST: Duration = Duration::from_millis(500);

    /// What chance adds comes on top: docs/operating.md says that no wait is longer than 7.5 seconds.
    const LONGEST: Duration = Duration::from_secs(5);

    /// How long to wait now. The wait after it will be longer.
    pub(super) fn next(&mut self) -> Duration {
        let wait = Self::SHORTEST.saturating_mul(2_u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1);
        wait.min(Self::LONGEST).mul_f64(1.0 + fastrand::f64() / 2.0)
    }

    /// Something went well: the next wait is short again.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_half_a_second_to_no_more_than_the_docs_say_and_are_short_again_after_a_reset() {
        let mut backoff = RetryBackoff::default();
        for shortest in [0.5, 1.0, 2.0, 4.0, 5.0, 5.0] {
            let wait = backoff.next().as_secs_f64();
            assert!((shortest..=1.5 * shortest).contains(&wait), "{wait} where {shortest} is the shortest");
        }
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_millis(7_500));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(750));
        assert!(include_str!("../../docs/operating.md").contains("0.5 to 7.5 seconds"));
    }
}
