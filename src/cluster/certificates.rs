//! Which certificate do the replicas share? One Secret holds it, and every replica serves what it holds.
//!
//! Any replica writes the Secret, by compare-and-swap. Rights on its one name are all that is needed: get,
//! list, watch, patch, and create by server-side apply. [`rotation`](crate::tls::rotation) says what the
//! Secret is to hold next and `serving` what is served; this task watches, writes and waits.

mod serving;

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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bundle_exchange::{CertificateEnd, TrustedBundles};
use super::failure::Failure;
use super::observed::Observed;
use super::pages::Collection;
use super::read::Versioned;
use super::watch::follow_one;
use super::write_throttle::WriteThrottle;
use super::{ApiServer, MANAGER, NamespacedName, in_our_name};
use crate::telemetry::{causes, unix_time_in_words};
use crate::tls::Pair;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::rotation::{Keyring, RotationAction, RotationInput, RotationPolicy};
use serving::TrustedSince;

/// The data keys of the pair that is served, and of the one after it.
const CURRENT: [&str; 2] = ["tls.crt", "tls.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];

/// The data key of the certificates before it.
const PREVIOUS: &str = "previous.crt";

/// The longest value that is taken for a certificate or a key, in base64.
const LONGEST: usize = 64 << 10;

/// How long to wait for the watch to show a Secret that was created, before that is tried again.
const AFTER_CREATION: Duration = Duration::from_secs(1);

/// The longest rest: clocks are set and machines sleep, so the time is looked at again.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// The shortest rest.
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// The task that looks after the self-managed certificate.
pub struct Certificates {
    api: ApiServer,
    secret: NamespacedName,
    policy: RotationPolicy,
    resolver: Arc<CertResolver>,
    exchange: CertificateEnd,
    seen: Observed<Arc<Shared>>,
    trusted_since: TrustedSince,
    throttle: WriteThrottle,
}

/// What is read of the Secret.
struct Shared {
    version: String,
    keyring: Keyring,
}

impl Certificates {
    /// A task that has not begun. [`CaBundle::self_managed`](super::ca_bundle::CaBundle::self_managed) makes
    /// it.
    pub(super) fn new(
        api: ApiServer,
        secret: NamespacedName,
        policy: RotationPolicy,
        resolver: Arc<CertResolver>,
        exchange: CertificateEnd,
    ) -> Self {
        Self {
            api,
            secret,
            policy,
            resolver,
            exchange,
            seen: Observed::NotYet,
            trusted_since: TrustedSince::default(),
            throttle: WriteThrottle::default(),
        }
    }

    /// Follows the Secret, what is trusted and the time, until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let what = Collection::of::<Secret>(Some(&self.secret.namespace)).named(&self.secret.name);
        let mut stream = std::pin::pin!(follow_one(self.api.clone(), what, read));
        let mut rest = LONGEST_REST;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = stream.next() => event,
                () = self.exchange.changed() => None,
                () = tokio::time::sleep(rest) => None,
            };
            match event {
                Some(Ok(secret)) => self.seen = secret.map(Arc::new).into(),
                Some(Err(failure)) => failure.log(&format!("watching the certificate in {}", self.secret)),
                None => {}
            }
            let Some(done) = stop.run_until_cancelled(self.act()).await else { return };
            rest = done.unwrap_or_else(|failure| {
                failure.log(&format!("writing the Secret {}", self.secret));
                self.throttle.after_failure(Instant::now())
            });
        }
    }

    /// Serves what there is to serve, and takes the next step. Returns how long to rest.
    async fn act(&mut self) -> Result<Duration, Failure> {
        let secret = match &self.seen {
            Observed::NotYet => return Ok(LONGEST_REST),
            Observed::Absent => {
                if let Err(left) = self.throttle.begin(Instant::now()) {
                    return Ok(left);
                }
                self.create().await?;
                return Ok(AFTER_CREATION);
            }
            Observed::Present(secret) => Arc::clone(secret),
        };
        let (now, keyring) = (SystemTime::now(), &secret.keyring);
        let bundles = self.exchange.trusted();
        let bundle = keyring.bundle();
        let is_trusted = bundles.all_trust(&bundle);
        self.trusted_since.observe(bundle, is_trusted, Instant::now());
        self.serve(keyring, &bundles, now);
        let served = self.resolver.pair();
        let everything = bundles.concat();
        let input = RotationInput {
            now,
            served: served.as_ref(),
            trusted: &everything,
            trusted_for: self.trusted_since.duration(Instant::now()),
        };
        let action = match self.policy.next_action(keyring, &input) {
            Ok(action) => action,
            Err(error) => {
                tracing::error!("making a certificate for {}: {error}", self.policy.names.join(", "));
                return Ok(LONGEST_REST);
            }
        };
        match action {
            RotationAction::Wait(rest) => Ok(rest.clamp(SHORTEST_REST, LONGEST_REST)),
            RotationAction::Write(keyring, why) => {
                if let Err(left) = self.throttle.begin(Instant::now()) {
                    return Ok(left);
                }
                if self.throttle.is_slow() {
                    tracing::warn!(
                        secret = %self.secret,
                        "it has to be written again and again: something else writes it, or refuses it"
                    );
                }
                let version = self.write(&secret.version, &keyring).await?;
                tracing::info!(secret = %self.secret, "certificate: {why}");
                self.seen = Observed::Present(Arc::new(Shared { version, keyring }));
                // What was written is acted on at once.
                Ok(Duration::ZERO)
            }
        }
    }

    /// Serves the certificate that is to be served, and says which ones are to be trusted.
    fn serve(&self, keyring: &Keyring, bundles: &TrustedBundles, now: SystemTime) {
        let served = self.resolver.pair();
        if let Some(pair) = serving::to_serve(&self.policy, keyring, served.as_ref(), bundles, now) {
            match self.resolver.serve(pair) {
                Ok(not_after) => {
                    let not_after = unix_time_in_words(not_after);
                    tracing::info!(secret = %self.secret, not_after, "new certificate served");
                }
                Err(error) => tracing::error!(secret = %self.secret, "{}", causes(&error)),
            }
        }
        let served = self.resolver.pair();
        if let Some(certificates) = serving::to_trust(&self.policy, keyring, served.as_ref(), now) {
            self.exchange.ask_to_trust(certificates);
        }
    }

    /// Creates an empty Secret. Every replica may do so, since it is filled by compare-and-swap.
    async fn create(&self) -> Result<(), Failure> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": self.secret.name},
        });
        let parameters = PatchParams { force: true, ..PatchParams::apply(MANAGER) };
        let apply = Patch::Apply(&secret);
        self.api.tell(self.request().patch_metadata(&self.secret.name, &parameters, &apply)).await?;
        tracing::info!(secret = %self.secret, "the Secret was not there: created");
        Ok(())
    }

    fn request(&self) -> Request {
        Request::new(Secret::url_path(&(), Some(&self.secret.namespace)))
    }

    /// Writes over the version that was seen. Returns the version that the write made.
    async fn write(&self, seen: &str, keyring: &Keyring) -> Result<String, Failure> {
        let mut data = serde_json::Map::new();
        let mut put = |key: &str, value: Option<&[u8]>| {
            data.insert(key.to_owned(), json!(value.map(|value| ByteString(value.to_owned()))));
        };
        for ([certificate, key], pair) in [(CURRENT, &keyring.current), (NEXT, &keyring.next)] {
            put(certificate, pair.as_ref().map(|pair| pair.certificate.as_slice()));
            put(key, pair.as_ref().map(|pair| pair.key.as_slice()));
        }
        put(PREVIOUS, Some(keyring.previous.as_slice()).filter(|previous| !previous.is_empty()));
        // With the version that was seen, a write over another one is refused.
        let patch = json!({"metadata": {"resourceVersion": seen}, "data": data});
        let patch = self.request().patch_metadata(&self.secret.name, &in_our_name(), &Patch::Merge(&patch));
        let written = self.api.object(patch).await?;
        Ok(written.json::<Versioned<'_>>()?.version().to_owned())
    }
}

/// A Secret as it is sent, of whose data the keys above alone are read.
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
    /// Decodes a value. One that is too long is no certificate of ours.
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
    let keyring = Keyring {
        current: pair(data.certificate, data.key),
        next: pair(data.next_certificate, data.next_key),
        previous: data.previous.decode().unwrap_or_default(),
    };
    Ok(Shared { version: versioned.version().to_owned(), keyring })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_no_more_is_kept_than_certificates_can_be_long() {
        let long = STANDARD.encode(vec![b'x'; LONGEST]);
        let mut secret = json!({
            "metadata": {"resourceVersion": "7"},
            "data": {
                "tls.crt": "YQ==", "tls.key": "Yg==",
                "next.crt": long, "next.key": "Yw==",
                "previous.crt": long,
            },
        });
        for n in 0..1_000 {
            secret["data"][format!("other-{n}")] = "".into();
        }
        let shared = read(&RawValue::from_string(secret.to_string()).unwrap()).unwrap();
        assert_eq!(shared.version, "7");
        let current = Pair { certificate: b"a".to_vec(), key: b"b".to_vec() };
        assert_eq!(shared.keyring, Keyring { current: Some(current), next: None, previous: Vec::new() });
    }
}
