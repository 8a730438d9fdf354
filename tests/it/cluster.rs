//! What is asked of an API server that fails, stalls, forgets and floods?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gitlab_iam_webhook::cluster::events::Events;
use gitlab_iam_webhook::cluster::namespaces::{self, KnownNamespaces, Scope};
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, Log, ScriptedApi, list, scripted, status};

const NAMESPACES: &str = "/api/v1/namespaces";

fn namespace(name: &str, version: &str) -> Value {
    labelled(name, version, "enabled")
}

fn labelled(name: &str, version: &str, value: &str) -> Value {
    let labels = json!({"gitlab-iam-webhook/inject": value});
    json!({"metadata": {"name": name, "resourceVersion": version, "labels": labels}})
}

/// Follows namespaces, and tells which have opted in.
fn follow_namespaces(pool: &Pool) -> (watch::Receiver<KnownNamespaces>, ScriptedApi) {
    let (api, script) = scripted(pool);
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let (events, writer) = Events::new(api.clone(), Arc::clone(&metrics));
    tokio::spawn(writer.follow(stop.clone()));
    let scope = Scope { except: vec!["own".to_owned()], ..Scope::default() };
    let (found, tasks) = namespaces::follow(&api, &scope, &events, &metrics, &stop);
    for task in tasks {
        tokio::spawn(task);
    }
    (found, script)
}

async fn has_opted_in(found: &mut watch::Receiver<KnownNamespaces>, names: &[&str]) {
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let told = found.wait_for(|found| found.as_ref().is_some_and(|found| *found.enabled == names));
    tokio::time::timeout(Duration::from_mins(1), told).await.expect("it is told in time").unwrap();
}

/// Counts what is asked in a minute, and finds the shortest time between two requests.
async fn count_a_minute(log: &Log) -> (usize, Duration) {
    tokio::time::sleep(Duration::from_mins(1)).await;
    let log = log.lock().unwrap();
    let gaps = log.windows(2).map(|pair| pair[1].0 - pair[0].0);
    (log.len(), gaps.min().unwrap_or_default())
}

fn nobody() -> Value {
    list("5", &[])
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_begun_ever_more_slowly_whatever_ends_them() {
    type Ends = fn(Asked);
    let ends: [(&str, Ends); 6] = [
        ("cleanly", |watch| watch.respond_with(200, &[], "")),
        ("too old, by a line", |watch| watch.stream().event("ERROR", &status(410, "too old"))),
        ("too old, by the status", |watch| watch.respond(410, &status(410, "too old"))),
        ("with a bookmark", |watch| watch.stream().event("BOOKMARK", &namespace("", "6"))),
        ("with what was known", |watch| watch.stream().event("MODIFIED", &namespace("a", "5"))),
        ("broken", |watch| watch.stream().send("{\"type\":\"ADDED\",\"obj\n")),
    ];
    for (how, end) in ends {
        let (_found, script) = follow_namespaces(&Pool::new(POOL));
        let log = script.answer_all(move |asked| match asked.verb {
            "list" => asked.respond(200, &nobody()),
            _ => end(asked),
        });
        let (requests, gap) = count_a_minute(&log).await;
        assert!((8..=34).contains(&requests), "{how}: {requests} requests in a minute");
        assert!(gap >= Duration::from_millis(200), "{how}: {gap:?} between two requests");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_fail_are_tried_ever_more_slowly_and_no_sooner_than_asked() {
    let (_found, script) = follow_namespaces(&Pool::new(POOL));
    let log = script.answer_all(|asked| asked.respond(503, &status(503, "not now")));
    let (requests, gap) = count_a_minute(&log).await;
    assert!((8..=16).contains(&requests), "{requests}");
    assert!(gap >= Duration::from_millis(500), "{gap:?}");

    let (mut found, mut script) = follow_namespaces(&Pool::new(POOL));
    let begun = Instant::now();
    let first = script.expect("list", NAMESPACES).await;
    first.respond_with(429, &[("retry-after", "7")], status(429, "too many").to_string());
    let second = script.expect("list", NAMESPACES).await;
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
    second.respond(200, &list("5", &[namespace("a", "4")]));
    has_opted_in(&mut found, &["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_where_it_was_and_after_a_410_everything_is_listed_again() {
    let (mut found, mut script) = follow_namespaces(&Pool::new(POOL));
    let asked = script.expect("list", NAMESPACES).await;
    assert_eq!(asked.parameter("labelSelector"), Some("gitlab-iam-webhook%2Finject"));
    asked.respond(200, &list("5", &[namespace("a", "4")]));
    let asked = script.expect("watch", NAMESPACES).await;
    assert_eq!(asked.parameter("resourceVersion"), Some("5"));
    let watch = asked.stream();
    has_opted_in(&mut found, &["a"]).await;
    // A watch may have nothing but bookmarks for as long as it lives.
    for minute in 6..11 {
        tokio::time::sleep(Duration::from_mins(1)).await;
        watch.event("BOOKMARK", &namespace("", &minute.to_string()));
    }
    drop(watch);
    let asked = script.expect("watch", NAMESPACES).await;
    assert_eq!(asked.parameter("resourceVersion"), Some("10"));
    let watch = asked.stream();
    watch.event("ADDED", &namespace("b", "11"));
    watch.event("DELETED", &namespace("a", "12"));
    has_opted_in(&mut found, &["b"]).await;
    watch.event("ERROR", &status(410, "too old"));
    let asked = script.expect("list", NAMESPACES).await;
    asked.respond(200, &list("20", &[namespace("c", "19")]));
    has_opted_in(&mut found, &["c"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_moves_between_the_values_of_its_label_is_told_in_one_step() {
    let (mut found, mut script) = follow_namespaces(&Pool::new(POOL));
    let asked = script.expect("list", NAMESPACES).await;
    asked.respond(200, &list("5", &[labelled("a", "4", "observe"), labelled("b", "4", "disabled")]));
    let watch = script.expect("watch", NAMESPACES).await.stream();
    let sets = |found: &KnownNamespaces| {
        let found = found.clone().unwrap_or_default();
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        (names(&found.enabled), names(&found.observed))
    };
    let mut told = Vec::new();
    found.changed().await.unwrap();
    told.push(sets(&found.borrow_and_update()));
    for (version, value) in
        [("6", "enabled"), ("7", "observe"), ("8", "disabled"), ("9", "enabled"), ("10", "disabled")]
    {
        watch.event("MODIFIED", &labelled("a", version, value));
        found.changed().await.unwrap();
        told.push(sets(&found.borrow_and_update()));
    }
    let told: Vec<(&str, &str)> = told.iter().map(|(enabled, observed)| (&**enabled, &**observed)).collect();
    assert_eq!(told, [("", "a"), ("a", ""), ("", "a"), ("", ""), ("a", ""), ("", "")]);
    // What a list does not show is in neither set, and what it shows elsewhere has moved.
    watch.event("ADDED", &labelled("c", "11", "observe"));
    watch.event("ADDED", &labelled("d", "12", "observe"));
    watch.event("ERROR", &status(410, "too old"));
    script.expect("list", NAMESPACES).await.respond(200, &list("20", &[labelled("d", "19", "enabled")]));
    let told = found.wait_for(|found| sets(found) == ("d".to_owned(), String::new()));
    tokio::time::timeout(Duration::from_mins(1), told).await.expect("it is told in time").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_label_that_does_nothing_is_told_by_an_event_on_its_namespace_once_for_each_value() {
    let (_found, mut script) = follow_namespaces(&Pool::new(POOL));
    let listed = [
        labelled("a", "4", "true"),
        labelled("b", "4", "enabled"),
        labelled("c", "4", "disabled"),
        labelled("own", "4", "observe"),
    ];
    script.expect("list", NAMESPACES).await.respond(200, &list("5", &listed));
    let (mut events, mut watch) = (Vec::new(), None);
    for _ in 0..3 {
        let asked = script.next().await;
        match asked.verb {
            "watch" => watch = Some(asked.stream()),
            _ => {
                events.push((asked.path.clone(), asked.json()));
                asked.respond(201, &json!({}));
            }
        }
    }
    let of = |namespace: &str| format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    for (event, namespace, words) in [
        (
            &events[0],
            "a",
            "the label gitlab-iam-webhook/inject=true has no effect: write gitlab-iam-webhook/inject=enabled",
        ),
        (&events[1], "own", "inject=observe has no effect here: nothing is changed in kube-system"),
    ] {
        let (path, event) = event;
        assert_eq!(*path, of(namespace));
        assert_eq!((&event["reason"], &event["type"]), (&json!("LabelHasNoEffect"), &json!("Warning")));
        let regarding =
            json!({"apiVersion": "v1", "kind": "Namespace", "namespace": namespace, "name": namespace});
        assert_eq!(event["regarding"], regarding);
        assert!(event["note"].as_str().unwrap().contains(words), "{event}");
    }
    let watch = watch.unwrap();
    // The same once more, as where something else of the namespace changes.
    watch.event("MODIFIED", &labelled("a", "6", "true"));
    script.expect_silence(Duration::from_secs(5)).await;
    watch.event("MODIFIED", &labelled("a", "7", "yes"));
    let told = script.expect("create", &of("a")).await;
    assert!(told.json()["note"].as_str().unwrap().contains("inject=yes has no effect: write"));
    // Where another replica has said it, that is as good.
    told.respond(409, &status(409, "there is one"));
    watch.event("MODIFIED", &labelled("a", "8", "enabled"));
    script.expect_silence(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_ends_by_itself() {
    let (_found, mut script) = follow_namespaces(&Pool::new(POOL));
    script.expect("list", NAMESPACES).await.respond(200, &nobody());
    let _silent = script.expect("watch", NAMESPACES).await.stream();
    let begun = Instant::now();
    script.expect("watch", NAMESPACES).await;
    assert!(begun.elapsed() < Duration::from_secs(320), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn long_lines_take_their_room_and_those_without_end_are_given_up() {
    let pool = Pool::new(POOL);
    let (mut found, mut script) = follow_namespaces(&pool);
    script.expect("list", NAMESPACES).await.respond(200, &nobody());
    let watch = script.expect("watch", NAMESPACES).await.stream();
    has_opted_in(&mut found, &[]).await;
    let mut large = namespace("large", "6");
    large["metadata"]["annotations"] = json!({"x": "y".repeat(3 << 20)});
    let line = format!("{}\n", json!({"type": "ADDED", "object": large}));
    // While somebody else holds all of the pool there is no room, and nothing is read.
    let all = pool.take(POOL).await;
    for part in line.as_bytes().chunks(16 << 10) {
        watch.send(part.to_vec());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    has_opted_in(&mut found, &[]).await;
    drop(all);
    has_opted_in(&mut found, &["large"]).await;
    assert!(pool.take_within(POOL, Duration::from_millis(1)).await.is_some(), "all of it was given back");

    for _ in 0..5 {
        watch.send(vec![b'x'; 1 << 20]);
    }
    script.expect("list", NAMESPACES).await.respond(200, &list("9", &[namespace("b", "8")]));
    has_opted_in(&mut found, &["b"]).await;
    assert!(pool.take_within(POOL, Duration::from_millis(1)).await.is_some(), "all of it was given back");
}

#[tokio::test(start_paused = true)]
async fn a_long_line_that_stalls_gives_its_room_back() {
    let pool = Pool::new(POOL);
    let (_found, mut script) = follow_namespaces(&pool);
    script.expect("list", NAMESPACES).await.respond(200, &nobody());
    let watch = script.expect("watch", NAMESPACES).await.stream();
    watch.send(vec![b'x'; 1 << 20]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pool.take_within(POOL, Duration::from_millis(1)).await.is_none());
    assert!(pool.take_within(POOL, Duration::from_secs(10)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_long_is_asked_for_in_smaller_ones() {
    let pool = Pool::new(POOL);
    let (mut found, mut script) = follow_namespaces(&pool);
    let mut sizes = Vec::new();
    loop {
        let asked = script.expect("list", NAMESPACES).await;
        let size: usize = asked.parameter("limit").unwrap().parse().unwrap();
        sizes.push(size);
        if size == 1 {
            // A page of one object may be as long as any object.
            let mut large = namespace("large", "3");
            large["metadata"]["annotations"] = json!({"x": "y".repeat(3 << 20)});
            let mut page = list("5", &[large]);
            page["metadata"]["continue"] = "rest".into();
            asked.respond(200, &page);
            break;
        }
        asked.respond_with(200, &[], vec![b' '; 3 << 20]);
    }
    assert_eq!(sizes, [200, 50, 12, 3, 1]);
    let asked = script.expect("list", NAMESPACES).await;
    assert_eq!(asked.parameter("continue"), Some("rest"));
    asked.respond(200, &list("5", &[namespace("a", "4")]));
    has_opted_in(&mut found, &["a", "large"]).await;
    assert!(pool.take_within(POOL, Duration::from_millis(1)).await.is_some(), "all of it was given back");
}

#[tokio::test(start_paused = true)]
async fn no_more_namespaces_are_remembered_than_there_is_room_for() {
    let (mut found, mut script) = follow_namespaces(&Pool::new(POOL));
    for page in 0..60 {
        let names: Vec<Value> = (0..200).map(|n| namespace(&format!("ns-{page}-{n}"), "4")).collect();
        let mut list = list("5", &names);
        if page < 59 {
            list["metadata"]["continue"] = format!("rest-{page}").into();
        }
        script.expect("list", NAMESPACES).await.respond(200, &list);
    }
    let found = found.wait_for(Option::is_some).await.unwrap();
    assert_eq!(found.as_ref().unwrap().enabled.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_and_words_without_end_are_given_up() {
    let pool = Pool::new(POOL);
    let (_found, mut script) = follow_namespaces(&pool);
    script.expect("list", NAMESPACES).await.respond_with(500, &[], vec![b'x'; 1 << 20]);
    let endless = script.expect("list", NAMESPACES).await.stream();
    endless.send(vec![b' '; 64 << 10]);
    script.expect("list", NAMESPACES).await.respond(200, &nobody());
    assert!(pool.take_within(POOL, Duration::from_millis(1)).await.is_some(), "all of it was given back");
    let _watch = script.expect("watch", NAMESPACES).await.stream();
    script.expect_silence(Duration::from_secs(5)).await;
}
