//! How is a mapping on disk followed? The file is read every second, and loaded when its content has changed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::mapping::{self, Problems};
use crate::mapping_loader::MappingLoader;

/// How often the file is read. Its content is compared, because a watch does not see a ConfigMap volume swap
/// its symlink.
const POLL: Duration = Duration::from_secs(1);

/// Why there is no mapping in a file.
#[derive(Debug, thiserror::Error)]
pub enum MappingFileError {
    /// The file cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The mapping in the file cannot be used.
    #[error("{} has {problems}", .path.display())]
    Problems {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the mapping.
        problems: Problems,
    },
}

/// Loads the file for the first time.
///
/// # Errors
/// The file cannot be read, or the mapping in it cannot be used.
pub async fn load(path: &Path, loader: &mut MappingLoader) -> Result<(), MappingFileError> {
    let text = read(path).map_err(|source| MappingFileError::Read { path: path.to_owned(), source })?;
    match loader.load_unlogged(&text).await {
        Ok(_) => Ok(()),
        Err(problems) => Err(MappingFileError::Problems { path: path.to_owned(), problems }),
    }
}

/// Follows the file until it is told to stop.
pub async fn follow(path: PathBuf, mut loader: MappingLoader, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match read(&path) {
            // The loader has logged and counted a bad one.
            Ok(text) => drop(loader.load(&text).await),
            Err(error) => loader.missing(&format!("reading {}: {error}", path.display())),
        }
    }
}

/// Reads no more of the file than a mapping may have, however long the file is.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let longest = mapping::MAX_BYTES as u64;
    File::open(path)?.take(longest + 1).read_to_string(&mut text)?;
    if text.len() > mapping::MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {longest} bytes: shorten it to what a ConfigMap can hold"
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
        // It is longer than any memory, if it were read.
        file.as_file().set_len(1 << 40).unwrap();
        file.write_all(b"rules: []\n").unwrap();
        let (metrics, pool) = (Arc::new(Metrics::default()), Pool::new(POOL));
        let mut loader = MappingLoader::new(&metrics, OperatorPolicy::default(), "a file".to_owned(), &pool);
        let error = load(file.path(), &mut loader).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("it has more than 1048576 bytes"), "{source}");
        file.as_file().set_len(10).unwrap();
        load(file.path(), &mut loader).await.unwrap();
        assert_eq!(loader.live().load().number, 1);
    }
}
