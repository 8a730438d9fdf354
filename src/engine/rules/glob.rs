//! Does a value match a glob?
//!
//! `*` matches any run of characters, `?` matches one character, `[ab]` and `[a-z]` match one of those named,
//! `[!ab]` matches one that is not named, and `{a,b}` matches either text. A glob matches the whole value,
//! case-sensitively.
//!
//! Braces are expanded when the mapping is read, so that each glob is a list of patterns without braces. This
//! keeps literals visible to the index, and a pattern takes tens of bytes where a compiled regular expression
//! takes kilobytes: 10,000 rules are to take at most 8 MiB. The property tests compare the outcome with that
//! of the crate globset.

mod braces;
mod error;
mod pattern;
mod regex;

use std::{fmt, slice};

use crate::engine::rules::cost::{Steps, allocated};
use braces::expand_braces;
pub use error::{GlobError, MAX_EXPANDED};
pub use pattern::Head;
use pattern::{Pattern, pattern};

/// How many steps it may take to expand the braces of one glob.
const MAX_STEPS: usize = 1_000_000;

/// A glob as written, and the patterns that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// A glob without braces, whose text is its pattern. By far the most globs are such.
    One(Pattern),
    /// A glob with braces.
    Braces(Box<Braces>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Braces {
    text: Box<str>,
    patterns: Box<[Pattern]>,
}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// Returns what is wrong with it, in words for whoever wrote it.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        Self::within(text, &mut Steps::new(MAX_STEPS))
    }

    /// Reads one of many globs, whose braces may take `steps` together.
    ///
    /// # Errors
    /// Returns an error as [`Self::new`] does, and [`GlobError::TooManySteps`] where the steps are used up.
    pub fn within(text: &str, steps: &mut Steps) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > MAX_EXPANDED {
            return Err(GlobError::TooLong(text.len()));
        }
        if text.contains('\\') {
            return Err(GlobError::Backslash(text.to_owned()));
        }
        if !text.contains(['{', '}']) {
            return Ok(Self(Shape::One(pattern(text, text)?)));
        }
        let patterns = expand_braces(text, steps)?
            .iter()
            .map(|flat| pattern(text, flat))
            .collect::<Result<Box<[_]>, _>>()?;
        Ok(Self(Shape::Braces(Box::new(Braces { text: text.into(), patterns }))))
    }

    fn patterns(&self) -> &[Pattern] {
        match &self.0 {
            Shape::One(pattern) => slice::from_ref(pattern),
            Shape::Braces(braces) => &braces.patterns,
        }
    }

    /// Returns the globs without braces that it stands for.
    pub fn flat(&self) -> impl Iterator<Item = &str> {
        self.patterns().iter().map(Pattern::text)
    }

    /// Returns the glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Shape::One(Pattern::Literal(text) | Pattern::Prefix(text) | Pattern::Other(text)) => text,
            Shape::Braces(braces) => &braces.text,
        }
    }

    /// Whether it matches only the values that it names, because it has no wildcard.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.heads().all(|head| matches!(head, Head::Exact(_)))
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.patterns().iter().any(|pattern| pattern.matches(value))
    }

    /// Returns what is literal at the start of each pattern. An empty prefix says that the pattern may match
    /// any value.
    pub fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        self.patterns().iter().map(Pattern::head)
    }

    /// Whether it names this value literally, as `default` and `{default,other}` name `default`.
    #[must_use]
    pub fn names(&self, value: &str) -> bool {
        self.heads().any(|head| matches!(head, Head::Exact(text) if text == value))
    }

    /// Whether it matches every value, as `*` does.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.patterns().iter().any(|pattern| pattern.prefix() == Some(""))
    }

    /// Whether it matches everything that `other` matches. In doubt the answer is no, and so it is where the
    /// steps are used up.
    #[must_use]
    pub fn covers(&self, other: &Self, steps: &mut Steps) -> bool {
        self.as_str() == other.as_str()
            || other
                .patterns()
                .iter()
                .all(|theirs| self.patterns().iter().any(|ours| ours.covers(theirs, steps)))
    }

    /// Returns the most steps that it can take to match a value of at most `longest` bytes.
    #[must_use]
    pub fn steps(&self, longest: usize) -> usize {
        self.patterns().iter().map(|pattern| pattern.steps(longest)).sum()
    }

    /// Returns how many bytes it holds on the heap.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.0 {
            Shape::One(pattern) => pattern.weight(),
            Shape::Braces(braces) => {
                let texts: usize = braces.patterns.iter().map(Pattern::weight).sum();
                allocated(size_of::<Braces>())
                    + allocated(braces.text.len())
                    + allocated(size_of_val(&*braces.patterns))
                    + texts
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text).unwrap()
    }

    #[test]
    fn globs_match_whole_values() {
        let cases = [
            ("gitlab", "gitlab", true),
            ("gitlab", "gitlab-2", false),
            ("gitlab", "Gitlab", false),
            ("*", "", true),
            ("ci-*", "ci-", true),
            ("ci-*", "aci-1", false),
            ("*-prod", "gitlab-prod", true),
            ("*-prod", "gitlab-prod-2", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("ci-?", "ci-é", true),
            ("ci-?", "ci-", false),
            ("ci-[ab]", "ci-b", true),
            ("ci-[!ab]", "ci-b", false),
            ("ci-[0-9]*", "ci-7x", true),
            ("{a,b}-{c,d}", "b-c", true),
            ("{a,b}-{c,d}", "c-c", false),
            ("x{,-y}", "x", true),
            ("x{a,{b,c}d}", "xcd", true),
            ("arn:aws:iam::1:role/*", "arn:aws:iam::1:role/a/b", true),
        ];
        for (text, value, want) in cases {
            assert_eq!(glob(text).matches(value), want, "{text} against {value}");
        }
    }

    #[test]
    fn a_long_value_does_not_make_matching_explode() {
        assert!(!glob("*a*a*a*a*a*a*a*a*b").matches(&"a".repeat(10_000)));
    }

    #[test]
    fn only_a_piece_between_two_stars_takes_many_steps() {
        let cases = [
            ("gitlab", 1),
            ("ci-*", 1),
            ("*-prod", 6),
            ("ci-*-prod-[ab]", 14),
            ("*-prod-*", 8 + 253),
            ("*a*a*aN", 7 + 253),
            ("*a?b[cd]*", 9 + 7 * 253),
            ("{a,*-b,*c*}", 1 + 3 + 3 + 253),
        ];
        for (text, want) in cases {
            assert_eq!(glob(text).steps(253), want, "{text}");
        }
    }

    #[test]
    fn bad_globs_say_what_is_wrong() {
        let cases = [
            ("", "an empty glob matches nothing; use `*` for any value"),
            ("a[b", "`[` is not closed in the glob `a[b`"),
            ("a[]", "`[]` holds no character in the glob `a[]`"),
            ("a[z-a]", "the range `z-a` runs backwards in the glob `a[z-a]`"),
            ("{a", "`{` and `}` do not pair up in the glob `{a`"),
            ("a}", "`{` and `}` do not pair up in the glob `a}`"),
            ("a\\*", "a glob has no escapes, so `\\` cannot stand in `a\\*`"),
            (
                "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}",
                "the braces of the glob `{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}` stand for more than 100 patterns or 1024 bytes",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(Glob::new(text).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn covering_never_claims_too_much() {
        let cases = [
            ("*", "ci-*", true),
            ("ci-*", "ci-prod", true),
            ("ci-*", "ci-p*", true),
            ("ci-*", "ci-?x", true),
            ("ci-p*", "ci-*", false),
            ("{a,b}", "a", true),
            ("{a,b}", "{b,a}", true),
            ("a", "{a,b}", false),
            ("*-x", "*-x", true),
            ("*-x", "a-x", true),
            ("*-x", "a*", false),
        ];
        for (wide, narrow, want) in cases {
            let mut steps = Steps::new(1000);
            assert_eq!(glob(wide).covers(&glob(narrow), &mut steps), want, "{wide} covers {narrow}");
        }
    }

    #[test]
    fn heads_are_what_an_index_can_use() {
        let heads = |text: &str| {
            let glob = glob(text);
            glob.heads().map(|head| format!("{head:?}")).collect::<Vec<_>>()
        };
        assert_eq!(heads("gitlab"), ["Exact(\"gitlab\")"]);
        assert_eq!(heads("{a,b-*}"), ["Exact(\"a\")", "Prefix(\"b-\")"]);
        assert_eq!(heads("ab?d"), ["Prefix(\"ab\")"]);
        assert_eq!(heads("*x"), ["Prefix(\"\")"]);
    }

    #[test]
    fn a_glob_weighs_its_texts_and_its_patterns() {
        for (text, want) in [("a", 32), ("sixteen letters!", 32), ("seventeen letters", 48)] {
            assert_eq!(glob(text).weight(), want, "{text}");
        }
        let of = |text: usize, patterns: usize| {
            allocated(size_of::<Braces>()) + allocated(text) + allocated(patterns * size_of::<Pattern>())
        };
        assert_eq!(glob("{a,bb}").weight(), of(6, 2) + 32 + 32);
        assert_eq!(glob("{seventeen letters,a,b}").weight(), of(23, 3) + 48 + 32 + 32);
    }
}
