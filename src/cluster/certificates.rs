//! Which certificate do replicas share? One Secret holds it; any replica writes it by compare-and-swap, all of them serve it.
//!
//! Rights on that one name are all that is needed: get, list, watch, patch, and create by server-side apply.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pauses::{Pace, Pauses};
use super::trust::Bundles;
use super::{Failure, MANAGER, Place, in_our_name, tell, within};
use crate::telemetry::causes;
use crate::tls::Pair;
use crate::tls::roll::{Plan, Step, Store, View};
use crate::tls::served::Served;
use crate::tls::trust;

/// The data keys.
const CURRENT: [&str; 2] = ["tls.crt", "tls.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";

/// After the Secret was created, where the watch does not show it at once.
const AGAIN: Duration = Duration::from_secs(1);

/// At least this often: clocks are set, machines sleep.
const AT_LEAST: Duration = Duration::from_mins(1);

/// The self-managed certificate.
pub struct Certificates {
    api: Api<Secret>,
    place: Place,
    plan: Plan,
    served: Arc<Served>,
    /// What is to be trusted, PEM.
    wanted: watch::Sender<Vec<u8>>,
    /// What is.
    trusted: watch::Receiver<Bundles>,
    seen: Seen,
    /// The bundle that is trusted everywhere, and since when.
    trusted_since: Option<(Vec<u8>, Instant)>,
    pace: Pace,
}

/// The Secret as it was seen last.
#[derive(Clone)]
enum Seen {
    NotYet,
    Absent,
    There(Box<Secret>),
}

impl Certificates {
    /// Nothing is read or written yet. `wanted` is told what is to be trusted, `trusted` tells what is.
    #[must_use]
    pub fn new(
        client: Client,
        place: Place,
        plan: Plan,
        served: Arc<Served>,
        wanted: watch::Sender<Vec<u8>>,
        trusted: watch::Receiver<Bundles>,
    ) -> Self {
        let api = Api::namespaced(client, &place.namespace);
        Self {
            api,
            place,
            plan,
            served,
            wanted,
            trusted,
            seen: Seen::NotYet,
            trusted_since: None,
            pace: Pace::default(),
        }
    }

    /// Follows the Secret, what is trusted and the time, until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let stream = watch_object(self.api.clone(), &self.place.name).backoff(Pauses::default());
        let mut stream = std::pin::pin!(stream);
        let mut rest = AT_LEAST;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = stream.next() => event,
                changed = self.trusted.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                () = tokio::time::sleep(rest) => None,
            };
            match event {
                Some(Ok(Some(secret))) => self.seen = Seen::There(Box::new(secret)),
                Some(Ok(None)) => self.seen = Seen::Absent,
                Some(Err(error)) => {
                    tracing::warn!(secret = %self.place, "watching the certificate: {}; trying again", causes(&error));
                }
                None => {}
            }
            let Some(done) = stop.run_until_cancelled(self.act()).await else { return };
            rest = done.unwrap_or_else(|failure| {
                failure.log(&format!("writing the Secret {}", self.place));
                self.pace.after_failure(Instant::now())
            });
        }
    }

    /// Serves what there is to serve, and takes the next step. How long to rest.
    async fn act(&mut self) -> Result<Duration, Failure> {
        let secret = match self.seen.clone() {
            Seen::NotYet => return Ok(AT_LEAST),
            Seen::Absent => {
                if let Err(left) = self.pace.begin(Instant::now()) {
                    return Ok(left);
                }
                self.create().await?;
                return Ok(AGAIN);
            }
            Seen::There(secret) => secret,
        };
        let (now, store) = (SystemTime::now(), read(&secret));
        let bundles = self.trusted.borrow_and_update().clone();
        self.follow_trust(&store, &bundles);
        self.serve(&store, &bundles, now);
        let served = self.served.pair();
        let everything = bundles.concat();
        let view = View {
            now,
            served: served.as_ref(),
            trusted: &everything,
            trusted_for: self.trusted_since.as_ref().map(|(_, since)| since.elapsed()),
        };
        let step = match self.plan.step(&store, &view) {
            Ok(step) => step,
            Err(error) => {
                tracing::error!("making a certificate for {}: {error}", self.plan.names.join(", "));
                return Ok(AT_LEAST);
            }
        };
        match step {
            Step::Rest(rest) => Ok(rest.clamp(Duration::from_millis(100), AT_LEAST)),
            Step::Write(store, why) => {
                if let Err(left) = self.pace.begin(Instant::now()) {
                    return Ok(left);
                }
                if self.pace.is_slow() {
                    tracing::warn!(secret = %self.place, "it has to be written again and again: something else writes it, or refuses it");
                }
                let written = self.write(&secret, &store).await?;
                tracing::info!(secret = %self.place, "certificate: {why}");
                self.seen = Seen::There(Box::new(written));
                // What was written is acted on at once.
                Ok(Duration::ZERO)
            }
        }
    }

    /// Since when all of the store is trusted.
    fn follow_trust(&mut self, store: &Store, bundles: &Bundles) {
        let bundle = store.bundle();
        let trusted = all_trust(bundles, &bundle);
        match &self.trusted_since {
            Some((since, _)) if trusted && *since == bundle => {}
            _ => self.trusted_since = trusted.then(|| (bundle, Instant::now())),
        }
    }

    /// Serves the current pair once it is trusted, or where there is no better one, and says what is to be trusted.
    fn serve(&self, store: &Store, bundles: &Bundles, now: SystemTime) {
        let Some(current) = store.current.as_ref().filter(|pair| self.plan.accepts(pair, now)) else {
            return;
        };
        let served = self.served.pair();
        let has_better = served.as_ref().is_some_and(|served| self.plan.accepts(served, now))
            && !all_trust(bundles, &current.certificate);
        if served.as_ref() != Some(current) && !has_better {
            match self.served.serve(current) {
                Ok(not_after) => tracing::info!(secret = %self.place, not_after, "new certificate served"),
                Err(error) => tracing::error!(secret = %self.place, "{}", causes(&error)),
            }
        }
        // What is served here stays trusted until the store says who holds it.
        let served = self.served.pair();
        let bundle = store.bundle();
        if served.is_none_or(|served| trust::contains(&bundle, &served.certificate)) {
            tell(&self.wanted, bundle);
        }
    }

    /// An empty Secret: every replica may create it, the compare-and-swap comes after.
    async fn create(&self) -> Result<(), Failure> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": self.place.name},
        });
        let parameters = PatchParams { force: true, ..PatchParams::apply(MANAGER) };
        within(self.api.patch(&self.place.name, &parameters, &Patch::Apply(&secret))).await?;
        tracing::info!(secret = %self.place, "the Secret was not there: created");
        Ok(())
    }

    async fn write(&self, seen: &Secret, store: &Store) -> Result<Secret, Failure> {
        let mut data = serde_json::Map::new();
        let mut put = |key: &str, value: Option<&[u8]>| {
            data.insert(key.to_owned(), json!(value.map(|value| ByteString(value.to_owned()))));
        };
        for ([certificate, key], pair) in [(CURRENT, &store.current), (NEXT, &store.next)] {
            put(certificate, pair.as_ref().map(|pair| pair.certificate.as_slice()));
            put(key, pair.as_ref().map(|pair| pair.key.as_slice()));
        }
        put(PREVIOUS, Some(store.previous.as_slice()).filter(|previous| !previous.is_empty()));
        // With the version that was seen, a write over another one is refused.
        let patch = json!({"metadata": {"resourceVersion": seen.metadata.resource_version}, "data": data});
        within(self.api.patch(&self.place.name, &in_our_name(), &Patch::Merge(&patch))).await
    }
}

/// Whether each entry trusts all of these certificates; not where there is none.
fn all_trust(bundles: &Bundles, certificates: &[u8]) -> bool {
    !bundles.is_empty() && bundles.iter().all(|held| trust::contains(held, certificates))
}

fn read(secret: &Secret) -> Store {
    let none = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&none);
    let pair = |[certificate, key]: [&str; 2]| {
        Some(Pair { certificate: data.get(certificate)?.0.clone(), key: data.get(key)?.0.clone() })
    };
    let previous = data.get(PREVIOUS).map(|previous| previous.0.clone()).unwrap_or_default();
    Store { current: pair(CURRENT), next: pair(NEXT), previous }
}
