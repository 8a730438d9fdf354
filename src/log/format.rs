//! How does a line read? As text for people, or as one JSON object.

use std::io::Write as _;
use std::time::SystemTime;

use serde::Serialize;
use tracing::Level;

use super::line::{self, Head, Value};
use crate::engine::policy::is_escaped;

/// The format of log lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) format: Format,
    /// Only for people.
    pub(super) has_colours: bool,
}

/// The field that holds what a line says in words.
const MESSAGE: &str = "message";

impl Style {
    /// Appends a line.
    pub(super) fn line(self, head: &Head, fields: &[u8], to: &mut Vec<u8>) {
        self.write(*head.metadata.level(), head.time, line::read(head.metadata, fields), to);
    }

    /// Appends a line that says how many others were dropped.
    pub(super) fn dropped(self, time: SystemTime, count: u64, to: &mut Vec<u8>) {
        let message = "log lines dropped: whoever reads the log takes them more slowly than they come";
        let fields = [(MESSAGE, Value::Words(message)), ("lines", Value::Unsigned(count))];
        self.write(Level::WARN, time, fields.into_iter(), to);
    }

    fn write<'a>(
        self,
        level: Level,
        time: SystemTime,
        fields: impl Iterator<Item = (&'static str, Value<'a>)> + Clone,
        to: &mut Vec<u8>,
    ) {
        // The message stands first, wherever it was given.
        let message = fields.clone().filter(|(name, _)| *name == MESSAGE);
        let fields = message.chain(fields.filter(|(name, _)| *name != MESSAGE));
        let time = humantime::format_rfc3339_micros(time);
        // Writing to memory does not fail.
        let _ = match self.format {
            Format::Json => {
                let start = write!(to, "{{\"timestamp\":\"{time}\",\"level\":\"{level}\"");
                fields.for_each(|(name, value)| json_field(name, value, to));
                to.extend(b"}");
                start
            }
            Format::Text => {
                let start = self.start_of_text(level, &time, to);
                fields.for_each(|(name, value)| self.text_field(name, value, to));
                start
            }
        };
        to.push(b'\n');
    }

    fn start_of_text(
        self,
        level: Level,
        time: &humantime::Rfc3339Timestamp,
        to: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        if !self.has_colours {
            return write!(to, "{time} {level:>5}");
        }
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        write!(to, "\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m")
    }

    fn text_field(self, name: &str, value: Value<'_>, to: &mut Vec<u8>) {
        to.push(b' ');
        if name != MESSAGE {
            let _ = if self.has_colours {
                write!(to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")
            } else {
                write!(to, "{name}=")
            };
        }
        let _ = match value {
            Value::Text(text) => write!(to, "{text:?}"),
            // Others' words must not move the cursor, nor begin a line.
            Value::Words(words) => words.chars().try_for_each(|c| {
                if c.is_control() || is_escaped(c) {
                    write!(to, "{}", c.escape_default())
                } else {
                    write!(to, "{c}")
                }
            }),
            Value::Unsigned(number) => write!(to, "{number}"),
            Value::Signed(number) => write!(to, "{number}"),
            Value::Boolean(value) => write!(to, "{value}"),
        };
    }
}

fn json_field(name: &str, value: Value<'_>, to: &mut Vec<u8>) {
    to.push(b',');
    json(name, to);
    to.push(b':');
    match value {
        Value::Text(text) | Value::Words(text) => json(text, to),
        Value::Unsigned(number) => json(&number, to),
        Value::Signed(number) => json(&number, to),
        Value::Boolean(value) => json(&value, to),
    }
}

fn json(value: &(impl Serialize + ?Sized), to: &mut Vec<u8>) {
    // Texts and numbers are always written to memory.
    let _ = serde_json::to_writer(to, value);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::line::tests::taken;
    use super::*;

    fn line(style: Style, log: impl FnOnce()) -> String {
        let (metadata, fields) = taken(log);
        let time = UNIX_EPOCH + Duration::from_micros(1_795_290_000_000_012);
        let mut text = Vec::new();
        style.line(&Head { metadata, time }, &fields, &mut text);
        String::from_utf8(text).unwrap()
    }

    const TEXT: Style = Style { format: Format::Text, has_colours: false };
    const JSON: Style = Style { format: Format::Json, has_colours: false };

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let hostile = "\n\r\u{1b}[2J\"\u{7f}\u{9b}é";
        let log = || {
            tracing::warn!(name = hostile, shown = %hostile, none = None::<u64>, count = 3, is = false, "said: {hostile}");
        };
        assert_eq!(
            line(TEXT, log),
            concat!(
                "2026-11-21T19:40:00.000012Z  WARN said: \\n\\r\\u{1b}[2J\"\\u{7f}\\u{9b}é",
                " name=\"\\n\\r\\u{1b}[2J\\\"\\u{7f}\\u{9b}é\" shown=\\n\\r\\u{1b}[2J\"\\u{7f}\\u{9b}é count=3 is=false\n"
            )
        );
        let json = line(JSON, log);
        assert_eq!(json.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let want = serde_json::json!({
            "timestamp": "2026-11-21T19:40:00.000012Z",
            "level": "WARN",
            "message": format!("said: {hostile}"),
            "name": hostile,
            "shown": hostile,
            "count": 3,
            "is": false,
        });
        assert_eq!(json, want);
        assert_eq!(json.to_string(), want.to_string(), "in this order");
    }

    #[test]
    fn on_a_terminal_levels_have_colours() {
        let style = Style { has_colours: true, ..TEXT };
        assert_eq!(
            line(style, || tracing::error!(name = "a", "b")),
            "\x1b[2m2026-11-21T19:40:00.000012Z\x1b[0m \x1b[31mERROR\x1b[0m b \x1b[3mname\x1b[0m\x1b[2m=\x1b[0m\"a\"\n"
        );
    }

    #[test]
    fn how_many_were_dropped_is_a_warning() {
        let mut text = Vec::new();
        JSON.dropped(UNIX_EPOCH, 7, &mut text);
        let line: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&line["level"], &line["lines"]), (&"WARN".into(), &7.into()));
    }
}
