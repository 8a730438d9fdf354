//! Does a mapping that was just read come into force? A good one does; in place of a bad one the last good
//! one stays.

use std::panic;
use std::sync::Arc;

use crate::engine::mapping::{self, Problems};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::{Defaults, Ruleset};
use crate::live::Live;
use crate::memory::{Lease, Pool};
use crate::metrics::{InForce, MappingLoad, Metrics};

/// The only writer of [`Live`], wherever mappings come from.
#[derive(Debug)]
pub struct MappingLoader {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    policy: OperatorPolicy,
    /// The log names this as the place where mappings come from.
    source: String,
    /// The text that was read last, good or bad, tells whether there is something new.
    seen: Option<Arc<str>>,
    /// Reading a mapping takes its memory here.
    pool: Pool,
}

/// What became of a mapping that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It came into force.
    InForce,
    /// Its text is the one that was read last, so nothing was done. That text may be a bad one.
    Unchanged,
}

impl MappingLoader {
    /// Begins without a mapping: no rule matches anything.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, policy: OperatorPolicy, source: String, pool: &Pool) -> Self {
        let nothing = Ruleset::new(Vec::new(), Defaults::default(), policy.clone());
        let (live, metrics, pool) = (Arc::new(Live::new(nothing)), Arc::clone(metrics), pool.clone());
        Self { live, metrics, policy, source, seen: None, pool }
    }

    /// Where requests find the mapping in force.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Loads a mapping, unless its text is the one that was read last.
    ///
    /// # Errors
    /// What is wrong with it. This has been logged, and the last good mapping stays in force.
    pub async fn load(&mut self, text: &str) -> Result<Loaded, Problems> {
        self.load_unlogged(text).await.inspect_err(|problems| self.log_refused(&problems.to_string()))
    }

    /// Does the same for a caller who tells the problems.
    ///
    /// # Errors
    /// What is wrong with it. The last good mapping stays in force.
    pub async fn load_unlogged(&mut self, text: &str) -> Result<Loaded, Problems> {
        if self.seen.as_deref() == Some(text) {
            return Ok(Loaded::Unchanged);
        }
        let compiled = self.compile(text).await;
        // Not before: a caller who gave up waiting has not loaded it.
        self.seen = Some(compiled.text);
        let ruleset = compiled.result.inspect_err(|_| self.metrics.mapping_loaded(MappingLoad::Refused))?;
        let in_force = self.put_in_force(ruleset, compiled.room);
        self.metrics.mapping_loaded(MappingLoad::Newest(in_force));
        Ok(Loaded::InForce)
    }

    /// Loads a mapping in place of the newest one, which cannot be used.
    ///
    /// # Errors
    /// What is wrong with it. This has been logged, and what was in force stays so.
    pub async fn load_fallback(&mut self, text: &str) -> Result<(), Problems> {
        let compiled = self.compile(text).await;
        let ruleset = compiled.result.inspect_err(|problems| self.refuse(&problems.to_string()))?;
        let in_force = self.put_in_force(ruleset, compiled.room);
        self.metrics.mapping_loaded(MappingLoad::Fallback(in_force));
        Ok(())
    }

    /// Tells that there is no mapping any more. It is counted and logged once, until there is one again.
    pub fn missing(&mut self, why: &str) {
        if self.seen.take().is_some() {
            self.refuse(why);
        }
    }

    fn refuse(&self, why: &str) {
        self.metrics.mapping_loaded(MappingLoad::Refused);
        self.log_refused(why);
    }

    /// Compiles a mapping. The work holds the room for it: it goes on where nobody waits for it any more.
    async fn compile(&self, text: &str) -> Compiled {
        let room = self.pool.take(mapping::weight(text.len())).await;
        // Not before there is room for the copy.
        let (text, policy): (Arc<str>, _) = (text.into(), self.policy.clone());
        // A short text may take a tenth of a second too, and must not hold up a worker that answers reviews.
        let work = move || Compiled { result: mapping::compile(&text, &policy), text, room };
        match tokio::task::spawn_blocking(work).await {
            Ok(compiled) => compiled,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                // The runtime is stopping, and this future with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn put_in_force(&self, ruleset: Ruleset, room: Lease) -> InForce {
        let rules = ruleset.rules().len();
        let generation = self.live.swap(ruleset, room);
        tracing::info!(source = self.source, rules, generation, "mapping in force");
        InForce { generation, rules }
    }

    fn log_refused(&self, why: &str) {
        let consequence = if self.live.load().number > 0 {
            "the last good mapping stays in force"
        } else {
            "no mapping is in force"
        };
        tracing::error!(source = self.source, "{consequence}: {why}");
    }
}

/// A text that was compiled, and the room that this took.
struct Compiled {
    text: Arc<str>,
    result: Result<Ruleset, Problems>,
    room: Lease,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::POOL;

    #[tokio::test]
    async fn a_mapping_that_nobody_waited_for_has_not_been_seen() {
        let (metrics, pool) = (Arc::default(), Pool::new(POOL));
        let mut loader = MappingLoader::new(&metrics, OperatorPolicy::default(), "a test".to_owned(), &pool);
        let text = "rules: []\n";
        let room = pool.take(POOL).await;
        assert!(futures_util::poll!(Box::pin(loader.load(text))).is_pending(), "there is no room");
        drop(room);
        assert_eq!(loader.load(text).await, Ok(Loaded::InForce));
        assert_eq!(loader.load(text).await, Ok(Loaded::Unchanged), "now it has");
        assert_eq!(loader.live().load().number, 1);
    }
}
