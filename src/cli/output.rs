//! How does a command print its results and its errors?

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Context;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

use super::OutputFormat;
use crate::engine::policy::is_escaped;

/// Makes what a command prints: a text for people, or the same value as JSON or YAML for programs.
pub(super) fn formatted(
    format: OutputFormat,
    text: impl FnOnce() -> String,
    value: impl FnOnce() -> Value,
) -> anyhow::Result<String> {
    match format {
        OutputFormat::Text => Ok(text()),
        OutputFormat::Json => Ok(json(&value())),
        OutputFormat::Yaml => yaml(&value()),
    }
}

/// Writes a value as JSON.
pub(super) fn json(value: &Value) -> String {
    // serde_json escapes what JSON forbids. What else steers a terminal stands in strings only.
    escaped(&format!("{value:#}\n"))
}

/// Writes a value as YAML, which has the same data for readers of YAML 1.1 and 1.2.
pub(super) fn yaml(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! {
        // A long text stays on its line, so that it can be searched.
        folded_wrap_chars: usize::MAX,
    };
    let text = serde_saphyr::to_string_with_options(&Quoted(value), options).context("writing YAML")?;
    Ok(escaped(&text))
}

/// Escapes what steers a terminal, as JSON and YAML have it between double quotes. Both take four digits, and
/// these are enough: none of the characters is beyond U+FFFF.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut text, c| {
        if must_be_escaped(c) {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    })
}

/// Lines may end. Of what is not seen, that is escaped which a policy's objects escape as well.
fn must_be_escaped(c: char) -> bool {
    c != '\n' && (c.is_control() || is_escaped(c))
}

/// A value whose texts stand between double quotes where something in them is to be escaped.
struct Quoted<'a>(&'a Value);

impl Serialize for Quoted<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.contains(must_be_escaped) => DoubleQuoted(text).serialize(to),
            Value::Array(items) => to.collect_seq(items.iter().map(Quoted)),
            Value::Object(entries) => to.collect_map(entries.iter().map(|(key, value)| (key, Quoted(value)))),
            other => other.serialize(to),
        }
    }
}

/// What others wrote must not move the cursor of a terminal, or begin a line of its own.
pub(super) fn in_a_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Whether a character moves the cursor of a terminal, or turns the direction of what stands beside it.
pub(super) fn is_steering(c: char) -> bool {
    c.is_control() || is_turning(c)
}

fn is_turning(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Prints to standard output. It is no error when the reader has gone, as in `| head`.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_while_read(text).map(drop)
}

/// Prints to standard output. Returns whether somebody still reads it.
pub(super) fn print_while_read(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        done => done.context("writing to standard output").map(|()| true),
    }
}

/// Prints a line to standard error. Nothing can be done where that fails. Others may have written parts of
/// it, and none of them may steer a terminal.
pub(super) fn error(line: &str) {
    let line = line.replace(|c: char| c.is_control() && c != '\n', "?") + "\n";
    // One write: in a pipeline, what others print does not come between the line and its end.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::engine::yaml::{self as reader, Node, ScalarKind};

    /// What our own reader finds in a node, which takes scalars as kubectl does.
    fn read_back(node: &Node<'_>) -> Value {
        match &node.value {
            reader::Value::Mapping(entries) => {
                let entry = |(key, value): &(Node<'_>, Node<'_>)| {
                    let key = key.as_scalar().unwrap();
                    assert_eq!(key.kind, ScalarKind::Text, "the key {:?}", key.text);
                    (key.text.to_string(), read_back(value))
                };
                Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
            reader::Value::Sequence(items) => items.iter().map(read_back).collect(),
            reader::Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Text => json!(scalar.text),
                ScalarKind::Boolean(value) => json!(value),
                ScalarKind::Null => Value::Null,
                ScalarKind::Number => serde_json::from_str(&scalar.text).unwrap(),
            },
        }
    }

    /// Keys are ours. None of them is `<<`, which merges even in quotes for some readers, and none has what
    /// is escaped.
    fn is_key(text: &str) -> bool {
        text != "<<" && !text.contains(is_escaped)
    }

    /// A program reads both as the value that was written, and a terminal is not steered.
    fn check(value: &Value) {
        for text in [json(value), yaml(value).unwrap()] {
            assert!(!text.contains(must_be_escaped), "{text:?}");
            let documents = reader::read(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
            assert_eq!(documents.len(), 1, "{text:?}");
            assert_eq!(read_back(&documents[0]), *value, "{text:?}");
        }
    }

    /// Texts that are something else where they stand without quotes, or steer what reads them.
    const TRICKY: [&str; 46] = [
        "",
        " ",
        "  a",
        "a ",
        "yes",
        "No",
        "on",
        "y",
        "null",
        "~",
        "true",
        "0123",
        "0o17",
        "1_000",
        "1:30",
        ".inf",
        "1e3",
        "-",
        "- a",
        "? a",
        "a: b",
        "a:",
        ": a",
        "a #b",
        "#b",
        "[a]",
        "{a: b}",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "|",
        "> a",
        "---",
        "...",
        "<<",
        "2026-01-02",
        "a\nb",
        "\n a\n\n",
        "\u{feff}a",
        "a\u{85}b\u{2028}c\u{202e}",
        "\x1b[2J\x7f\u{9b}2J\t\r\n\0",
    ];

    #[test]
    fn tricky_texts_are_the_same_when_they_are_read_back() {
        for text in TRICKY {
            check(&json!(text));
            let key = if is_key(text) { text } else { "key" };
            check(&json!({key: [text, {"a": text, "b": null}, [text], [], {}], "of": {key: text}}));
        }
        let long = format!("{} {}", "word ".repeat(60), "# a: b\n".repeat(3));
        check(&json!([long, {"long": long.trim()}]));
    }

    /// In a block scalar a tab at the beginning of a line may be read as indentation, or not at all.
    #[test]
    fn a_text_of_several_lines_with_a_tab_stands_between_quotes() {
        for text in ["\ta\nb", "a\n\tb", "a\n\t\n", "\n\ta\n", "a\tb\nc", "a\n\t", "\t\n"] {
            for value in [json!(text), json!({"key": [text]}), json!([{"key": text}])] {
                check(&value);
                let text = yaml(&value).unwrap();
                assert!(text.contains("\\t") && text.contains("\\n") && !text.contains(['|', '>']), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_seen_is_escaped_in_both() {
        for c in ['\u{200b}', '\u{200d}', '\u{200f}', '\u{feff}', '\u{202e}', '\u{85}'] {
            let value = json!({"key": format!("a{c}b")});
            for text in [json(&value), yaml(&value).unwrap()] {
                let code = format!("\\u{:04x}", u32::from(c));
                let is_there = text.to_lowercase().contains(&code) || c == '\u{85}' && text.contains("\\N");
                assert!(text.is_ascii() && is_there, "{text}");
            }
        }
    }

    #[test]
    fn what_is_escaped_has_four_digits_and_what_is_beyond_them_stays_as_it_is() {
        let most = (char::MIN..=char::MAX).filter(|c| must_be_escaped(*c)).max().unwrap();
        assert!(u32::from(most) <= 0xffff, "{most:?} needs \\U in YAML, and two escapes in JSON");
        for text in ["\u{e0001}\u{e0041}", "a\u{1f600}\n\u{10ffff}", "\u{202e}\u{e007f}\t\u{1d173}"] {
            check(&json!({"key": [text, {"a": text}]}));
        }
    }

    fn a_text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            proptest::sample::select(&TRICKY[..]).prop_map(str::to_owned),
            proptest::sample::select(&["\n", "\n\n", " ", "\t", ":", "#", "\\", "'", "\"", "\r"][..])
                .prop_map(str::to_owned),
            "[ -~]{0,12}",
            any::<String>(),
        ];
        proptest::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
    }

    fn a_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            a_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((a_text().prop_filter("a key", |key| is_key(key)), inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_the_same_when_it_is_read_back(value in a_value()) {
            check(&value);
        }
    }
}
