//! Where does the mapping come from? From a file, read again when its content changes.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio_util::sync::CancellationToken;

use crate::engine::mapping::Problems;
use crate::mapping_intake::Intake;

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

/// Reads the file, for the first time.
///
/// # Errors
/// When it cannot be read or used.
pub fn load(path: &Path, intake: &mut Intake) -> Result<(), MappingFileError> {
    let text = fs::read_to_string(path)
        .map_err(|source| MappingFileError::Read { path: path.to_owned(), source })?;
    match intake.offer_unsaid(&text) {
        Ok(_) => Ok(()),
        Err(problems) => Err(MappingFileError::Problems { path: path.to_owned(), problems }),
    }
}

/// Follows the file until stopped.
pub async fn follow(path: PathBuf, mut intake: Intake, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match fs::read_to_string(&path) {
            // A bad one has been logged and counted.
            Ok(text) => drop(intake.offer(&text)),
            Err(error) => intake.missing(&format!("reading {}: {error}", path.display())),
        }
    }
}
