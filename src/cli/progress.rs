//! How does a command tell on standard error what it is doing?

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Whoever looks on is told nothing for so long, unless it is a terminal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells what is being done: on a terminal in one line that is written over, elsewhere in a line a second.
pub(super) struct Progress {
    is_terminal: bool,
    told: Instant,
    /// Whether the line of the terminal holds something.
    is_dirty: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), told: Instant::now(), is_dirty: false }
    }

    /// Tells it. Nothing can be done where that fails.
    pub(super) fn tell(&mut self, what: &str) {
        let what = what.replace(char::is_control, "?");
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K{what} ...");
            self.is_dirty = true;
        } else if self.told.elapsed() >= PATIENCE {
            let _ = writeln!(io::stderr().lock(), "{what} ...");
            self.told = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_dirty {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }
}
