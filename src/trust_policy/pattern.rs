//! How does IAM write a glob of the mapping, and which values does such a pattern match?
//!
//! IAM's `StringLike` knows `*` for any characters and `?` for any one character, and nothing else
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>).
//! Braces are written out, and brackets by the characters that a name can have: so a pattern never matches a
//! name that the glob does not match.
//!
//! IAM's `*` also matches `:`, but that widens nothing: the `sub` of a ServiceAccount has exactly three
//! colons, as no name holds one, and so has each of our patterns. Each colon of the pattern takes one of
//! them, and none is left for a `*`.

use crate::engine::rules::glob::Glob;

/// The most patterns that one list of globs may stand for. IAM takes no policy with so many.
const MAX_PATTERNS: usize = 100;

/// The characters that a name can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Those of a namespace.
    Namespace,
    /// Those of a ServiceAccount.
    ServiceAccount,
}

/// The globs stand for too many patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Alphabet {
    fn characters(self) -> impl Iterator<Item = char> {
        let dot = (self == Self::ServiceAccount).then_some('.');
        ('a'..='z').chain('0'..='9').chain(['-']).chain(dot)
    }

    fn holds(self, wanted: char) -> bool {
        self.characters().any(|c| c == wanted)
    }
}

/// Returns the patterns that these globs stand for. What can match no name is left out.
pub(super) fn patterns(globs: &[Glob], alphabet: Alphabet) -> Result<Vec<String>, TooMany> {
    let mut all: Vec<String> = Vec::new();
    for flat in globs.iter().flat_map(Glob::flat) {
        for pattern in expand(flat, alphabet)? {
            if !all.contains(&pattern) {
                all.push(pattern);
            }
        }
        if all.len() > MAX_PATTERNS {
            return Err(TooMany);
        }
    }
    Ok(all)
}

/// Writes out the brackets of a glob without braces.
fn expand(flat: &str, alphabet: Alphabet) -> Result<Vec<String>, TooMany> {
    let mut all = vec![String::new()];
    let mut rest = flat;
    while let Some(c) = rest.chars().next() {
        let (choices, after) = match rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
            Some((class, after)) => (members(class, alphabet), after),
            None => (vec![c], rest.get(c.len_utf8()..).unwrap_or_default()),
        };
        let choices: Vec<char> =
            choices.into_iter().filter(|c| "*?".contains(*c) || alphabet.holds(*c)).collect();
        if all.len() * choices.len() > MAX_PATTERNS {
            return Err(TooMany);
        }
        all = all
            .iter()
            .flat_map(|start| choices.iter().map(move |choice| format!("{start}{choice}")))
            .collect();
        rest = after;
    }
    Ok(all)
}

/// Returns the characters of a name that brackets stand for, and `?` where these are all.
fn members(class: &str, alphabet: Alphabet) -> Vec<char> {
    // The glob itself is asked, so that brackets mean here what they mean to the webhook.
    let Ok(glob) = Glob::new(&format!("[{class}]")) else { return Vec::new() };
    let matches = |c: &char| glob.matches(c.encode_utf8(&mut [0; 4]));
    if alphabet.characters().all(|c| matches(&c)) {
        return vec!['?'];
    }
    alphabet.characters().filter(matches).collect()
}

/// Whether a text of IAM has a wildcard under `StringLike`.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a pattern matches every value that another pattern matches, or the one literal value. In doubt the
/// answer is no.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow): (Vec<char>, Vec<char>) = (wide.chars().collect(), narrow.chars().collect());
    // Where a star was last, and how much it takes: it takes one more where what follows does not fit.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut seen) = (0, 0);
    while let Some(c) = narrow.get(seen) {
        match wide.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            // A `?` takes one character, and a `*` of the other pattern may stand for many.
            Some(wanted) if wanted == c || (*wanted == '?' && *c != '*') => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    seen = taken + 1;
                }
                None => return false,
            },
        }
    }
    wide.iter().skip(at).all(|c| *c == '*')
}

/// Whether some value matches both patterns.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let head = |text: &str| text.find(['*', '?']).unwrap_or(text.len());
    let both = head(one).min(head(other));
    if one.as_bytes().get(..both) != other.as_bytes().get(..both) {
        return false;
    }
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // `row[j]` tells whether what is left of `one` and what is left of `other` from j on have a value in
    // common. The rows are made from the end to the beginning.
    let mut below: Vec<bool> = Vec::new();
    for i in (0..=one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            let (a, b) = (one.get(i), other.get(j));
            let at = |row: &[bool], j: usize| row.get(j).copied().unwrap_or(false);
            let fits = match (a, b) {
                (None, None) => true,
                (Some('*'), Some('*')) => at(&below, j) || at(&row, j + 1),
                (Some('*'), b) => at(&below, j) || (b.is_some() && at(&row, j + 1)),
                (a, Some('*')) => at(&row, j + 1) || (a.is_some() && at(&below, j)),
                (Some(a), Some(b)) => (a == b || *a == '?' || *b == '?') && at(&below, j + 1),
                _ => false,
            };
            if let Some(place) = row.get_mut(j) {
                *place = fits;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(globs: &[&str], alphabet: Alphabet) -> Result<Vec<String>, TooMany> {
        let globs: Vec<Glob> = globs.iter().map(|text| Glob::new(text).unwrap()).collect();
        patterns(&globs, alphabet)
    }

    #[test]
    fn braces_and_brackets_are_written_out_and_never_widened() {
        let cases: [(&[&str], &[&str]); 10] = [
            (&["gitlab"], &["gitlab"]),
            (&["ci-*", "a?"], &["ci-*", "a?"]),
            (&["{a,b}-x", "a-x"], &["a-x", "b-x"]),
            (&["c[ab]"], &["ca", "cb"]),
            (&["c[0-2]*"], &["c0*", "c1*", "c2*"]),
            (&["[!A]x"], &["?x"]),
            (&["[!b-z0-9]"], &["a", "-"]),
            // No name has these.
            (&["A", "a.b", "x[.:$]", "${aws:username}"], &[]),
            (&["[*]"], &[]),
            (&["[?]a", "b"], &["b"]),
        ];
        for (globs, want) in cases {
            assert_eq!(of(globs, Alphabet::Namespace).unwrap(), want, "{globs:?}");
        }
        assert_eq!(of(&["a.b"], Alphabet::ServiceAccount).unwrap(), ["a.b"]);
        assert_eq!(of(&["[!a][!a][!a]"], Alphabet::Namespace), Err(TooMany));
        assert_eq!(of(&["[a-z]-[a-z]"], Alphabet::Namespace), Err(TooMany));
    }

    #[test]
    fn a_pattern_covers_what_it_surely_matches() {
        for (wide, narrow, want) in [
            ("a", "a", true),
            ("a*", "a", true),
            ("a*", "ab*", true),
            ("a*", "*", false),
            ("?", "a", true),
            ("?", "*", false),
            ("?", "?", true),
            ("*b*d", "abcbd", true),
            ("*b*d", "abcbde", false),
            ("a?c", "abc", true),
            ("", "", true),
            ("**", "", true),
            ("a", "", false),
        ] {
            assert_eq!(covers(wide, narrow), want, "{wide} {narrow}");
        }
    }

    #[test]
    fn patterns_overlap_where_they_share_a_value() {
        for (one, other, want) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("ab?", "a*c", true),
            ("a?", "a", false),
            ("*", "", true),
            ("*x*", "*y*", true),
            ("a*b", "a*c", false),
            ("*", "?", true),
        ] {
            assert_eq!(overlap(one, other), want, "{one} {other}");
            assert_eq!(overlap(other, one), want, "{other} {one}");
        }
    }

    #[test]
    fn a_star_never_reaches_over_a_colon_of_the_subject() {
        // A value with another number of colons is no ServiceAccount's `sub`.
        let pattern = "system:serviceaccount:ci-*:job";
        assert!(covers(pattern, "system:serviceaccount:ci-x:job"));
        assert!(!covers(pattern, "system:serviceaccount:ci-x:other"));
        for value in ["system:serviceaccount:gitlab:job", "system:serviceaccount:ci:job"] {
            assert!(!covers(pattern, value), "{value}");
        }
    }
}
