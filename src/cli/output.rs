//! How does a command print its results and its errors?

use std::io::{self, Write};

use anyhow::Context;

/// Prints to standard output. It is no error when the reader has gone, as in `| head`.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("writing to standard output"),
    }
}

/// Prints a line to standard error. Nothing can be done where that fails.
pub(super) fn error(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
