//! How does a command read its files? The name `-` stands for standard input.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context, anyhow, bail};

/// The text of a file that was named on the command line.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Input> {
    read_at_most(path, usize::MAX)
}

/// Reads no more than so many bytes, however long the input is.
pub(super) fn read_at_most(path: &Path, most: usize) -> anyhow::Result<Input> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let (name, read) = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: name a file, or pipe a file in");
        }
        ("standard input".to_owned(), io::stdin().lock().take(limit).read_to_end(&mut bytes))
    } else {
        let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        (path.display().to_string(), read)
    };
    read.with_context(|| format!("reading {name}"))?;
    if bytes.len() > most {
        bail!("reading {name}: it has more than {most} bytes");
    }
    // An older PowerShell's `>` writes no UTF-8.
    let text = String::from_utf8(bytes)
        .map_err(|_| anyhow!("it is not text in UTF-8: save it as UTF-8"))
        .with_context(|| format!("reading {name}"))?;
    Ok(Input { name, text })
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
