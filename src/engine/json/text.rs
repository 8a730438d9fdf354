//! What text does a JSON string stand for, and how long is it?
//!
//! The length is known before anything is unescaped, so that a string that is too long is never copied.

use std::borrow::Cow;
use std::str::Chars;

use super::error::JsonError;
use super::find::find_either;

/// The longest name of a member that is compared, in bytes. It is a label's: a prefix of 253, a slash and a
/// name of 63.
const LONGEST_NAME: usize = 317;

/// A JSON string as it was sent: without its quotes, with its escapes, and not yet known to be UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawText<'a> {
    pub(super) raw: &'a [u8],
    pub(super) at: usize,
    pub(super) has_escapes: bool,
}

impl<'a> RawText<'a> {
    /// Returns how many bytes it has as it was sent.
    #[must_use]
    pub fn raw_len(self) -> usize {
        self.raw.len()
    }

    /// Returns how many bytes the text has, without unescaping it.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty text is of no special interest")]
    pub fn len(self) -> usize {
        let (mut bytes, mut rest) = (self.raw.len(), self.raw);
        if !self.has_escapes {
            return bytes;
        }
        while let Some(found) = find_either(rest, b'\\', b'\\') {
            let escape = rest.get(found..).unwrap_or_default();
            let (taken, stands_for) = match escape {
                [_, b'u', digits @ ..] => (6, utf8_len(digits)),
                _ => (2, 1),
            };
            bytes -= escape.len().min(taken).saturating_sub(stands_for);
            rest = escape.get(taken..).unwrap_or_default();
        }
        bytes
    }

    /// Returns the text, which is copied only where it has escapes.
    ///
    /// # Errors
    /// Returns an error where it is not UTF-8, or has an escape that JSON does not know.
    pub fn to_text(self) -> Result<Cow<'a, str>, JsonError> {
        let no_text = JsonError::new("a text in UTF-8 with JSON's escapes", self.at);
        if !self.has_escapes {
            return std::str::from_utf8(self.raw).map(Cow::Borrowed).map_err(|_| no_text);
        }
        let raw = std::str::from_utf8(self.raw).map_err(|_| no_text)?;
        let mut text = String::with_capacity(self.len());
        let mut rest = raw.chars();
        while let Some(c) = rest.next() {
            text.push(if c == '\\' { unescape(&mut rest).ok_or(no_text)? } else { c });
        }
        Ok(Cow::Owned(text))
    }

    /// Returns the text, or `None` where it has more than `most` bytes.
    ///
    /// # Errors
    /// Returns an error as [`Self::to_text`] does.
    pub fn within(self, most: usize) -> Result<Option<Cow<'a, str>>, JsonError> {
        // The longest escape takes six bytes, and stands for at least one.
        if self.raw.len() > most.saturating_mul(6) || self.len() > most {
            return Ok(None);
        }
        self.to_text().map(Some)
    }

    /// Returns the bytes of the text as the name of a member. They are empty where an escape is in a text
    /// that is longer than any name that is looked for.
    ///
    /// # Errors
    /// Returns an error where it has escapes, and [`Self::to_text`] does.
    pub fn to_name(self) -> Result<Cow<'a, [u8]>, JsonError> {
        // Names are compared, and whatever bytes are not the same as those of a known name are another name.
        if !self.has_escapes {
            return Ok(Cow::Borrowed(self.raw));
        }
        let name = self.within(LONGEST_NAME)?.unwrap_or_default();
        Ok(Cow::Owned(name.into_owned().into_bytes()))
    }

    /// Returns the bytes as they were sent.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Finds this text in a list that is sorted by length, and by the bytes where the lengths are the same.
    /// The length alone rules out most texts that are not in the list.
    #[must_use]
    pub fn place_in<T: AsRef<str>>(self, sorted: &[T]) -> Option<usize> {
        let name = self.to_name().ok()?;
        let order = |known: &T| {
            let known = known.as_ref().as_bytes();
            known.len().cmp(&name.len()).then_with(|| known.cmp(&name))
        };
        sorted.binary_search_by(order).ok()
    }
}

/// Returns how many bytes of UTF-8 the four digits of a `\u` escape stand for. A character beyond U+FFFF has
/// four bytes and takes two escapes, so that each of these counts two.
fn utf8_len(digits: &[u8]) -> usize {
    let unit = digits.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
    match unit.and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or_default() {
        0..=0x7f => 1,
        0x80..=0x7ff | 0xd800..=0xdfff => 2,
        _ => 3,
    }
}

/// Reads the rest of an escape behind its backslash, and returns the character that it stands for.
fn unescape(rest: &mut Chars<'_>) -> Option<char> {
    Some(match rest.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let first = utf16_unit(rest)?;
            let is_half = (0xd800..0xdc00).contains(&first);
            let second = match is_half.then(|| (rest.next(), rest.next())) {
                Some((Some('\\'), Some('u'))) => Some(utf16_unit(rest)?),
                Some(_) => return None,
                None => None,
            };
            char::decode_utf16(std::iter::once(first).chain(second)).next()?.ok()?
        }
        c @ ('"' | '\\' | '/') => c,
        _ => return None,
    })
}

fn utf16_unit(rest: &mut Chars<'_>) -> Option<u16> {
    (0..4).try_fold(0, |sum: u16, _| {
        let digit = rest.next()?.to_digit(16).and_then(|digit| u16::try_from(digit).ok())?;
        Some(sum << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn raw(text: &str) -> RawText<'_> {
        Reader::new(text.as_bytes()).text().unwrap().unwrap()
    }

    #[test]
    fn lengths_are_known_before_anything_is_unescaped() {
        for text in [
            "",
            "abc",
            "é",
            "a\"b\\c\n",
            "\"\\/\u{8}\u{c}\n\r\t\u{1}",
            "föö\u{2028}𝄞<&>",
            "\u{1f600}",
            "ÿ\u{7ff}\u{800}",
            "\\u0041 is no escape",
        ] {
            let plain = serde_json::to_string(text).unwrap();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for json in [plain, format!("\"{escaped}\"")] {
                assert_eq!(raw(&json).len(), text.len(), "{json}");
                assert_eq!(raw(&json).to_text().unwrap(), text, "{json}");
                assert_eq!(raw(&json).within(text.len()).unwrap().as_deref(), Some(text));
                assert!(text.is_empty() || raw(&json).within(text.len() - 1).unwrap().is_none());
            }
        }
        for no_text in [r"\x", r"\u12", r"\ud834", r"\ud834b", r"\ud834\n", r"\udd1e", r"\u+123"] {
            assert!(raw(&format!("\"{no_text}\"")).to_text().is_err(), "{no_text}");
        }
        assert!(RawText { raw: b"\xff", at: 0, has_escapes: false }.to_text().is_err());
    }
}
