//! Which lines wait to be written, and which find no room? They wait in the order in which they were taken.
//!
//! A line that is kept (a warning, or one that says who got or lost a role) waits for room where there is
//! none, and with it the thread that logs it: no role changes without its line. The process is not ready
//! then, and one that stops waits no longer than [`Queue::wait_at_most`] says. Any other line has room in
//! half of the queue only, and is dropped and counted when that is full, so that a flood of them makes nobody
//! wait.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::line::Head;
use crate::health::{Hold, Readiness};

/// The most bytes that the lines in the queue weigh. A longest line takes a quarter.
pub(super) const CAPACITY: usize = 256 * 1024;

/// The part of it that is open to lines that may be dropped.
const OPEN: usize = CAPACITY / 2;

/// For how long the writer lets lines gather, after the first one and after it has written. By then the
/// answer that a line is about is on its way; lines that come together are written together; and while lines
/// come more often than this, whoever logs never has to wake the writer.
const GATHERING: Duration = Duration::from_millis(5);

/// A line that has waited so long for room makes the process unready: nobody seems to read the log.
const PATIENCE: Duration = Duration::from_secs(1);

/// The lines that wait, and the thread that writes them.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Told to the writer: there is work.
    work: Condvar,
    /// Told to those who wait: there is room.
    room: Condvar,
    /// Told to whoever ends the log: everything is written.
    ended: Condvar,
    dropped: Counter,
    readiness: Readiness,
}

#[derive(Debug, Default)]
struct State {
    lines: Lines,
    /// How many were dropped since the writer last took lines.
    dropped: u64,
    /// The writer has nothing to do, and waits to be woken.
    is_idle: bool,
    is_closing: bool,
    has_ended: bool,
    /// Somebody has waited for room for too long.
    unread: Option<Hold>,
    /// From then on nobody waits for room.
    waits_until: Option<Instant>,
}

impl State {
    fn has_no_work(&self) -> bool {
        self.lines.heads.is_empty() && self.dropped == 0 && !self.is_closing
    }

    /// Whether a line of this weight that is kept has no room. An empty queue has room for any.
    fn is_full(&self, weight: usize) -> bool {
        !self.lines.heads.is_empty() && self.lines.weight() + weight > CAPACITY
    }
}

/// Lines in their order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    heads: Vec<(Head, usize)>,
    /// The fields of all of them.
    bytes: Vec<u8>,
}

impl Lines {
    fn weight(&self) -> usize {
        self.bytes.len() + self.heads.len() * size_of::<(Head, usize)>()
    }

    fn push(&mut self, head: Head, fields: &[u8]) {
        self.heads.push((head, fields.len()));
        self.bytes.extend_from_slice(fields);
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }

    /// Each line with its fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Head, &[u8])> {
        let mut left = self.bytes.as_slice();
        self.heads.iter().map(move |(head, length)| {
            let (fields, rest) = left.split_at_checked(*length).unwrap_or_default();
            left = rest;
            (head, fields)
        })
    }
}

/// What the writer has to write now.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: Lines,
    /// How many lines found no room behind these.
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn new(dropped: Counter, readiness: Readiness) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            ended: Condvar::new(),
            dropped,
            readiness,
        }
    }

    /// Takes a line. It returns at once, unless the line is kept and there is no room.
    pub(super) fn push(&self, head: Head, fields: &[u8], is_kept: bool) {
        let weight = fields.len() + size_of::<(Head, usize)>();
        let mut state = self.state();
        if is_kept && state.is_full(weight) {
            state = self.wait_for_room(state, weight);
        }
        let is_full = if is_kept { state.is_full(weight) } else { state.lines.weight() + weight > OPEN };
        if state.has_ended || is_full {
            state.dropped += 1;
            self.dropped.inc();
            return;
        }
        state.lines.push(head, fields);
        // The writer that gathers lines is only called when they become many.
        if mem::take(&mut state.is_idle) || state.lines.weight() > OPEN / 2 {
            drop(state);
            self.work.notify_one();
        }
    }

    /// Returns when there is room, or when nobody waits for it any more.
    fn wait_for_room<'a>(&'a self, mut state: MutexGuard<'a, State>, weight: usize) -> MutexGuard<'a, State> {
        let begun = Instant::now();
        while state.is_full(weight) && !state.has_ended {
            let waited = begun.elapsed();
            if waited >= PATIENCE && state.unread.is_none() {
                state.unread = Some(self.readiness.hold("whoever reads the log, which is full"));
            }
            let patience =
                if state.unread.is_none() { PATIENCE.saturating_sub(waited) } else { Duration::MAX };
            let left = state.waits_until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            let most = left.unwrap_or(Duration::MAX).min(patience);
            state = self.room.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Nobody waits for room for longer than this from now on: what finds none then is dropped and counted.
    pub(super) fn wait_at_most(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state();
        state.waits_until = Some(state.waits_until.map_or(until, |before| before.min(until)));
        drop(state);
        self.room.notify_all();
    }

    /// Counts lines that could not be written, and returns their number.
    pub(super) fn count_lost(&self, lines: u64) -> u64 {
        self.dropped.inc_by(lines);
        lines
    }

    /// Waits for lines, and exchanges them for `lines`, which were written. Returns nothing when the log ends
    /// and everything was taken.
    pub(super) fn take(&self, mut lines: Lines) -> Option<Batch> {
        lines.clear();
        let mut state = self.state();
        state = self.gather(state);
        if state.has_no_work() {
            let has_none = |state: &mut State| {
                state.is_idle = state.has_no_work();
                state.is_idle
            };
            state = self.work.wait_while(state, has_none).unwrap_or_else(PoisonError::into_inner);
            state = self.gather(state);
        }
        mem::swap(&mut state.lines, &mut lines);
        let dropped = mem::take(&mut state.dropped);
        state.unread = None;
        drop(state);
        self.room.notify_all();
        (dropped > 0 || !lines.heads.is_empty()).then_some(Batch { lines, dropped })
    }

    /// Waits until many lines are there, or for a moment.
    fn gather<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let are_few = |state: &mut State| !state.is_closing && state.lines.weight() <= OPEN / 2;
        self.work.wait_timeout_while(state, GATHERING, are_few).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the log: the writer writes what is there. Returns when it has, or after this time, after which
    /// nobody waits for room.
    pub(super) fn close(&self, within: Duration) {
        self.wait_at_most(within);
        let mut state = self.state();
        state.is_closing = true;
        self.work.notify_one();
        let ended = self.ended.wait_timeout_while(state, within, |state| !state.has_ended);
        drop(ended);
    }

    /// The writer is gone: nobody waits for room any more.
    pub(super) fn end(&self) {
        self.state().has_ended = true;
        self.room.notify_all();
        self.ended.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::SystemTime;

    use super::super::line::tests::metadata;
    use super::*;

    /// A tenth of what is open.
    const TENTH: usize = OPEN / 10;

    fn push(queue: &Queue, fields: &[u8], is_kept: bool) {
        queue.push(Head { metadata: metadata(), time: SystemTime::now() }, fields, is_kept);
    }

    fn queue() -> Queue {
        Queue::new(Counter::default(), Readiness::default())
    }

    /// The first byte of the fields of each line.
    fn first_bytes(batch: &Batch) -> Vec<u8> {
        batch.lines.iter().map(|(_, fields)| fields[0]).collect()
    }

    #[test]
    fn lines_are_taken_in_their_order() {
        let queue = queue();
        for n in 0..100 {
            push(&queue, &vec![n; 1 + usize::from(n) * 5], n % 3 == 0);
        }
        let batch = queue.take(Lines::default()).unwrap();
        assert_eq!(first_bytes(&batch), (0..100).collect::<Vec<_>>());
        for (n, (_, fields)) in (0..100).zip(batch.lines.iter()) {
            assert_eq!(fields, vec![n; 1 + usize::from(n) * 5]);
        }
        push(&queue, &[7], false);
        let batch = queue.take(batch.lines).unwrap();
        assert_eq!(first_bytes(&batch), [7], "what was written is not written again");
    }

    #[test]
    fn a_flood_of_other_lines_is_dropped_and_counted_and_leaves_room_for_those_that_are_kept() {
        let dropped = Counter::default();
        let queue = Queue::new(dropped.clone(), Readiness::default());
        for _ in 0..1_000 {
            push(&queue, &[1; TENTH], false);
        }
        for _ in 0..10 {
            push(&queue, &[2; TENTH - 100], true);
        }
        let batch = queue.take(Lines::default()).unwrap();
        let taken = first_bytes(&batch);
        let others = taken.iter().take_while(|byte| **byte == 1).count();
        assert_eq!(taken[others..], [2; 10], "each that is kept is there");
        assert_eq!((others, batch.dropped, dropped.get()), (9, 991, 991));
        push(&queue, &[3], false);
        assert_eq!(queue.take(batch.lines).unwrap().dropped, 0, "each is told once");
    }

    #[test]
    fn a_line_that_is_kept_waits_for_room() {
        let queue = Arc::new(queue());
        let (done, is_done) = channel();
        let flooding = Arc::clone(&queue);
        let thread = thread::spawn(move || {
            for n in 0..100 {
                push(&flooding, &[n; TENTH], true);
                done.send(n).unwrap();
            }
        });
        for n in 0..19 {
            assert_eq!(is_done.recv(), Ok(n));
        }
        assert!(
            is_done.recv_timeout(Duration::from_millis(50)).is_err(),
            "there is no room for the twentieth"
        );
        let (mut taken, mut lines) = (Vec::new(), Lines::default());
        while taken.len() < 100 {
            let batch = queue.take(lines).unwrap();
            assert!(batch.lines.weight() <= CAPACITY, "{}", batch.lines.weight());
            taken.extend(first_bytes(&batch));
            lines = batch.lines;
        }
        assert_eq!(taken, (0..100).collect::<Vec<_>>(), "none was dropped");
        thread.join().unwrap();
    }

    #[test]
    fn while_nobody_reads_the_process_is_not_ready_and_once_it_stops_nobody_waits_for_long() {
        let (dropped, readiness) = (Counter::default(), Readiness::default());
        let queue = Arc::new(Queue::new(dropped.clone(), readiness.clone()));
        for _ in 0..19 {
            push(&queue, &[1; TENTH], true);
        }
        assert_eq!(readiness.check(), Ok(()));
        let waiting = Arc::clone(&queue);
        let thread = thread::spawn(move || push(&waiting, &[2; TENTH], true));
        let reason = "not ready: waiting for whoever reads the log, which is full";
        while readiness.check() != Err(reason.to_owned()) {
            thread::park_timeout(Duration::from_millis(10));
        }
        let batch = queue.take(Lines::default()).unwrap();
        thread.join().unwrap();
        assert_eq!(readiness.check(), Ok(()), "somebody reads again");
        let batch = queue.take(batch.lines).unwrap();
        assert_eq!((first_bytes(&batch), dropped.get()), (vec![2], 0));

        for _ in 0..19 {
            push(&queue, &[1; TENTH], true);
        }
        queue.wait_at_most(Duration::from_millis(20));
        for _ in 0..3 {
            push(&queue, &[3; TENTH], true);
        }
        assert_eq!(dropped.get(), 3);
        let batch = queue.take(batch.lines).unwrap();
        assert_eq!((batch.lines.heads.len(), batch.dropped), (19, 3));
    }

    #[test]
    fn when_the_log_ends_what_waits_is_taken_and_then_nobody_waits_any_more() {
        let queue = queue();
        push(&queue, &[1], false);
        queue.close(Duration::ZERO);
        push(&queue, &[2], false);
        let batch = queue.take(Lines::default()).unwrap();
        assert_eq!(first_bytes(&batch), [1, 2]);
        assert!(queue.take(batch.lines).is_none());
        queue.end();
        for _ in 0..100 {
            push(&queue, &[3; TENTH], true);
        }
        queue.close(Duration::from_hours(1));
    }
}
