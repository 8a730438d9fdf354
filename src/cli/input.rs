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
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: name a file, or pipe a file in");
        }
        let mut text = String::new();
        let read = io::stdin().lock().read_to_string(&mut text);
        read.map_err(in_words).context("reading standard input")?;
        return Ok(Input { name: "standard input".to_owned(), text });
    }
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(in_words).with_context(|| format!("reading {name}"))?;
    Ok(Input { name, text })
}

/// Reads no more than so many bytes, however long the input is.
pub(super) fn read_at_most(path: &Path, most: usize) -> anyhow::Result<Input> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let (name, read, text) = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: name a file, or pipe a file in");
        }
        let mut text = String::new();
        let read = io::stdin().lock().take(limit).read_to_string(&mut text);
        ("standard input".to_owned(), read, text)
    } else {
        let mut text = String::new();
        let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
        (path.display().to_string(), read, text)
    };
    // Where the limit cuts a letter in two, the text is too long, and not written wrongly.
    match read {
        Err(error) if text.len() < most => {
            return Err(in_words(error)).with_context(|| format!("reading {name}"));
        }
        _ if text.len() > most => bail!("reading {name}: it has more than {most} bytes"),
        _ => {}
    }
    Ok(Input { name, text })
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
