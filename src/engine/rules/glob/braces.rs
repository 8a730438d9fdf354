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
