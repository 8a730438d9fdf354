//! How does a line wait to be written? Its fields are bytes, one after another, each with the index of its
//! name: taking them copies their values and allocates nothing.

use std::fmt::{self, Debug, Write as _};
use std::time::SystemTime;

use tracing::Metadata;
use tracing::field::{Field, Visit};

/// The most bytes of values that a line has. What is longer is cut.
const LONGEST: usize = 64 * 1024;

/// What ends a value that was cut.
const CUT: &str = "…";

/// What is known of a line beside its fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) time: SystemTime,
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A text, as a name. Text for people has it in quotes.
    Text(&'a str),
    /// What something says of itself, as a message or an address.
    Words(&'a str),
    Unsigned(u64),
    Signed(i64),
    Boolean(bool),
}

/// The fields of a line, as they are taken.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<u8>);

const TEXT: u8 = 0;
const WORDS: u8 = 1;
const UNSIGNED: u8 = 2;
const SIGNED: u8 = 3;
const BOOLEAN: u8 = 4;

impl Fields {
    pub(super) fn clear(&mut self) {
        self.0.clear();
        // One long line is no reason to hold its memory for good.
        self.0.shrink_to(4096);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn begin(&mut self, field: &Field, kind: u8) {
        // An event has at most 32 fields.
        self.0.push(u8::try_from(field.index()).unwrap_or(u8::MAX));
        self.0.push(kind);
    }

    /// Appends a length and the text that is written.
    fn written(&mut self, write: impl FnOnce(Cutting<'_>) -> fmt::Result) {
        let start = self.0.len();
        self.0.extend([0; 4]);
        if write(Cutting(&mut self.0)).is_err() {
            self.0.extend(CUT.as_bytes());
        }
        let length = u32::try_from(self.0.len() - start - 4).unwrap_or_default().to_le_bytes();
        if let Some(place) = self.0.get_mut(start..start + 4) {
            place.copy_from_slice(&length);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.begin(field, TEXT);
        self.written(|mut into| into.write_str(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.begin(field, BOOLEAN);
        self.0.push(value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.begin(field, UNSIGNED);
        self.0.extend(value.to_le_bytes());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.begin(field, SIGNED);
        self.0.extend(value.to_le_bytes());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.begin(field, WORDS);
        self.written(|mut into| write!(into, "{value:?}"));
    }
}

/// Takes text until the line is full.
struct Cutting<'a>(&'a mut Vec<u8>);

impl fmt::Write for Cutting<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.len());
        let fitting = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        self.0.extend(fitting.as_bytes());
        if fitting.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Reads the fields of a line, in their order, with their names.
pub(super) fn read<'a>(
    metadata: &'static Metadata<'static>,
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'static str, Value<'a>)> + Clone {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let (&[index, kind], rest) = left.split_first_chunk()?;
        let (value, rest) = value(kind, rest)?;
        left = rest;
        let field = metadata.fields().iter().nth(index.into())?;
        Some((field.name(), value))
    })
}

fn value(kind: u8, bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let number = || bytes.split_first_chunk::<8>();
    Some(match kind {
        TEXT | WORDS => {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            let text = str::from_utf8(text).ok()?;
            (if kind == TEXT { Value::Text(text) } else { Value::Words(text) }, rest)
        }
        UNSIGNED => number().map(|(bytes, rest)| (Value::Unsigned(u64::from_le_bytes(*bytes)), rest))?,
        SIGNED => number().map(|(bytes, rest)| (Value::Signed(i64::from_le_bytes(*bytes)), rest))?,
        _ => bytes.split_first().map(|(byte, rest)| (Value::Boolean(*byte == 1), rest))?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus_client::metrics::counter::Counter;

    use super::super::Taker;
    use super::super::queue::{Lines, Queue};
    use super::*;
    use crate::health::Readiness;

    /// What this logs: what the event is, and its fields.
    pub(in crate::log) fn taken(log: impl FnOnce()) -> (&'static Metadata<'static>, Vec<u8>) {
        let queue = Arc::new(Queue::new(Counter::default(), Readiness::default()));
        tracing::subscriber::with_default(Taker(Arc::clone(&queue)), log);
        // Nothing more is to be gathered.
        queue.close(Duration::ZERO);
        let lines = queue.take(Lines::default()).unwrap().lines;
        let (head, fields) = lines.iter().next().unwrap();
        (head.metadata, fields.to_vec())
    }

    pub(in crate::log) fn metadata() -> &'static Metadata<'static> {
        taken(|| tracing::info!(a = 1)).0
    }

    #[test]
    fn what_was_taken_is_read_again() {
        let (metadata, bytes) = taken(|| {
            tracing::info!(
                text = "a\nb",
                none = None::<&str>,
                some = Some("c"),
                address = %std::net::Ipv4Addr::LOCALHOST,
                debug = ?["d"],
                unsigned = u64::MAX,
                signed = i64::MIN,
                boolean = true,
                real = 1.5,
                "in {} words",
                2
            );
        });
        let read: Vec<_> = read(metadata, &bytes).collect();
        let want = [
            ("message", Value::Words("in 2 words")),
            ("text", Value::Text("a\nb")),
            ("some", Value::Text("c")),
            ("address", Value::Words("127.0.0.1")),
            ("debug", Value::Words("[\"d\"]")),
            ("unsigned", Value::Unsigned(u64::MAX)),
            ("signed", Value::Signed(i64::MIN)),
            ("boolean", Value::Boolean(true)),
            ("real", Value::Words("1.5")),
        ];
        assert_eq!(read, want);
    }

    #[test]
    fn a_line_has_64_kib_and_a_value_is_cut_between_characters() {
        let long = "é".repeat(LONGEST);
        let (metadata, bytes) = taken(|| tracing::info!(first = long, second = long, third = 3));
        let read: Vec<_> = read(metadata, &bytes).collect();
        let [("first", Value::Text(first)), ("second", Value::Text(CUT)), ("third", Value::Signed(3))] =
            read[..]
        else {
            panic!("{read:?}")
        };
        assert!(first.ends_with("é…"));
        assert!((LONGEST - 10..LONGEST).contains(&first.trim_end_matches('…').len()), "{}", first.len());
    }
}
