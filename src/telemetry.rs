//! How do errors, durations and times read, in log lines and elsewhere, and what has colours?

use std::env;
use std::io::IsTerminal;
use std::time::{Duration, UNIX_EPOCH};

/// Whether colours are shown there: it is a terminal, and the environment takes colours.
#[must_use]
pub fn takes_colour(to: &impl IsTerminal) -> bool {
    to.is_terminal() && environment_takes_colour()
}

/// Whether terminals have colours here, and nobody set `NO_COLOR` (<https://no-color.org>).
#[must_use]
pub fn environment_takes_colour() -> bool {
    let is_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_refused && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The last second of the year 9999. RFC 3339 has no later one.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes a duration as people say it, in its two largest units: `62d 23h`, `1m 30s`, `250ms`. What is left
/// is dropped.
#[must_use]
pub fn duration_in_words(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut left = milliseconds;
    let parts = units.map(|(unit, length)| {
        let count = left / length;
        left %= length;
        (count, unit)
    });
    // The second unit is the one right after the first: a day and a minute is a day.
    let parts = parts.iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    let words: Vec<String> = parts.map(|(count, unit)| format!("{count}{unit}")).collect();
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

/// Writes seconds since 1970 as RFC 3339 in UTC, to the second: `2026-11-21T19:40:00Z`. A time that has no
/// such form becomes the nearest one that has.
#[must_use]
pub fn unix_time_in_words(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default().min(LAST_SECOND);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Writes an error with its causes in one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_its_two_largest_units() {
        for (milliseconds, want) in [
            (0, "0s"),
            (1, "1ms"),
            (250, "250ms"),
            (1_000, "1s"),
            (1_250, "1s 250ms"),
            (10_000, "10s"),
            (90_000, "1m 30s"),
            (600_000, "10m"),
            (3_600_000, "1h"),
            (3_600_000 + 59_999, "1h"),
            (86_400_000, "1d"),
            (86_400_000 + 60_000, "1d"),
            (90 * 86_400_000, "90d"),
            // A little less than 60 days.
            (5_183_999_999, "59d 23h"),
            (5_443_200_000, "63d"),
        ] {
            assert_eq!(duration_in_words(Duration::from_millis(milliseconds)), want, "{milliseconds}");
        }
        assert_eq!(duration_in_words(Duration::from_nanos(1)), "0s");
        assert_eq!(duration_in_words(Duration::MAX), "213503982334601d 7h");
    }

    #[test]
    fn a_time_is_written_in_utc_to_the_second_whatever_it_is() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_290_000, "2026-11-21T19:40:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "9999-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (-1, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(unix_time_in_words(seconds), want, "{seconds}");
        }
    }
}
