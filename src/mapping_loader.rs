//! Does a mapping that was just read come into force? A good one does; beside a bad one the last good one goes on.

use std::panic;
use std::sync::Arc;

use crate::engine::mapping::{self, Problems};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;
use crate::memory::{Lease, Pool};
use crate::metrics::Metrics;

/// The one way into [`Live`], wherever mappings come from.
#[derive(Debug)]
pub struct MappingLoader {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    bounds: OperatorPolicy,
    /// Where mappings come from, for the log.
    source: String,
    /// What was read last, good or bad, to tell whether there is something new.
    seen: Option<Arc<str>>,
    /// Where room for reading one is taken.
    pool: Pool,
}

impl MappingLoader {
    /// Begins without a mapping: nothing is decided.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, bounds: OperatorPolicy, source: String, pool: &Pool) -> Self {
        let nothing =
            Ruleset::new(Vec::new(), crate::engine::rules::ruleset::Defaults::default(), bounds.clone());
        let (live, metrics, pool) = (Arc::new(Live::new(nothing)), Arc::clone(metrics), pool.clone());
        Self { live, metrics, bounds, source, seen: None, pool }
    }

    /// Where requests find the mapping in force.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Takes a mapping, where it is another than the last one. Whether it came into force: what was seen before, good or bad,
    /// does not again.
    ///
    /// # Errors
    /// What is wrong with it; the last good one stays in force.
    pub async fn offer(&mut self, text: &str) -> Result<bool, Problems> {
        self.offer_unsaid(text).await.inspect_err(|problems| self.say(&problems.to_string()))
    }

    /// The same for a caller who says the problems.
    ///
    /// # Errors
    /// As [`Self::offer`].
    pub async fn offer_unsaid(&mut self, text: &str) -> Result<bool, Problems> {
        if self.seen.as_deref() == Some(text) {
            return Ok(false);
        }
        let room = self.pool.take(mapping::weight(text.len())).await;
        let text: Arc<str> = text.into();
        let (read, room) = self.read(Arc::clone(&text), room).await;
        // Only now: whoever gives up waiting has not seen it.
        self.seen = Some(text);
        match read {
            Ok(ruleset) => {
                let rules = ruleset.rules().len();
                let generation = self.live.swap(ruleset, room);
                self.metrics.mapping_in_force(generation, rules);
                tracing::info!(source = self.source, rules, generation, "mapping in force");
                Ok(true)
            }
            Err(problems) => {
                self.metrics.mapping_refused();
                Err(problems)
            }
        }
    }

    /// The room goes with the work: that goes on where nobody waits for it any more.
    async fn read(&self, text: Arc<str>, room: Lease) -> (Result<Ruleset, Problems>, Lease) {
        let bounds = self.bounds.clone();
        // Also a short text: it may take a tenth of a second, and no worker that answers reviews is held up by it.
        let work = move || (mapping::compile(&text, &bounds), room);
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                // The runtime ends, and this with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Takes a mapping that stands in for the newest one, which stays the one that was seen last. Whether it is good.
    pub async fn offer_instead(&mut self, text: &str) -> bool {
        let seen = self.seen.take();
        let good = self.offer(text).await.unwrap_or(false);
        self.seen = seen;
        if good {
            // It is not what somebody wants now.
            self.metrics.mapping_is_stale();
        }
        good
    }

    /// There is no mapping any more. Said once, until there is one again.
    pub fn missing(&mut self, why: &str) {
        if self.seen.take().is_some() {
            self.metrics.mapping_refused();
            self.say(why);
        }
    }

    fn say(&self, why: &str) {
        let so = if self.live.load().number > 0 {
            "the last good mapping stays in force"
        } else {
            "no mapping is in force"
        };
        tracing::error!(source = self.source, "{so}: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::POOL;

    #[tokio::test]
    async fn a_mapping_that_nobody_waited_for_has_not_been_seen() {
        let (metrics, pool) = (Arc::default(), Pool::new(POOL));
        let mut intake = MappingLoader::new(&metrics, OperatorPolicy::default(), "a test".to_owned(), &pool);
        let text = "rules: []\n";
        let room = pool.take(POOL).await;
        assert!(futures_util::poll!(Box::pin(intake.offer(text))).is_pending(), "there is no room");
        drop(room);
        assert_eq!(intake.offer(text).await, Ok(true));
        assert_eq!(intake.offer(text).await, Ok(false), "now it has");
        assert_eq!(intake.live().load().number, 1);
    }
}
