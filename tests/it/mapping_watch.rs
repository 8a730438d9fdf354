//! Is the user's mapping ever lost while the API server does not tell everything?

use std::sync::Arc;
use std::time::Duration;

use gitlab_iam_webhook::cluster::mapping_watch::MappingWatch;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::health::Readiness;
use gitlab_iam_webhook::live::Live;
use gitlab_iam_webhook::mapping_loader::MappingLoader;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, ScriptedApi, list, scripted, status};

const CONFIG_MAPS: &str = "/api/v1/namespaces/ns/configmaps";
const MAPPING: &str = "/api/v1/namespaces/ns/configmaps/role-mapping";
const LAST_GOOD: &str = "/api/v1/namespaces/ns/configmaps/role-mapping-last-good";

fn config_map(version: &str, text: &str) -> Value {
    json!({"metadata": {"name": "role-mapping", "resourceVersion": version}, "data": {"mapping.yaml": text}})
}

fn mapping(role: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: \"*\"}}, role: {role}}}\n")
}

/// A replica that follows the mapping ns/role-mapping.
struct Replica {
    live: Arc<Live>,
    readiness: Readiness,
    script: ScriptedApi,
}

fn replica() -> Replica {
    let pool = Pool::new(POOL);
    let (api, script) = scripted(&pool);
    let readiness = Readiness::default();
    let intake = MappingLoader::new(
        &Arc::new(Metrics::default()),
        OperatorPolicy::default(),
        "test".to_owned(),
        &pool,
    );
    let live = intake.live();
    let hold = readiness.hold("the mapping");
    let watch = MappingWatch::new(api, "ns/role-mapping".parse().unwrap(), true, intake, hold);
    tokio::spawn(watch.follow(CancellationToken::new()));
    Replica { live, readiness, script }
}

impl Replica {
    fn not_ready(&self) -> String {
        self.readiness.check().expect_err("it is not ready")
    }

    /// Let everything that has been answered take effect.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    async fn list(&mut self, items: &[Value]) {
        let asked = self.script.expect("list", CONFIG_MAPS).await;
        assert_eq!(asked.parameter("fieldSelector"), Some("metadata.name%3Drole-mapping"));
        asked.respond(200, &list("5", items));
    }

    /// The next request that is no watch; watches stay silent.
    async fn next_but_watches(&mut self) -> Asked {
        loop {
            let asked = self.script.next().await;
            if asked.verb != "watch" {
                return asked;
            }
            std::mem::forget(asked.stream());
        }
    }

    /// The next question for the last good mapping. Meanwhile there is no other one, and it is looked whether
    /// the watch is behind.
    async fn next_but_looks(&mut self) -> Asked {
        loop {
            let asked = self.next_but_watches().await;
            match (asked.verb, &*asked.path) {
                ("get", LAST_GOOD) => return asked,
                ("get", MAPPING) => asked.respond_absent(),
                (verb, path) => panic!("{verb} {path}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_starter_is_created_while_nobody_can_say_whether_there_is_a_last_good_mapping() {
    type Fails = fn(Asked);
    let fails: [Fails; 5] = [
        |asked| asked.respond(503, &status(503, "not now")),
        |asked| asked.respond(403, &status(403, "forbidden")),
        |asked| asked.respond_with(200, &[], "{\"metadata\""),
        |asked| asked.respond_with(404 + 96, &[], ""),
        // No answer at all.
        |asked| std::mem::forget(asked.stream()),
    ];
    for fail in fails {
        let mut replica = replica();
        replica.list(&[]).await;
        for _ in 0..3 {
            fail(replica.next_but_looks().await);
            Replica::settle().await;
            assert!(replica.not_ready().contains("the mapping"), "{}", replica.not_ready());
        }
        assert_eq!(replica.live.load().number, 0);
        // It is there after all.
        replica.next_but_looks().await.respond(200, &config_map("3", &mapping("kept")));
        Replica::settle().await;
        assert_eq!(replica.readiness.check(), Ok(()));
        assert_eq!(replica.live.load().ruleset.rules().len(), 1, "the last good mapping is in force");
    }
}

#[tokio::test(start_paused = true)]
async fn a_starter_is_created_once_both_are_known_to_be_absent_and_over_nothing() {
    let mut replica = replica();
    // The watch itself is asked in vain at first.
    replica.script.expect("list", CONFIG_MAPS).await.respond(503, &status(503, "not now"));
    Replica::settle().await;
    assert!(replica.not_ready().contains("the mapping"));
    replica.list(&[]).await;
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", LAST_GOOD));
    asked.respond_absent();
    // A list may be behind; this one is asked for by its name.
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", MAPPING));
    asked.respond_absent();
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("patch", MAPPING));
    assert_eq!(asked.parameter("force"), None, "what somebody created meanwhile is theirs");
    assert!(
        asked.parameter("fieldManager").is_some_and(|name| name != "gitlab-iam-webhook"),
        "{}",
        asked.query
    );
    assert!(asked.json()["data"]["mapping.yaml"].as_str().unwrap().contains("rules: []"));
    asked.respond(409, &status(409, "conflict"));
    Replica::settle().await;
    assert_eq!(replica.readiness.check(), Ok(()), "there is nothing to wait for");
}

/// The starter as this very version would create it.
fn starter() -> String {
    include_str!("../../src/cluster/starter-mapping.yaml").to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_starter_never_takes_the_place_of_a_last_good_mapping() {
    let mut replica = replica();
    replica.list(&[config_map("4", &starter())]).await;
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", LAST_GOOD));
    asked.respond(200, &config_map("3", ""));
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", MAPPING));
    asked.respond(200, &config_map("4", &starter()));
    // Nothing but looking whether the watch is behind.
    for _ in 0..5 {
        let asked = replica.next_but_watches().await;
        assert_eq!((asked.verb, &*asked.path), ("get", MAPPING));
        asked.respond(200, &config_map("4", ""));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_good_mapping_is_written_over_what_was_seen_and_only_while_it_is_the_newest() {
    let mut replica = replica();
    replica.list(&[config_map("4", &mapping("one"))]).await;
    // It is read first, so that a newer one that is written meanwhile makes a conflict.
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", LAST_GOOD));
    asked.respond(200, &config_map("3", ""));
    replica.script.expect("get", MAPPING).await.respond(200, &config_map("4", &mapping("one")));
    let asked = replica.script.expect("patch", LAST_GOOD).await;
    assert_eq!(asked.json()["metadata"]["resourceVersion"], "3");
    assert_eq!(asked.json()["data"]["mapping.yaml"], mapping("one"));
    asked.respond(409, &status(409, "conflict"));

    // A late try: there is another mapping by now.
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", LAST_GOOD));
    asked.respond(200, &config_map("6", ""));
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", MAPPING));
    asked.respond(200, &config_map("5", &mapping("two")));
    let asked = replica.next_but_watches().await;
    assert_eq!(asked.verb, "get", "the older mapping is not written over the newer one");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_last_good_mapping_it_is_created_over_nothing() {
    let mut replica = replica();
    replica.list(&[config_map("4", &mapping("one"))]).await;
    let asked = replica.next_but_watches().await;
    assert_eq!((asked.verb, &*asked.path), ("get", LAST_GOOD));
    asked.respond_absent();
    replica.script.expect("get", MAPPING).await.respond(200, &config_map("4", &mapping("one")));
    let asked = replica.script.expect("patch", LAST_GOOD).await;
    assert_eq!(asked.parameter("force"), None);
    assert!(asked.parameter("fieldManager").is_some_and(|name| name != "gitlab-iam-webhook"));
    assert_eq!(asked.json()["data"]["mapping.yaml"], mapping("one"));
}

#[tokio::test(start_paused = true)]
async fn beside_a_mapping_that_cannot_be_used_a_new_replica_is_not_ready_and_an_old_one_is() {
    const BROKEN: &str = "rules: [broken\n";
    type LastGood = fn(Asked);
    let unusable: LastGood = |asked| asked.respond(200, &config_map("3", BROKEN));
    let no_key: Value = json!({"metadata": {"resourceVersion": "4"}, "data": {"other": "x"}});
    let cases: [(&[Value], LastGood); 4] = [
        (&[config_map("4", BROKEN)], Asked::respond_absent),
        (&[config_map("4", BROKEN)], unusable),
        (&[no_key], unusable),
        // The last good one says that there was a mapping.
        (&[], unusable),
    ];
    for (items, last_good) in cases {
        let mut replica = replica();
        replica.list(items).await;
        let asked = replica.next_but_watches().await;
        assert_eq!((asked.verb, &*asked.path), ("get", LAST_GOOD));
        last_good(asked);
        Replica::settle().await;
        let why = replica.not_ready();
        assert!(
            why.contains("waiting for a mapping that can be used: neither the one in ns/role-mapping"),
            "{why}"
        );
        assert!(why.contains("role-mapping-last-good") && why.contains("see the log"), "{why}");
        assert_eq!(replica.live.load().number, 0);
    }

    // It is mended, and later broken again.
    let mut replica = replica();
    replica.list(&[config_map("4", BROKEN)]).await;
    let watch = loop {
        let asked = replica.script.next().await;
        match asked.verb {
            "watch" => break asked.stream(),
            _ => asked.respond_absent(),
        }
    };
    watch.event("MODIFIED", &config_map("6", &mapping("mended")));
    Replica::settle().await;
    assert_eq!(replica.readiness.check(), Ok(()));
    watch.event("MODIFIED", &config_map("7", BROKEN));
    Replica::settle().await;
    assert_eq!(replica.readiness.check(), Ok(()), "the last good one goes on");
    assert_eq!(replica.live.load().ruleset.rules().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_the_mapping_that_fell_silent_is_noticed_and_begun_anew() {
    let mut replica = replica();
    replica.list(&[config_map("4", &mapping("one"))]).await;
    let edited = Instant::now();
    loop {
        let asked = replica.next_but_watches().await;
        match (asked.verb, &*asked.path) {
            ("get", LAST_GOOD) => asked.respond(200, &config_map("3", "")),
            ("get", MAPPING) => asked.respond(200, &config_map("9", &mapping("two"))),
            ("list", CONFIG_MAPS) => {
                asked.respond(200, &list("9", &[config_map("9", &mapping("two"))]));
                break;
            }
            (verb, path) => panic!("{verb} {path}"),
        }
    }
    assert!(edited.elapsed() <= Duration::from_secs(8), "{:?}", edited.elapsed());
    Replica::settle().await;
    assert_eq!(replica.live.load().number, 2);
}
