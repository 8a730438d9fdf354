//! Is the mapping in force here the newest one in the cluster? A watch can fall silent.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use super::{Place, within};

/// The version of the ConfigMap that was taken last, empty where there was none; none before the first look.
pub(super) type Taken = Option<String>;

/// Whether the mapping in force here is the newest one. A watch can fall silent, and its replica must not impose an old mapping.
pub struct Newest {
    api: Api<ConfigMap>,
    place: Place,
    taken: watch::Receiver<Taken>,
    behind: Arc<Notify>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    /// When, and whether it was in force; not where nobody answered.
    last: Option<(Instant, Option<bool>)>,
    behind_since: Option<Instant>,
}

/// For how long an answer holds.
const CONFIRMED: Duration = Duration::from_secs(1);

/// A watch that is behind for so long begins anew.
const BEHIND: Duration = Duration::from_secs(5);

impl Newest {
    /// `taken` tells what was taken; `behind` is told when the watch fell silent.
    pub(super) fn new(
        api: Api<ConfigMap>,
        place: Place,
        taken: watch::Receiver<Taken>,
        behind: Arc<Notify>,
    ) -> Self {
        Self { api, place, taken, behind, asked: Mutex::default() }
    }

    /// Asks the API server, at most once a second; `None` where it does not answer.
    pub(super) async fn is_in_force(&self) -> Option<bool> {
        let mut asked = self.asked.lock().await;
        if let Some((at, answer)) = asked.last
            && at.elapsed() < CONFIRMED
        {
            return answer;
        }
        let answer = match within(self.api.get_metadata_opt(&self.place.name)).await {
            Ok(there) => {
                let version = there.and_then(|there| there.metadata.resource_version).unwrap_or_default();
                Some(self.taken.borrow().as_ref() == Some(&version))
            }
            Err(failure) => {
                failure.log(&format!("asking for the version of {}", self.place));
                None
            }
        };
        asked.last = Some((Instant::now(), answer));
        if answer == Some(true) {
            asked.behind_since = None;
        } else if answer == Some(false)
            && asked.behind_since.get_or_insert_with(Instant::now).elapsed() >= BEHIND
        {
            asked.behind_since = None;
            tracing::warn!(config_map = %self.place, "the watch on the mapping fell silent: beginning anew");
            self.behind.notify_one();
        }
        answer
    }
}
