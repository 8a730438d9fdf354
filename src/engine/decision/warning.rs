//! How is a sentence made into a warning that the API server passes on?

use std::fmt::{self, Write as _};

/// The most characters that the API server should be given as one warning
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).
pub const MAX_WARNING: usize = 120;

/// Every warning begins with who warns.
pub(super) const PREFIX: &str = "gitlab-iam-webhook: ";

/// Makes a warning of a sentence. It is one line of at most [`MAX_WARNING`] characters.
pub(in crate::engine) fn warning(text: impl fmt::Display) -> String {
    warning_within(MAX_WARNING, text)
}

/// Makes a warning that has at most so many characters. Only the API server needs it cut: whoever reads it on
/// the command line is told all of it.
pub(super) fn warning_within(most: usize, text: impl fmt::Display) -> String {
    line(format_args!("{PREFIX}{text}"), most)
}

/// Makes one line of at most so many characters of a text that may hold anything.
pub(super) fn line(text: impl fmt::Display, most: usize) -> String {
    let mut line = Line { text: String::new(), room: most };
    // Writing fails once the line is full, so that the rest of a long sentence is never made.
    let _ = write!(line, "{text}");
    line.text
}

/// A line that takes only so many characters.
struct Line {
    text: String,
    /// How many characters it still takes.
    room: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let Some(room) = self.room.checked_sub(1) else {
                self.text.pop();
                self.text.push('…');
                return Err(fmt::Error);
            };
            self.room = room;
            self.text.push(if c.is_control() { '?' } else { c });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_is_cut_while_it_is_written() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("ever\n")?;
                }
            }
        }
        let line = warning(Endless);
        assert_eq!(line.chars().count(), MAX_WARNING);
        assert!(line.starts_with("gitlab-iam-webhook: ever?ever?") && line.ends_with('…'), "{line}");
        let whole = "x".repeat(MAX_WARNING - PREFIX.len());
        assert_eq!(warning(&whole), format!("gitlab-iam-webhook: {whole}"));
        let long = "x".repeat(1000);
        assert_eq!(warning_within(usize::MAX, &long), format!("gitlab-iam-webhook: {long}"));
    }
}
