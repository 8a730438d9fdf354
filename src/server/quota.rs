//! Is there room for more, in all and for this peer? A quota bounds what is held at a time, not how often it
//! is asked for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Room that is counted in units, in all and for each peer address.
#[derive(Clone, Debug)]
pub(super) struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    per_peer: usize,
    taken: Mutex<Taken>,
    /// Whoever waits is told here that room was given back.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// The units of each peer that holds some.
    peers: HashMap<IpAddr, usize>,
}

/// The units that one peer holds until this is dropped.
#[derive(Debug)]
#[must_use = "the room is given back when this is dropped"]
pub(super) struct Lease {
    quota: Quota,
    peer: IpAddr,
    units: usize,
}

impl Quota {
    /// A quota of so many units in all, and so many for each peer.
    #[must_use]
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        Self(Arc::new(Inner { total, per_peer, taken: Mutex::default(), freed: Notify::new() }))
    }

    /// A lease that holds nothing yet.
    pub(super) fn lease(&self, peer: IpAddr) -> Lease {
        // The address of an IPv4 peer on a dual-stack socket is written as IPv6.
        Lease { quota: self.clone(), peer: peer.to_canonical(), units: 0 }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Taken) -> T) -> T {
        act(&mut self.0.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Lease {
    /// Takes more units, all of them or none, and returns whether there was room.
    #[must_use]
    pub(super) fn try_grow(&mut self, units: usize) -> bool {
        let Inner { total, per_peer, .. } = &*self.quota.0;
        let granted = self.quota.with(|taken| {
            let of_peer = taken.peers.get(&self.peer).copied().unwrap_or_default();
            if taken.total + units > *total || of_peer + units > *per_peer {
                return false;
            }
            taken.total += units;
            taken.peers.insert(self.peer, of_peer + units);
            true
        });
        if granted {
            self.units += units;
        }
        granted
    }

    /// Takes more units, and waits for room where there is none.
    pub(super) async fn grow(&mut self, units: usize) {
        let quota = self.quota.clone();
        loop {
            let freed = quota.0.freed.notified();
            if self.try_grow(units) {
                return;
            }
            freed.await;
        }
    }

    /// Gives back all but so many units.
    pub(super) fn shrink_to(&mut self, units: usize) {
        let surplus = self.units.saturating_sub(units);
        if surplus == 0 {
            return;
        }
        self.units -= surplus;
        self.quota.with(|taken| {
            taken.total -= surplus;
            if let Some(of_peer) = taken.peers.get_mut(&self.peer) {
                *of_peer -= surplus;
                if *of_peer == 0 {
                    taken.peers.remove(&self.peer);
                }
            }
        });
        self.quota.0.freed.notify_waiters();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_peer_gets_its_share_and_no_more() {
        let quota = Quota::new(10, 6);
        let mut one = quota.lease(peer(1));
        assert!(one.try_grow(6));
        assert!(!one.try_grow(1), "beyond its share");
        let mut other = quota.lease(peer(2));
        assert!(!other.try_grow(5), "beyond the whole");
        assert!(other.try_grow(4));
        drop(one);
        assert!(other.try_grow(2));
        assert!(!other.try_grow(1));
        drop(other);
        quota.with(|taken| assert!(taken.total == 0 && taken.peers.is_empty()));
    }

    #[tokio::test]
    async fn room_that_is_given_back_is_waited_for() {
        let quota = Quota::new(10, 10);
        let mut one = quota.lease(peer(1));
        one.grow(8).await;
        let mut other = quota.lease(peer(2));
        let mut growing = Box::pin(other.grow(5));
        assert!(futures_util::poll!(&mut growing).is_pending());
        one.shrink_to(5);
        growing.await;
        drop((one, other));
        quota.with(|taken| assert!(taken.total == 0 && taken.peers.is_empty()));
    }

    #[test]
    fn a_mapped_address_is_the_same_peer() {
        let quota = Quota::new(10, 1);
        let mut plain = quota.lease(peer(1));
        assert!(plain.try_grow(1));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(!quota.lease(mapped).try_grow(1));
    }
}
