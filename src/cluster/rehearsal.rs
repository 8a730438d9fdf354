//! What would a mapping do to the ServiceAccounts of the namespaces that have opted in? Looked up at the moment of the edit.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::accounts::with_subject;
use super::opted_in::OptedIn;
use crate::engine::effect::Effect;
use crate::engine::ruleset::Ruleset;

/// The API server waits for 5 seconds, and the edit must come through also where there is very much to look at.
const TIME: Duration = Duration::from_secs(3);

/// ServiceAccounts asked for at once: about 4 kB each.
const PAGE: u32 = 200;

/// Looks at what exists with the eyes of a mapping that is not in force yet.
#[derive(Clone)]
pub struct Rehearsal {
    client: Client,
    namespaces: watch::Receiver<OptedIn>,
    /// One at a time; an edit during another one is told nothing.
    turn: Arc<Semaphore>,
}

impl Rehearsal {
    /// In these namespaces.
    #[must_use]
    pub fn new(client: Client, namespaces: watch::Receiver<OptedIn>) -> Self {
        Self { client, namespaces, turn: Arc::new(Semaphore::new(1)) }
    }

    /// What it would do, as warnings; none where nobody could look.
    pub async fn warnings(&self, ruleset: &Ruleset) -> Vec<String> {
        let Ok(_turn) = self.turn.try_acquire() else { return Vec::new() };
        let Some(namespaces) = self.namespaces.borrow().clone() else { return Vec::new() };
        let (mut effect, mut complete) = (Effect::default(), true);
        let end = Instant::now() + TIME;
        for namespace in namespaces {
            let api = Api::namespaced(self.client.clone(), &namespace);
            match tokio::time::timeout_at(end, look(&api, ruleset, &mut effect)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    complete = false;
                    tracing::warn!(namespace, "listing ServiceAccounts for a rehearsal: {error}");
                }
                Err(_) => {
                    complete = false;
                    break;
                }
            }
        }
        effect.warnings(complete)
    }
}

async fn look(api: &Api<ServiceAccount>, ruleset: &Ruleset, effect: &mut Effect) -> Result<(), kube::Error> {
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let accounts = api.list_metadata(&page).await?;
        for account in &accounts.items {
            with_subject(&account.metadata, |subject| effect.add(ruleset, subject));
        }
        match accounts.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}
