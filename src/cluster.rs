//! What is watched and written in the cluster?

mod accounts;
pub mod certificates;
mod configurations;
pub mod mapping_watch;
pub mod newest;
pub mod opted_in;
mod pauses;
pub mod rehearsal;
pub mod repair;
pub mod trust;

use std::time::Duration;

use kube::api::PatchParams;
use kube::{Client, Config};
use tokio::sync::watch;

use crate::telemetry::causes;

/// The field manager of what we write.
const MANAGER: &str = "gitlab-iam-webhook";

/// How long a connection may be silent. The API server ends watches after 290 seconds.
const SILENCE: Duration = Duration::from_secs(310);

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// One object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME, as in gitlab-iam-webhook/role-mapping".to_owned()),
        }
    }
}

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
    let mut config = Config::infer().await.map_err(|_| ConnectError::Credentials)?;
    // Each caller has its own pauses, and must be told to wait rather than wait unknowingly.
    config.default_retry = false;
    // An API server that accepts and never answers; watches live for less.
    config.read_timeout = Some(SILENCE);
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

/// For a patch that is written in our name.
fn in_our_name() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Tells a value to whoever follows it, where it is another one.
fn tell<T: PartialEq>(told: &watch::Sender<T>, value: T) {
    told.send_if_modified(|last| {
        let differs = *last != value;
        *last = value;
        differs
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_namespace_and_a_name() {
        assert_eq!("a/b".parse::<Place>().unwrap().to_string(), "a/b");
        for bad in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
