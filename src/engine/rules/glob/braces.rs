//! Which patterns do the braces of a glob stand for?

use super::error::{GlobError, MAX_ALTERNATIVES, MAX_EXPANDED};
use crate::engine::rules::cost::Steps;

/// Expands braces: `a{b,c}d` becomes `abd` and `acd`. Braces may be nested, and a `{` inside `[...]` is a
/// character.
pub(super) fn expand_braces(text: &str, steps: &mut Steps) -> Result<Vec<String>, GlobError> {
    // Each level holds the alternatives of one brace that are finished, and those that are still being
    // written.
    let mut levels: Vec<(Vec<String>, Vec<String>)> = vec![(Vec::new(), vec![String::new()])];
    let mut in_class = false;
    let unpaired = || GlobError::UnpairedBrace(text.to_owned());
    for c in text.chars() {
        let writing = levels.last().map_or(0, |(_, current)| current.len());
        if !steps.take(writing + 1) {
            return Err(GlobError::TooManySteps);
        }
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
                // Every text is made anew, even by `{}`, which adds nothing to it.
                if !steps.take(expanded + 8 * outer.len() * done.len()) {
                    return Err(GlobError::TooManySteps);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<Vec<String>, GlobError> {
        expand_braces(text, &mut Steps::new(1_000_000))
    }

    #[test]
    fn braces_stand_for_each_of_their_alternatives() {
        let cases: [(&str, &[&str]); 12] = [
            ("{a,b}", &["a", "b"]),
            ("{a}", &["a"]),
            ("{}", &[""]),
            ("x{}y", &["xy"]),
            ("a,b{c,d}", &["a,bc", "a,bd"]),
            ("{a,b}-{c,d}", &["a-c", "a-d", "b-c", "b-d"]),
            ("{a,{b,c}d}e", &["ae", "bde", "cde"]),
            // Between brackets they are characters.
            ("{[,],x}", &["[,]", "x"]),
            ("{[{],x}", &["[{]", "x"]),
            ("{[}],x}", &["[}]", "x"]),
            ("[{,}]{a,b}", &["[{,}]a", "[{,}]b"]),
            ("{[[]],x}", &["[[]]", "x"]),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn a_brace_or_a_bracket_that_is_not_closed_is_told_apart() {
        for text in ["{", "}", "{a", "a}", "{a}}", "{{a}", "{a,b", "{[a]"] {
            assert!(matches!(expand(text), Err(GlobError::UnpairedBrace(_))), "{text}");
        }
        for text in ["{[a", "{a,[b}", "{a}{[}"] {
            assert!(matches!(expand(text), Err(GlobError::UnclosedClass(_))), "{text}");
        }
    }

    /// Says that the braces of the first text are few enough, and those of the second are not.
    fn assert_limit(within: &str, beyond: &str) {
        assert!(expand(within).is_ok(), "{within}: {:?}", expand(within));
        assert!(
            matches!(expand(beyond), Err(GlobError::TooManyAlternatives(_))),
            "{beyond}: {:?}",
            expand(beyond)
        );
    }

    #[test]
    fn braces_stand_for_at_most_100_patterns() {
        let of = |count: usize| format!("{{{}}}", ",".repeat(count - 1));
        assert_limit(&of(100), &of(101));
        assert_limit(&(of(10) + &of(10)), &(of(10) + &of(11)));
        assert_limit(&(of(50) + &of(2)), &(of(51) + &of(2)));
        // While a brace is open its alternatives are counted.
        let open = |count: usize| expand(&format!("{{{}", ",".repeat(count)));
        assert!(matches!(open(100), Err(GlobError::UnpairedBrace(_))));
        assert!(matches!(open(101), Err(GlobError::TooManyAlternatives(_))));
    }

    #[test]
    fn braces_stand_for_at_most_1024_bytes() {
        let x = |count: usize| "x".repeat(count);
        // What stands before a brace is there once for each of its alternatives.
        assert_limit(&format!("{}{{ab,cd}}", x(510)), &format!("{}{{ab,cde}}", x(510)));
        assert_limit(&format!("{}{{ab,cd}}", x(510)), &format!("{}{{ab,cd}}", x(511)));
        assert_limit(&format!("{{{0},{0}}}{{{0},{0}}}", x(128)), &format!("{{{0},{0}}}{{{0},{0}a}}", x(128)));
        assert_limit(&format!("{{{0},{0}}}{{,}}", x(256)), &format!("{{{0},{0}a}}{{,}}", x(256)));
        // What stands behind it is added to each of them.
        assert_limit(&format!("{{a,b}}{}", x(511)), &format!("{{a,b}}{}", x(512)));
        assert_limit(&format!("{{a,b}}{}é", x(509)), &format!("{{a,b}}{}é", x(510)));
    }

    #[test]
    fn each_character_and_each_text_that_is_made_takes_steps() {
        for (text, want) in [
            ("a", 2),
            ("{}", 2 + 2 + 8),
            // Five characters go to one text each, and two texts of one byte are made.
            ("{a,b}", 5 * 2 + 2 + 2 * 8),
            // The second brace begins when there are two texts, and four texts of two bytes are made.
            ("{a,b}{c,d}", 28 + 3 + 4 * 2 + 4 * 2 + 4 * 8),
            ("{a,b}c", 28 + 3),
        ] {
            assert!(expand_braces(text, &mut Steps::new(want)).is_ok(), "{text}");
            let few = expand_braces(text, &mut Steps::new(want - 1));
            assert_eq!(few, Err(GlobError::TooManySteps), "{text}");
        }
    }
}
