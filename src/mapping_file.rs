//! Where does the mapping come from? From a file, read again when its content changes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::mapping::{self, Problems};
use crate::mapping_loader::MappingLoader;

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
pub async fn load(path: &Path, intake: &mut MappingLoader) -> Result<(), MappingFileError> {
    let text = read(path).map_err(|source| MappingFileError::Read { path: path.to_owned(), source })?;
    match intake.offer_unsaid(&text).await {
        Ok(_) => Ok(()),
        Err(problems) => Err(MappingFileError::Problems { path: path.to_owned(), problems }),
    }
}

/// Follows the file until stopped.
pub async fn follow(path: PathBuf, mut intake: MappingLoader, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match read(&path) {
            // A bad one has been logged and counted.
            Ok(text) => drop(intake.offer(&text).await),
            Err(error) => intake.missing(&format!("reading {}: {error}", path.display())),
        }
    }
}

/// No more of the file than a mapping may have, whatever its length is.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let longest = mapping::MAX_BYTES as u64;
    File::open(path)?.take(longest + 1).read_to_string(&mut text)?;
    if text.len() > mapping::MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {longest} bytes, and a mapping can have no more: a ConfigMap holds no more"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::engine::rules::operator_policy::OperatorPolicy;
    use crate::memory::{POOL, Pool};
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_file_that_is_too_long_is_not_read_to_its_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // Longer than any memory, if it were read.
        file.as_file().set_len(1 << 40).unwrap();
        file.write_all(b"rules: []\n").unwrap();
        let (metrics, pool) = (Arc::new(Metrics::default()), Pool::new(POOL));
        let mut intake = MappingLoader::new(&metrics, OperatorPolicy::default(), "a file".to_owned(), &pool);
        let error = load(file.path(), &mut intake).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("it has more than 1048576 bytes"), "{source}");
        file.as_file().set_len(10).unwrap();
        load(file.path(), &mut intake).await.unwrap();
        assert_eq!(intake.live().load().number, 1);
    }
}
