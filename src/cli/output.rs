//! How do words reach the terminal?

use std::io::{self, Write};

use anyhow::Context;

/// Prints to standard output. A reader that has gone (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("writing to standard output"),
    }
}

/// Prints a line to standard error, where nothing can be done about a failure.
pub(super) fn error(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
