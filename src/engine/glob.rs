//! Does a value match a glob? `*` any run of characters, `?` one, `[ab]` and `[a-z]` one of, `[!ab]` none of, `{a,b}` either.
//!
//! A glob matches the whole value, case-sensitively. Braces are expanded when the mapping is read, so each glob is a
//! list of patterns without them; that keeps literals visible to the index, and a pattern takes tens of bytes where
//! a compiled regular expression takes kilobytes (10,000 rules must fit beside a 32 MiB limit). The crate globset is
//! the oracle in `tests/it/properties.rs`.

use std::fmt;

/// How many patterns the braces of one glob may expand to.
const MAX_ALTERNATIVES: usize = 100;

/// How many bytes they may come to. Names are shorter, and a mapping full of globs must fit in memory.
const MAX_EXPANDED: usize = 1024;

/// A glob as written, and the patterns that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    /// Empty where the text itself is the one literal pattern, which is by far the most frequent case.
    patterns: Box<[Pattern]>,
}

/// A glob that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing matches an empty glob but an empty value.
    #[error("an empty glob matches nothing; use `*` for any value")]
    Empty,
    /// `[` without `]`.
    #[error("`[` is not closed in the glob `{0}`")]
    UnclosedClass(String),
    /// `[]` or `[!]`.
    #[error("`[]` holds no character in the glob `{0}`")]
    EmptyClass(String),
    /// `[z-a]`.
    #[error("the range `{1}` runs backwards in the glob `{0}`")]
    BackwardRange(String, String),
    /// `{` without `}` or the reverse.
    #[error("`{{` and `}}` do not pair up in the glob `{0}`")]
    UnpairedBrace(String),
    /// A backslash.
    #[error("a glob has no escapes, so `\\` cannot stand in `{0}`")]
    Backslash(String),
    /// Braces that expand too far.
    #[error(
        "the braces of the glob `{0}` stand for more than {MAX_ALTERNATIVES} patterns or {MAX_EXPANDED} bytes"
    )]
    TooManyAlternatives(String),
    /// A glob longer than any name.
    #[error("the glob has {0} bytes, at most {MAX_EXPANDED} are taken")]
    TooLong(usize),
}

/// A glob without braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Exactly this value.
    Literal(Box<str>),
    /// This, and then anything: `ci-*`, and `*` alone where it is empty.
    Prefix(Box<str>),
    /// Anything else, as text: it was checked when it was read, and is walked when it is matched.
    Other(Box<str>),
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'g> {
    /// This character.
    Char(char),
    /// Any one character.
    AnyChar,
    /// Any run of characters, also none.
    AnyRun,
    /// One character of (or, negated, none of) the ranges between the brackets.
    Class { negated: bool, members: &'g str },
}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// A sentence for whoever wrote it.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > MAX_EXPANDED {
            return Err(GlobError::TooLong(text.len()));
        }
        if text.contains('\\') {
            return Err(GlobError::Backslash(text.to_owned()));
        }
        if !text.contains(['*', '?', '[', ']', '{', '}']) {
            return Ok(Self { text: text.into(), patterns: Box::default() });
        }
        let patterns =
            expand_braces(text)?.iter().map(|flat| pattern(text, flat)).collect::<Result<Box<[_]>, _>>()?;
        Ok(Self { text: text.into(), patterns })
    }

    /// The glob as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches nothing but the values that it names.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.heads().all(|head| matches!(head, Head::Exact(_)))
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        if self.patterns.is_empty() {
            return *self.text == *value;
        }
        self.patterns.iter().any(|pattern| pattern.matches(value))
    }

    /// The literal starts of what this glob matches: whole values and prefixes. An empty prefix means: anything.
    pub fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let whole = self.patterns.is_empty().then_some(Head::Exact(&self.text));
        whole.into_iter().chain(self.patterns.iter().map(|pattern| match pattern {
            Pattern::Literal(text) => Head::Exact(text),
            Pattern::Prefix(text) => Head::Prefix(text),
            Pattern::Other(text) => Head::Prefix(literal_prefix(text)),
        }))
    }

    /// Whether one of the values it matches is named literally: `default`, `{default,other}`.
    #[must_use]
    pub fn names(&self, value: &str) -> bool {
        self.heads().any(|head| matches!(head, Head::Exact(text) if text == value))
    }

    /// Whether it matches any value at all: `*`.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.patterns.iter().any(|pattern| matches!(pattern, Pattern::Prefix(prefix) if prefix.is_empty()))
    }

    /// Whether it matches everything that `other` matches. Errs on the side of no.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        if other.patterns.is_empty() {
            return self.matches(&other.text);
        }
        other.patterns.iter().all(|theirs| match theirs {
            Pattern::Literal(text) => self.matches(text),
            Pattern::Prefix(text) => self.covers_prefix(text) || self.patterns.contains(theirs),
            Pattern::Other(text) => {
                self.covers_prefix(literal_prefix(text)) || self.patterns.contains(theirs)
            }
        })
    }

    fn covers_prefix(&self, prefix: &str) -> bool {
        self.patterns.iter().any(|ours| matches!(ours, Pattern::Prefix(text) if prefix.starts_with(&**text)))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is literal at the start of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Head<'g> {
    /// The whole value.
    Exact(&'g str),
    /// Only its beginning.
    Prefix(&'g str),
}

fn literal_prefix(pattern: &str) -> &str {
    pattern.split(['*', '?', '[']).next().unwrap_or_default()
}

impl Pattern {
    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *value,
            Self::Prefix(text) => value.starts_with(&**text),
            Self::Other(text) => matches_pattern(text, value),
        }
    }
}

/// Greedy match that, on a mismatch, lets the last `*` take one character more: at most pattern times value steps.
fn matches_pattern(pattern: &str, value: &str) -> bool {
    let mut rest_pattern = pattern;
    let mut rest = value;
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let mut characters = rest.chars();
        let step = match (next_token(rest_pattern), characters.next()) {
            (Some((Token::AnyRun, after)), _) => {
                retry = Some((after, rest));
                rest_pattern = after;
                continue;
            }
            (Some((token, after)), Some(c)) if token.takes(c) => Some((after, characters.as_str())),
            (None, None) => return true,
            _ => None,
        };
        match (step, retry) {
            (Some((after, remaining)), _) => {
                rest_pattern = after;
                rest = remaining;
            }
            (None, Some((after, from))) => {
                let mut characters = from.chars();
                if characters.next().is_none() {
                    return false;
                }
                rest_pattern = after;
                rest = characters.as_str();
                retry = Some((after, rest));
            }
            (None, None) => return false,
        }
    }
}

/// The first step of a pattern, and what follows it.
fn next_token(pattern: &str) -> Option<(Token<'_>, &str)> {
    let mut characters = pattern.chars();
    let token = match characters.next()? {
        '?' => Token::AnyChar,
        '*' => Token::AnyRun,
        '[' => {
            let (class, after) = characters.as_str().split_once(']')?;
            let members = class.strip_prefix(['!', '^']);
            let class = Token::Class { negated: members.is_some(), members: members.unwrap_or(class) };
            return Some((class, after));
        }
        c => Token::Char(c),
    };
    Some((token, characters.as_str()))
}

/// `a-z0` is the ranges a to z and 0 to 0.
fn ranges(members: &str) -> impl Iterator<Item = (char, char)> {
    let mut characters = members.chars();
    std::iter::from_fn(move || {
        let first = characters.next()?;
        let mut ahead = characters.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) => {
                characters = ahead;
                Some((first, last))
            }
            _ => Some((first, first)),
        }
    })
}

impl Token<'_> {
    fn takes(self, c: char) -> bool {
        match self {
            Self::Char(wanted) => wanted == c,
            Self::AnyChar => true,
            Self::AnyRun => false,
            Self::Class { negated, members } => {
                ranges(members).any(|(first, last)| (first..=last).contains(&c)) != negated
            }
        }
    }
}

/// `a{b,c}d` becomes `abd` and `acd`; braces may be nested. A `{` inside `[...]` is a character.
fn expand_braces(text: &str) -> Result<Vec<String>, GlobError> {
    // Each level holds the alternatives finished in this brace, and those still being written.
    let mut levels: Vec<(Vec<String>, Vec<String>)> = vec![(Vec::new(), vec![String::new()])];
    let mut in_class = false;
    let unpaired = || GlobError::UnpairedBrace(text.to_owned());
    for c in text.chars() {
        match c {
            '{' if !in_class => levels.push((Vec::new(), vec![String::new()])),
            ',' if !in_class && levels.len() > 1 => {
                let (done, current) = levels.last_mut().ok_or_else(unpaired)?;
                done.append(current);
                if done.len() > MAX_ALTERNATIVES {
                    return Err(GlobError::TooManyAlternatives(text.to_owned()));
                }
                current.push(String::new());
            }
            '}' if !in_class => {
                let (mut done, mut current) = levels.pop().ok_or_else(unpaired)?;
                done.append(&mut current);
                let (_, outer) = levels.last_mut().ok_or_else(unpaired)?;
                let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
                let expanded = bytes(outer) * done.len() + bytes(&done) * outer.len();
                if outer.len() * done.len() > MAX_ALTERNATIVES || expanded > MAX_EXPANDED {
                    return Err(GlobError::TooManyAlternatives(text.to_owned()));
                }
                *outer = outer
                    .iter()
                    .flat_map(|start| done.iter().map(move |end| format!("{start}{end}")))
                    .collect();
            }
            _ => {
                in_class = (in_class || c == '[') && c != ']';
                let (_, current) = levels.last_mut().ok_or_else(unpaired)?;
                if current.iter().map(|alternative| alternative.len() + c.len_utf8()).sum::<usize>()
                    > MAX_EXPANDED
                {
                    return Err(GlobError::TooManyAlternatives(text.to_owned()));
                }
                for alternative in current {
                    alternative.push(c);
                }
            }
        }
    }
    match levels.pop() {
        Some((done, current)) if levels.is_empty() && done.is_empty() => Ok(current),
        _ if in_class => Err(GlobError::UnclosedClass(text.to_owned())),
        _ => Err(unpaired()),
    }
}

/// Checks a text without braces; `whole` is the glob as written, for messages.
fn pattern(whole: &str, flat: &str) -> Result<Pattern, GlobError> {
    let mut rest = flat;
    while !rest.is_empty() {
        let (token, after) = next_token(rest).ok_or_else(|| GlobError::UnclosedClass(whole.to_owned()))?;
        if let Token::Class { members, .. } = token {
            if members.is_empty() {
                return Err(GlobError::EmptyClass(whole.to_owned()));
            }
            if let Some((first, last)) = ranges(members).find(|(first, last)| first > last) {
                return Err(GlobError::BackwardRange(whole.to_owned(), format!("{first}-{last}")));
            }
        }
        rest = after;
    }
    let prefix = literal_prefix(flat);
    Ok(match flat.get(prefix.len()..) {
        Some("") => Pattern::Literal(flat.into()),
        Some("*" | "**") => Pattern::Prefix(prefix.into()),
        _ => Pattern::Other(flat.into()),
    })
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
            assert_eq!(glob(wide).covers(&glob(narrow)), want, "{wide} covers {narrow}");
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
}
