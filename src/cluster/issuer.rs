//! Who issues the tokens of the cluster's ServiceAccounts?
//!
//! The API server says it in its discovery document
//! (<https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/>). Reading it needs
//! the role `system:service-account-issuer-discovery`.

use std::time::Duration;

use serde::Deserialize;

use super::ApiServer;
use super::failure::Failure;

/// The longest document that is read, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// How long the answer may take to begin. A person waits for it.
const TIME: Duration = Duration::from_secs(8);

/// Why the issuer is not known.
#[derive(Debug, thiserror::Error)]
pub enum IssuerFailure {
    /// The API server was not reached, or it does not know who asks.
    #[error("asking the cluster for the issuer of its tokens")]
    Unreachable(#[source] UnreachableCause),
    /// The API server refused to say it.
    #[error("asking the cluster for the issuer of its tokens")]
    Refused(#[source] UnreachableCause),
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UnreachableCause(Failure);

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Asks the API server for the issuer. Its text is as the API server says it, and was not checked.
///
/// # Errors
/// When the API server cannot be reached, or refuses.
pub async fn issuer(api: &ApiServer) -> Result<String, IssuerFailure> {
    let request = http::Request::get("/.well-known/openid-configuration").body(Vec::new());
    let request = request.map_err(kube::core::request::Error::BuildRequest);
    let read = async {
        let held = api.ask(request, TIME, MAX_BYTES).await?;
        held.json::<Discovery>()
    };
    read.await.map(|discovery| discovery.issuer).map_err(|failure| match failure {
        failure if failure.is_unreachable() => IssuerFailure::Unreachable(UnreachableCause(failure)),
        failure => IssuerFailure::Refused(UnreachableCause(failure)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::read::tests::nobody;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_never_answers_is_not_waited_for() {
        let begun = tokio::time::Instant::now();
        assert!(matches!(issuer(&nobody()).await, Err(IssuerFailure::Unreachable(_))));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
