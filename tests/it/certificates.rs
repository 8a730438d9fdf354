//! What becomes of the certificate and of caBundle while the API server refuses, and somebody else writes as
//! well?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_iam_webhook::cluster::ca_bundle::CaBundle;
use gitlab_iam_webhook::health::Readiness;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::Metrics;
use gitlab_iam_webhook::tls::cert_resolver::CertResolver;
use gitlab_iam_webhook::tls::issue;
use gitlab_iam_webhook::tls::rotation::RotationPolicy;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, Stream, list, scripted, status};

const SECRETS: &str = "/api/v1/namespaces/ns/secrets";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// A cluster with at most one object in each collection. All replicas see the same.
#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    version: u64,
    /// Each under the path of its collection.
    there: BTreeMap<String, Value>,
    watches: Vec<(String, Stream)>,
    /// How many patches are answered with this status before they are done, of collections whose path begins
    /// so.
    refusals: (usize, u16, &'static str),
    /// When each patch was asked for, and of which collection.
    patches: Vec<(Instant, String)>,
}

impl Objects {
    fn set(&mut self, collection: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        for (_, watch) in self.watches.iter().filter(|(watched, _)| watched == collection) {
            watch.event("MODIFIED", &object);
        }
        self.there.insert(collection.to_owned(), object);
    }

    /// As the API server does it: by compare-and-swap, where the patch names a version.
    fn patch(&mut self, collection: &str, patch: &Value) -> (u16, Value) {
        self.patches.push((Instant::now(), collection.to_owned()));
        if collection.starts_with(self.refusals.2)
            && let Some(left) = self.refusals.0.checked_sub(1)
        {
            self.refusals.0 = left;
            return (self.refusals.1, status(self.refusals.1, "refused"));
        }
        let mut object = self.there.get(collection).cloned().unwrap_or_else(|| json!({"metadata": {}}));
        let before = object["metadata"]["resourceVersion"].clone();
        match patch {
            Value::Array(_) => {
                let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
                if json_patch::patch(&mut object, &patch).is_err() {
                    return (422, status(422, "a test failed"));
                }
            }
            patch => json_patch::merge(&mut object, patch),
        }
        if object["metadata"]["resourceVersion"] != before {
            return (409, status(409, "conflict"));
        }
        self.set(collection, object);
        (200, self.there[collection].clone())
    }

    fn answer(&mut self, asked: Asked) {
        let collection = match asked.verb {
            "patch" => asked.path.rsplit_once('/').unwrap().0.to_owned(),
            _ => asked.path.clone(),
        };
        match asked.verb {
            "list" => {
                let items: Vec<Value> = self.there.get(&collection).cloned().into_iter().collect();
                asked.respond(200, &list(&self.version.to_string(), &items));
            }
            "watch" => self.watches.push((collection, asked.stream())),
            "patch" => {
                let (code, body) = self.patch(&collection, &asked.json());
                asked.respond(code, &body);
            }
            verb => panic!("{verb} {}", asked.path),
        }
    }
}

impl Cluster {
    /// With both webhook configurations, of one entry each that has no caBundle, and without a Secret.
    fn new() -> Self {
        let cluster = Self::default();
        for collection in [MUTATING, VALIDATING] {
            let service = json!({"name": "hook", "namespace": "ns"});
            let entry = json!({"name": "a", "clientConfig": {"service": service}});
            cluster.lock().set(collection, json!({"metadata": {"name": "hook"}, "webhooks": [entry]}));
        }
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap()
    }

    /// The caBundle of both.
    fn bundles(&self) -> [Value; 2] {
        [MUTATING, VALIDATING].map(|collection| self.bundle(collection))
    }

    fn bundle(&self, collection: &str) -> Value {
        self.lock().there[collection]["webhooks"][0]["clientConfig"]["caBundle"].clone()
    }

    /// The certificate in the Secret, in base64 as caBundle has it.
    fn certificate(&self) -> Value {
        self.lock().there.get(SECRETS).map_or(Value::Null, |secret| secret["data"]["tls.crt"].clone())
    }

    /// Somebody else writes a bundle.
    fn set_bundle(&self, collection: &str, bundle: &[u8]) {
        let mut objects = self.lock();
        let mut object = objects.there[collection].clone();
        object["webhooks"][0]["clientConfig"]["caBundle"] = STANDARD.encode(bundle).into();
        objects.set(collection, object);
    }

    fn patches_of(&self, collection: &str) -> Vec<Instant> {
        self.lock().patches.iter().filter(|(_, of)| of == collection).map(|(at, _)| *at).collect()
    }

    /// A replica that looks after its certificate itself.
    fn start(&self) -> Replica {
        let policy = RotationPolicy {
            names: vec!["hook.ns.svc".to_owned()],
            lifetime: Duration::from_hours(90 * 24),
            propagation: Duration::from_mins(5),
        };
        self.start_with(Some(policy))
    }

    fn start_with(&self, policy: Option<RotationPolicy>) -> Replica {
        let (api, script) = scripted(&Pool::new(POOL));
        let objects = Arc::clone(&self.0);
        script.answer_all(move |asked| objects.lock().unwrap().answer(asked));
        let resolver = CertResolver::new(Arc::new(Metrics::default()));
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let (name, served, ready) = ("hook".to_owned(), Arc::clone(&resolver), readiness.clone());
        let ca_bundle = match policy {
            None => CaBundle::read_only(api, name, served, ready),
            Some(policy) => {
                let secret = "ns/tls".parse().unwrap();
                let (ca_bundle, certificates) =
                    CaBundle::self_managed(api, name, served, ready, secret, policy);
                tokio::spawn(certificates.follow(stop.clone()));
                ca_bundle
            }
        };
        tokio::spawn(ca_bundle.follow(stop));
        Replica { readiness, resolver }
    }
}

struct Replica {
    readiness: Readiness,
    resolver: Arc<CertResolver>,
}

impl Replica {
    fn is_ready(&self) -> bool {
        self.readiness.check().is_ok()
    }

    /// How long it takes until it is ready.
    async fn ready(&self) -> Duration {
        eventually("ready", || self.is_ready()).await
    }
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(4), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn replicas_that_start_at_once_without_a_secret_share_one_certificate_that_every_entry_trusts() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(), cluster.start());
    let time = one.ready().await.max(two.ready().await);
    assert!(time < Duration::from_secs(10), "{time:?}");
    assert_eq!(one.resolver.pair(), two.resolver.pair());
    let certificate = cluster.certificate();
    assert_eq!(cluster.bundles(), [certificate.clone(), certificate], "a self-signed leaf is its own anchor");
    let patches = cluster.lock().patches.len();
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(cluster.lock().patches.len(), patches, "nothing is written where nothing has to be");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_written_again_ever_more_slowly_until_it_is_not() {
    for code in [409, 403, 422, 429, 500] {
        for collection in [SECRETS, MUTATING, VALIDATING] {
            let cluster = Cluster::new();
            cluster.lock().refusals = (8, code, collection);
            let (begun, replica) = (Instant::now(), cluster.start());
            eventually("both have it", || {
                !cluster.certificate().is_null()
                    && cluster.bundles().iter().all(|b| *b == cluster.certificate())
            })
            .await;
            replica.ready().await;
            let time = begun.elapsed();
            assert!((10..=40).contains(&time.as_secs()), "{code} {collection}: {time:?}");
            let asked = cluster.patches_of(collection);
            let at_once = asked.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_secs(1)).count();
            assert!(at_once <= 3, "{code} {collection}: {asked:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_somebody_clears_is_written_again_and_ever_more_slowly_where_they_go_on() {
    let cluster = Cluster::new();
    let replica = cluster.start();
    replica.ready().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    for (collection, other) in [(MUTATING, VALIDATING), (VALIDATING, MUTATING)] {
        let others = cluster.patches_of(other).len();
        cluster.set_bundle(collection, b"");
        let time =
            eventually("it is there again", || cluster.bundle(collection) == cluster.certificate()).await;
        assert!(time <= Duration::from_secs(1), "{time:?}");
        assert_eq!(cluster.patches_of(other).len(), others, "the other one has it");
        replica.ready().await;
    }
    let (begun, before) = (Instant::now(), cluster.patches_of(MUTATING).len());
    while begun.elapsed() < Duration::from_mins(4) {
        cluster.set_bundle(MUTATING, b"somebody else's");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let writes = cluster.patches_of(MUTATING).len() - before;
    assert!((8..=20).contains(&writes), "{writes} in four minutes");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_emptied_or_filled_with_rubbish_gets_back_what_is_served() {
    let cluster = Cluster::new();
    let replica = cluster.start();
    replica.ready().await;
    let first = cluster.certificate();
    for data in [Value::Null, json!({"tls.crt": "cnViYmlzaA==", "tls.key": "cnViYmlzaA=="}), json!({})] {
        tokio::time::sleep(Duration::from_secs(30)).await;
        cluster.lock().set(SECRETS, json!({"metadata": {"name": "tls"}, "data": data}));
        eventually("it is there again", || cluster.certificate() == first).await;
        assert!(replica.is_ready());
    }
    assert_eq!(cluster.bundles(), [first.clone(), first]);
}

#[tokio::test(start_paused = true)]
async fn another_good_certificate_is_served_only_once_it_is_trusted() {
    let cluster = Cluster::new();
    let replica = cluster.start();
    replica.ready().await;
    let old = replica.resolver.pair().unwrap();
    let life = Duration::from_hours(90 * 24);
    let new = issue::self_signed(&["hook.ns.svc".to_owned()], SystemTime::now(), life).unwrap();
    // From now on nothing can be written, so that nobody trusts it.
    cluster.lock().refusals = (usize::MAX, 403, "/");
    let data = json!({"tls.crt": STANDARD.encode(&new.certificate), "tls.key": STANDARD.encode(&new.key)});
    cluster.lock().set(SECRETS, json!({"metadata": {"name": "tls"}, "data": data}));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(replica.resolver.pair().as_ref(), Some(&old));
    assert!(replica.is_ready(), "the one that is served is still trusted");
    cluster.lock().refusals = (0, 0, "/");
    eventually("it is served", || replica.resolver.pair().as_ref() == Some(&new)).await;
    assert!(replica.is_ready());
    let both = STANDARD.encode([&*new.certificate, &*old.certificate].concat());
    assert_eq!(cluster.bundles(), [json!(both), json!(both)], "another replica may still serve the old one");
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_somebody_elses_to_write_is_only_read() {
    let cluster = Cluster::new();
    let replica = cluster.start_with(None);
    let life = Duration::from_hours(24);
    let pair = issue::self_signed(&["hook.ns.svc".to_owned()], SystemTime::now(), life).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!replica.is_ready(), "there is no certificate");
    replica.resolver.serve(&pair).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!replica.is_ready(), "nobody trusts it");
    cluster.set_bundle(VALIDATING, &pair.certificate);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!replica.is_ready(), "the mutating one does not trust it");
    cluster.set_bundle(MUTATING, &pair.certificate);
    assert!(replica.ready().await < Duration::from_secs(1));
    cluster.set_bundle(MUTATING, b"");
    eventually("trust is lost", || !replica.is_ready()).await;
    assert_eq!(cluster.lock().patches.len(), 0);
}
