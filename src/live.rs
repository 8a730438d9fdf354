//! Which mapping is in force right now? It is the only state that requests share.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::engine::rules::ruleset::Ruleset;
use crate::memory::Lease;

/// A mapping with its number. The mapping to begin with is number 0, and the first one that is loaded is
/// number 1.
#[derive(Debug)]
pub struct Generation {
    /// How many mappings have come into force, with this one.
    pub number: u64,
    /// The rules of the mapping.
    pub ruleset: Ruleset,
    /// The memory that these rules take while another mapping is in force and somebody still reads this one.
    outlived: OnceLock<Lease>,
}

impl Generation {
    fn new(number: u64, ruleset: Ruleset) -> Self {
        Self { number, ruleset, outlived: OnceLock::new() }
    }
}

/// The mapping in force. It is swapped as a whole: a request sees the old one or the new one, never parts of
/// both.
#[derive(Debug)]
pub struct Live {
    generation: ArcSwap<Generation>,
    number: watch::Sender<u64>,
}

impl Live {
    /// Begins with this mapping, as generation 0.
    #[must_use]
    pub fn new(ruleset: Ruleset) -> Self {
        Self { generation: ArcSwap::from_pointee(Generation::new(0, ruleset)), number: watch::Sender::new(0) }
    }

    /// The mapping in force, read without a lock. Hold it for one request only.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Generation>> {
        self.generation.load()
    }

    /// The mapping in force, for work that goes on for longer than a request.
    #[must_use]
    pub fn load_full(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Puts another mapping in force, and returns its number. There is only one writer at a time.
    ///
    /// `room` was taken to compile the mapping. The memory of one mapping in force is not taken from the
    /// pool, so no more room is kept than the old mapping takes, and that until its last reader is done.
    pub fn swap(&self, ruleset: Ruleset, mut room: Lease) -> u64 {
        let number = self.generation.load().number + 1;
        let old = self.generation.swap(Arc::new(Generation::new(number, ruleset)));
        room.shrink_to(old.ruleset.weight());
        // A generation goes out of force only once, so there is none yet.
        drop(old.outlived.set(room));
        self.number.send_replace(number);
        number
    }

    /// The receiver is told the number of each mapping that comes into force.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::mapping::compile;
    use crate::engine::rules::operator_policy::OperatorPolicy;
    use crate::memory::Pool;

    #[tokio::test]
    async fn room_for_a_mapping_is_given_back_when_the_last_reader_of_the_one_before_is_done() {
        let ruleset = || compile("rules: []\n", &OperatorPolicy::default()).unwrap();
        let pool = Pool::new(100 << 10);
        let live = Live::new(ruleset());
        let reader = live.load_full();
        live.swap(ruleset(), pool.take(100 << 10).await);
        let room = pool.take_within(99 << 10, Duration::from_millis(1)).await;
        assert!(room.is_some(), "the old one takes little");
        drop(room);
        assert!(pool.take_within(100 << 10, Duration::from_millis(1)).await.is_none());
        drop(reader);
        assert!(pool.take_within(100 << 10, Duration::from_millis(1)).await.is_some());
    }
}
