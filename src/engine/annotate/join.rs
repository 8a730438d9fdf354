//! How do several texts become one stream of documents, in which each still says what it said?
//!
//! A text may end within a block scalar, or begin with a directive, which is none in the midst of a stream.
//! What comes of joining is read again, as is what comes of splicing.

use super::{Annotated, first_changed};

/// A text that would say something else in one stream with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it would not say the same among other files: end its last line, or annotate it alone")]
pub struct NotJoined {
    /// How many texts stand before it.
    pub index: usize,
}

/// Makes one stream of annotated texts.
///
/// # Errors
/// When a text would say something else there.
pub fn join(texts: &[&Annotated<'_, '_>]) -> Result<String, NotJoined> {
    let mut stream = String::with_capacity(texts.iter().map(|part| part.text.len() + 8).sum());
    for (index, Annotated { text, .. }) in texts.iter().enumerate() {
        // A byte order mark may stand before a stream only.
        let text = if stream.is_empty() { text } else { text.strip_prefix('\u{feff}').unwrap_or(text) };
        let between = separator(&stream, text);
        // kubectl takes a stream that begins with a brace for JSON, and knows no end of a document there.
        if between.contains("...") && stream.trim_start().starts_with('{') {
            return Err(NotJoined { index });
        }
        stream.push_str(between);
        stream.push_str(text);
    }
    let Some((_, before_others)) = texts.split_last() else { return Ok(stream) };
    if let Some(index) = before_others.iter().position(|text| ends_in_a_block_scalar(text)) {
        return Err(NotJoined { index });
    }
    let documents = || texts.iter().flat_map(|part| part.documents.iter().map(|(_, print)| *print));
    let Some(changed) = first_changed(&stream, documents()) else { return Ok(stream) };
    let mut before = 0;
    let index = texts.iter().position(|part| {
        before += part.documents.len();
        changed < before
    });
    Err(NotJoined { index: index.unwrap_or(texts.len() - 1) })
}

/// Whether a text ends within `|` or `>`, before the end of a line. For some readers, its last value has one
/// line break more where anything follows.
fn ends_in_a_block_scalar(Annotated { text, documents, .. }: &Annotated<'_, '_>) -> bool {
    // There alone, this is no comment.
    let longer = || format!("{text} #");
    !text.ends_with(['\n', '\r'])
        && first_changed(&longer(), documents.iter().map(|(_, print)| *print)).is_some()
}

/// Returns what must stand between two texts so that their documents stay apart.
fn separator(before: &str, after: &str) -> &'static str {
    let is_comment = |line: &&str| line.starts_with('#') || line.trim().is_empty();
    let first = after.lines().find(|line| !is_comment(line)).unwrap_or_default();
    let behind = first.strip_prefix("---");
    let is_marked = behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
    let is_ended = before.ends_with('\n');
    match first {
        _ if before.is_empty() => "",
        _ if is_marked && is_ended => "",
        _ if is_marked => "\n",
        // A directive must stand behind the end of a document.
        _ if first.starts_with('%') && is_ended => "...\n",
        _ if first.starts_with('%') => "\n...\n",
        _ if is_ended => "---\n",
        _ => "\n---\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::annotate::{Circumstances, annotate};
    use crate::engine::mapping;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    fn joined(texts: &[&str]) -> Result<String, NotJoined> {
        let ruleset = mapping::compile("rules: []\n", &OperatorPolicy::default());
        let ruleset = ruleset.unwrap_or_else(|problems| panic!("{problems}"));
        let annotated = |text| {
            let done = annotate(text, &ruleset, &Circumstances::default());
            done.unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        let texts: Vec<_> = texts.iter().map(|text| annotated(text)).collect();
        join(&texts.iter().collect::<Vec<_>>())
    }

    #[test]
    fn documents_stay_apart_and_say_what_they_said() {
        for (texts, want) in [
            (&["a: 1\n"][..], "a: 1\n"),
            (&["a: 1\n", "b: 2"], "a: 1\n---\nb: 2"),
            (&["a: 1", "# c\n---\nb: 2\n", "--- 3"], "a: 1\n# c\n---\nb: 2\n--- 3"),
            (&["a: 1\n", "%YAML 1.1\n---\nb: 2\n"], "a: 1\n...\n%YAML 1.1\n---\nb: 2\n"),
            (&["a: 1", "# c\n%TAG ! tag:x,1:\n---\nb: 2"], "a: 1\n...\n# c\n%TAG ! tag:x,1:\n---\nb: 2"),
            (&["a: 1\n...\n", "%YAML 1.2\n---\nb: 2\n"], "a: 1\n...\n...\n%YAML 1.2\n---\nb: 2\n"),
            (&["\u{feff}a: 1\n", "\u{feff}b: 2\n"], "\u{feff}a: 1\n---\nb: 2\n"),
            (&["a: 1\n", "\u{feff}%YAML 1.2\n---\nb: 2\n"], "a: 1\n...\n%YAML 1.2\n---\nb: 2\n"),
            (&["", "\u{feff}b: 2\n"], "\u{feff}b: 2\n"),
            (&["a: 1\n", "", "# nothing\n", "{\"b\": 2}"], "a: 1\n---\n---\n# nothing\n---\n{\"b\": 2}"),
            (&["a: |\n  x\n", "b: 2"], "a: |\n  x\n---\nb: 2"),
            (&["a: |", "b: 2"], "a: |\n---\nb: 2"),
            (&["a: x #", "b:", "# c", "'x'"], "a: x #\n---\nb:\n---\n# c\n---\n'x'"),
            (&["[a]\n...", "b: 2"], "[a]\n...\n---\nb: 2"),
            (&[], ""),
        ] {
            assert_eq!(joined(texts).as_deref(), Ok(want), "{texts:?}");
        }
    }

    #[test]
    fn a_text_that_would_say_something_else_is_named() {
        for (texts, index) in [
            (&["x: 1\n", "a: |\n  x", "b: 2\n"][..], 1),
            (&["a: >+\n  x", "b: 2\n"], 0),
            (&["a: |\r\n  x\r\n  y", "", ""], 0),
            (&["- |\n x", "--- 1\n"], 0),
            (&["{}\n", "a: 1\n", "%YAML 1.1\n---\nb: 2\n"], 2),
        ] {
            assert_eq!(joined(texts), Err(NotJoined { index }), "{texts:?}");
            // It may stand alone, and the last of all may end so.
            assert!(joined(&texts[index..=index]).is_ok(), "{texts:?}");
            let mut turned = texts.to_vec();
            turned.remove(index);
            turned.push(texts[index]);
            assert_eq!(joined(&turned).is_ok(), !texts[index].starts_with('%'), "{turned:?}");
        }
    }
}
