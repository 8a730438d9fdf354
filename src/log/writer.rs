//! Who writes the lines? One thread, which takes all that wait at once and writes them together.

use std::io::{self, Write as _};
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
        let (mut lines, mut text) = (Lines::default(), Vec::with_capacity(TEXT));
        while let Some(batch) = ended.0.take(lines) {
            for (head, fields) in batch.lines.iter() {
                style.line(head, fields, &mut text);
                if text.len() >= TEXT {
                    write(&mut text);
                }
            }
            if batch.dropped > 0 {
                style.dropped(SystemTime::now(), batch.dropped, &mut text);
            }
            write(&mut text);
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

/// Writes the text to standard error, and leaves it empty.
fn write(text: &mut Vec<u8>) {
    let mut left = text.as_slice();
    while !left.is_empty() {
        match io::stderr().write(left) {
            Ok(written) if written > 0 => left = left.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Who gave us standard error may have made it so that it does not wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
            // It is closed: there is nobody who could be told.
            Ok(_) | Err(_) => break,
        }
    }
    text.clear();
    text.shrink_to(4 * TEXT);
}
