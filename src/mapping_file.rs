//! Where does the mapping come from? From a file, read again when its content changes; the last good one is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio_util::sync::CancellationToken;

use crate::engine::bounds::Bounds;
use crate::engine::mapping::{self, Problems};
use crate::engine::ruleset::Ruleset;
use crate::live::Live;
use crate::metrics::Metrics;

/// How often the file is read. By content, so that the symlink swap of a ConfigMap volume is seen.
const POLL: Duration = Duration::from_secs(1);

/// Why there is no mapping in a file.
#[derive(Debug, thiserror::Error)]
pub enum MappingFileError {
    /// It cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It cannot be used.
    #[error("{} has {problems}", .path.display())]
    Problems {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Problems,
    },
}

/// A mapping file as it was last read.
#[derive(Debug)]
pub struct MappingFile {
    path: PathBuf,
    bounds: Bounds,
    /// What was read last, good or bad, to tell whether there is something new.
    seen: Option<String>,
}

impl MappingFile {
    /// A file that has not been read yet.
    #[must_use]
    pub fn new(path: &Path, bounds: Bounds) -> Self {
        Self { path: path.to_owned(), bounds, seen: None }
    }

    /// Reads it, for the first time.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn load(&mut self) -> Result<Ruleset, MappingFileError> {
        let text = self.read()?;
        let ruleset = self.compile(&text);
        self.seen = Some(text);
        ruleset
    }

    /// Follows the file until stopped.
    pub async fn follow(mut self, live: Arc<Live>, metrics: Arc<Metrics>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(&live, &metrics);
        }
    }

    /// Puts the file's mapping in force where it is new and good.
    fn look(&mut self, live: &Live, metrics: &Metrics) {
        let path = self.path.display().to_string();
        match self.read() {
            Ok(text) if self.seen.as_ref() == Some(&text) => {}
            Ok(text) => {
                match self.compile(&text) {
                    Ok(ruleset) => {
                        let rules = ruleset.rules().len();
                        let generation = live.swap(ruleset);
                        metrics.mapping_in_force(generation, rules);
                        tracing::info!(path, rules, generation, "mapping in force");
                    }
                    Err(error) => {
                        metrics.mapping_refused();
                        tracing::error!(path, "the last good mapping stays in force: {error}");
                    }
                }
                self.seen = Some(text);
            }
            // Said once, until the file is there again.
            Err(error) if self.seen.take().is_some() => {
                metrics.mapping_refused();
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(path, "the last good mapping stays in force: {error}: {source}");
            }
            Err(_) => {}
        }
    }

    fn read(&self) -> Result<String, MappingFileError> {
        fs::read_to_string(&self.path)
            .map_err(|source| MappingFileError::Read { path: self.path.clone(), source })
    }

    fn compile(&self, text: &str) -> Result<Ruleset, MappingFileError> {
        mapping::compile(text, &self.bounds)
            .map_err(|problems| MappingFileError::Problems { path: self.path.clone(), problems })
    }
}
