//! Has the certificate on disk changed? A good one is served from the next handshake on; a bad one changes
//! nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio_util::sync::CancellationToken;

use super::cert_resolver::CertResolver;
use super::{Pair, PairError};
use crate::telemetry::{causes, unix_time_in_words};

/// How often the files are read. Their content is compared, because a watch does not see the kubelet swap a
/// symlink.
const POLL: Duration = Duration::from_secs(2);

/// The files of a certificate and of its key.
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// The pair that was read last, good or bad, tells whether there is something new.
    seen: Option<Pair>,
}

/// Why the files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The files cannot be served as a pair.
    #[error("loading {} and {}", .certificate.display(), .key.display())]
    Pair {
        /// The path of the certificate.
        certificate: PathBuf,
        /// The path of the key.
        key: PathBuf,
        /// What is wrong with them.
        #[source]
        source: PairError,
    },
}

impl Files {
    /// Names the files. They are not read yet.
    #[must_use]
    pub fn new(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.to_owned(), key: key.to_owned(), seen: None }
    }

    /// Reads and serves the files for the first time.
    ///
    /// # Errors
    /// The files cannot be read, or cannot be served as a pair.
    pub fn load(&mut self, resolver: &CertResolver) -> Result<i64, FilesError> {
        let pair = self.read()?;
        let done = self.serve(&pair, resolver);
        self.seen = Some(pair);
        done
    }

    /// Follows the files until it is told to stop.
    pub async fn follow(mut self, resolver: Arc<CertResolver>, stop: CancellationToken) {
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
                    let done = self.serve(&pair, &resolver);
                    self.seen = Some(pair);
                    done
                }
                // It has been logged, and is not logged again until the files are back.
                Err(_) if unreadable => continue,
                Err(error) => {
                    unreadable = true;
                    resolver.failed();
                    Err(error)
                }
            };
            match loaded {
                Ok(not_after) => {
                    let not_after = unix_time_in_words(not_after);
                    tracing::info!(not_after, "new certificate served");
                }
                Err(error) => {
                    let causes = causes(&error);
                    tracing::error!("{causes}; the certificate served so far stays");
                }
            }
        }
    }

    fn read(&self) -> Result<Pair, FilesError> {
        let read =
            |path: &Path| fs::read(path).map_err(|source| FilesError::Read { path: path.to_owned(), source });
        Ok(Pair { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    fn serve(&self, pair: &Pair, resolver: &CertResolver) -> Result<i64, FilesError> {
        resolver.serve(pair).map_err(|source| FilesError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}
