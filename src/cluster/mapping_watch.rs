//! Where does the mapping come from? From one ConfigMap, which is watched; beside it the last good text is
//! kept.
//!
//! Rights on two names are all that is needed: get, list, watch, patch and create on `NAME` and
//! `NAME-last-good`. Creation is a server-side apply: it is asked for by name, so that a Role can allow it
//! for one name alone.
//!
//! `step` says what to do next and `last_good` what to keep; this task watches, offers and waits.

mod config_maps;
mod last_good;
mod step;

use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::mapping_freshness::{MappingFreshness, Taken};
use super::observed::Observed;
use super::pages::Collection;
use super::retry::RetryBackoff;
use super::watch::follow_one;
use super::{ApiServer, NamespacedName};
use crate::engine::mapping::CONFIG_MAP_KEY;
use crate::health::Hold;
use crate::mapping_loader::{Loaded, MappingLoader};
use crate::telemetry::causes;
use config_maps::{ConfigMaps, Found, Kept, read};
use step::{Offered, State, Step, Text};

/// After how long something that may have changed is looked at again where nothing tells of it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The task that follows the mapping's ConfigMap.
pub struct MappingWatch {
    api: ApiServer,
    place: NamespacedName,
    config_maps: ConfigMaps,
    loader: MappingLoader,
    /// Keeps the process unready until a mapping is in force, or there is none.
    hold: Option<Hold>,
    /// Tells the version of the ConfigMap that was taken last.
    taken: watch::Sender<Taken>,
    state: State,
    backoff: RetryBackoff,
}

impl MappingWatch {
    /// A task that has not begun. `starter` says whether to create the ConfigMap where there is none.
    #[must_use]
    pub fn new(
        api: ApiServer,
        place: NamespacedName,
        starter: bool,
        loader: MappingLoader,
        hold: Hold,
    ) -> Self {
        Self {
            config_maps: ConfigMaps::new(api.clone(), place.clone()),
            api,
            place,
            loader,
            hold: Some(hold),
            taken: watch::Sender::new(Observed::NotYet),
            state: State::new(starter),
            backoff: RetryBackoff::default(),
        }
    }

    /// Tells whether what this takes is the newest.
    #[must_use]
    pub fn freshness(&self) -> MappingFreshness {
        MappingFreshness::new(self.api.clone(), self.place.clone(), self.taken.subscribe())
    }

    /// Follows the ConfigMap until stopped. A broken connection is tried again, after ever longer waits.
    pub async fn follow(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let freshness = self.freshness();
            loop {
                self.watch(&freshness).await;
            }
        })
        .await;
    }

    /// Watches until the watch falls silent.
    async fn watch(&mut self, freshness: &MappingFreshness) {
        let what = Collection::of::<ConfigMap>(Some(&self.place.namespace)).named(&self.place.name);
        let mut events = std::pin::pin!(follow_one(self.api.clone(), what, read));
        let mut silence = std::pin::pin!(freshness.fell_silent());
        loop {
            let rest = self.act().await;
            // Nothing else is waited for here, so that nothing breaks off a mapping that is being taken.
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut silence => return,
                () = tokio::time::sleep(rest) => {
                    self.state.look_again();
                    continue;
                }
            };
            match event {
                Some(Ok(found)) => {
                    let version = found.as_ref().map(|found| found.version.clone());
                    self.take(found).await;
                    self.taken.send_replace(version.into());
                }
                Some(Err(failure)) => self.failed(&failure),
                None => return,
            }
        }
    }

    /// Does what is to be done now. Returns how long to rest after that.
    async fn act(&mut self) -> Duration {
        loop {
            let in_force = self.loader.live().load().number > 0;
            match self.state.next(in_force) {
                Step::GoOn => {
                    self.hold = None;
                    return self.keep_last_good().await;
                }
                Step::GoOnWithout => {
                    if self.hold.take().is_some() {
                        tracing::warn!(
                            config_map = %self.place,
                            "there is no mapping: nothing is done until there is one"
                        );
                    }
                    return LOOK_AGAIN;
                }
                Step::CreateStarter => {
                    self.hold = None;
                    match self.config_maps.create_starter().await {
                        Ok(created) => {
                            self.state.starter_done();
                            if created {
                                tracing::info!(
                                    config_map = %self.place,
                                    "created with a mapping to start from"
                                );
                            }
                        }
                        Err(failure) => return self.again("creating the starter mapping", &failure),
                    }
                }
                Step::ReadLastGood => {
                    if let Err(failure) = self.use_last_good().await {
                        let name = self.config_maps.last_good().to_owned();
                        self.wait_for(&format!("the mapping: {name} could not be read, see the log"));
                        return self.again(&format!("reading {name}"), &failure);
                    }
                }
                Step::Wait => return LOOK_AGAIN,
                Step::WaitForUsable => {
                    let name = self.config_maps.last_good();
                    let what = format!(
                        "a mapping that can be used: neither the one in {} nor the one kept in {name} can, \
                         see the log",
                        self.place
                    );
                    self.wait_for(&what);
                    return LOOK_AGAIN;
                }
            }
        }
    }

    /// Logs what failed. Returns how long to rest before it is tried again.
    fn again(&mut self, doing: &str, failure: &Failure) -> Duration {
        let why = causes(failure);
        tracing::error!(config_map = %self.place, "{doing}: {why}; trying again");
        self.backoff.next()
    }

    /// Stays unready, and says what for. It is logged where it is something else than before.
    fn wait_for(&mut self, what: &str) {
        if let Some(hold) = &mut self.hold
            && hold.change(what)
        {
            tracing::error!(config_map = %self.place, "not ready: waiting for {what}");
        }
    }

    /// Takes what the watch tells.
    async fn take(&mut self, found: Option<Found>) {
        self.backoff.reset();
        let Some(Found { version, text }) = found else {
            self.state.mapping_absent();
            self.loader.missing(&format!(
                "the ConfigMap {} is gone; create it again, with the mapping under the key \
                 `{CONFIG_MAP_KEY}`",
                self.place
            ));
            return;
        };
        let offered = match text {
            Some(text) => match self.loader.load(&text).await {
                Ok(Loaded::InForce) => Offered::InForce,
                Ok(Loaded::Unchanged) => {
                    tracing::debug!(config_map = %self.place, "reading the mapping: nothing new");
                    Offered::Unchanged
                }
                Err(_) => Offered::Unusable,
            },
            None => {
                self.loader.missing(&format!("{} has no `data` key `{CONFIG_MAP_KEY}`", self.place));
                Offered::Unusable
            }
        };
        self.state.mapping_offered(version, offered);
    }

    fn failed(&mut self, failure: &Failure) {
        let why = causes(failure);
        tracing::warn!(config_map = %self.place, "watching the mapping: {why}; trying again");
        if matches!(failure, Failure::TooLong(_)) {
            self.state.mapping_unusable();
        }
    }

    /// Uses the last good text, where there is one that still can be used: what the operator allows may have
    /// changed since it was kept.
    async fn use_last_good(&mut self) -> Result<(), Failure> {
        let found = match self.config_maps.read_last_good().await {
            Err(Failure::TooLong(_)) => {
                self.state.last_good_tried(Text::Unusable);
                return Ok(());
            }
            found => found?,
        };
        let kept = found.and_then(|Found { version, text }| Some((version, text?)));
        let is_new = self.state.last_good_found(kept.as_ref().map(|(version, _)| &**version));
        if let Some((_, text)) = kept.filter(|_| is_new) {
            let name = self.config_maps.last_good();
            tracing::warn!(config_map = %self.place, "using the mapping kept in {name}");
            let is_good = self.loader.load_fallback(&text).await.is_ok();
            self.state.last_good_tried(if is_good { Text::Good } else { Text::Unusable });
        }
        Ok(())
    }

    /// Keeps the mapping that came into force, once that has been told: whoever repairs waits for it. Returns
    /// how long to rest.
    async fn keep_last_good(&mut self) -> Duration {
        let Some(version) = self.state.to_keep() else { return LOOK_AGAIN };
        match self.config_maps.keep(version).await {
            Ok(Kept::Done) => {
                tracing::debug!(config_map = %self.place, "kept in {}", self.config_maps.last_good());
                self.state.kept();
            }
            // Not given up: where only a label changed, the watch tells its new version.
            Ok(Kept::Overtaken) => {}
            Err(failure) => {
                let doing = format!("keeping the mapping in {}", self.config_maps.last_good());
                return self.again(&doing, &failure);
            }
        }
        LOOK_AGAIN
    }
}
