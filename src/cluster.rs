//! What is watched and written in the cluster?

mod accounts;
pub mod certificates;
pub mod mapping_watch;
pub mod opted_in;
pub mod rehearsal;
pub mod repair;
pub mod trust;

use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::{Client, Config};

use crate::telemetry::causes;

/// The field manager of what we write.
const MANAGER: &str = "gitlab-iam-webhook";

/// How long one call may take, with the client's own retries.
const CALL: Duration = Duration::from_secs(10);

/// Why the cluster cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a Pod's credentials.
    #[error(
        "found no credentials: set KUBECONFIG to a kubeconfig that can be read, or run in a Pod of the cluster"
    )]
    Credentials,
    /// Credentials that cannot be used.
    #[error("using the credentials of the cluster")]
    Client(#[source] kube::Error),
}

/// Connects with KUBECONFIG, or with the credentials of the Pod that this runs in. Nothing is asked of the API server yet.
///
/// # Errors
/// When there are neither, or they cannot be used.
pub async fn connect() -> Result<Client, ConnectError> {
    // What kube says of it names each place twice; the places are in our own sentence.
    let config = Config::infer().await.map_err(|_| ConnectError::Credentials)?;
    Client::try_from(config).map_err(ConnectError::Client)
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Somebody else was faster; the watch shows it.
    #[error("another version was there")]
    Conflict,
    #[error("{}", causes(.0))]
    Api(#[source] kube::Error),
    #[error("no answer within {CALL:?}")]
    TooLate,
}

impl Failure {
    fn log(&self, doing: &str) {
        match self {
            Self::Conflict => tracing::debug!("{doing}: {self}"),
            Self::Api(_) | Self::TooLate => tracing::warn!("{doing}: {self}; trying again"),
        }
    }
}

/// A call with its time limit.
async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failure::Conflict),
        Ok(Err(error)) => Err(Failure::Api(error)),
        Err(_) => Err(Failure::TooLate),
    }
}

/// The pauses of a watch that fails: half a second, doubled up to 5 seconds, and by chance up to half as long again. Short, because
/// the watches of a webhook are few, and whoever waits for a role waits for them.
#[derive(Default)]
struct Pauses(u32);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1);
        Some(pause.min(Duration::from_secs(5)).mul_f64(1.0 + fastrand::f64() / 2.0))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
