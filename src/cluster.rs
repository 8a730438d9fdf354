//! What is watched and written in the cluster?

pub mod mapping_watch;

use kube::Client;

/// Connects with KUBECONFIG, or with the credentials of the Pod that this runs in.
///
/// # Errors
/// When there are neither.
pub async fn connect() -> Result<Client, kube::Error> {
    Client::try_default().await
}
