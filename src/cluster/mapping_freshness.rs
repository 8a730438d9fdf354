//! Is the mapping in force here the newest one in the cluster? A watch can fall silent.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::GetParams;
use kube::core::{Request, Resource};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use super::NamespacedName;
use super::failure::Failure;
use super::read::{ApiServer, Versioned};

/// The version of the ConfigMap that was taken last, empty where there was none; none before the first look.
pub(super) type Taken = Option<String>;

/// Whether the mapping in force here is the newest one. A watch can fall silent, and its replica must not impose an old mapping.
#[derive(Clone)]
pub struct MappingFreshness {
    api: ApiServer,
    place: NamespacedName,
    taken: watch::Receiver<Taken>,
    asked: Arc<Mutex<Asked>>,
}

/// When it was asked last, and whether it was in force; not where nobody answered.
type Asked = Option<(Instant, Option<bool>)>;

/// For how long an answer holds.
const CONFIRMED: Duration = Duration::from_secs(1);

/// How often it is asked whether the watch is behind, whether or not somebody wants to know, and by chance up to a tenth later.
const LOOK: Duration = Duration::from_secs(5);

/// What the watch may be behind the answer: it is under way.
const MOMENT: Duration = Duration::from_secs(2);

impl MappingFreshness {
    /// `taken` tells what was taken.
    pub(super) fn new(api: ApiServer, place: NamespacedName, taken: watch::Receiver<Taken>) -> Self {
        Self { api, place, taken, asked: Arc::default() }
    }

    /// Asks the API server, at most once a second; `None` where it does not answer.
    pub(super) async fn is_in_force(&self) -> Option<bool> {
        let mut asked = self.asked.lock().await;
        if let Some((at, answer)) = *asked
            && at.elapsed() < CONFIRMED
        {
            return answer;
        }
        let answer = match self.version().await {
            Ok(version) => Some(self.taken.borrow().as_ref() == Some(&version)),
            Err(failure) => {
                failure.log(&format!("asking for the version of {}", self.place));
                None
            }
        };
        *asked = Some((Instant::now(), answer));
        answer
    }

    /// Comes to its end when the watch is behind, and does not catch up by itself.
    pub(super) async fn fell_silent(&self) {
        loop {
            sleep(LOOK.mul_f64(1.0 + fastrand::f64() / 10.0)).await;
            let before = self.taken.borrow().clone();
            // Before the first look there is nothing to be behind of.
            if before.is_none() || self.is_in_force().await != Some(false) {
                continue;
            }
            sleep(MOMENT).await;
            if self.is_in_force().await == Some(false) && *self.taken.borrow() == before {
                tracing::warn!(config_map = %self.place, "the watch on the mapping fell silent: beginning anew");
                return;
            }
        }
    }

    async fn version(&self) -> Result<String, Failure> {
        let request = Request::new(ConfigMap::url_path(&(), Some(&self.place.namespace)));
        let there = request.get_metadata(&self.place.name, &GetParams::default());
        match self.api.object_or_none(there).await? {
            Some(held) => Ok(held.json::<Versioned<'_>>()?.version().to_owned()),
            None => Ok(String::new()),
        }
    }
}
