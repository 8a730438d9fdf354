//! How is a token of a ServiceAccount got, that the cluster itself does not take?
//!
//! Whoever asks does so with rights of his own: `create` on `serviceaccounts/token`. A token is only asked
//! for with an audience that the API server does not accept, so that nobody who sees it can use it here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccount as ClusterServiceAccount;
use kube::api::{GetParams, PostParams};
use kube::core::{Request, Resource};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use super::failure::Failure;
use super::read::Built;
use super::{ApiServer, NamespacedName};
use crate::inventory::{Hidden, ServiceAccount};

/// How long a token is valid, in seconds: the API server takes no shorter time.
const LIFE: u32 = 600;

/// Gets tokens.
pub struct Tokens {
    api: ApiServer,
    /// The audiences that the API server accepts. They are asked for once.
    accepted: OnceCell<Vec<String>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The API server was asked in vain.
    #[error("{doing}")]
    Asked {
        /// What was being done.
        doing: &'static str,
        /// Why, in words.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The API server does not say which audiences it accepts.
    #[error("the API server does not say which audiences it accepts itself, so no token is sent to anybody")]
    Unsaid,
    /// A token with this audience would be a credential of the cluster.
    #[error(
        "the API server accepts tokens for {0} itself, so such a token is a credential of the cluster, and \
         is not sent to anybody: name another audience, or take {0} out of its --api-audiences"
    )]
    Accepted(String),
}

/// What is read of the answer to a request for a token.
#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    audiences: Vec<String>,
}

/// The same where the token is wanted.
#[derive(Deserialize)]
struct Issued {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    token: Hidden,
}

impl Tokens {
    /// Asks this API server.
    #[must_use]
    pub fn new(api: ApiServer) -> Self {
        Self { api, accepted: OnceCell::new() }
    }

    /// Reads one ServiceAccount; `None` where there is none.
    ///
    /// # Errors
    /// When the API server refuses that, or does not answer.
    pub async fn service_account(
        &self,
        account: &NamespacedName,
    ) -> Result<Option<ServiceAccount>, TokensError> {
        let failed = |failure| failed("reading the ServiceAccount", failure);
        let request = Request::new(ClusterServiceAccount::url_path(&(), Some(&account.namespace)));
        let request = request.get(&account.name, &GetParams::default());
        let held = self.api.object_or_none(request).await.map_err(failed)?;
        held.map(|held| held.json()).transpose().map_err(failed)
    }

    /// Gets a token of this ServiceAccount for this audience, valid for 10 minutes.
    ///
    /// # Errors
    /// When the API server accepts the audience itself, or gives no token.
    pub async fn token(&self, account: &NamespacedName, audience: &str) -> Result<Hidden, TokensError> {
        let accepted = self.accepted.get_or_try_init(|| self.accepted(account)).await?;
        if accepted.iter().any(|accepted| accepted == audience) {
            return Err(TokensError::Accepted(audience.to_owned()));
        }
        let request = ask(account, &PostParams::default(), &[audience]);
        let failed = |failure| failed("asking for a token (create on serviceaccounts/token)", failure);
        let held = self.api.object(request).await.map_err(failed)?;
        let issued: Issued = held.json().map_err(failed)?;
        Ok(issued.status.token)
    }

    /// Asks which audiences the API server accepts: it writes them into a request that names none. Of the
    /// answer to this dry run nothing else is read.
    async fn accepted(&self, account: &NamespacedName) -> Result<Vec<String>, TokensError> {
        let doing = "asking which audiences the API server accepts (create on serviceaccounts/token)";
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let request = ask(account, &parameters, &[]);
        let held = self.api.object(request).await.map_err(|failure| failed(doing, failure))?;
        let answered: Answered = held.json().map_err(|failure| failed(doing, failure))?;
        if answered.spec.audiences.is_empty() {
            Err(TokensError::Unsaid)
        } else {
            Ok(answered.spec.audiences)
        }
    }
}

fn ask(account: &NamespacedName, parameters: &PostParams, audiences: &[&str]) -> Built {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": audiences, "expirationSeconds": LIFE},
    });
    let request = Request::new(ClusterServiceAccount::url_path(&(), Some(&account.namespace)));
    request.create_subresource("token", &account.name, parameters, body.to_string().into_bytes())
}

fn failed(doing: &'static str, failure: Failure) -> TokensError {
    TokensError::Asked { doing, source: Arc::new(failure) }
}
