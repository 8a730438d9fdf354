//! How is the owner of a ServiceAccount told that somebody must settle who sets its role? By an Event on it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use kube::core::{Request, Resource};
use serde_json::json;
use tokio::sync::Semaphore;

use super::watches::Key;
use crate::cluster::failure::Failure;
use crate::cluster::{ApiServer, MANAGER};

/// So many Events are written at once; of the rest only the log tells. Who may write ServiceAccounts can change thousands back.
const AT_ONCE: usize = 4;

/// Tells owners.
pub(super) struct Telling {
    api: ApiServer,
    turns: Arc<Semaphore>,
}

impl Telling {
    /// Nothing has been told yet.
    pub(super) fn new(api: ApiServer) -> Self {
        Self { api, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Tells one, whatever comes of that, in its own time.
    pub(super) fn tell_owner(&self, (namespace, name): &Key, time: Duration) {
        let time = humantime::format_duration(time).to_string();
        tracing::warn!(%namespace, %name, "ServiceAccount left alone for {time}: it is changed back again and again");
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else { return };
        let (api, namespace, name) = (self.api.clone(), namespace.clone(), name.clone());
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(failure) = publish(&api, &namespace, &name, &time).await {
                failure.log("publishing an Event");
            }
        });
    }
}

async fn publish(api: &ApiServer, namespace: &str, name: &str, time: &str) -> Result<(), Failure> {
    let now = SystemTime::now();
    let id = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // With what makes it another one it is a name still.
    let prefix: String = name.chars().take(200).collect();
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{}.{id:x}", prefix.trim_end_matches(['.', '-']))},
        "eventTime": humantime::format_rfc3339_micros(now).to_string(),
        "type": "Warning",
        "reason": "RoleChangedBack",
        "action": "Repair",
        "note": format!(
            "its role annotations were changed back 3 times in 10 minutes, so they are left alone for {time}; \
             find what else sets them, or give it the label gitlab-iam-webhook/inject=disabled"
        ),
        "regarding": {"apiVersion": "v1", "kind": "ServiceAccount", "namespace": namespace, "name": name},
        "reportingController": MANAGER,
        "reportingInstance": MANAGER,
    });
    let event = serde_json::to_vec(&event).map_err(Failure::Json)?;
    api.tell(Request::new(Event::url_path(&(), Some(namespace))).create(&PostParams::default(), event)).await
}
