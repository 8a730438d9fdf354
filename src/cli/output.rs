//! How does a command print its results and its errors?

use std::io::{self, Write};

use anyhow::Context;

/// Writes a value as JSON.
pub(super) fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Writes a value as YAML.
pub(super) fn yaml(value: &serde_json::Value) -> anyhow::Result<String> {
    anyhow::bail!("not yet: {value}")
}

/// Prints to standard output. It is no error when the reader has gone, as in `| head`.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_while_read(text).map(drop)
}

/// Prints to standard output. Returns whether somebody still reads it.
pub(super) fn print_while_read(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        done => done.context("writing to standard output").map(|()| true),
    }
}

/// Prints a line to standard error. Nothing can be done where that fails. Others may have written parts of
/// it, and none of them may steer a terminal.
pub(super) fn error(line: &str) {
    let line = line.replace(|c: char| c.is_control() && c != '\n', "?");
    let _ = writeln!(io::stderr().lock(), "{line}");
}
