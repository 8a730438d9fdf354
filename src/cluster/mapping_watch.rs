//! Where does the mapping come from? From one ConfigMap, watched; beside it the last good text is kept.
//!
//! Rights on two names are all that is needed: get, list, watch, patch and create on `NAME` and `NAME-last-good`. Creation is a
//! server-side apply: it is asked for by name, so that a Role can allow it for one name alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::newest::{Newest, Taken};
use super::pauses::Pauses;
use super::{Failure, MANAGER, Place, within};
use crate::engine::mapping::CONFIG_MAP_KEY;
use crate::health::Hold;
use crate::mapping_intake::Intake;
use crate::telemetry::causes;

/// What a new user finds in the ConfigMap.
const STARTER: &str = include_str!("starter-mapping.yaml");

/// After how long a text that could not be kept is tried again.
const KEEP_AGAIN: Duration = Duration::from_secs(30);

/// The watch on the mapping's ConfigMap.
pub struct MappingWatch {
    api: Api<ConfigMap>,
    place: Place,
    starter: bool,
    intake: Intake,
    /// Released when the mapping is loaded, or known to be absent.
    unknown: Option<Hold>,
    /// The version of the ConfigMap that was taken last.
    taken: watch::Sender<Taken>,
    behind: Arc<Notify>,
    /// A text that came into force and is still to be kept.
    unkept: Option<String>,
}

impl MappingWatch {
    /// A watch that has not begun. `starter` creates the ConfigMap where there is none.
    #[must_use]
    pub fn new(client: Client, place: Place, starter: bool, intake: Intake, unknown: Hold) -> Self {
        let api = Api::namespaced(client, &place.namespace);
        let (taken, behind) = (watch::Sender::new(None), Arc::default());
        Self { api, place, starter, intake, unknown: Some(unknown), taken, behind, unkept: None }
    }

    /// Tells whether what this takes is the newest.
    #[must_use]
    pub fn newest(&self) -> Newest {
        let (api, place) = (self.api.clone(), self.place.clone());
        let (taken, behind) = (self.taken.subscribe(), Arc::clone(&self.behind));
        Newest::new(api, place, taken, behind)
    }

    /// Follows the ConfigMap until stopped. A broken connection is tried again, with growing pauses.
    pub async fn follow(mut self, stop: CancellationToken) {
        let behind = Arc::clone(&self.behind);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = behind.notified() => {}
                () = self.watch() => return,
            }
        }
    }

    async fn watch(&mut self) {
        let stream = watch_object(self.api.clone(), &self.place.name).backoff(Pauses::default());
        let mut stream = std::pin::pin!(stream);
        loop {
            // Only once what is in force has been told: whoever repairs waits for that.
            self.keep_last_good().await;
            let event = match tokio::time::timeout(KEEP_AGAIN, stream.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(_) => continue,
            };
            match event {
                Ok(config_map) => {
                    let version =
                        config_map.as_ref().and_then(|there| there.metadata.resource_version.clone());
                    self.take(config_map).await;
                    self.taken.send_replace(Some(version.unwrap_or_default()));
                }
                Err(error) => {
                    tracing::warn!(config_map = %self.place, "watching the mapping: {}; trying again", causes(&error));
                }
            }
        }
    }

    async fn take(&mut self, config_map: Option<ConfigMap>) {
        let first = self.unknown.is_some();
        let text = config_map.as_ref().map(|config_map| config_map.data.as_ref()?.get(CONFIG_MAP_KEY));
        match text {
            Some(Some(text)) => match self.intake.offer(text) {
                Ok(true) => self.unkept = Some(text.clone()),
                // Seen before: a label changed, or the watch began anew. It may be a bad one, and must not be kept.
                Ok(false) => tracing::debug!(config_map = %self.place, "reading the mapping: nothing new"),
                Err(_) if first => drop(self.use_last_good().await),
                Err(_) => {}
            },
            Some(None) => {
                self.intake.missing(&format!("{} has no `data` key `{CONFIG_MAP_KEY}`", self.place));
                if first {
                    self.use_last_good().await;
                }
            }
            None => {
                self.intake.missing(&format!("the ConfigMap {} is gone", self.place));
                if first && !self.use_last_good().await {
                    tracing::warn!(config_map = %self.place, "there is no mapping: nothing is done until there is one");
                    if self.starter {
                        self.create_starter().await;
                    }
                }
            }
        }
        // What is in force now is what there is.
        self.unknown = None;
    }

    fn last_good(&self) -> String {
        format!("{}-last-good", self.place.name)
    }

    /// Whether there was one that can still be used. It is checked again: bounds may have changed since.
    async fn use_last_good(&mut self) -> bool {
        let name = self.last_good();
        let kept = match within(self.api.get_opt(&name)).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(config_map = %self.place, "reading {name}: {error}");
                None
            }
        };
        let text = kept.and_then(|kept| kept.data?.remove(CONFIG_MAP_KEY));
        let Some(text) = text else { return false };
        tracing::warn!(config_map = %self.place, "using the mapping kept in {name}");
        self.intake.offer_instead(&text)
    }

    /// Keeps a text that came into force, for a start beside one that broke meanwhile. Every replica writes the same.
    async fn keep_last_good(&mut self) {
        let Some(text) = &self.unkept else { return };
        let name = self.last_good();
        match self.write(&name, text, true).await {
            Ok(()) => self.unkept = None,
            Err(error) => {
                tracing::warn!(config_map = %self.place, "keeping the mapping in {name}: {error}; trying again");
            }
        }
    }

    /// Without force: what somebody else created in the meantime is theirs.
    async fn create_starter(&self) {
        match self.write(&self.place.name, STARTER, false).await {
            Ok(()) => tracing::info!(config_map = %self.place, "created with a mapping to start from"),
            Err(error) => tracing::error!(config_map = %self.place, "creating the starter mapping: {error}"),
        }
    }

    async fn write(&self, name: &str, text: &str, force: bool) -> Result<(), Failure> {
        let config_map = ConfigMap {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([(CONFIG_MAP_KEY.to_owned(), text.to_owned())])),
            ..ConfigMap::default()
        };
        let parameters = PatchParams { force, ..PatchParams::apply(MANAGER) };
        let apply = Patch::Apply(&config_map);
        within(self.api.patch(name, &parameters, &apply)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bounds::Bounds;

    #[test]
    fn the_starter_is_a_good_mapping_and_so_is_what_it_teaches() {
        let compile = |text: &str| crate::engine::mapping::compile(text, &Bounds::default()).map(|_| ());
        assert_eq!(compile(STARTER), Ok(()));
        let taught: String = STARTER
            .lines()
            .skip_while(|line| !line.starts_with("# account:"))
            .take_while(|line| !line.starts_with("# GitLab's"))
            .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or_default()))
            .collect();
        assert!(taught.contains("- match:"), "{taught}");
        assert_eq!(compile(&taught), Ok(()));
    }
}
