//! Which certificate do replicas share? One Secret holds it; any replica writes it by compare-and-swap, all of them serve it.
//!
//! Rights on that one name are all that is needed: get, list, watch, patch, and create by server-side apply.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::core::{Request, Resource};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ca_bundle::Bundles;
use super::failure::Failure;
use super::pages::Collection;
use super::read::Versioned;
use super::retry::WriteThrottle;
use super::watch::follow_one;
use super::{ApiServer, MANAGER, NamespacedName, in_our_name, tell};
use crate::telemetry::causes;
use crate::tls::Pair;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::chain_check;
use crate::tls::rotation::{Action as Step, Keyring as Store, Observation as View, RotationPolicy as Plan};

/// The data keys.
const CURRENT: [&str; 2] = ["tls.crt", "tls.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";

/// The longest value that is taken for a certificate or a key, in base64.
const LONGEST: usize = 64 << 10;

/// After the Secret was created, where the watch does not show it at once.
const AGAIN: Duration = Duration::from_secs(1);

/// At least this often: clocks are set, machines sleep.
const AT_LEAST: Duration = Duration::from_mins(1);

/// The self-managed certificate.
pub struct Certificates {
    api: ApiServer,
    place: NamespacedName,
    plan: Plan,
    served: Arc<CertResolver>,
    /// What is to be trusted, PEM.
    wanted: watch::Sender<Vec<u8>>,
    /// What is.
    trusted: watch::Receiver<Bundles>,
    seen: Seen,
    /// The bundle that is trusted everywhere, and since when.
    trusted_since: Option<(Vec<u8>, Instant)>,
    pace: WriteThrottle,
}

/// The Secret as it was seen last.
#[derive(Clone)]
enum Seen {
    NotYet,
    Absent,
    There(Arc<Shared>),
}

/// What is read of it.
struct Shared {
    version: String,
    store: Store,
}

impl Certificates {
    /// Nothing is read or written yet. `wanted` is told what is to be trusted, `trusted` tells what is.
    #[must_use]
    pub fn new(
        api: ApiServer,
        place: NamespacedName,
        plan: Plan,
        served: Arc<CertResolver>,
        wanted: watch::Sender<Vec<u8>>,
        trusted: watch::Receiver<Bundles>,
    ) -> Self {
        Self {
            api,
            place,
            plan,
            served,
            wanted,
            trusted,
            seen: Seen::NotYet,
            trusted_since: None,
            pace: WriteThrottle::default(),
        }
    }

    /// Follows the Secret, what is trusted and the time, until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let what = Collection::of::<Secret>(Some(&self.place.namespace)).named(&self.place.name);
        let mut stream = std::pin::pin!(follow_one(self.api.clone(), what, read));
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
                Some(Ok(Some(secret))) => self.seen = Seen::There(Arc::new(secret)),
                Some(Ok(None)) => self.seen = Seen::Absent,
                Some(Err(failure)) => failure.log(&format!("watching the certificate in {}", self.place)),
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
        let (now, store) = (SystemTime::now(), &secret.store);
        let bundles = self.trusted.borrow_and_update().clone();
        self.follow_trust(store, &bundles);
        self.serve(store, &bundles, now);
        let served = self.served.pair();
        let everything = bundles.concat();
        let view = View {
            now,
            served: served.as_ref(),
            trusted: &everything,
            trusted_for: self.trusted_since.as_ref().map(|(_, since)| since.elapsed()),
        };
        let step = match self.plan.next_action(store, &view) {
            Ok(step) => step,
            Err(error) => {
                tracing::error!("making a certificate for {}: {error}", self.plan.names.join(", "));
                return Ok(AT_LEAST);
            }
        };
        match step {
            Step::Wait(rest) => Ok(rest.clamp(Duration::from_millis(100), AT_LEAST)),
            Step::Write(store, why) => {
                if let Err(left) = self.pace.begin(Instant::now()) {
                    return Ok(left);
                }
                if self.pace.is_slow() {
                    tracing::warn!(secret = %self.place, "it has to be written again and again: something else writes it, or refuses it");
                }
                let version = self.write(&secret.version, &store).await?;
                tracing::info!(secret = %self.place, "certificate: {why}");
                self.seen = Seen::There(Arc::new(Shared { version, store }));
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
        if served.is_none_or(|served| chain_check::contains(&bundle, &served.certificate)) {
            tell(&self.wanted, bundle);
        }
    }

    /// An empty Secret: every replica may create it, the compare-and-swap comes after.
    async fn create(&self) -> Result<(), Failure> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": self.place.name},
        });
        let parameters = PatchParams { force: true, ..PatchParams::apply(MANAGER) };
        let apply = Patch::Apply(&secret);
        self.api.tell(self.request().patch_metadata(&self.place.name, &parameters, &apply)).await?;
        tracing::info!(secret = %self.place, "the Secret was not there: created");
        Ok(())
    }

    fn request(&self) -> Request {
        Request::new(Secret::url_path(&(), Some(&self.place.namespace)))
    }

    /// Writes over the version that was seen; the new one.
    async fn write(&self, seen: &str, store: &Store) -> Result<String, Failure> {
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
        let patch = json!({"metadata": {"resourceVersion": seen}, "data": data});
        let patch = self.request().patch_metadata(&self.place.name, &in_our_name(), &Patch::Merge(&patch));
        let written = self.api.object(patch).await?;
        Ok(written.json::<Versioned<'_>>()?.version().to_owned())
    }
}

/// Whether each entry trusts all of these certificates; not where there is none.
fn all_trust(bundles: &Bundles, certificates: &[u8]) -> bool {
    !bundles.is_empty() && bundles.iter().all(|held| chain_check::contains(held, certificates))
}

/// Of its data the keys above alone.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow, rename = "tls.crt")]
    certificate: Value<'a>,
    #[serde(borrow, rename = "tls.key")]
    key: Value<'a>,
    #[serde(borrow, rename = "next.crt")]
    next_certificate: Value<'a>,
    #[serde(borrow, rename = "next.key")]
    next_key: Value<'a>,
    #[serde(borrow, rename = "previous.crt")]
    previous: Value<'a>,
}

#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Value<'a>(#[serde(borrow)] Option<Cow<'a, str>>);

impl Value<'_> {
    /// What is too long is no certificate of ours.
    fn decode(self) -> Option<Vec<u8>> {
        STANDARD.decode(self.0.filter(|text| text.len() <= LONGEST)?.as_bytes()).ok()
    }
}

fn read(secret: &RawValue) -> serde_json::Result<Shared> {
    let found: Found<'_> = serde_json::from_str(secret.get())?;
    let versioned: Versioned<'_> = serde_json::from_str(secret.get())?;
    let data = found.data.unwrap_or_default();
    let pair = |certificate: Value<'_>, key: Value<'_>| {
        Some(Pair { certificate: certificate.decode()?, key: key.decode()? })
    };
    let store = Store {
        current: pair(data.certificate, data.key),
        next: pair(data.next_certificate, data.next_key),
        previous: data.previous.decode().unwrap_or_default(),
    };
    Ok(Shared { version: versioned.version().to_owned(), store })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_no_more_is_kept_than_certificates_can_be_long() {
        let long = STANDARD.encode(vec![b'x'; LONGEST]);
        let mut secret = json!({
            "metadata": {"resourceVersion": "7"},
            "data": {"tls.crt": "YQ==", "tls.key": "Yg==", "next.crt": long, "next.key": "Yw==", "previous.crt": long},
        });
        for n in 0..1_000 {
            secret["data"][format!("other-{n}")] = "".into();
        }
        let shared = read(&RawValue::from_string(secret.to_string()).unwrap()).unwrap();
        assert_eq!(shared.version, "7");
        let current = Pair { certificate: b"a".to_vec(), key: b"b".to_vec() };
        assert_eq!(shared.store, Store { current: Some(current), next: None, previous: Vec::new() });
    }
}
