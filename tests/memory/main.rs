//! How much memory does the engine hold at once, whatever is sent to it?
//!
//! The allocator counts it, so that each claim about memory is compared with what is allocated.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "the lints' own exception for tests does not reach the helpers of a test crate"
)]

mod mappings;
mod reviews;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The turn of one test. The allocator counts for the whole process, so that the other tests wait. A test
/// takes its turn before it makes anything large.
pub(crate) struct Alone(MutexGuard<'static, ()>);

impl Alone {
    pub(crate) fn begin() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        Self(TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work`. Returns its outcome, the most bytes that were allocated at once while it ran, and the
    /// bytes that its outcome holds. Bytes that were allocated before do not count.
    pub(crate) fn peak<T>(&self, work: impl FnOnce() -> T) -> (T, usize, usize) {
        let Self(_turn) = self;
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let outcome = work();
        let held = ALLOCATOR.current_usage().saturating_sub(before);
        (outcome, ALLOCATOR.peak_usage().saturating_sub(before), held)
    }
}
