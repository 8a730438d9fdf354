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
        io::stdin().lock().read_to_string(&mut text).context("reading standard input")?;
        return Ok(Input { name: "standard input".to_owned(), text });
    }
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
    Ok(Input { name, text })
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
