//! Which Events are written, and what happens when the API server does not take them?
//!
//! The real writer talks to a scripted API server in paused time: nothing here waits.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitlab_iam_webhook::cluster::default_account::DefaultAccounts;
use gitlab_iam_webhook::cluster::events::{Events, Importance, Naming, Notice, Regarding};
use gitlab_iam_webhook::cluster::namespaces::Namespaces;
use gitlab_iam_webhook::engine::admission::mutate::Unreached;
use gitlab_iam_webhook::engine::object::component::Component;
use gitlab_iam_webhook::engine::object::owner::Owner;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::{EventLabel, EventResult, Metrics};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, ScriptedApi, scripted, status};

const TEAM: &str = "/apis/events.k8s.io/v1/namespaces/team/events";

/// The writer of one replica, and the API server that it talks to.
struct Replica {
    events: Events,
    script: ScriptedApi,
    metrics: Arc<Metrics>,
}

impl Replica {
    fn start() -> Self {
        let (api, script) = scripted(&Pool::new(POOL));
        let metrics = Arc::new(Metrics::default());
        let (events, writer) = Events::new(api, Arc::clone(&metrics));
        tokio::spawn(writer.follow(CancellationToken::new()));
        Self { events, script, metrics }
    }

    fn count(&self, result: EventResult) -> u64 {
        self.metrics.events.get_or_create(&EventLabel { result }).get()
    }

    async fn created(&mut self) -> Asked {
        self.script.expect("create", TEAM).await
    }
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn about(namespace: &str, name: &str, naming: Naming) -> Notice {
    Notice {
        regarding: Regarding {
            api_version: "apps/v1",
            kind: "ReplicaSet",
            namespace: namespace.into(),
            name: name.into(),
            uid: Some("u-1".into()),
        },
        importance: Importance::Warning,
        reason: "NoRole",
        action: "Observe",
        note: "it has no role".to_owned(),
        naming,
    }
}

fn name_of(asked: &Asked) -> String {
    asked.json()["metadata"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_event_says_what_was_told_about_which_object() {
    let mut replica = Replica::start();
    replica.events.tell(about("team", "web", Naming::ByContent));
    let asked = replica.created().await;
    let event = asked.json();
    assert_eq!((&event["kind"], &event["apiVersion"]), (&json!("Event"), &json!("events.k8s.io/v1")));
    assert_eq!(event["metadata"]["namespace"], "team");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("NoRole")));
    assert_eq!((&event["action"], &event["note"]), (&json!("Observe"), &json!("it has no role")));
    assert_eq!(event["reportingController"], "gitlab-iam-webhook");
    let regarding = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "team", "name": "web", "uid": "u-1",
    });
    assert_eq!(event["regarding"], regarding);
    asked.respond(201, &json!({}));
    settle().await;
    assert_eq!(replica.count(EventResult::Written), 1);

    let account = Regarding::service_account("team".into(), "a".into());
    replica.events.tell(Notice { regarding: account, ..about("", "", Naming::Unique) });
    let regarding = json!({"apiVersion": "v1", "kind": "ServiceAccount", "namespace": "team", "name": "a"});
    assert_eq!(replica.created().await.json()["regarding"], regarding);
    let namespace = Regarding::namespace("team".into());
    replica.events.tell(Notice { regarding: namespace, ..about("", "", Naming::Unique) });
    let regarding = json!({"apiVersion": "v1", "kind": "Namespace", "namespace": "team", "name": "team"});
    assert_eq!(replica.created().await.json()["regarding"], regarding);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_and_a_restart_tell_the_same_once() {
    let (mut first, mut second) = (Replica::start(), Replica::start());
    first.events.tell(about("team", "web", Naming::ByContent));
    second.events.tell(about("team", "web", Naming::ByContent));
    let (one, other) = (first.created().await, second.created().await);
    assert_eq!(name_of(&one), name_of(&other));
    assert!(name_of(&one).starts_with("web."), "{}", name_of(&one));
    one.respond(201, &json!({}));
    other.respond(409, &status(409, "it is there already"));
    settle().await;
    for replica in [&mut first, &mut second] {
        assert_eq!(replica.count(EventResult::Written), 1);
        // A replica that knows that it was told does not even ask.
        replica.events.tell(about("team", "web", Naming::ByContent));
        replica.script.expect_silence(Duration::from_mins(50)).await;
    }
    // By now the API server may have dropped it.
    sleep(Duration::from_mins(20)).await;
    first.events.tell(about("team", "web", Naming::ByContent));
    first.created().await;

    // Each time is another Event.
    second.events.tell(about("team", "web", Naming::Unique));
    second.events.tell(about("team", "web", Naming::Unique));
    assert_ne!(name_of(&second.created().await), name_of(&second.created().await));
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_what_may_not_is_given_up() {
    let mut replica = Replica::start();
    replica.events.tell(about("team", "web", Naming::Unique));
    let begun = Instant::now();
    let first = replica.created().await;
    let name = name_of(&first);
    first.respond(503, &status(503, "not now"));
    let second = replica.created().await;
    assert_eq!((begun.elapsed().as_secs(), name_of(&second)), (1, name));
    let mut busy = status(429, "too many requests");
    busy["details"] = json!({"retryAfterSeconds": 30});
    second.respond(429, &busy);
    let third = replica.created().await;
    assert_eq!(begun.elapsed().as_secs(), 31);
    third.respond(503, &status(503, "not now"));
    replica.script.expect_silence(Duration::from_mins(1)).await;
    assert_eq!(replica.count(EventResult::Failed), 1);

    // What failed is not known as told.
    for code in [422, 404, 403] {
        replica.events.tell(about("team", "web", Naming::ByContent));
        replica.created().await.respond(code, &status(code, "no"));
        replica.script.expect_silence(Duration::from_mins(1)).await;
    }
    assert_eq!(replica.count(EventResult::Failed), 4);
}

/// A place for log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_said_once() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || sink.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut replica = Replica::start();
    let ending = "unable to create new content in namespace team because it is being terminated";
    let denied = "events.events.k8s.io is forbidden: User \"us\" cannot create resource \"events\"";
    let quota = "events.events.k8s.io \"web.1\" is forbidden: exceeded quota: few";
    for words in [ending, quota, denied, denied, denied] {
        replica.events.tell(about("team", "web", Naming::ByContent));
        replica.created().await.respond(403, &status(403, words));
        settle().await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert_eq!(log.matches("exceeded quota: few kind=").count(), 1, "it is no right that is missing: {log}");
    let advice = "give the webhook's account the right to create `events` of `events.k8s.io` there";
    assert!(log.contains(denied) && log.contains(advice) && log.contains("namespace=team"), "{log}");
    assert_eq!(replica.count(EventResult::Failed), 5);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_notices_are_told_at_once_and_few_of_them_written_four_at_a_time() {
    let Replica { events, mut script, metrics } = Replica::start();
    let count = |result| metrics.events.get_or_create(&EventLabel { result }).get();
    for n in 0..10_000 {
        events.tell(about("team", &format!("web-{n}"), Naming::ByContent));
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut under_way = Vec::new();
    for _ in 0..4 {
        under_way.push(script.next().await);
    }
    script.expect_silence(Duration::from_millis(100)).await;
    // In another namespace there is room, once these are done.
    for asked in under_way {
        asked.respond(201, &json!({}));
    }
    let mut written = 4;
    while let Some(asked) = script.next_within(Duration::from_millis(100)).await {
        asked.respond(201, &json!({}));
        written += 1;
    }
    assert_eq!((written, count(EventResult::Written)), (100, 100));
    assert_eq!(count(EventResult::Dropped), 9_900);
    events.tell(about("other", "web", Naming::ByContent));
    assert_eq!(script.next().await.path, TEAM.replace("team", "other"));
}

fn unreached(owner: &str) -> Unreached<'_> {
    Unreached {
        component: Component::Webservice,
        advice: "do this",
        rule: "web",
        role: Cow::Borrowed("arn:aws:iam::123456789012:role/web"),
        owner: Some(Owner {
            api_version: "apps/v1",
            kind: "ReplicaSet",
            name: Cow::Borrowed(owner),
            uid: Cow::Borrowed("u-1"),
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_whose_pods_run_as_default_is_told_once_what_to_do() {
    let mut replica = Replica::start();
    let names = |name: &str| Arc::new(BTreeSet::from([name.to_owned()]));
    let (known, namespaces) = watch::channel(None);
    let default_accounts = DefaultAccounts::new(&replica.events, namespaces);
    default_accounts.tell("team", &unreached("web-1"));
    replica.script.expect_silence(Duration::from_secs(1)).await;
    known.send_replace(Some(Namespaces { enabled: names("team"), observed: names("watched") }));

    for _ in 0..1_000 {
        default_accounts.tell("team", &unreached("web-1"));
    }
    let asked = replica.created().await;
    let event = asked.json();
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("RunsAsDefault")));
    assert_eq!(event["regarding"]["kind"], "ReplicaSet");
    assert_eq!((&event["regarding"]["name"], &event["regarding"]["uid"]), (&json!("web-1"), &json!("u-1")));
    let note = event["note"].as_str().unwrap();
    for words in ["`default`", "webservice", "role/web (rule web)", "To mend it, do this."] {
        assert!(note.contains(words), "{note}");
    }
    asked.respond(201, &json!({}));
    default_accounts.tell("watched", &unreached("web-1"));
    replica.script.expect("create", &TEAM.replace("team", "watched")).await;
    // The Pod of another rollout is another workload's.
    default_accounts.tell("team", &unreached("web-2"));
    assert_eq!(replica.created().await.json()["regarding"]["name"], "web-2");

    // Who reaches the port can say anything.
    for namespace in ["other", "", "team/../kube-system", "kube-system"] {
        default_accounts.tell(namespace, &unreached("web-1"));
    }
    default_accounts.tell("team", &Unreached { owner: None, ..unreached("") });
    replica.script.expect_silence(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn forged_reviews_keep_no_other_event_from_being_written() {
    let mut replica = Replica::start();
    let names = Arc::new(BTreeSet::from(["team".to_owned()]));
    let known = Namespaces { enabled: names, ..Namespaces::default() };
    let (_known, namespaces) = watch::channel(Some(known));
    let default_accounts = DefaultAccounts::new(&replica.events, namespaces);
    for n in 0..10_000 {
        default_accounts.tell("team", &unreached(&format!("forged-{n}")));
    }
    replica.events.tell(about("team", "mine", Naming::Unique));
    let mut forged = 0;
    loop {
        let asked = replica.created().await;
        let event = asked.json();
        asked.respond(201, &json!({}));
        if event["regarding"]["name"] == "mine" {
            break;
        }
        forged += 1;
    }
    assert_eq!(forged, 30);
}
