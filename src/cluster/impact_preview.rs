//! What would a mapping that is being edited do to the ServiceAccounts that exist, in the namespaces that
//! have opted in and in those that are observed?

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::ApiServer;
use super::failure::Failure;
use super::namespaces::KnownNamespaces;
use super::pages::Pages;
use super::service_accounts::{self, with_subject};
use crate::engine::decision::impact::Impact;
use crate::engine::rules::ruleset::Ruleset;
use crate::telemetry::causes;

/// How long a preview may take. The API server waits for 5 seconds, and the edit must come through even where
/// there is very much to look at.
const TIME: Duration = Duration::from_secs(3);

/// The shortest time between the beginnings of two previews.
const GAP: Duration = Duration::from_secs(1);

/// Decides on what exists by a mapping that is not in force yet.
#[derive(Clone)]
pub struct ImpactPreview {
    api: ApiServer,
    namespaces: watch::Receiver<KnownNamespaces>,
    /// There is one preview at a time, and one a second: whoever reaches the port can ask. An edit during
    /// another one's preview gets none.
    turn: Arc<Mutex<Option<Instant>>>,
}

impl ImpactPreview {
    /// Previews what happens in these namespaces.
    #[must_use]
    pub fn new(api: ApiServer, namespaces: watch::Receiver<KnownNamespaces>) -> Self {
        Self { api, namespaces, turn: Arc::default() }
    }

    /// What these rules would do, as warnings; there is none where nothing could be looked at. They only
    /// count: whoever reaches the port may ask, and may not learn which ServiceAccounts there are.
    pub async fn warnings(&self, ruleset: &Ruleset) -> Vec<String> {
        let Ok(mut last) = self.turn.try_lock() else { return Vec::new() };
        let Some(namespaces) = self.namespaces.borrow().clone() else { return Vec::new() };
        let (mut impact, mut observed, mut complete) = (Impact::default(), Impact::default(), true);
        let now = Instant::now();
        let (begin, end) = (last.map_or(now, |last| now.max(last + GAP)), now + TIME);
        // The turn is noted before the preview begins: whoever hangs up during it has had one.
        *last = Some(begin);
        tokio::time::sleep_until(begin).await;
        let enabled = namespaces.enabled.iter().map(|namespace| (namespace, false));
        let all = enabled.chain(namespaces.observed.iter().map(|namespace| (namespace, true)));
        for (namespace, is_observed) in all {
            let impact = if is_observed { &mut observed } else { &mut impact };
            let look = look(&self.api, namespace, ruleset, impact);
            match tokio::time::timeout_at(end, look).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    complete = false;
                    tracing::warn!(
                        namespace,
                        "listing ServiceAccounts for an impact preview: {}",
                        causes(&failure)
                    );
                }
                Err(_) => {
                    complete = false;
                    break;
                }
            }
        }
        impact.warnings((!namespaces.observed.is_empty()).then_some(&observed), complete)
    }
}

async fn look(
    api: &ApiServer,
    namespace: &str,
    ruleset: &Ruleset,
    impact: &mut Impact,
) -> Result<(), Failure> {
    let mut pages = Pages::new(api.clone(), service_accounts::collection(api, namespace));
    while pages
        .next(|object| with_subject(object, namespace, ruleset, |subject, _| impact.add(ruleset, subject)))
        .await?
    {}
    Ok(())
}
