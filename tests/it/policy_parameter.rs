//! Is the policy's parameter that of the mapping in force, whatever others and the API server do to it?
//!
//! The real tasks talk to a scripted API server in paused time: nothing here waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitlab_iam_webhook::cluster::mapping_watch::MappingWatch;
use gitlab_iam_webhook::cluster::policy_parameter::PolicyParameter;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::policy;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::health::Readiness;
use gitlab_iam_webhook::mapping_loader::MappingLoader;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, Stream, list, scripted, status};

const CONFIG_MAPS: &str = "/api/v1/namespaces/ns/configmaps";
const MAPPING: &str = "/api/v1/namespaces/ns/configmaps/role-mapping";
const PARAMETER: &str = "/api/v1/namespaces/ns/configmaps/role-mapping-policy";

fn mapping(role: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {{match: {{component: registry}}, role: {role}}}\n")
}

/// What the parameter of this mapping holds.
fn parameter_of(text: &str) -> Value {
    json!(policy::parameter(&compile(text, &OperatorPolicy::default()).unwrap()).unwrap().data)
}

/// A ConfigMap as the API server has it, with the watches on it.
#[derive(Default)]
struct ConfigMap {
    /// None where it is not there.
    held: Option<(u32, Value)>,
    watches: Vec<Stream>,
    /// What was told last, for a watch that begins before it.
    last: Option<(u32, &'static str, Value)>,
    /// Nothing is told to the watches.
    silent: bool,
}

impl ConfigMap {
    fn object(&self) -> Option<Value> {
        let (version, data) = self.held.as_ref()?;
        Some(json!({"metadata": {"resourceVersion": version.to_string()}, "data": data}))
    }

    fn set(&mut self, version: u32, data: Option<Value>) {
        let gone = self.object();
        self.held = data.map(|data| (version, data));
        let (kind, object) = match (self.object(), gone) {
            (Some(object), None) => ("ADDED", object),
            (Some(object), Some(_)) => ("MODIFIED", object),
            (None, Some(mut gone)) => {
                gone["metadata"]["resourceVersion"] = version.to_string().into();
                ("DELETED", gone)
            }
            (None, None) => return,
        };
        if let Some(watch) = self.watches.last().filter(|_| !self.silent) {
            watch.event(kind, &object);
        }
        self.last = Some((version, kind, object));
    }

    fn watch(&mut self, asked: Asked) {
        let from: u32 = asked.parameter("resourceVersion").unwrap().parse().unwrap();
        let watch = asked.stream();
        if let Some((version, kind, object)) = self.last.as_ref().filter(|_| !self.silent)
            && *version > from
        {
            watch.event(kind, object);
        }
        self.watches.push(watch);
    }
}

/// An API server with two ConfigMaps, which holds writes to their versions.
#[derive(Default)]
struct Cluster {
    version: u32,
    mapping: ConfigMap,
    parameter: ConfigMap,
    /// The mapping is edited between our last look at the parameter and our write of it, and another replica
    /// has followed already.
    before_write: Option<String>,
    conflicts: usize,
    /// The status of every answer to a write.
    refused: Option<u16>,
    /// Whoever asks for the parameter may not, and since when these tried.
    forbidden: bool,
    tries: Vec<Instant>,
    /// The status of every answer to whoever asks for the version of the mapping.
    unknown: Option<u16>,
    /// What was written, and when.
    writes: Vec<(Instant, Value)>,
    creations: usize,
}

impl Cluster {
    fn next(&mut self) -> u32 {
        self.version += 1;
        self.version
    }

    fn edit(&mut self, text: &str) {
        let version = self.next();
        self.mapping.set(version, Some(json!({"mapping.yaml": text})));
    }

    fn set_parameter(&mut self, data: Option<Value>) {
        let version = self.next();
        self.parameter.set(version, data);
    }

    fn answer(&mut self, asked: Asked) {
        let is_parameter = asked.query.contains("role-mapping-policy") || asked.path == PARAMETER;
        let (version, config_map) =
            (self.version.to_string(), if is_parameter { &mut self.parameter } else { &mut self.mapping });
        if is_parameter && self.forbidden {
            self.tries.push(Instant::now());
            return asked.respond(403, &status(403, "not yours"));
        }
        match (asked.verb, &*asked.path) {
            ("list", CONFIG_MAPS) => asked.respond(200, &list(&version, config_map.object().as_slice())),
            ("watch", CONFIG_MAPS) => config_map.watch(asked),
            ("get", MAPPING) if self.unknown.is_some() => {
                let code = self.unknown.unwrap();
                asked.respond(code, &status(code, "not now"));
            }
            ("get", PARAMETER | MAPPING) => match config_map.object() {
                Some(object) => asked.respond(200, &object),
                None => asked.respond_absent(),
            },
            ("patch", PARAMETER) => self.written(asked),
            // The last good mapping is another task's.
            (_, path) if path.ends_with("-last-good") => asked.respond(403, &status(403, "not here")),
            (verb, path) => panic!("{verb} {path}"),
        }
    }

    fn written(&mut self, asked: Asked) {
        if let Some(code) = self.refused {
            self.writes.push((Instant::now(), Value::Null));
            return asked.respond(code, &status(code, "no"));
        }
        if let Some(text) = self.before_write.take() {
            self.edit(&text);
            self.set_parameter(Some(parameter_of(&text)));
        }
        let patch = asked.json();
        if patch.is_object() {
            assert_eq!(patch["data"], Value::Null, "it is created empty, so that nothing is mixed: {patch}");
            assert_eq!(asked.parameter("force"), None);
            self.creations += 1;
            if self.parameter.held.is_none() {
                self.set_parameter(Some(Value::Null));
            }
        } else {
            let seen = self.parameter.held.as_ref().map(|(version, _)| version.to_string());
            assert_eq!(
                (&patch[0]["op"], &patch[0]["path"]),
                (&json!("replace"), &json!("/metadata/resourceVersion"))
            );
            if seen.is_none() || patch[0]["value"].as_str() != seen.as_deref() {
                self.conflicts += 1;
                return asked.respond(409, &status(409, "conflict"));
            }
            assert_eq!((&patch[1]["op"], &patch[1]["path"]), (&json!("add"), &json!("/data")));
            assert_eq!(patch.as_array().unwrap().len(), 2);
            let data = patch[1]["value"].clone();
            self.writes.push((Instant::now(), data.clone()));
            self.set_parameter(Some(data));
        }
        asked.respond(200, &self.parameter.object().unwrap());
    }
}

/// A cluster with this mapping, and a replica on it.
struct Scene {
    cluster: Arc<Mutex<Cluster>>,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn new(text: &str, parameter: Option<Value>) -> Self {
        let mut cluster = Cluster::default();
        cluster.edit(text);
        if parameter.is_some() {
            cluster.set_parameter(parameter);
        }
        let cluster = Arc::new(Mutex::new(cluster));
        let metrics = replica(&cluster, OperatorPolicy::default());
        Self { cluster, metrics }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Cluster) -> T) -> T {
        act(&mut self.cluster.lock().unwrap())
    }

    fn held(&self) -> Option<Value> {
        self.with(|cluster| cluster.parameter.held.as_ref().map(|(_, data)| data.clone()))
    }

    fn writes(&self) -> usize {
        self.with(|cluster| cluster.writes.len())
    }

    /// The value of a metric; none where it is not exported.
    fn metric(&self, name: &str) -> Option<i64> {
        let text = self.metrics.encode().unwrap();
        let prefix = format!("gitlab_iam_webhook_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(|value| value.parse().unwrap())
    }
}

fn replica(cluster: &Arc<Mutex<Cluster>>, policy: OperatorPolicy) -> Arc<Metrics> {
    let pool = Pool::new(POOL);
    let (api, script) = scripted(&pool);
    let metrics = Arc::new(Metrics::default());
    let loader = MappingLoader::new(&metrics, policy, "test".to_owned(), &pool);
    let live = loader.live();
    let place = "ns/role-mapping".parse().unwrap();
    let watch = MappingWatch::new(api.clone(), place, false, loader, Readiness::default().hold("it"));
    let freshness = watch.freshness();
    tokio::spawn(watch.follow(CancellationToken::new()));
    let place = "ns/role-mapping".parse().unwrap();
    let parameter = PolicyParameter::new(api, &place, live, freshness, Arc::clone(&metrics));
    tokio::spawn(parameter.follow(CancellationToken::new()));
    let cluster = Arc::clone(cluster);
    script.answer_all(move |asked| cluster.lock().unwrap().answer(asked));
    metrics
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_none_it_is_created_empty_and_filled_and_then_nothing_is_written() {
    let scene = Scene::new(&mapping("one"), None);
    seconds(2).await;
    assert_eq!(scene.held(), Some(parameter_of(&mapping("one"))));
    assert_eq!(scene.metric("policy_in_step"), Some(1));
    assert_eq!(scene.metric("policy_left_out_rules"), Some(0));
    seconds(600).await;
    assert_eq!((scene.writes(), scene.with(|cluster| cluster.creations)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_is_to_be_is_never_written_and_of_two_replicas_one_writes() {
    let scene = Scene::new(&mapping("one"), Some(parameter_of(&mapping("one"))));
    let other = replica(&scene.cluster, OperatorPolicy::default());
    seconds(600).await;
    assert_eq!(scene.writes(), 0);
    for role in ["two", "three", "four"] {
        scene.with(|cluster| cluster.edit(&mapping(role)));
        seconds(10).await;
        assert_eq!(scene.held(), Some(parameter_of(&mapping(role))));
    }
    assert_eq!(scene.writes(), 3);
    assert!(other.encode().unwrap().contains("gitlab_iam_webhook_policy_in_step 1"));
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_followed_within_a_second_however_many_there_are() {
    let scene = Scene::new(&mapping("one"), Some(Value::Null));
    seconds(2).await;
    for number in 0..30 {
        let text = mapping(&format!("role-{number}"));
        scene.with(|cluster| cluster.edit(&text));
        seconds(1).await;
        assert_eq!(scene.held(), Some(parameter_of(&text)), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_else_stands_there_is_replaced_as_a_whole() {
    let mut more = parameter_of(&mapping("one"));
    more["other"] = "of another version".into();
    let foreign = json!({"format": "2", "something": "else"});
    for held in [Value::Null, json!({}), foreign, more, parameter_of(&mapping("old"))] {
        let scene = Scene::new(&mapping("one"), Some(held.clone()));
        seconds(2).await;
        assert_eq!(scene.held(), Some(parameter_of(&mapping("one"))), "{held}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_empties_changes_or_deletes_it_again_and_again_is_answered_ever_more_slowly() {
    let scene = Scene::new(&mapping("one"), Some(Value::Null));
    seconds(2).await;
    let writes = || scene.writes() + scene.with(|cluster| cluster.creations);
    let before = writes();
    for round in 0..6_000 {
        let undone = [Some(Value::Null), Some(json!({"format": "9"})), None];
        scene.with(|cluster| cluster.set_parameter(undone[round % 3].clone()));
        sleep(Duration::from_millis(100)).await;
    }
    let writes = writes() - before;
    assert!((10..=40).contains(&writes), "{writes} writes in ten minutes");
    seconds(60).await;
    assert_eq!(scene.held(), Some(parameter_of(&mapping("one"))), "it ends as it is to be");
    // An edit does not wait for the end of a fight.
    scene.with(|cluster| cluster.edit(&mapping("two")));
    seconds(1).await;
    assert_eq!(scene.held(), Some(parameter_of(&mapping("two"))));
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_mapping_is_not_the_newest_writes_nothing() {
    let newest = parameter_of(&mapping("two"));
    let scene = Scene::new(&mapping("one"), Some(parameter_of(&mapping("one"))));
    seconds(2).await;
    // Another replica has the newer mapping, and here the watch on the mapping falls silent.
    scene.with(|cluster| {
        cluster.mapping.silent = true;
        cluster.edit(&mapping("two"));
        cluster.set_parameter(Some(newest.clone()));
    });
    for _ in 0..40 {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(scene.held().as_ref(), Some(&newest), "the older mapping is not written over the newer");
    }
    // The silence is noticed, and its mapping is the newest.
    seconds(20).await;
    assert_eq!((scene.held(), scene.writes()), (Some(newest), 0));
    assert_eq!(scene.metric("policy_in_step"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn while_nobody_says_which_mapping_is_the_newest_nothing_is_written() {
    let scene = Scene::new(&mapping("one"), Some(Value::Null));
    scene.with(|cluster| cluster.unknown = Some(503));
    seconds(60).await;
    assert_eq!((scene.writes(), scene.metric("policy_in_step")), (0, Some(0)));
    scene.with(|cluster| cluster.unknown = None);
    seconds(2).await;
    assert_eq!(scene.held(), Some(parameter_of(&mapping("one"))));
}

#[tokio::test(start_paused = true)]
async fn over_a_version_that_was_not_seen_nothing_is_written() {
    let scene = Scene::new(&mapping("one"), Some(Value::Null));
    scene.with(|cluster| {
        cluster.mapping.silent = true;
        cluster.before_write = Some(mapping("two"));
    });
    for _ in 0..60 {
        sleep(Duration::from_millis(50)).await;
        let held = scene.held().unwrap();
        assert!(held == Value::Null || held == parameter_of(&mapping("two")), "{held}");
    }
    assert_eq!(scene.with(|cluster| (cluster.conflicts, cluster.writes.len())), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_is_tried_again_ever_more_slowly() {
    for code in [422, 403, 409] {
        let scene = Scene::new(&mapping("one"), Some(Value::Null));
        scene.with(|cluster| cluster.refused = Some(code));
        seconds(600).await;
        let tries: Vec<Instant> = scene.with(|cluster| cluster.writes.drain(..).map(|(at, _)| at).collect());
        assert!((15..=40).contains(&tries.len()), "{code}: {} tries in ten minutes", tries.len());
        assert_eq!(scene.metric("policy_in_step"), Some(0));
        scene.with(|cluster| cluster.refused = None);
        seconds(40).await;
        assert_eq!(scene.held(), Some(parameter_of(&mapping("one"))));
        assert_eq!(scene.metric("policy_in_step"), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_may_not_be_read_is_said_to_be_out_of_step_and_asked_for_seldom() {
    // From the beginning, or taken away later; and the mapping is edited meanwhile.
    for later in [false, true] {
        let mut cluster = Cluster { forbidden: !later, ..Cluster::default() };
        cluster.edit(&mapping("one"));
        cluster.set_parameter(Some(parameter_of(&mapping("one"))));
        let cluster = Arc::new(Mutex::new(cluster));
        let metrics = replica(&cluster, OperatorPolicy::default());
        let scene = Scene { cluster, metrics };
        seconds(2).await;
        assert_eq!(scene.metric("policy_in_step"), Some(i64::from(later)));
        scene.with(|cluster| {
            cluster.forbidden = true;
            cluster.parameter.watches.clear();
        });
        seconds(30).await;
        assert_eq!(scene.metric("policy_in_step"), Some(0), "nobody knows what stands there");
        scene.with(|cluster| cluster.edit(&mapping("two")));
        scene.with(|cluster| cluster.tries.clear());
        seconds(600).await;
        let tries = scene.with(|cluster| cluster.tries.len());
        assert!((80..=300).contains(&tries), "{tries} tries in ten minutes");
        assert_eq!((scene.metric("policy_in_step"), scene.writes()), (Some(0), 0));
        scene.with(|cluster| cluster.forbidden = false);
        seconds(10).await;
        assert_eq!(scene.held(), Some(parameter_of(&mapping("two"))));
        assert_eq!(scene.metric("policy_in_step"), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn before_there_is_a_mapping_nothing_is_written_and_nothing_is_told() {
    let kept = json!({"format": "1", "of": "another replica"});
    let scene = Scene::new("rules: [broken\n", Some(kept.clone()));
    seconds(60).await;
    assert_eq!((scene.held(), scene.writes()), (Some(kept), 0));
    assert_eq!((scene.metric("policy_in_step"), scene.metric("policy_left_out_rules")), (None, None));
    scene.with(|cluster| cluster.edit(&mapping("mended")));
    seconds(1).await;
    assert_eq!(scene.held(), Some(parameter_of(&mapping("mended"))));
    // A broken edit changes nothing: the last good mapping stays in force.
    scene.with(|cluster| cluster.edit("rules: [broken\n"));
    seconds(60).await;
    assert_eq!(scene.held(), Some(parameter_of(&mapping("mended"))));
    assert_eq!(scene.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_of_which_no_parameter_can_be_made_makes_the_policy_do_nothing() {
    let mut cluster = Cluster::default();
    cluster.edit(&mapping("one"));
    cluster.set_parameter(Some(parameter_of(&mapping("old"))));
    let cluster = Arc::new(Mutex::new(cluster));
    let policy =
        OperatorPolicy { workload_controllers: vec!["two\nlines".to_owned()], ..OperatorPolicy::default() };
    let metrics = replica(&cluster, policy);
    seconds(2).await;
    let scene = Scene { cluster, metrics };
    let held = scene.held().unwrap();
    assert_eq!(held["format"], "none", "nothing of the old one is given any more");
    assert!(held["why"].as_str().unwrap().contains("workload controller"), "{held}");
    assert_eq!(held.as_object().unwrap().len(), 2);
    assert_eq!((scene.metric("policy_in_step"), scene.metric("policy_left_out_rules")), (Some(1), Some(1)));
    seconds(600).await;
    assert_eq!(scene.writes(), 1);
}
