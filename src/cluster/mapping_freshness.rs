//! Is the mapping in force in this process the newest one in the cluster? A watch can fall silent, so it is
//! asked.
//!
//! `decision` says when an answer is too old and when the watch fell silent; this asks the API server and
//! waits.

mod decision;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::GetParams;
use kube::core::{Request, Resource};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use super::NamespacedName;
use super::failure::Failure;
use super::observed::Observed;
use super::read::{ApiServer, Versioned};
use decision::{Answer, Freshness, Look, Silence};

/// The version of the ConfigMap that the watch took last.
pub(super) type Taken = Observed<String>;

/// Tells whether the mapping in force is the newest one: a replica whose watch fell silent must not impose an
/// old mapping.
#[derive(Clone)]
pub struct MappingFreshness {
    api: ApiServer,
    place: NamespacedName,
    taken: watch::Receiver<Taken>,
    freshness: Arc<Mutex<Freshness>>,
}

impl MappingFreshness {
    /// `taken` tells which version the watch took last.
    pub(super) fn new(api: ApiServer, place: NamespacedName, taken: watch::Receiver<Taken>) -> Self {
        Self { api, place, taken, freshness: Arc::default() }
    }

    /// Asks the API server, at most once a second. The answer is `None` where the API server gives none.
    pub(super) async fn is_in_force(&self) -> Option<bool> {
        match self.ask().await {
            Answer::Newest => Some(true),
            Answer::Outdated => Some(false),
            Answer::Unknown => None,
        }
    }

    /// Asks the API server now, whatever it answered before. Where it gives no answer, the mapping may be an
    /// old one.
    pub(super) async fn is_in_force_now(&self) -> bool {
        let mut freshness = self.freshness.lock().await;
        self.ask_anew(&mut freshness).await == Answer::Newest
    }

    /// Comes to its end when the watch is behind, and does not catch up by itself.
    pub(super) async fn fell_silent(&self) {
        let mut silence = Silence::default();
        let mut rest = silence.rest(fastrand::f64());
        loop {
            sleep(rest).await;
            let is_known = self.taken.borrow().is_known();
            let answer = if is_known { self.ask().await } else { Answer::Unknown };
            let taken = self.taken.borrow().clone();
            match silence.look(taken, answer) {
                Look::Goes => rest = silence.rest(fastrand::f64()),
                Look::FellSilent => {
                    tracing::warn!(
                        config_map = %self.place,
                        "the watch on the mapping fell silent: beginning anew"
                    );
                    return;
                }
            }
        }
    }

    async fn ask(&self) -> Answer {
        // Whoever asks at the same time waits here, and gets the same answer.
        let mut freshness = self.freshness.lock().await;
        if let Some(answer) = freshness.last_answer(Instant::now()) {
            return answer;
        }
        self.ask_anew(&mut freshness).await
    }

    async fn ask_anew(&self, freshness: &mut Freshness) -> Answer {
        let newest = self.version().await.inspect_err(|failure| {
            failure.log(&format!("asking for the version of {}", self.place));
        });
        freshness.answered(newest.ok().as_ref(), &self.taken.borrow(), Instant::now())
    }

    async fn version(&self) -> Result<Observed<String>, Failure> {
        let request = Request::new(ConfigMap::url_path(&(), Some(&self.place.namespace)));
        let request = request.get_metadata(&self.place.name, &GetParams::default());
        match self.api.object_or_none(request).await? {
            Some(held) => Ok(Observed::Present(held.json::<Versioned<'_>>()?.version().to_owned())),
            None => Ok(Observed::Absent),
        }
    }
}
