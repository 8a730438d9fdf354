//! Who writes the lines? One thread, which takes all that wait at once and writes them together.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::format::Style;
use super::queue::{Lines, Queue};

/// So many bytes of text are gathered before they are written.
const TEXT: usize = 16 * 1024;

/// The bytes of the thread's stack.
const STACK: usize = 128 * 1024;

/// How long the writer waits before it offers more to a standard error that takes nothing now.
const RETRY: Duration = Duration::from_millis(10);

/// Starts the thread. It ends when the queue is closed and everything is written.
pub(super) fn start(queue: Arc<Queue>, style: Style) -> io::Result<()> {
    let ended = Ended(queue);
    let run = move || {
        let (mut lines, mut writer) = (Lines::default(), Writer::new(io::stderr()));
        // Lines that are gone, and of which no line has told yet.
        let mut untold = 0;
        while let Some(batch) = ended.0.take(lines) {
            for (head, fields) in batch.lines.iter() {
                style.line(head, fields, &mut writer.text);
                if writer.text.len() >= TEXT {
                    untold += ended.0.count_lost(writer.write());
                }
            }
            untold += batch.dropped + ended.0.count_lost(writer.write());
            if untold > 0 {
                style.dropped(SystemTime::now(), untold, &mut writer.text);
                // It tells of others, and does not count itself.
                if writer.write() == 0 {
                    untold = 0;
                }
            }
            lines = batch.lines;
        }
    };
    thread::Builder::new().name("log".to_owned()).stack_size(STACK).spawn(run)?;
    Ok(())
}

/// Tells the queue when the thread ends, however it does.
struct Ended(Arc<Queue>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Text that is gathered, and where it is written.
struct Writer<W> {
    to: W,
    text: Vec<u8>,
    /// What was written last is a part of a line.
    is_torn: bool,
}

impl<W: Write> Writer<W> {
    fn new(to: W) -> Self {
        Self { to, text: Vec::with_capacity(TEXT), is_torn: false }
    }

    /// Writes the text, and leaves it empty. Returns how many lines could not be written.
    fn write(&mut self) -> u64 {
        let unwritten = if self.is_torn && !self.text.is_empty() && self.offer(b"\n") > 0 {
            self.text.len()
        } else {
            let text = mem::take(&mut self.text);
            let unwritten = self.offer(&text);
            self.text = text;
            unwritten
        };
        let lost = self.text.iter().rev().take(unwritten).filter(|byte| **byte == b'\n').count();
        self.text.clear();
        self.text.shrink_to(4 * TEXT);
        lost as u64
    }

    /// Writes as much of these bytes as is taken. Returns how many are left.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while !left.is_empty() {
            match self.to.write(left) {
                Ok(written) if written > 0 => {
                    let (taken, rest) = left.split_at_checked(written).unwrap_or((left, &[]));
                    self.is_torn = taken.last() != Some(&b'\n');
                    left = rest;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Who gave us standard error may have made it so that it does not wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
                // It is closed, or its disk is full.
                Ok(_) | Err(_) => break,
            }
        }
        left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Default)]
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_no_line_goes_on_in_another() {
        let mut writer = Writer::new(Disk::default());
        let mut write = |room: usize, text: &str| {
            writer.to.room = room;
            writer.text.extend_from_slice(text.as_bytes());
            (writer.write(), String::from_utf8(mem::take(&mut writer.to.written)).unwrap())
        };
        assert_eq!(write(99, "one\ntwo\n"), (0, "one\ntwo\n".to_owned()));
        assert_eq!(write(6, "one\ntwo\nthree\n"), (2, "one\ntw".to_owned()));
        assert_eq!(write(0, "one\ntwo\n"), (2, String::new()));
        assert_eq!(write(99, ""), (0, String::new()));
        assert_eq!(write(99, "one\n"), (0, "\none\n".to_owned()));
        assert_eq!(write(4, "one\ntwo\n"), (1, "one\n".to_owned()));
        assert_eq!(write(99, "one\n"), (0, "one\n".to_owned()));
    }
}
