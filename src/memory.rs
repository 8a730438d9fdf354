//! How much memory may work hold that comes and goes? One pool of bytes, given out in the order in which it is asked for.
//!
//! What stays (connections, the rules in force) has limits of its own. What is held only for a while (long request bodies, a
//! mapping while it is judged, whatever is read from the cluster) takes its room here first and gives it back when it is dropped,
//! so that the sum of all of it is known. docs/operating.md has the whole account.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The bytes that all transient work together may hold.
pub const POOL: usize = 14 << 20;

/// The pool counts in units of so many bytes.
const UNIT: usize = 1 << 10;

/// Room in memory that transient work shares.
#[derive(Clone, Debug)]
pub struct Pool {
    units: Arc<Semaphore>,
    total: usize,
    wants: Arc<Wants>,
}

/// How many wait for room.
#[derive(Debug, Default)]
struct Wants {
    count: AtomicUsize,
    more: Notify,
}

/// Somebody waits for room, until this is dropped.
#[derive(Debug)]
#[must_use = "nobody waits any more when this is dropped"]
pub struct Want(Arc<Wants>);

/// Room that is taken until it is dropped.
#[derive(Debug)]
#[must_use = "the room is given back when this is dropped"]
pub struct Lease(Option<OwnedSemaphorePermit>);

impl Pool {
    /// A pool of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = bytes / UNIT;
        Self { units: Arc::new(Semaphore::new(total)), total, wants: Arc::default() }
    }

    /// Takes so many bytes, waiting for its turn: who asked earlier has them earlier, however much they asked for.
    ///
    /// More than the whole pool is taken as the whole pool, so that nobody waits for what can never be; each caller bounds what it asks
    /// for by a limit of its own.
    pub async fn take(&self, bytes: usize) -> Lease {
        let units = self.units_of(bytes);
        // Not past whoever waits: what is given back is theirs before it is anybody's.
        if let Ok(permit) = Arc::clone(&self.units).try_acquire_many_owned(units) {
            return Lease(Some(permit));
        }
        let _want = self.want();
        match Arc::clone(&self.units).acquire_many_owned(units).await {
            Ok(permit) => Lease(Some(permit)),
            // Never: nobody closes it.
            Err(_) => Lease(None),
        }
    }

    /// The same, but for no longer than `patience`: `None` where there was no room.
    pub async fn take_within(&self, bytes: usize, patience: Duration) -> Option<Lease> {
        tokio::time::timeout(patience, self.take(bytes)).await.ok()
    }

    /// Says that somebody waits for room, here or before they come here.
    pub fn want(&self) -> Want {
        self.wants.count.fetch_add(1, Ordering::Relaxed);
        self.wants.more.notify_waiters();
        Want(Arc::clone(&self.wants))
    }

    /// Waits until somebody waits for room: for who holds some and could do without.
    pub async fn wanted(&self) {
        loop {
            let more = self.wants.more.notified();
            if self.wants.count.load(Ordering::Relaxed) > 0 {
                return;
            }
            more.await;
        }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(self.total)).unwrap_or(u32::MAX)
    }
}

impl Lease {
    /// Adds what was taken later: both are given back together.
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

impl Drop for Want {
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
        // There would be room for this one, but the large one must not wait for ever.
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
        let mut wanted = Box::pin(pool.wanted());
        assert!(futures_util::poll!(&mut wanted).is_pending());
        drop(pool.take(2 * UNIT).await);
        assert!(futures_util::poll!(&mut wanted).is_pending(), "nobody had to wait");
        let mut waiting = Box::pin(pool.take(3 * UNIT));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(futures_util::poll!(&mut wanted).is_ready());
        drop(held);
        drop(waiting.await);
        assert!(futures_util::poll!(Box::pin(pool.wanted())).is_pending(), "nobody waits any more");
    }

    #[tokio::test]
    async fn what_can_never_be_is_the_whole_pool() {
        let pool = Pool::new(10 * UNIT);
        let all = pool.take(usize::MAX).await;
        assert_eq!(pool.units.available_permits(), 0);
        drop(all);
    }
}
