//! How much memory may work hold that comes and goes? One pool of bytes, given out in the order in which it is asked for.
//!
//! What stays (connections, the rules in force) has limits of its own. What is held only for a while (long request bodies, a
//! mapping while it is judged, whatever is read from the cluster) takes its room here first and gives it back when it is dropped,
//! so that the sum of all of it is known. docs/operating.md has the whole account.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that all transient work together may hold.
pub const POOL: usize = 14 << 20;

/// The pool counts in units of so many bytes.
const UNIT: usize = 1 << 10;

/// Room in memory that transient work shares.
#[derive(Clone, Debug)]
pub struct Pool {
    units: Arc<Semaphore>,
    total: usize,
}

/// Room that is taken until it is dropped.
#[derive(Debug)]
#[must_use = "the room is given back when this is dropped"]
pub struct Lease(Option<OwnedSemaphorePermit>);

impl Pool {
    /// A pool of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = bytes / UNIT;
        Self { units: Arc::new(Semaphore::new(total)), total }
    }

    /// Takes so many bytes, waiting for its turn: who asked earlier has them earlier, however much they asked for.
    ///
    /// More than the whole pool is taken as the whole pool, so that nobody waits for what can never be; each caller bounds what it asks
    /// for by a limit of its own.
    pub async fn take(&self, bytes: usize) -> Lease {
        let permit = Arc::clone(&self.units).acquire_many_owned(self.units_of(bytes)).await;
        match permit {
            Ok(permit) => Lease(Some(permit)),
            // Never: nobody closes it.
            Err(_) => Lease(None),
        }
    }

    /// The same, but for no longer than `patience`: `None` where there was no room.
    pub async fn take_within(&self, bytes: usize, patience: Duration) -> Option<Lease> {
        tokio::time::timeout(patience, self.take(bytes)).await.ok()
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
    async fn what_can_never_be_is_the_whole_pool() {
        let pool = Pool::new(10 * UNIT);
        let all = pool.take(usize::MAX).await;
        assert_eq!(pool.units.available_permits(), 0);
        drop(all);
    }
}
