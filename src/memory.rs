//! How much memory may transient work hold? One pool of bytes is given out in the order in which it is asked
//! for.
//!
//! What stays (connections, the rules in force) has limits of its own. What is held only for a while (long
//! request bodies, a mapping while it is judged, whatever is read from the cluster) takes its room here
//! first, and gives it back when it is dropped. So the sum of all of it is known. docs/operating.md lists
//! what holds how much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The most bytes that all transient work may hold at once.
pub const POOL: usize = 14 << 20;

/// The pool counts in units of this many bytes.
const UNIT: usize = 1 << 10;

/// The memory that transient work shares.
#[derive(Clone, Debug)]
pub struct Pool {
    units: Arc<Semaphore>,
    total: usize,
    waiters: Arc<Waiters>,
}

/// Counts who waits for room.
#[derive(Debug, Default)]
struct Waiters {
    count: AtomicUsize,
    added: Notify,
}

/// One who waits for room, and does so no more when this is dropped.
#[derive(Debug)]
#[must_use = "it does not wait any more when this is dropped"]
pub struct Waiter(Arc<Waiters>);

/// Room that is taken until it is dropped.
#[derive(Debug)]
#[must_use = "the room is given back when this is dropped"]
pub struct Lease(Option<OwnedSemaphorePermit>);

impl Pool {
    /// A pool of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = bytes / UNIT;
        Self { units: Arc::new(Semaphore::new(total)), total, waiters: Arc::default() }
    }

    /// Takes so many bytes, and waits for its turn: who asked earlier gets them earlier, however much they
    /// asked for.
    ///
    /// More than the whole pool is taken as the whole pool, as nobody could ever get more. Each caller has a
    /// limit of its own for what it asks for.
    pub async fn take(&self, bytes: usize) -> Lease {
        let units = self.units_of(bytes);
        // This does not overtake who waits: the semaphore gives what comes back to them first.
        if let Ok(permit) = Arc::clone(&self.units).try_acquire_many_owned(units) {
            return Lease(Some(permit));
        }
        let _waiter = self.register_waiter();
        match Arc::clone(&self.units).acquire_many_owned(units).await {
            Ok(permit) => Lease(Some(permit)),
            // Nobody closes the semaphore.
            Err(_) => Lease(None),
        }
    }

    /// Takes so many bytes, or returns `None` where there was no room within `timeout`.
    pub async fn take_within(&self, bytes: usize, timeout: Duration) -> Option<Lease> {
        tokio::time::timeout(timeout, self.take(bytes)).await.ok()
    }

    /// Counts one who waits for room, also where they wait for something else first.
    pub fn register_waiter(&self) -> Waiter {
        self.waiters.count.fetch_add(1, Ordering::Relaxed);
        self.waiters.added.notify_waiters();
        Waiter(Arc::clone(&self.waiters))
    }

    /// Returns when somebody waits for room. Whoever holds some and could do without it asks this.
    pub async fn contended(&self) {
        loop {
            let added = self.waiters.added.notified();
            if self.waiters.count.load(Ordering::Relaxed) > 0 {
                return;
            }
            added.await;
        }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(self.total)).unwrap_or(u32::MAX)
    }
}

impl Lease {
    /// Adds another lease to this one: both are given back together.
    pub fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(own), Some(other)) => own.merge(other),
            (none, other) => *none = other,
        }
    }

    /// Gives back all but so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let surplus = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
            drop(permit.split(surplus));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_in_the_order_in_which_it_is_asked_for() {
        let pool = Pool::new(10 * UNIT);
        let first = pool.take(6 * UNIT).await;
        let mut large = Box::pin(pool.take(8 * UNIT));
        assert!(futures_util::poll!(&mut large).is_pending());
        // There is room for this one, but the large one must not be overtaken for ever.
        assert!(pool.take_within(UNIT, Duration::from_millis(1)).await.is_none());
        drop(first);
        let mut large = large.await;
        large.shrink_to(3 * UNIT);
        let mut small = pool.take(5 * UNIT).await;
        small.merge(pool.take(2 * UNIT).await);
        assert!(pool.take_within(1, Duration::from_millis(1)).await.is_none());
        drop((large, small));
        assert_eq!(pool.units.available_permits(), 10);
    }

    #[tokio::test]
    async fn who_holds_room_is_told_when_somebody_waits_for_it() {
        let pool = Pool::new(10 * UNIT);
        let held = pool.take(8 * UNIT).await;
        let mut contended = Box::pin(pool.contended());
        assert!(futures_util::poll!(&mut contended).is_pending());
        drop(pool.take(2 * UNIT).await);
        assert!(futures_util::poll!(&mut contended).is_pending(), "nobody had to wait");
        let mut waiting = Box::pin(pool.take(3 * UNIT));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(futures_util::poll!(&mut contended).is_ready());
        drop(held);
        drop(waiting.await);
        assert!(futures_util::poll!(Box::pin(pool.contended())).is_pending(), "nobody waits any more");
    }

    #[tokio::test]
    async fn more_than_the_whole_pool_is_taken_as_the_whole_pool() {
        let pool = Pool::new(10 * UNIT);
        let all = pool.take(usize::MAX).await;
        assert_eq!(pool.units.available_permits(), 0);
        drop(all);
    }
}
