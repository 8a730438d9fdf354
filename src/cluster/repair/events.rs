//! How does the owner of a ServiceAccount learn that somebody must settle who sets its role? By an Event on
//! it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use kube::core::{Request, Resource};
use serde_json::json;
use tokio::sync::Semaphore;

use super::backoff::{TIMES, WINDOW};
use super::queue::ServiceAccountRef;
use crate::cluster::failure::Failure;
use crate::cluster::{ApiServer, MANAGER};

/// Events that are written at once. Beyond that the log alone tells: who may write ServiceAccounts can change
/// thousands back.
const AT_ONCE: usize = 4;

/// Writes Events for owners.
pub(super) struct OwnerEvents {
    api: ApiServer,
    turns: Arc<Semaphore>,
}

impl OwnerEvents {
    /// Nothing is written yet.
    pub(super) fn new(api: ApiServer) -> Self {
        Self { api, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Says that this ServiceAccount is left alone for so long. The Event is written in the background; where
    /// that fails, the log has said it.
    pub(super) fn left_alone(&self, account: ServiceAccountRef, time: Duration) {
        let time = humantime::format_duration(time).to_string();
        let ServiceAccountRef { namespace, name } = &account;
        tracing::warn!(
            %namespace, %name,
            "ServiceAccount left alone for {time}: it is changed back again and again"
        );
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else { return };
        let api = self.api.clone();
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(failure) = publish(&api, &account, &time).await {
                failure.log(&format!("writing an Event on ServiceAccount {account}"));
            }
        });
    }
}

async fn publish(
    api: &ApiServer,
    ServiceAccountRef { namespace, name }: &ServiceAccountRef,
    time: &str,
) -> Result<(), Failure> {
    let now = SystemTime::now();
    let id = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // A name has at most 253 characters, and the time is added to it.
    let prefix: String = name.chars().take(200).collect();
    let unique = format!("{}.{id:x}", prefix.trim_end_matches(['.', '-']));
    let (namespace, name) = (&**namespace, &**name);
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": unique},
        "eventTime": humantime::format_rfc3339_micros(now).to_string(),
        "type": "Warning",
        "reason": "RoleChangedBack",
        "action": "Repair",
        "note": format!(
            "its role annotations were changed back {TIMES} times in {} minutes, so they are left alone for \
             {time}; find what else sets them, or give it the label gitlab-iam-webhook/inject=disabled",
            WINDOW.as_secs() / 60,
        ),
        "regarding": {"apiVersion": "v1", "kind": "ServiceAccount", "namespace": namespace, "name": name},
        "reportingController": MANAGER,
        "reportingInstance": MANAGER,
    });
    let event = serde_json::to_vec(&event).map_err(Failure::Json)?;
    api.tell(Request::new(Event::url_path(&(), Some(namespace))).create(&PostParams::default(), event)).await
}
