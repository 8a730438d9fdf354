//! How is a value written so that every reader of YAML, old or new, reads the same text?
//!
//! A value is always in quotes: without them, some readers take `yes`, `012` or `1e3` for something else.

use std::fmt::Write as _;

/// Writes a value in the style of YAML's blocks: in single quotes where it holds double ones, as a record of
/// what was applied does, and else in double quotes.
pub(super) fn in_block(value: &str) -> String {
    if value.contains('"') && value.chars().all(is_plain) {
        return format!("'{}'", value.replace('\'', "''"));
    }
    as_json(value)
}

/// Writes a value in double quotes, so that JSON and YAML both read it.
pub(super) fn as_json(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if is_plain(c) => text.push(c),
            c => {
                // Every character that is not plain is one unit of UTF-16.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
        }
    }
    text.push('"');
    text
}

/// Whether every reader takes a character as it stands. The others are control characters, breaks of lines
/// that only some readers know, and marks that some take away.
fn is_plain(c: char) -> bool {
    !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::yaml::{self, ScalarKind};

    #[test]
    fn every_value_is_read_as_it_was_written() {
        for value in [
            "",
            "yes",
            "012",
            "~",
            "arn:aws:iam::123456789012:role/x",
            "{\"a\": 'b'}",
            "\"",
            "'",
            "a: b # c",
            " leading and trailing ",
            "\\n",
            "line\nbreak\r\n\ttab",
            "\u{0}\u{1b}[2J\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}",
            "föö 𝄞",
            "\"\u{85}",
        ] {
            for written in [in_block(value), as_json(value)] {
                let text = format!("key: {written}\n");
                let scalar = yaml::read(&text).unwrap()[0].get("key").unwrap().as_scalar().unwrap().clone();
                assert_eq!((&*scalar.text, scalar.kind), (value, ScalarKind::Text), "{written}");
            }
            let json: String = serde_json::from_str(&as_json(value)).unwrap();
            assert_eq!(json, value);
        }
        assert_eq!(in_block("{\"it's\": 1}"), "'{\"it''s\": 1}'");
        assert_eq!(in_block("role"), "\"role\"");
    }
}
