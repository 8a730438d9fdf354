//! What is watched and written in the cluster?

pub mod mapping_watch;

use kube::{Client, Config};

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
