//! Does the MutatingAdmissionPolicy of the chart give what the mapping in force gives? Its parameter, the
//! ConfigMap `NAME-policy`, is kept equal to that mapping.
//!
//! Every replica does so. What is written is made of the mapping alone, so that replicas agree, and nothing
//! is written where the same stands there. It is written by compare-and-swap over a version that was read
//! before the mapping was found to be the newest one: an older mapping never takes the place of a newer one,
//! because whoever wrote the newer one made another version.
//!
//! A mapping of which no parameter can be made gets one with which the policy does nothing, so that the
//! policy never gives a role that the mapping in force has withdrawn. A parameter in a format that the policy
//! does not know does nothing either. Replicas of two versions do not fight about it: the chart's
//! ValidatingAdmissionPolicy takes the format of the policy's own version alone, and the write of the other
//! replica is refused.

mod data;

use std::panic;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::{Request, Resource};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::mapping_freshness::MappingFreshness;
use super::observed::Observed;
use super::pages::Collection;
use super::read::Versioned;
use super::retry::RetryBackoff;
use super::watch::follow_one;
use super::write_throttle::WriteThrottle;
use super::{ApiServer, MANAGER, NamespacedName, in_our_name};
use crate::live::{Generation, Live};
use crate::metrics::{Metrics, PolicyParameterState};
use data::{Digest, Digests, Made};

/// The most bytes that making a parameter, and the patch of it, may take. `tests/memory` checks it.
pub const ROOM: usize = 8 << 20;

/// How the name of the parameter ends, after that of the mapping.
const SUFFIX: &str = "-policy";

/// How long to wait for the watch to show a ConfigMap that was created, before that is tried again.
const AFTER_CREATION: Duration = Duration::from_secs(1);

/// How long to wait for a newer mapping, of which the API server has told and the watch has not.
const BEHIND: Duration = Duration::from_millis(250);

/// After how long the parameter is looked at again where nothing tells of it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The task that keeps the policy's parameter in step with the mapping in force.
pub struct PolicyParameter {
    api: ApiServer,
    place: NamespacedName,
    live: Arc<Live>,
    freshness: MappingFreshness,
    metrics: Arc<Metrics>,
    digests: Digests,
    /// What the parameter holds.
    held: Observed<Digest>,
    /// Whether the watch goes on that tells of it; none before the watch has said anything.
    is_followed: Option<bool>,
    wanted: Option<Wanted>,
    throttle: WriteThrottle,
    /// How long to wait after it could not be read.
    unread: RetryBackoff,
}

/// What the parameter is to hold.
#[derive(Clone, Copy)]
struct Wanted {
    /// The number of the mapping that it is made of.
    generation: u64,
    digest: Digest,
    /// How many rules of the mapping it does not have.
    left_out: usize,
}

impl PolicyParameter {
    /// A task that has not begun. `mapping` is where the mapping is: the parameter is beside it.
    #[must_use]
    pub fn new(
        api: ApiServer,
        mapping: &NamespacedName,
        live: Arc<Live>,
        freshness: MappingFreshness,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (namespace, name) = (mapping.namespace.clone(), format!("{}{SUFFIX}", mapping.name));
        Self {
            api,
            place: NamespacedName { namespace, name },
            live,
            freshness,
            metrics,
            digests: Digests::default(),
            held: Observed::NotYet,
            is_followed: None,
            wanted: None,
            throttle: WriteThrottle::default(),
            unread: RetryBackoff::default(),
        }
    }

    /// Follows the mapping in force and the ConfigMap, until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let what = Collection::of::<ConfigMap>(Some(&self.place.namespace)).named(&self.place.name);
        let digests = self.digests.clone();
        let mut events =
            std::pin::pin!(follow_one(self.api.clone(), what, move |object| digests.of_object(object)));
        let mut generations = self.live.subscribe();
        let mut rest = LOOK_AGAIN;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
                Ok(()) = generations.changed() => None,
                () = tokio::time::sleep(rest) => None,
            };
            match event {
                Some(Ok(held)) => (self.held, self.is_followed) = (held.into(), Some(true)),
                Some(Err(failure)) => {
                    failure.log(&format!("watching the policy's parameter {}", self.place));
                    self.is_followed = Some(false);
                }
                None => {}
            }
            let Some(done) = stop.run_until_cancelled(self.act()).await else { return };
            rest = done.unwrap_or_else(|failure| {
                failure.log(&format!("writing the policy's parameter {}", self.place));
                self.throttle.after_failure(Instant::now())
            });
        }
    }

    /// Writes the parameter, where it is not as it is to be. Returns how long to rest.
    async fn act(&mut self) -> Result<Duration, Failure> {
        let generation = self.live.load_full();
        // Before there is a mapping, nothing says that the parameter is an old one: while another replica
        // has a mapping in force, it is that one's.
        if generation.number == 0 {
            return Ok(LOOK_AGAIN);
        }
        let known = self.wanted.filter(|wanted| wanted.generation == generation.number);
        let (wanted, made) = match known {
            Some(wanted) => (wanted, None),
            None => {
                let made = self.make(&generation).await;
                let wanted =
                    Wanted { generation: generation.number, digest: made.digest, left_out: made.left_out };
                made.log(&self.place);
                self.wanted = Some(wanted);
                self.throttle = WriteThrottle::default();
                (wanted, Some(made))
            }
        };
        let in_step = self.held.present() == Some(&wanted.digest);
        // What nobody tells of any more may be anything by now.
        if let Some(is_followed) = self.is_followed {
            let state =
                PolicyParameterState { left_out_rules: wanted.left_out, in_step: in_step && is_followed };
            self.metrics.policy_parameter_seen(state);
        }
        match self.held {
            Observed::NotYet => Ok(LOOK_AGAIN),
            Observed::Present(_) if in_step => Ok(LOOK_AGAIN),
            Observed::Present(_) => self.write(&generation, wanted, made).await,
            Observed::Absent => self.create().await,
        }
    }

    /// Makes the parameter of a mapping. The work holds the room for it: it goes on where nobody waits for it
    /// any more.
    async fn make(&self, generation: &Arc<Generation>) -> Made {
        let room = self.api.pool().take(ROOM).await;
        let (generation, digests) = (Arc::clone(generation), self.digests.clone());
        // With very many rules it may take a tenth of a second, and must not hold up a worker that answers
        // reviews.
        match tokio::task::spawn_blocking(move || Made::of(&generation.ruleset, &digests, room)).await {
            Ok(made) => made,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                // The runtime is stopping, and this future with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Creates an empty ConfigMap, with which the policy does nothing. Every replica may do so, since it is
    /// filled by compare-and-swap.
    async fn create(&mut self) -> Result<Duration, Failure> {
        if let Err(left) = self.throttle.begin(Instant::now()) {
            return Ok(left);
        }
        let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.place.name}});
        let parameters = PatchParams::apply(MANAGER);
        let apply = Patch::Apply(&empty);
        self.api.tell(self.request().patch_metadata(&self.place.name, &parameters, &apply)).await?;
        tracing::info!(config_map = %self.place, "the policy's parameter was not there: created");
        Ok(AFTER_CREATION)
    }

    async fn write(
        &mut self,
        generation: &Arc<Generation>,
        wanted: Wanted,
        made: Option<Made>,
    ) -> Result<Duration, Failure> {
        // In this order: whatever is written over this version is no older than the mapping that is found to
        // be the newest one after it.
        let read = match self.read().await {
            Ok(read) => read,
            Err(failure) => {
                failure.log(&format!("reading the policy's parameter {}", self.place));
                return Ok(self.unread.next());
            }
        };
        self.unread.reset();
        let Some((version, held)) = read else {
            self.held = Observed::Absent;
            return Ok(Duration::ZERO);
        };
        self.held = Observed::Present(held);
        if held == wanted.digest {
            return Ok(Duration::ZERO);
        }
        if !self.freshness.is_in_force_now().await || self.live.load().number != wanted.generation {
            return Ok(BEHIND);
        }
        if let Err(left) = self.throttle.begin(Instant::now()) {
            return Ok(left);
        }
        if self.throttle.is_slow() {
            tracing::warn!(
                config_map = %self.place,
                "the policy's parameter has to be written again and again: something else writes it, or \
                 refuses it"
            );
        }
        let made = match made {
            Some(made) => made,
            None => self.make(generation).await,
        };
        let (body, _room) = made.into_patch(&version).map_err(Failure::json)?;
        // The request is that of a JSON Patch, and its body is written by ourselves: as values it would be
        // held twice.
        let patch = Patch::<()>::Json(json_patch::Patch(Vec::new()));
        let request = self.request().patch_metadata(&self.place.name, &in_our_name(), &patch);
        self.api.tell(request.map(|request| request.map(|_| body))).await?;
        self.held = Observed::Present(wanted.digest);
        tracing::info!(
            config_map = %self.place,
            generation = wanted.generation,
            "the policy's parameter is in step"
        );
        // The metrics follow at once.
        Ok(Duration::ZERO)
    }

    fn request(&self) -> Request {
        Request::new(ConfigMap::url_path(&(), Some(&self.place.namespace)))
    }

    /// The parameter's version, and what it holds; none where it is not there.
    async fn read(&self) -> Result<Option<(String, Digest)>, Failure> {
        let request = self.request().get(&self.place.name, &GetParams::default());
        let Some(held) = self.api.object_or_none(request).await? else { return Ok(None) };
        let digest = self.digests.of_object(held.json()?).map_err(Failure::json)?;
        Ok(Some((held.json::<Versioned<'_>>()?.version().to_owned(), digest)))
    }
}
