//! Which mapping decides right now? The only state that requests share.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::engine::ruleset::Ruleset;

/// A mapping with its number: 0 for the one to begin with, 1 for the first that was loaded.
#[derive(Debug)]
pub struct Generation {
    /// Counts loads of mappings that differ.
    pub number: u64,
    /// The rules.
    pub ruleset: Ruleset,
}

/// The mapping in force. Swapped whole, so a request sees the old one or the new one, never parts of both.
#[derive(Debug)]
pub struct Live {
    generation: ArcSwap<Generation>,
    number: watch::Sender<u64>,
}

impl Live {
    /// Begins with this mapping, as generation 0.
    #[must_use]
    pub fn new(ruleset: Ruleset) -> Self {
        Self {
            generation: ArcSwap::from_pointee(Generation { number: 0, ruleset }),
            number: watch::Sender::new(0),
        }
    }

    /// The mapping in force, without a lock; hold it for one request only.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Generation>> {
        self.generation.load()
    }

    /// The same for work that goes on for longer.
    #[must_use]
    pub fn load_full(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Puts another mapping in force, and returns its number. One writer at a time.
    pub fn swap(&self, ruleset: Ruleset) -> u64 {
        let number = self.generation.load().number + 1;
        self.generation.store(Arc::new(Generation { number, ruleset }));
        self.number.send_replace(number);
        number
    }

    /// Told the number of each mapping that comes into force.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }
}
