//! Which regular expression matches what a glob matches?
//!
//! The expressions are for RE2, as the API server's CEL has it. There `.` matches every character but a line
//! feed.

use std::fmt::Write as _;

use super::Glob;
use super::pattern::{Token, next_token, ranges};

impl Glob {
    /// Returns an expression for each pattern that the glob stands for. None has an anchor, and none matches
    /// a line feed, which no name in Kubernetes has.
    pub fn regexes(&self) -> impl Iterator<Item = String> {
        self.flat().map(regex)
    }
}

fn regex(pattern: &str) -> String {
    let mut regex = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some((token, after)) = next_token(rest) {
        match token {
            Token::Char('-') => regex.push('-'),
            Token::Char(c) => push(&mut regex, c),
            Token::AnyChar => regex.push('.'),
            Token::AnyRun => regex.push_str(".*"),
            Token::Class { negated, members } => {
                regex.push_str(if negated { "[^\\n" } else { "[" });
                for (first, last) in ranges(members) {
                    push(&mut regex, first);
                    if first != last {
                        regex.push('-');
                        push(&mut regex, last);
                    }
                }
                regex.push(']');
            }
        }
        rest = after;
    }
    regex
}

/// Writes a character so that it stands for itself, in brackets and outside. Controls are written as their
/// numbers, so that the expression is one line without tabs.
fn push(regex: &mut String, c: char) {
    if c.is_control() {
        let _ = write!(regex, "\\x{{{:x}}}", u32::from(c));
        return;
    }
    if c.is_ascii_punctuation() && !"_/:=,@".contains(c) {
        regex.push('\\');
    }
    regex.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_becomes_expressions_that_match_the_same() {
        for (glob, want) in [
            ("gitlab", &["gitlab"][..]),
            ("a.b*", &["a\\.b.*"]),
            ("c?-[ab]", &["c.-[ab]"]),
            ("[!a-z]", &["[^\\na-z]"]),
            ("[^^]", &["[^\\n\\^]"]),
            ("[[]", &["[\\[]"]),
            ("{a,b}$", &["a\\$", "b\\$"]),
            ("a\tb", &["a\\x{9}b"]),
        ] {
            assert_eq!(Glob::new(glob).unwrap().regexes().collect::<Vec<_>>(), want, "{glob}");
        }
    }
}
