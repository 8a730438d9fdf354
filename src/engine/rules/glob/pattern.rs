//! Does a value match a glob without braces?

use super::error::GlobError;
use crate::engine::rules::cost::{Steps, allocated};

/// The literal start of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Head<'g> {
    /// The pattern is literal as a whole, and matches only this value.
    Exact(&'g str),
    /// The pattern matches only values that begin so.
    Prefix(&'g str),
}

/// A glob without braces. It is kept as text, which was checked when it was read and is walked when it is
/// matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// It has no wildcard, and matches only this value.
    Literal(Box<str>),
    /// It has only stars at its end, as `ci-*` and `*` have, and matches values that begin with what stands
    /// before them.
    Prefix(Box<str>),
    /// It has wildcards elsewhere, or other ones.
    Other(Box<str>),
}

/// One token of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'g> {
    /// It takes this character.
    Char(char),
    /// It takes any one character.
    AnyChar,
    /// It takes any number of characters, or none.
    AnyRun,
    /// It takes one character that the brackets name, or where it is negated one that they do not name.
    Class { negated: bool, members: &'g str },
}

impl Pattern {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Literal(text) | Self::Prefix(text) | Self::Other(text) => text,
        }
    }

    /// Returns what stands before the stars, where it has only stars at its end.
    pub(super) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Prefix(text) => Some(text.trim_end_matches('*')),
            Self::Literal(_) | Self::Other(_) => None,
        }
    }

    pub(super) fn head(&self) -> Head<'_> {
        match self {
            Self::Literal(text) => Head::Exact(text),
            Self::Prefix(text) | Self::Other(text) => Head::Prefix(literal_prefix(text)),
        }
    }

    /// Whether the whole of `value` matches.
    pub(super) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *value,
            Self::Prefix(text) => value.starts_with(text.trim_end_matches('*')),
            Self::Other(text) => matches_pattern(text, value),
        }
    }

    pub(super) fn covers(&self, other: &Self, steps: &mut Steps) -> bool {
        if !steps.take(self.steps(other.text().len())) {
            return false;
        }
        match other.head() {
            Head::Exact(text) => self.matches(text),
            Head::Prefix(text) => self == other || self.prefix().is_some_and(|ours| text.starts_with(ours)),
        }
    }

    /// Counts the most steps that matching can take. A piece between two stars is searched for along the
    /// value, and every other piece is compared in one place.
    pub(super) fn steps(&self, longest: usize) -> usize {
        let Self::Other(text) = self else { return 1 };
        let (_, mut later) = segment(text);
        let mut searches = 0;
        while let Some(pattern) = later {
            let (wanted, next) = segment(pattern);
            if next.is_some() {
                searches = searches.max(if is_literal(wanted) { 1 } else { wanted.len() });
            }
            later = next;
        }
        text.len() + searches * longest
    }

    pub(super) fn weight(&self) -> usize {
        allocated(self.text().len())
    }
}

/// Matches a pattern with stars. Each piece between two stars is taken where it first fits, which leaves the
/// most for those after it, and the last piece is compared with the end of the value.
fn matches_pattern(pattern: &str, value: &str) -> bool {
    let (first, mut later) = segment(pattern);
    let Some(mut rest) = after(first, value) else { return false };
    while let Some(pattern) = later {
        let (wanted, next) = segment(pattern);
        if next.is_none() {
            return ends_with(wanted, rest);
        }
        let Some(behind) = behind(wanted, rest) else { return false };
        rest = behind;
        later = next;
    }
    rest.is_empty()
}

/// Returns what stands before the first star, and what stands behind it.
fn segment(pattern: &str) -> (&str, Option<&str>) {
    let mut rest = pattern;
    while let Some((token, after)) = next_token(rest) {
        if token == Token::AnyRun {
            let length = pattern.len() - rest.len();
            return (pattern.get(..length).unwrap_or_default(), Some(after));
        }
        rest = after;
    }
    (pattern, None)
}

fn is_literal(segment: &str) -> bool {
    !segment.contains(['?', '['])
}

/// Returns what follows this piece in a value that begins with it.
fn after<'v>(segment: &str, value: &'v str) -> Option<&'v str> {
    let mut characters = value.chars();
    let mut rest = segment;
    while let Some((token, after)) = next_token(rest) {
        if !token.takes(characters.next()?) {
            return None;
        }
        rest = after;
    }
    Some(characters.as_str())
}

/// Returns what follows this piece in a value, at the first place where it fits.
fn behind<'v>(segment: &str, value: &'v str) -> Option<&'v str> {
    if is_literal(segment) {
        return value.split_once(segment).map(|(_, behind)| behind);
    }
    let mut characters = value.chars();
    loop {
        if let Some(behind) = after(segment, characters.as_str()) {
            return Some(behind);
        }
        characters.next()?;
    }
}

/// Whether the value ends with this piece. It has no star, so that each of its tokens takes one character.
fn ends_with(segment: &str, value: &str) -> bool {
    if is_literal(segment) {
        return value.ends_with(segment);
    }
    let mut tokens = 0;
    let mut rest = segment;
    while let Some((_, after)) = next_token(rest) {
        tokens += 1;
        rest = after;
    }
    let start = value.char_indices().rev().nth(tokens - 1).map(|(start, _)| start);
    start.and_then(|start| value.get(start..)).is_some_and(|end| after(segment, end) == Some(""))
}

/// Returns the first token of a pattern, and what follows it.
pub(super) fn next_token(pattern: &str) -> Option<(Token<'_>, &str)> {
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

/// Returns the ranges that brackets name: for `a-z0` these are a to z and 0 to 0.
pub(super) fn ranges(members: &str) -> impl Iterator<Item = (char, char)> {
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

/// Reads a text without braces. `whole` is the glob as it was written, which messages quote.
pub(super) fn pattern(whole: &str, flat: &str) -> Result<Pattern, GlobError> {
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
    let behind = flat.get(literal_prefix(flat).len()..).unwrap_or_default();
    Ok(if behind.is_empty() {
        Pattern::Literal(flat.into())
    } else if behind.trim_end_matches('*').is_empty() {
        Pattern::Prefix(flat.into())
    } else {
        Pattern::Other(flat.into())
    })
}

fn literal_prefix(pattern: &str) -> &str {
    pattern.split(['*', '?', '[']).next().unwrap_or_default()
}
