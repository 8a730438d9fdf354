//! Does a mapping that was just read come into force? A good one does; beside a bad one the last good one goes on.

use std::sync::Arc;

use crate::engine::bounds::Bounds;
use crate::engine::mapping::{self, Problems};
use crate::engine::ruleset::Ruleset;
use crate::live::Live;
use crate::metrics::Metrics;

/// The one way into [`Live`], wherever mappings come from.
#[derive(Debug)]
pub struct Intake {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    /// Where mappings come from, for the log.
    source: String,
    /// What was read last, good or bad, to tell whether there is something new.
    seen: Option<String>,
}

impl Intake {
    /// Begins without a mapping: nothing is decided.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, bounds: Bounds, source: String) -> Self {
        let nothing = Ruleset::new(Vec::new(), crate::engine::ruleset::Defaults::default(), bounds.clone());
        Self { live: Arc::new(Live::new(nothing)), metrics, bounds, source, seen: None }
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
    pub fn offer(&mut self, text: &str) -> Result<bool, Problems> {
        self.offer_unsaid(text).inspect_err(|problems| self.say(&problems.to_string()))
    }

    /// The same for a caller who says the problems.
    ///
    /// # Errors
    /// As [`Self::offer`].
    pub fn offer_unsaid(&mut self, text: &str) -> Result<bool, Problems> {
        if self.seen.as_deref() == Some(text) {
            return Ok(false);
        }
        self.seen = Some(text.to_owned());
        match mapping::compile(text, &self.bounds) {
            Ok(ruleset) => {
                let rules = ruleset.rules().len();
                let generation = self.live.swap(ruleset);
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

    /// Takes a mapping that stands in for the newest one, which stays the one that was seen last. Whether it is good.
    pub fn offer_instead(&mut self, text: &str) -> bool {
        let seen = self.seen.take();
        let good = self.offer(text).unwrap_or(false);
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
