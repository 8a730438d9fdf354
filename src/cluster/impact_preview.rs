//! What would a mapping do to the ServiceAccounts of the namespaces that have opted in? Looked up at the moment of the edit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::ApiServer;
use super::failure::Failure;
use super::namespaces::OptedIn;
use super::pages::Pages;
use super::service_accounts::{self, with_subject};
use crate::engine::decision::impact::Impact;
use crate::engine::rules::ruleset::Ruleset;

/// The API server waits for 5 seconds, and the edit must come through also where there is very much to look at.
const TIME: Duration = Duration::from_secs(3);

/// Between the beginnings of two.
const GAP: Duration = Duration::from_secs(1);

/// Looks at what exists with the eyes of a mapping that is not in force yet.
#[derive(Clone)]
pub struct ImpactPreview {
    api: ApiServer,
    namespaces: watch::Receiver<OptedIn>,
    /// One at a time, and one a second: whoever reaches the port can ask. An edit during another one is told nothing.
    turn: Arc<Mutex<Option<Instant>>>,
}

impl ImpactPreview {
    /// In these namespaces.
    #[must_use]
    pub fn new(api: ApiServer, namespaces: watch::Receiver<OptedIn>) -> Self {
        Self { api, namespaces, turn: Arc::default() }
    }

    /// What it would do, as warnings; none where nobody could look. Counts alone: whoever reaches the port may ask, and may not know who
    /// is there.
    pub async fn warnings(&self, ruleset: &Ruleset) -> Vec<String> {
        let Ok(mut last) = self.turn.try_lock() else { return Vec::new() };
        let Some(namespaces) = self.namespaces.borrow().clone() else { return Vec::new() };
        let (mut impact, mut complete) = (Impact::default(), true);
        let now = Instant::now();
        let (begin, end) = (last.map_or(now, |last| now.max(last + GAP)), now + TIME);
        // Before it is done: who hangs up meanwhile has had a turn.
        *last = Some(begin);
        tokio::time::sleep_until(begin).await;
        for namespace in &*namespaces {
            let look = look(&self.api, namespace, ruleset, &mut impact);
            match tokio::time::timeout_at(end, look).await {
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
        impact.warnings(complete)
    }
}

async fn look(
    api: &ApiServer,
    namespace: &str,
    ruleset: &Ruleset,
    impact: &mut Impact,
) -> Result<(), Failure> {
    let mut pages = Pages::new(api.clone(), service_accounts::collection(namespace));
    while pages
        .next(|object| with_subject(object, namespace, ruleset, |subject, _| impact.add(ruleset, subject)))
        .await?
    {}
    Ok(())
}
