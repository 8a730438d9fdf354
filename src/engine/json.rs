//! How is JSON from outside read without holding more than was sent?
//!
//! A [`Reader`] goes over the bytes in place. It lends the members of an object to its caller, who reads
//! those that it wants; the reader skips all others. A general parser unescapes texts into memory of its own
//! before anybody can say that they are too long, and puts them into its errors. This reader allocates
//! nothing at all, so that reading a body takes no memory beside the body. It is no validator: it finds the
//! end of what it skips, and nothing more.

mod error;
mod find;
mod skip;
mod text;
mod write;

pub use error::JsonError;
pub(in crate::engine) use find::find_either;
pub use text::RawText;
pub(in crate::engine) use write::{write_text, write_texts};

/// Reads one JSON document from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Makes a reader that stands at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads an object, and gives the name of each member to `member`, which reads the value or leaves it to
    /// be skipped. Returns whether there is an object: `null` is none.
    ///
    /// # Errors
    /// Returns an error where the value is neither an object nor `null`, where the object does not end, and
    /// where `member` returns one.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(RawText<'a>, &mut Self) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.null()? {
            return Ok(false);
        }
        self.open(b'{', "an object")?;
        if self.closes(b'}') {
            return Ok(true);
        }
        loop {
            let name = self.raw_text("the name of a member")?;
            self.open(b':', "`:`")?;
            self.lend(|reader| member(name, reader))?;
            if self.closes(b'}') {
                return Ok(true);
            }
            self.open(b',', "`,` or `}`")?;
        }
    }

    /// Reads a list, and gives each element to `element`, which reads it or leaves it to be skipped. Returns
    /// whether there is a list: `null` is none.
    ///
    /// # Errors
    /// Returns an error as [`Self::object`] does.
    pub fn list<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.null()? {
            return Ok(false);
        }
        self.open(b'[', "a list")?;
        if self.closes(b']') {
            return Ok(true);
        }
        loop {
            self.lend(&mut element)?;
            if self.closes(b']') {
                return Ok(true);
            }
            self.open(b',', "`,` or `]`")?;
        }
    }

    /// Reads a string. Returns `None` where it is `null`.
    ///
    /// # Errors
    /// Returns an error where the value is neither a string nor `null`.
    pub fn text(&mut self) -> Result<Option<RawText<'a>>, JsonError> {
        if self.null()? { Ok(None) } else { self.raw_text("a text").map(Some) }
    }

    /// Reads `true` or `false`. Returns `None` where it is `null`.
    ///
    /// # Errors
    /// Returns an error where the value is none of these.
    pub fn boolean(&mut self) -> Result<Option<bool>, JsonError> {
        if self.null()? {
            return Ok(None);
        }
        for (word, value) in [("true", true), ("false", false)] {
            if self.word(word) {
                return Ok(Some(value));
            }
        }
        Err(self.expected("true or false"))
    }

    /// Skips one value, whatever it is.
    ///
    /// # Errors
    /// Returns an error where there is no value, or where it does not end.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        self.space();
        match self.peek() {
            Some(b'"') => self.raw_text("a text").map(drop),
            Some(b'{' | b'[') => self.skip_nested(),
            // This is a number, `true`, `false` or `null`.
            Some(byte) if is_of_a_word(byte) => {
                while self.peek().is_some_and(is_of_a_word) {
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(self.expected("a value")),
        }
    }

    fn skip_nested(&mut self) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = skip::nested_len(rest);
        self.at += length.unwrap_or(rest.len());
        length.map(drop).ok_or_else(|| self.expected("the end of an object or a list"))
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// Returns an error where something else follows.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at < self.bytes.len() { Err(self.expected("nothing more")) } else { Ok(()) }
    }

    /// Lets `read` read a value, and skips the value where it does not.
    fn lend<E: From<JsonError>>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.space();
        let before = self.at;
        read(self)?;
        if self.at == before {
            self.skip()?;
        }
        Ok(())
    }

    fn raw_text(&mut self, expected: &'static str) -> Result<RawText<'a>, JsonError> {
        self.open(b'"', expected)?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = find_either(rest, b'"', b'\\') else {
                self.at = self.bytes.len();
                return Err(self.expected("the end of a text"));
            };
            self.at += found;
            if self.peek() == Some(b'"') {
                let raw = self.bytes.get(start..self.at).unwrap_or_default();
                self.at += 1;
                return Ok(RawText { raw, at: start, has_escapes });
            }
            // The backslash and the byte that it escapes are skipped.
            has_escapes = true;
            self.at += 2;
        }
    }

    /// Reads `null` where it is there. Returns whether it was.
    fn null(&mut self) -> Result<bool, JsonError> {
        self.space();
        match self.peek() {
            None => Err(self.expected("a value")),
            Some(b'n') => Ok(self.word("null")),
            Some(_) => Ok(false),
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let there = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if there {
            self.at += word.len();
        }
        there
    }

    fn open(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        self.space();
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads the byte that ends an object or a list, where it is there. Returns whether it was.
    fn closes(&mut self, end: u8) -> bool {
        self.space();
        let closes = self.peek() == Some(end);
        self.at += usize::from(closes);
        closes
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::new(expected, self.at)
    }
}

/// Whether a number, `true`, `false` or `null` can hold this byte.
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and raw texts of an object's members, those of inner objects too.
    fn members(text: &str) -> Result<Vec<String>, JsonError> {
        let mut found = Vec::new();
        let mut reader = Reader::new(text.as_bytes());
        reader.object(|name, reader| {
            let name = name.to_name()?;
            if *name == *b"text" {
                found.push(reader.text()?.map_or_else(|| "null".to_owned(), |t| t.to_text().unwrap().into()));
            } else {
                found.push(String::from_utf8(name.into_owned()).unwrap());
            }
            Ok::<_, JsonError>(())
        })?;
        reader.end()?;
        Ok(found)
    }

    #[test]
    fn members_that_nobody_reads_are_skipped_whatever_they_are() {
        let text = r#" {"a": {"x": [1, {"y": "}]\""}, true]}, "b":[], "c":-1.5e+3,"d" : null, "e":"\\", "text":"é\n" } "#;
        assert_eq!(members(text).unwrap(), ["a", "b", "c", "d", "e", "é\n"]);
        assert_eq!(members("{}").unwrap(), [""; 0]);
        assert_eq!(members(r#"{"text":null}"#).unwrap(), ["null"]);
    }

    #[test]
    fn a_list_is_read_element_by_element_and_what_nobody_reads_is_skipped() {
        let texts = |text: &str| {
            let (mut found, mut reader) = (Vec::new(), Reader::new(text.as_bytes()));
            let there = reader.list(|reader| {
                if reader.peek() == Some(b'"') {
                    found.push(reader.text()?.unwrap().to_text()?.into_owned());
                }
                Ok::<_, JsonError>(())
            })?;
            reader.end()?;
            Ok::<_, JsonError>((there, found.join(" ")))
        };
        for (text, there, want) in [
            (r#" [ "a" , 1, ["b"], {"c": "]"},"d"] "#, true, "a d"),
            ("[]", true, ""),
            ("[ ]", true, ""),
            ("null", false, ""),
        ] {
            assert_eq!(texts(text), Ok((there, want.to_owned())), "{text}");
        }
        for (text, want) in [
            ("{}", "expected a list at byte 0"),
            ("[1,]", "expected a value at byte 3"),
            ("[1 2]", "expected `,` or `]` at byte 3"),
            ("[1", "expected `,` or `]` at byte 2"),
            ("[1}", "expected `,` or `]` at byte 2"),
            ("[", "expected a value at byte 1"),
        ] {
            assert_eq!(texts(text).unwrap_err().to_string(), want, "{text}");
        }
    }

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        let cases = [
            ("", "expected a value at byte 0"),
            ("[]", "expected an object at byte 0"),
            (r#"{"a""#, "expected `:` at byte 4"),
            (r#"{"a":"#, "expected a value at byte 5"),
            (r#"{"a":}"#, "expected a value at byte 5"),
            (r#"{"a":[1"#, "expected the end of an object or a list at byte 7"),
            (r#"{"a":1 2}"#, "expected `,` or `}` at byte 7"),
            (r#"{"a":"x"#, "expected the end of a text at byte 7"),
            (r#"{"a":"x\"#, "expected the end of a text at byte 8"),
            (r#"{"a":1 "b":2}"#, "expected `,` or `}` at byte 7"),
            (r#"{"a":1}x"#, "expected nothing more at byte 7"),
            (r#"{"text":1}"#, "expected a text at byte 8"),
            ("{\"text\":\"\u{1}", "expected the end of a text at byte 10"),
        ];
        for (text, want) in cases {
            assert_eq!(members(text).unwrap_err().to_string(), want, "{text}");
        }
    }
}
