//! How does a command that takes long say what it is doing?

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::output;

/// How long a command is silent where standard error is no terminal, and then between two lines.
const SILENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(5);

/// What is being done, on standard error. In a terminal it is one line, which is gone in the end.
pub(super) struct Progress {
    is_terminal: bool,
    /// When the next line may be written.
    next: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), next: Instant::now() + SILENCE }
    }

    /// Says what is being done now. That nobody reads it is no error.
    pub(super) fn tell(&mut self, what: &str) {
        let what = output::in_a_line(what);
        let mut out = io::stderr().lock();
        if self.is_terminal {
            let _ = write!(out, "\r\x1b[K{what} ...");
            let _ = out.flush();
        } else if Instant::now() >= self.next {
            let _ = writeln!(out, "{what} ...");
            self.next = Instant::now() + PAUSE;
        }
    }

    /// Makes room for another line on standard error.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
