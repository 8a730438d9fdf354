//! Where does the mapping come from? From one ConfigMap, watched; beside it the last good text is kept.
//!
//! Rights on two names are all that is needed: get, list, watch, patch and create on `NAME` and `NAME-last-good`. Creation is a
//! server-side apply: it is asked for by name, so that a Role can allow it for one name alone.

mod last_good;
mod step;

use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::mapping_freshness::{MappingFreshness, Taken};
use super::pages::Collection;
use super::retry::RetryBackoff;
use super::watch::follow_one;
use super::{ApiServer, NamespacedName};
use crate::engine::mapping::CONFIG_MAP_KEY;
use crate::health::Hold;
use crate::mapping_loader::MappingLoader;
use last_good::{ConfigMaps, Found, Kept, read};
use step::{Known, Step};

/// After how long something that may have changed is looked at again where nothing tells of it.
const AGAIN: Duration = Duration::from_secs(30);

/// The watch on the mapping's ConfigMap.
pub struct MappingWatch {
    api: ApiServer,
    place: NamespacedName,
    config_maps: ConfigMaps,
    starter: bool,
    intake: MappingLoader,
    /// Released when a mapping is in force, or there is none.
    hold: Option<Hold>,
    /// The version of the ConfigMap that was taken last.
    taken: watch::Sender<Taken>,
    mapping: Known,
    last_good: Known,
    /// The version of the last good text that was tried, and cannot be used.
    tried: Option<String>,
    /// The version of a mapping that came into force and is still to be kept.
    unkept: Option<String>,
    pauses: RetryBackoff,
}

impl MappingWatch {
    /// A watch that has not begun. `starter` creates the ConfigMap where there is none.
    #[must_use]
    pub fn new(
        api: ApiServer,
        place: NamespacedName,
        starter: bool,
        intake: MappingLoader,
        hold: Hold,
    ) -> Self {
        Self {
            config_maps: ConfigMaps::new(api.clone(), place.clone()),
            api,
            place,
            starter,
            intake,
            hold: Some(hold),
            taken: watch::Sender::new(None),
            mapping: Known::NotYet,
            last_good: Known::NotYet,
            tried: None,
            unkept: None,
            pauses: RetryBackoff::default(),
        }
    }

    /// Tells whether what this takes is the newest.
    #[must_use]
    pub fn newest(&self) -> MappingFreshness {
        MappingFreshness::new(self.api.clone(), self.place.clone(), self.taken.subscribe())
    }

    /// Follows the ConfigMap until stopped. A broken connection is tried again, with growing pauses.
    pub async fn follow(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let newest = self.newest();
            loop {
                self.watch(&newest).await;
            }
        })
        .await;
    }

    /// Until the watch falls silent.
    async fn watch(&mut self, newest: &MappingFreshness) {
        let what = Collection::of::<ConfigMap>(Some(&self.place.namespace)).named(&self.place.name);
        let mut events = std::pin::pin!(follow_one(self.api.clone(), what, read));
        let mut silence = std::pin::pin!(newest.fell_silent());
        loop {
            let rest = self.act().await;
            // Nothing else is waited for here, so that nothing breaks off a mapping that is being taken.
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut silence => return,
                () = tokio::time::sleep(rest) => {
                    self.look_again();
                    continue;
                }
            };
            match event {
                Some(Ok(found)) => {
                    let version = found.as_ref().map(|found| found.version.clone()).unwrap_or_default();
                    self.take(found).await;
                    self.taken.send_replace(Some(version));
                }
                Some(Err(failure)) => self.failed(&failure),
                None => return,
            }
        }
    }

    /// Does what is to be done now. How long to rest after that.
    async fn act(&mut self) -> Duration {
        loop {
            let in_force = self.intake.live().load().number > 0;
            match step::next(self.mapping, self.last_good, in_force, self.starter) {
                Step::GoOn => {
                    self.hold = None;
                    return self.keep_last_good().await;
                }
                Step::GoOnWithout => {
                    if self.hold.take().is_some() {
                        tracing::warn!(config_map = %self.place, "there is no mapping: nothing is done until there is one");
                    }
                    return AGAIN;
                }
                Step::CreateStarter => {
                    self.hold = None;
                    match self.config_maps.create_starter().await {
                        Ok(created) => {
                            self.starter = false;
                            if created {
                                tracing::info!(config_map = %self.place, "created with a mapping to start from");
                            }
                        }
                        Err(failure) => return self.again("creating the starter mapping", &failure),
                    }
                }
                Step::AskLastGood => {
                    if let Err(failure) = self.use_last_good().await {
                        let name = self.config_maps.last_good().to_owned();
                        self.wait_for(&format!("the mapping: {name} could not be read, see the log"));
                        return self.again(&format!("reading {name}"), &failure);
                    }
                }
                Step::Wait => return AGAIN,
                Step::WaitForUsable => {
                    let name = self.config_maps.last_good();
                    let what = format!(
                        "a mapping that can be used: neither the one in {} nor the one kept in {name} can, see the log",
                        self.place
                    );
                    self.wait_for(&what);
                    return AGAIN;
                }
            }
        }
    }

    fn again(&mut self, doing: &str, failure: &Failure) -> Duration {
        let why = crate::telemetry::causes(failure);
        tracing::error!(config_map = %self.place, "{doing}: {why}; trying again");
        self.pauses.next()
    }

    /// Not ready, for another reason than so far.
    fn wait_for(&mut self, what: &str) {
        if let Some(hold) = &mut self.hold
            && hold.change(what)
        {
            tracing::error!(config_map = %self.place, "not ready: waiting for {what}");
        }
    }

    /// Where somebody may have mended what no watch shows.
    fn look_again(&mut self) {
        if self.last_good == Known::Unusable || self.mapping == Known::Unusable {
            self.last_good = Known::NotYet;
        }
    }

    async fn take(&mut self, found: Option<Found>) {
        self.pauses.reset();
        self.last_good = Known::NotYet;
        let Some(Found { version, text }) = found else {
            self.mapping = Known::Absent;
            self.unkept = None;
            self.intake.missing(&format!("the ConfigMap {} is gone", self.place));
            return;
        };
        let Some(text) = text else {
            self.mapping = Known::Unusable;
            self.unkept = None;
            self.intake.missing(&format!("{} has no `data` key `{CONFIG_MAP_KEY}`", self.place));
            return;
        };
        match self.intake.offer(&text).await {
            Ok(true) => {
                self.mapping = Known::Good;
                self.unkept = Some(version);
            }
            // Seen before: a label changed, or the watch began anew. It may be a bad one, and must not be kept.
            Ok(false) => {
                tracing::debug!(config_map = %self.place, "reading the mapping: nothing new");
                self.unkept = self.unkept.take().map(|_| version);
            }
            Err(_) => {
                self.mapping = Known::Unusable;
                self.unkept = None;
            }
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let why = crate::telemetry::causes(failure);
        tracing::warn!(config_map = %self.place, "watching the mapping: {why}; trying again");
        // It is there, and will never be read.
        if matches!(failure, Failure::TooLong(_)) {
            self.mapping = Known::Unusable;
            self.unkept = None;
        }
    }

    /// Uses the last good text, where there is one that still can be: bounds may have changed since.
    async fn use_last_good(&mut self) -> Result<(), Failure> {
        let found = match self.config_maps.read_last_good().await {
            Err(Failure::TooLong(_)) => {
                self.last_good = Known::Unusable;
                return Ok(());
            }
            found => found?,
        };
        self.last_good = match found {
            None | Some(Found { text: None, .. }) => Known::Absent,
            Some(Found { version, .. }) if self.tried.as_ref() == Some(&version) => Known::Unusable,
            Some(Found { version, text: Some(text) }) => {
                let name = self.config_maps.last_good();
                tracing::warn!(config_map = %self.place, "using the mapping kept in {name}");
                self.tried = Some(version);
                if self.intake.offer_instead(&text).await { Known::Good } else { Known::Unusable }
            }
        };
        Ok(())
    }

    /// Keeps what came into force, once that has been told: whoever repairs waits for it.
    async fn keep_last_good(&mut self) -> Duration {
        let Some(version) = &self.unkept else { return AGAIN };
        match self.config_maps.keep(version).await {
            Ok(Kept::Done) => self.unkept = None,
            // Not given up: where but a label changed, the watch tells its new version.
            Ok(Kept::Overtaken) => {}
            Err(failure) => {
                let doing = format!("keeping the mapping in {}", self.config_maps.last_good());
                return self.again(&doing, &failure);
            }
        }
        AGAIN
    }
}
