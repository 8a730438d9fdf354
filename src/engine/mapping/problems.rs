//! What is wrong with a mapping?

use std::fmt;

use crate::engine::yaml::Position;

/// How many problems are kept where memory is not the user's own. The rest is only counted.
pub const MAX_PROBLEMS: usize = 100;

/// The most bytes of a problem's path and of its message, which both quote the mapping.
const MAX_PATH: usize = 250;
const MAX_MESSAGE: usize = 500;

/// One thing that is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place in the text.
    pub at: Position,
    /// The path in the mapping, such as `rules[2].match.component`. It is empty for the mapping as a whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// Makes a problem. Its path and its message are cut to what a log or an answer can take.
    pub(super) fn new(at: Position, path: &str, message: &str) -> Self {
        Self { at, path: shorten(path, MAX_PATH), message: shorten(message, MAX_MESSAGE) }
    }
}

/// Leaves out the middle of a long text, because a sentence says at its ends what it is about. Makes one line
/// of it in any case.
fn shorten(text: &str, longest: usize) -> String {
    let parts = if text.len() <= longest {
        [text, "", ""]
    } else {
        let head = text.get(..text.floor_char_boundary(longest / 2)).unwrap_or_default();
        let tail = text.get(text.ceil_char_boundary(text.len() - longest / 2)..).unwrap_or_default();
        [head, "…", tail]
    };
    parts.concat().replace(char::is_control, "?")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.at, self.message)
        } else {
            write!(f, "{}: {}: {}", self.at, self.path, self.message)
        }
    }
}

/// All that is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The first problems, in the order of the text.
    pub first: Vec<Problem>,
    /// How many more problems there are.
    pub more: usize,
}

impl Problems {
    /// Makes the only problem of a text, which is about the text as a whole.
    pub(in crate::engine) fn of_the_whole(message: &str) -> Self {
        Self { first: vec![Problem::new(Position::START, "", message)], more: 0 }
    }

    /// Returns how many problems there are in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.first.len() + self.more
    }

    /// Returns `and 3 more` where there are more than the first ones.
    #[must_use]
    pub fn rest(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more", self.more))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => f.write_str("1 problem")?,
            count => write!(f, "{count} problems")?,
        }
        self.first.iter().try_for_each(|problem| write!(f, "\n  {problem}"))?;
        self.rest().map_or(Ok(()), |rest| write!(f, "\n  {rest}"))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_and_each_text_becomes_one_line() {
        for (text, want) in [
            ("", ""),
            ("abcdefgh", "abcdefgh"),
            ("abcdefghi", "abcd…fghi"),
            ("abcdefghij", "abcd…ghij"),
            ("abcéééfghi", "abc…fghi"),
            ("abcdéé", "abcdéé"),
            ("abcdéééé", "abcd…éé"),
            ("a\nb", "a?b"),
            ("a\nbcdefgh\ti", "a?bc…gh?i"),
        ] {
            assert_eq!(shorten(text, 8), want, "{text}");
        }
    }

    #[test]
    fn a_path_has_250_bytes_and_a_message_500() {
        let problem =
            |bytes: usize| Problem::new(Position::START, &"x".repeat(bytes), &"x".repeat(2 * bytes));
        assert_eq!((problem(250).path.len(), problem(250).message.len()), (250, 500));
        assert!(problem(251).path.contains('…') && problem(251).message.contains('…'));
        assert_eq!(problem(1).to_string(), "1:1: x: xx");
        assert_eq!(Problem::new(Position::START, "", "x").to_string(), "1:1: x");
    }
}
