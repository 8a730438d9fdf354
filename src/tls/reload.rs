//! Has the pair on disk changed? A good new one is served from the next handshake on; a broken one changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio_util::sync::CancellationToken;

use super::cert_resolver::CertResolver;
use super::{Pair, PairError};
use crate::telemetry::causes;

/// How often the files are read. By content: the kubelet swaps a symlink, which a watch on the file does not see.
const POLL: Duration = Duration::from_secs(2);

/// A certificate and its key on disk.
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// What was read last, good or bad, to tell whether there is something new.
    seen: Option<Pair>,
}

/// Why the files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// They are no pair.
    #[error("loading {} and {}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: PairError,
    },
}

impl Files {
    /// Files that have not been read yet.
    #[must_use]
    pub fn new(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.to_owned(), key: key.to_owned(), seen: None }
    }

    /// Reads and serves them, for the first time.
    ///
    /// # Errors
    /// When they cannot be read or are no pair.
    pub fn load(&mut self, served: &CertResolver) -> Result<i64, FilesError> {
        let pair = self.read()?;
        let done = self.serve(&pair, served);
        self.seen = Some(pair);
        done
    }

    /// Follows the files until stopped.
    pub async fn follow(mut self, served: Arc<CertResolver>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut unreadable = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let loaded = match self.read() {
                Ok(pair) if self.seen.as_ref() == Some(&pair) => {
                    unreadable = false;
                    continue;
                }
                Ok(pair) => {
                    unreadable = false;
                    let done = self.serve(&pair, &served);
                    self.seen = Some(pair);
                    done
                }
                // Said once, until they are there again.
                Err(_) if unreadable => continue,
                Err(error) => {
                    unreadable = true;
                    served.failed();
                    Err(error)
                }
            };
            match loaded {
                Ok(not_after) => tracing::info!(not_after, "new certificate served"),
                Err(error) => {
                    let causes = causes(&error);
                    tracing::error!("{causes}; the certificate served so far goes on");
                }
            }
        }
    }

    fn read(&self) -> Result<Pair, FilesError> {
        let read =
            |path: &Path| fs::read(path).map_err(|source| FilesError::Read { path: path.to_owned(), source });
        Ok(Pair { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    fn serve(&self, pair: &Pair, served: &CertResolver) -> Result<i64, FilesError> {
        served.serve(pair).map_err(|source| FilesError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}
