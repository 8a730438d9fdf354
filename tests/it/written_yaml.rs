//! In how many ways can the same objects be written in YAML?
//!
//! A writer throws dice for every choice that YAML leaves: blocks or braces, quotes, comments, indents, ends of
//! lines. `tests/it/annotate_properties.rs` has another reader than ours find the objects in what it wrote.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Choices, which proptest makes and makes simpler: 0 is the plainest.
pub(crate) struct Dice<'d> {
    thrown: &'d [u8],
    at: usize,
}

impl<'d> Dice<'d> {
    pub(crate) fn new(thrown: &'d [u8]) -> Self {
        Self { thrown, at: 0 }
    }

    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        let byte = self.thrown.get(self.at % self.thrown.len().max(1)).copied().unwrap_or_default();
        self.at += 1;
        usize::from(byte) % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.throw(sides) == sides - 1
    }

    fn pick<'p>(&mut self, all: &[&'p str]) -> &'p str {
        all[self.throw(all.len())]
    }
}

/// Writes documents as a stream.
pub(crate) fn stream(documents: &[Value], dice: &mut Dice<'_>) -> String {
    let mut out = String::new();
    if dice.one_in(8) {
        // libyaml takes the mark for a column of its line.
        out.push_str("\u{feff}# a mark of the order of bytes\n");
    }
    for (index, document) in documents.iter().enumerate() {
        let marks = ["---\n", "--- # next\n", "# before\n---\n", "...\n---\n"];
        if index > 0 {
            out.push_str(dice.pick(&marks));
        } else if dice.one_in(3) {
            out.push_str(dice.pick(&marks[..3]));
        }
        if dice.one_in(3) {
            out.push_str(dice.pick(&["# a comment: {with: braces}\n", "\n\n", "#\n# --- two\n"]));
        }
        match dice.throw(6) {
            0..=3 => Writer { out: &mut out, dice, anchors: 0 }.entries(document.as_object().unwrap(), 0),
            4 => {
                let _ = writeln!(out, "{document:#}");
            }
            _ => {
                let _ = writeln!(out, "{document}");
            }
        }
    }
    if dice.one_in(4) {
        // libyaml takes the newline of a block scalar's last line for a part of the scalar.
        if !out.ends_with("}\n") {
            out.push_str("# end");
        }
        out.truncate(out.trim_end_matches('\n').len());
    }
    if dice.one_in(4) { out.replace('\n', "\r\n") } else { out }
}

struct Writer<'o, 'd> {
    out: &'o mut String,
    dice: &'o mut Dice<'d>,
    anchors: usize,
}

impl Writer<'_, '_> {
    /// Writes the entries of a block from the beginning of a line on.
    fn entries(&mut self, map: &Map<String, Value>, indent: usize) {
        for (index, (key, value)) in map.iter().enumerate() {
            self.between(indent);
            self.pad(indent);
            self.entry(key, value, indent, index);
        }
    }

    fn pad(&mut self, indent: usize) {
        self.out.push_str(&" ".repeat(indent));
    }

    /// Writes what may stand between two lines of a block.
    fn between(&mut self, indent: usize) {
        if self.dice.one_in(9) {
            match self.dice.throw(4) {
                0 => self.out.push('\n'),
                1 => self.out.push_str("# at the margin\n"),
                2 => {
                    // No further in than a block scalar before it.
                    self.pad(indent);
                    self.out.push('\n');
                }
                _ => {
                    self.pad(indent);
                    self.out.push_str("# key: \"value\"\n");
                }
            }
        }
    }

    fn entry(&mut self, key: &str, value: &Value, indent: usize, index: usize) {
        let key = match self.dice.throw(7) {
            5 => format!("'{key}'"),
            6 => format!("\"{key}\""),
            _ => key.to_owned(),
        };
        self.out.push_str(&key);
        self.out.push_str(if self.dice.one_in(12) { " :" } else { ":" });
        self.value(value, indent, index);
    }

    /// Writes what stands behind a colon, to the end of the line.
    fn value(&mut self, value: &Value, indent: usize, index: usize) {
        match value {
            Value::Object(map) if !map.is_empty() && !self.dice.one_in(5) => {
                self.head();
                let step = [2, 2, 4, 1, 3][self.dice.throw(5)];
                self.entries(map, indent + step);
            }
            Value::Array(items) if !items.is_empty() && !self.dice.one_in(5) => {
                self.head();
                let step = [0, 2, 4][self.dice.throw(3)];
                for item in items {
                    self.item(item, indent + step);
                }
            }
            Value::Object(_) | Value::Array(_) => {
                let own_line = self.dice.one_in(8);
                if own_line {
                    self.out.push('\n');
                    self.pad(indent + 3);
                } else {
                    self.out.push_str(self.dice.pick(&[" ", "  "]));
                }
                self.braces(value, indent + 2);
                self.end();
            }
            Value::String(text) if is_literal(text) && (text.contains('\n') || self.dice.one_in(8)) => {
                let keeps = if text.ends_with('\n') { "" } else { "-" };
                let _ = write!(self.out, " |{keeps}");
                self.end();
                for line in text.split_inclusive('\n') {
                    self.pad(indent + 2);
                    self.out.push_str(line);
                }
                if !text.ends_with('\n') {
                    self.out.push('\n');
                }
            }
            scalar => {
                let text = self.scalar(scalar, false);
                if !text.is_empty() {
                    self.out.push(' ');
                    if index == 0 && self.dice.one_in(15) {
                        self.anchor();
                        self.out.push(' ');
                    }
                }
                self.out.push_str(&text);
                self.end();
            }
        }
    }

    fn anchor(&mut self) {
        self.anchors += 1;
        let _ = write!(self.out, "&a{}", self.anchors);
    }

    /// Writes what may stand between the colon and a block below.
    fn head(&mut self) {
        if self.dice.one_in(12) {
            self.out.push(' ');
            self.anchor();
        }
        self.end();
        if self.dice.one_in(12) {
            self.out.push_str("# below\n\n");
        }
    }

    fn end(&mut self) {
        self.out.push_str(if self.dice.one_in(7) {
            self.dice.pick(&["  ", " # end", "\t# \"x\": 'y'"])
        } else {
            ""
        });
        self.out.push('\n');
    }

    fn item(&mut self, item: &Value, indent: usize) {
        self.between(indent);
        self.pad(indent);
        self.out.push('-');
        match item {
            Value::Object(map) if !map.is_empty() && !self.dice.one_in(6) => {
                let gap = 1 + self.dice.throw(2);
                self.pad(gap);
                let inner = indent + 1 + gap;
                for (index, (key, value)) in map.iter().enumerate() {
                    if index > 0 {
                        self.between(inner);
                        self.pad(inner);
                    }
                    self.entry(key, value, inner, index + 1);
                }
            }
            Value::Object(_) | Value::Array(_) => {
                self.out.push(' ');
                self.braces(item, indent + 2);
                self.end();
            }
            scalar => {
                let text = self.scalar(scalar, true);
                self.out.push(' ');
                self.out.push_str(&text);
                self.end();
            }
        }
    }

    fn braces(&mut self, value: &Value, indent: usize) {
        let is_long = self.dice.one_in(4);
        let pad = format!("\n{}", " ".repeat(indent));
        let pad = if is_long { &*pad } else { self.dice.pick(&["", " "]) };
        match value {
            Value::Object(map) => {
                self.out.push('{');
                for (index, (key, value)) in map.iter().enumerate() {
                    self.comma(index, pad, is_long);
                    let key = if self.dice.one_in(2) { format!("\"{key}\"") } else { key.clone() };
                    self.out.push_str(&key);
                    let is_empty = value.is_null() && self.dice.one_in(2);
                    self.out.push_str(": ");
                    if !is_empty {
                        self.braces(value, indent + 2);
                    }
                }
                self.close('}', pad, map.is_empty(), is_long);
            }
            Value::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.comma(index, pad, is_long);
                    self.braces(item, indent + 2);
                }
                self.close(']', pad, items.is_empty(), is_long);
            }
            scalar => {
                let text = self.scalar(scalar, true);
                self.out.push_str(&text);
            }
        }
    }

    fn comma(&mut self, index: usize, pad: &str, is_long: bool) {
        if index == 0 {
            self.out.push_str(pad);
            return;
        }
        self.out.push(',');
        if is_long && self.dice.one_in(6) {
            self.out.push_str(" # of one entry");
        }
        self.out.push_str(if pad.is_empty() { " " } else { pad });
    }

    fn close(&mut self, close: char, pad: &str, is_empty: bool, is_long: bool) {
        if !is_empty && self.dice.one_in(6) {
            self.out.push(',');
        }
        if !is_empty && is_long && self.dice.one_in(6) {
            self.out.push_str(" # last");
        }
        self.out.push_str(pad);
        self.out.push(close);
    }

    /// Writes a scalar on one line. `is_written` says that null must be a word.
    fn scalar(&mut self, value: &Value, is_written: bool) -> String {
        match value {
            Value::Null if is_written => self.dice.pick(&["null", "~"]).to_owned(),
            Value::Null => self.dice.pick(&["", "null", "~"]).to_owned(),
            Value::String(text) => match self.dice.throw(4) {
                0 | 1 if is_plain(text) => text.clone(),
                2 if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', "''")),
                _ => value.to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// Whether a text may stand without quotes.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/.-_ :".contains(c))
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && !words.contains(&&*text.to_ascii_lowercase())
}

/// Whether a text may stand in a `|` block as it is.
fn is_literal(text: &str) -> bool {
    let is_good = |line: &str| !line.is_empty() && !line.ends_with([' ', '\t']);
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        && text.lines().all(is_good)
        && !text.ends_with("\n\n")
}
