//! Does the API server trust the certificate that is served? The webhook configurations say so, in `caBundle`.
//!
//! Where certificates are self-managed their `caBundle` is also written, to every entry that has another one or none.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::Patch;
use kube::core::{Request, Resource};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::configurations::{Configuration, Entry, Known, read};
use super::failure::Failure;
use super::pages::Collection;
use super::read::Versioned;
use super::retry::WriteThrottle;
use super::watch::follow_one;
use super::{ApiServer, in_our_name, tell};
use crate::health::{Hold, Readiness};
use crate::tls::Pair;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::chain_check;

/// The caBundle of each entry, PEM; empty before all of them are known.
pub type Bundles = Arc<[Vec<u8>]>;

const WAITING: &str = "the caBundle of the webhook configuration to trust the certificate";

/// How often the certificate is judged where nothing happens: it ends some day.
const LOOK: Duration = Duration::from_mins(1);

/// The two webhook configurations of one name.
pub struct Trust {
    api: ApiServer,
    name: String,
    served: Arc<CertResolver>,
    /// What their caBundle is to be; none where somebody else sees to that.
    wanted: Option<watch::Receiver<Vec<u8>>>,
    trusted: watch::Sender<Bundles>,
    readiness: Readiness,
    hold: Option<Hold>,
    seen: Seen,
    /// What was wrong the last time, so that it is said once.
    said: Option<String>,
    warned: Option<String>,
    pace: WriteThrottle,
}

#[derive(Default)]
struct Seen {
    mutating: Known,
    validating: Known,
}

enum Event {
    Mutating(Option<Configuration>),
    Validating(Option<Configuration>),
}

impl Trust {
    /// Nothing is read yet; not ready from now on until the certificate is trusted.
    #[must_use]
    pub fn new(
        api: ApiServer,
        name: String,
        served: Arc<CertResolver>,
        wanted: Option<watch::Receiver<Vec<u8>>>,
        trusted: watch::Sender<Bundles>,
        readiness: Readiness,
    ) -> Self {
        let hold = Some(readiness.hold(WAITING));
        Self {
            api,
            name,
            served,
            wanted,
            trusted,
            readiness,
            hold,
            seen: Seen::default(),
            said: None,
            warned: None,
            pace: WriteThrottle::default(),
        }
    }

    /// Follows the configurations and what is served, until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mutating = Collection::of::<MutatingWebhookConfiguration>(None).named(&self.name);
        let mutating = follow_one(self.api.clone(), mutating, read);
        let validating = Collection::of::<ValidatingWebhookConfiguration>(None).named(&self.name);
        let validating = follow_one(self.api.clone(), validating, read);
        let events = stream::select(
            mutating.map(|event| event.map(Event::Mutating)),
            validating.map(|event| event.map(Event::Validating)),
        );
        let mut events = std::pin::pin!(events);
        let mut served = self.served.subscribe();
        let mut wanted = self.wanted.clone();
        let mut again = LOOK;
        loop {
            let wanted_changes = async {
                match &mut wanted {
                    Some(wanted) => wanted.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
                changed = served.changed() => match changed { Ok(()) => None, Err(_) => return },
                there = wanted_changes => if there { None } else { return },
                () = tokio::time::sleep(again) => None,
            };
            match event {
                Some(Ok(Event::Mutating(found))) => {
                    self.seen.mutating = found.map_or(Known::Absent, Known::There);
                }
                Some(Ok(Event::Validating(found))) => {
                    self.seen.validating = found.map_or(Known::Absent, Known::There);
                }
                Some(Err(failure)) => {
                    failure.log(&format!("watching the webhook configurations {}", self.name));
                }
                None => {}
            }
            let Some(rest) = stop.run_until_cancelled(self.act()).await else { return };
            again = rest;
        }
    }

    /// Writes what is to be written and judges what there is. When to come again without being told.
    async fn act(&mut self) -> Duration {
        let again = match self.write().await {
            Ok(again) => again,
            Err(failure) => {
                failure.log(&format!("writing the caBundle of {}", self.name));
                Some(self.pace.after_failure(Instant::now()))
            }
        };
        self.judge();
        again.unwrap_or(LOOK)
    }

    fn judge(&mut self) {
        let bundles: Vec<Vec<u8>> = self.seen.entries().map(|entry| entry.bundle.clone()).collect();
        // The certificate waits for all of them before it moves.
        let bundles: Bundles = if self.seen.is_complete() { bundles.into() } else { Arc::default() };
        tell(&self.trusted, bundles);
        self.warn_of_validation();
        match self.reason_for_distrust() {
            None => {
                if self.hold.take().is_some() {
                    tracing::info!("the webhook configurations {} trust the certificate", self.name);
                }
                self.said = None;
            }
            Some(reason) => {
                if self.hold.is_none() {
                    self.hold = Some(self.readiness.hold(WAITING));
                }
                if self.said.as_ref() != Some(&reason) {
                    tracing::warn!("not ready: {reason}");
                    self.said = Some(reason);
                }
            }
        }
    }

    fn reason_for_distrust(&self) -> Option<String> {
        let name = &self.name;
        match (&self.seen.mutating, &self.seen.validating) {
            (Known::NotYet, _) | (_, Known::NotYet) => {
                return Some(format!("the webhook configurations {name} have not been read yet"));
            }
            (Known::Absent, _) => {
                return Some(format!(
                    "there is no MutatingWebhookConfiguration {name}: nothing reaches the webhook"
                ));
            }
            _ => {}
        }
        let Some(served) = self.served.pair() else { return Some("there is no certificate yet".to_owned()) };
        distrust(self.seen.mutating.entries(), &served)
    }

    /// The validating entries are always `Ignore`: without them edits are not judged, and everything else goes on.
    fn warn_of_validation(&mut self) {
        let Some(served) = self.served.pair() else { return };
        let reason = distrust(self.seen.validating.entries(), &served);
        if reason.is_some() && self.warned != reason {
            tracing::warn!("edits of the mapping are not judged: {}", reason.as_deref().unwrap_or_default());
        }
        self.warned = reason;
    }

    /// When to come again.
    async fn write(&mut self) -> Result<Option<Duration>, Failure> {
        let Some(wanted) = self.wanted.as_ref().map(|wanted| wanted.borrow().clone()) else {
            return Ok(None);
        };
        if wanted.is_empty() {
            return Ok(None);
        }
        let (mutating, validating) = (self.seen.mutating.patch(&wanted), self.seen.validating.patch(&wanted));
        if mutating.is_none() && validating.is_none() {
            return Ok(None);
        }
        if let Err(left) = self.pace.begin(Instant::now()) {
            return Ok(Some(left));
        }
        if self.pace.is_slow() {
            tracing::warn!(
                "the caBundle of {} has to be written again and again: something else writes it",
                self.name
            );
        }
        if let Some(patch) = mutating {
            let version = self.apply::<MutatingWebhookConfiguration>(patch).await?;
            self.seen.mutating.written(&wanted, version);
        }
        if let Some(patch) = validating {
            let version = self.apply::<ValidatingWebhookConfiguration>(patch).await?;
            self.seen.validating.written(&wanted, version);
        }
        tracing::info!("caBundle written to the webhook configurations {}", self.name);
        Ok(None)
    }

    /// The version that it made.
    async fn apply<K: Resource<DynamicType = ()>>(
        &self,
        patch: json_patch::Patch,
    ) -> Result<String, Failure> {
        let patch = Patch::<()>::Json(patch);
        let request = Request::new(K::url_path(&(), None)).patch_metadata(&self.name, &in_our_name(), &patch);
        let written = self.api.object(request).await?;
        Ok(written.json::<Versioned<'_>>()?.version().to_owned())
    }
}

/// Why the API server would not come through by one of these entries.
fn distrust(entries: &[Entry], served: &Pair) -> Option<String> {
    let now = SystemTime::now();
    entries.iter().find_map(|entry| {
        let reason = chain_check::check(&entry.bundle, &served.certificate, &entry.host, now).err()?;
        Some(format!("the caBundle of webhook {} does not let the API server in: {reason}", entry.name))
    })
}

impl Seen {
    fn is_complete(&self) -> bool {
        matches!(self.mutating, Known::There(_)) && !matches!(self.validating, Known::NotYet)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        [&self.mutating, &self.validating].into_iter().flat_map(Known::entries)
    }
}
