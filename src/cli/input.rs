//! How does a command read its files? The name `-` stands for standard input.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, fs};

use anyhow::{Context, bail};

/// Whether standard input was read. Whoever reads it again finds nothing there, and no error.
static IS_STDIN_READ: AtomicBool = AtomicBool::new(false);

/// The text of a file that was named on the command line.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Input> {
    read_at_most(path, usize::MAX)
}

/// Reads no more than so many bytes: a longer file is an error.
pub(super) fn read_at_most(path: &Path, most: usize) -> anyhow::Result<Input> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: name a file, or pipe a file in");
        }
        if IS_STDIN_READ.swap(true, Ordering::Relaxed) {
            bail!("standard input is named twice, and can be read once only: save it as a file");
        }
        let text = text_of(io::stdin().lock(), most).context("reading standard input")?;
        return Ok(Input { name: name(path), text });
    }
    let name = name(path);
    let text = fs::File::open(path).and_then(|file| text_of(file, most));
    let text = text.with_context(|| format!("reading {name}"))?;
    Ok(Input { name, text })
}

/// How a file is called in what is told.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn text_of(from: impl Read, most: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    // The limit may cut a letter in two, so this is asked first.
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    // An older PowerShell's `>` writes UTF-16.
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text in UTF-8: save it as UTF-8"))
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
