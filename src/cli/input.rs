//! How does a command read its files? The name `-` stands for standard input.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context, bail};

/// The text of a file that was named on the command line.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Input> {
    read_at_most(path, u64::MAX - 1)
}

/// Reads no more than so many bytes: a longer file is an error.
pub(super) fn read_at_most(path: &Path, most: u64) -> anyhow::Result<Input> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: name a file, or pipe a file in");
        }
        let text = text_of(io::stdin().lock(), most).context("reading standard input")?;
        return Ok(Input { name: "standard input".to_owned(), text });
    }
    let name = path.display().to_string();
    let text = fs::File::open(path).and_then(|file| text_of(file, most));
    let text = text.with_context(|| format!("reading {name}"))?;
    Ok(Input { name, text })
}

fn text_of(from: impl Read, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let length = from.take(most + 1).read_to_string(&mut text).map_err(in_words)?;
    if u64::try_from(length).is_ok_and(|length| length <= most) {
        return Ok(text);
    }
    Err(io::Error::other(format!("it is longer than {most} bytes")))
}

/// Says what to do with a file that is not text, such as one that an older PowerShell's `>` wrote.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData => io::Error::other("it is not text in UTF-8: save it as UTF-8"),
        _ => error,
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
