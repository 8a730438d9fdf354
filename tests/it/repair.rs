//! What is asked of an API server, and after which pause, while ServiceAccounts are repaired and it does not
//! do as it should?
//!
//! The real driver talks to a scripted API server in paused time: nothing here waits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitlab_iam_webhook::cluster::events::Events;
use gitlab_iam_webhook::cluster::impact_preview::ImpactPreview;
use gitlab_iam_webhook::cluster::mapping_watch::MappingWatch;
use gitlab_iam_webhook::cluster::namespaces::{KnownNamespaces, Namespaces};
use gitlab_iam_webhook::cluster::repair::Repair;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::health::Readiness;
use gitlab_iam_webhook::mapping_loader::MappingLoader;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::{Metrics, RepairLabel, RepairResult};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, Stream, list, scripted, status};

const CONFIG_MAPS: &str = "/api/v1/namespaces/ns/configmaps";
const MAPPING: &str = "/api/v1/namespaces/ns/configmaps/role-mapping";
const ACCOUNTS: &str = "/api/v1/namespaces/team/serviceaccounts";
const ROLE: &str = "eks.amazonaws.com/role-arn";

fn mapping(role: &str) -> String {
    format!(
        "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: \"gitlab*\"}}, role: {role}}}\n"
    )
}

fn account(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version}})
}

/// The same as the mapping decides.
fn with_role(name: &str, version: &str, role: &str) -> Value {
    let mut account = account(name, version);
    account["metadata"]["annotations"] = json!({ROLE: format!("arn:aws:iam::123456789012:role/{role}")});
    account
}

/// The mapping as the API server has it. It answers for itself.
struct ConfigMap {
    version: u32,
    text: String,
    /// The status of every answer to whoever asks for its version.
    broken: Option<u16>,
    /// How often it was listed.
    lists: usize,
    watches: Vec<Stream>,
}

impl ConfigMap {
    fn object(&self) -> Value {
        let metadata = json!({"name": "role-mapping", "resourceVersion": self.version.to_string()});
        json!({"metadata": metadata, "data": {"mapping.yaml": self.text}})
    }

    /// It is edited; the watch on it is told or not.
    fn edit(&mut self, text: &str, tell: bool) {
        self.version += 1;
        text.clone_into(&mut self.text);
        if let Some(watch) = self.watches.last().filter(|_| tell) {
            watch.event("MODIFIED", &self.object());
        }
    }

    fn answer(&mut self, asked: Asked) {
        match (asked.verb, self.broken) {
            ("get", Some(code)) if asked.path == MAPPING => asked.respond(code, &status(code, "not now")),
            ("list", _) => {
                self.lists += 1;
                asked.respond(200, &list(&self.version.to_string(), &[self.object()]));
            }
            ("watch", _) => self.watches.push(asked.stream()),
            _ => asked.respond(200, &self.object()),
        }
    }
}

/// A request, and when it came.
struct Request {
    at: Instant,
    asked: Asked,
}

/// A replica that repairs the namespace `team`.
struct Replica {
    mapping: Arc<Mutex<ConfigMap>>,
    /// Lists and watches of ServiceAccounts.
    reads: mpsc::UnboundedReceiver<Request>,
    /// Patches of ServiceAccounts, and Events.
    writes: mpsc::UnboundedReceiver<Request>,
    namespaces: watch::Sender<KnownNamespaces>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

async fn next(requests: &mut mpsc::UnboundedReceiver<Request>) -> Request {
    let next = tokio::time::timeout(Duration::from_hours(2), requests.recv()).await;
    next.expect("nothing was asked for two hours").expect("the replica is there")
}

fn names(names: &[&str]) -> Namespaces {
    let enabled: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Namespaces { enabled: Arc::new(enabled), observed: Arc::default() }
}

impl Replica {
    /// Its mapping gives every ServiceAccount `gitlab*` the role `ours`.
    async fn start() -> Self {
        let pool = Pool::new(POOL);
        let (api, script) = scripted(&pool);
        let (metrics, readiness) = (Arc::new(Metrics::default()), Readiness::default());
        let loader = MappingLoader::new(&metrics, OperatorPolicy::default(), "test".to_owned(), &pool);
        let live = loader.live();
        let hold = readiness.hold("the mapping");
        let place = "ns/role-mapping".parse().unwrap();
        let mapping_watch = MappingWatch::new(api.clone(), place, false, loader, hold);
        let freshness = mapping_watch.freshness();
        tokio::spawn(mapping_watch.follow(CancellationToken::new()));
        let (namespaces, opted_in) = watch::channel(None);
        let (events, writer) = Events::new(api.clone(), Arc::clone(&metrics));
        tokio::spawn(writer.follow(CancellationToken::new()));
        let (ours, counts) = (Arc::clone(&live), Arc::clone(&metrics));
        let repair = Repair::new(api, ours, opted_in, freshness, readiness.clone(), counts, events);
        tokio::spawn(repair.follow(CancellationToken::new()));

        let mapping = Arc::new(Mutex::new(ConfigMap {
            version: 4,
            text: mapping("ours"),
            broken: None,
            lists: 0,
            watches: Vec::new(),
        }));
        let ((read, reads), (write, writes)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let config_map = Arc::clone(&mapping);
        script.answer_all(move |asked| {
            if asked.path.starts_with(CONFIG_MAPS) {
                return config_map.lock().unwrap().answer(asked);
            }
            let to = if matches!(asked.verb, "list" | "watch") { &read } else { &write };
            drop(to.send(Request { at: Instant::now(), asked }));
        });
        live.subscribe().wait_for(|generation| *generation == 1).await.unwrap();
        namespaces.send_replace(Some(names(&["team"])));
        Self { mapping, reads, writes, namespaces, readiness, metrics }
    }

    /// One with these ServiceAccounts, and its watch from version 5 on.
    async fn with(accounts: &[Value]) -> (Self, Stream) {
        let mut replica = Self::start().await;
        replica.read("list").await.asked.respond(200, &list("5", accounts));
        let watch = replica.read("watch").await.asked.stream();
        (replica, watch)
    }

    /// The next list or watch, which must be this one.
    async fn read(&mut self, verb: &str) -> Request {
        let request = next(&mut self.reads).await;
        assert_eq!((request.asked.verb, &*request.asked.path), (verb, ACCOUNTS));
        request
    }

    /// The next watch, and from where it goes on.
    async fn watch_from(&mut self, version: &str) -> Request {
        let request = self.read("watch").await;
        assert_eq!(request.asked.parameter("resourceVersion"), Some(version));
        request
    }

    /// Answers every list with these, and every watch with silence.
    fn answer_reads(&mut self, accounts: &[Value]) {
        let (_, reads) = mpsc::unbounded_channel();
        let (mut reads, answer) = (std::mem::replace(&mut self.reads, reads), list("5", accounts));
        tokio::spawn(async move {
            let mut watches = Vec::new();
            while let Some(Request { asked, .. }) = reads.recv().await {
                match asked.verb {
                    "list" => asked.respond(200, &answer),
                    _ => watches.push(asked.stream()),
                }
            }
        });
    }

    /// The next write, which must be the empty patch of this ServiceAccount.
    async fn patch(&mut self, name: &str) -> Request {
        let request = next(&mut self.writes).await;
        assert_eq!((request.asked.verb, &*request.asked.path), ("patch", &*format!("{ACCOUNTS}/{name}")));
        assert_eq!(request.asked.json(), json!({}));
        assert_eq!(request.asked.parameter("fieldManager"), Some("gitlab-iam-webhook"));
        request
    }

    /// Nothing is written for so long.
    async fn writes_nothing_for(&mut self, time: Duration) {
        if let Ok(request) = tokio::time::timeout(time, self.writes.recv()).await {
            let asked = request.expect("the replica is there").asked;
            panic!("{} {}", asked.verb, asked.path);
        }
    }

    fn count(&self, result: RepairResult) -> u64 {
        self.metrics.repairs.get_or_create(&RepairLabel { result }).get()
    }

    /// Lets everything that has been answered take effect.
    async fn settle() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Whether so many seconds passed, or up to so much more. Timers are exact to 2 milliseconds.
#[track_caller]
fn assert_pause(from: Instant, to: Instant, seconds: f64, more: f64) {
    let pause = to.duration_since(from).as_secs_f64();
    assert!((seconds - 0.001..=seconds + more + 0.003).contains(&pause), "{pause} s, not {seconds} s");
}

type Answers = fn(Asked);

/// Headers of an answer.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// By so much a re-admission may be later than it is due.
const JITTER: f64 = 0.5;

/// How much longer than this a pause may be: replicas whose patches meet must come apart.
fn spread(pause: f64) -> f64 {
    JITTER + (pause / 2.0).min(30.0)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_410_in_the_middle_of_a_list_begins_it_anew_and_what_it_showed_is_repaired() {
    let mut replica = Replica::start().await;
    let first = replica.read("list").await;
    assert_eq!((first.asked.parameter("limit"), first.asked.parameter("continue")), (Some("200"), None));
    let mut page = list("5", &[account("gitlab-a", "3")]);
    page["metadata"]["continue"] = "rest".into();
    first.asked.respond(200, &page);
    let second = replica.read("list").await;
    assert_eq!(second.asked.parameter("continue"), Some("rest"));
    let answered = Instant::now();
    second.asked.respond(410, &status(410, "the continue token is too old"));
    let patch = replica.patch("gitlab-a").await;
    assert_pause(answered, patch.at, 0.0, JITTER);
    patch.asked.respond(200, &with_role("gitlab-a", "8", "ours"));
    let anew = replica.read("list").await;
    assert_pause(answered, anew.at, 0.5, 0.25);
    assert_eq!(anew.asked.parameter("continue"), None);
    let all = [with_role("gitlab-a", "8", "ours"), account("gitlab-b", "6")];
    anew.asked.respond(200, &list("9", &all));
    replica.watch_from("9").await;
    replica.patch("gitlab-b").await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_without_a_word_goes_on_from_where_it_was_ever_more_slowly() {
    let (mut replica, watch) = Replica::with(&[]).await;
    let mut ended = Instant::now();
    drop(watch);
    for pause in [0.5, 1.0, 2.0, 4.0, 5.0, 5.0] {
        let next = replica.watch_from("5").await;
        assert_pause(ended, next.at, pause, pause / 2.0);
        ended = Instant::now();
        drop(next.asked.stream());
    }
    // One that went on for a while is followed at once.
    let watch = replica.watch_from("5").await.asked.stream();
    sleep(seconds(11.0)).await;
    watch.event("MODIFIED", &with_role("gitlab-a", "6", "ours"));
    Replica::settle().await;
    ended = Instant::now();
    drop(watch);
    let next = replica.watch_from("6").await;
    assert_pause(ended, next.at, 0.0, 0.0);
    drop(next.asked.stream());
    let again = replica.watch_from("6").await;
    assert_pause(next.at, again.at, 0.5, 0.25);
    assert!(replica.writes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_in_the_middle_of_an_object_goes_on_from_the_one_before() {
    let (mut replica, watch) = Replica::with(&[]).await;
    watch.event("ADDED", &with_role("gitlab-a", "6", "ours"));
    let line = json!({"type": "ADDED", "object": account("gitlab-b", "7")}).to_string();
    let (begin, _) = line.split_at(line.len() / 2);
    watch.send(begin.to_owned());
    Replica::settle().await;
    let ended = Instant::now();
    drop(watch);
    let next = replica.watch_from("6").await;
    assert_pause(ended, next.at, 0.5, 0.25);
    assert!(replica.writes.is_empty(), "half an object says nothing");
    let watch = next.asked.stream();
    watch.event("ADDED", &account("gitlab-b", "7"));
    let seen = Instant::now();
    let patch = replica.patch("gitlab-b").await;
    assert_pause(seen, patch.at, 0.0, JITTER);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_alone_move_the_watch_on_and_repair_nothing() {
    let (mut replica, watch) = Replica::with(&[with_role("gitlab-a", "4", "ours")]).await;
    for minute in 10..15 {
        sleep(Duration::from_mins(1)).await;
        watch.event("BOOKMARK", &json!({"metadata": {"resourceVersion": minute.to_string()}}));
    }
    Replica::settle().await;
    let ended = Instant::now();
    drop(watch);
    let next = replica.watch_from("14").await;
    assert_pause(ended, next.at, 0.0, 0.0);
    assert!(replica.writes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lists_and_watches_that_get_429_begin_again_no_sooner_than_asked() {
    let in_body = json!({"code": 429, "message": "too many", "details": {"retryAfterSeconds": 20}});
    let words = status(429, "too many");
    let cases: [(Headers<'_>, &Value, f64, f64); 5] = [
        (&[], &words, 0.5, 0.25),
        (&[("retry-after", "7")], &words, 7.0, 0.0),
        (&[], &in_body, 20.0, 0.0),
        (&[("retry-after", "soon")], &words, 0.5, 0.25),
        (&[("retry-after", "86400")], &words, 60.0, 0.0),
    ];
    for (headers, body, pause, more) in cases {
        let mut replica = Replica::start().await;
        for verb in ["list", "watch"] {
            let first = replica.read(verb).await;
            first.asked.respond_with(429, headers, body.to_string());
            let second = replica.read(verb).await;
            // A second failure in a row of which nothing is asked is followed by a longer pause.
            let longer = if verb == "watch" && pause < 1.0 { 2.0 } else { 1.0 };
            assert_pause(first.at, second.at, pause * longer, more * longer);
            match verb {
                "list" => second.asked.respond(200, &list("5", &[])),
                _ => assert_eq!(second.asked.parameter("resourceVersion"), Some("5")),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_fail_for_a_minute_are_tried_every_few_seconds_and_then_go_on() {
    for code in [500, 403, 409] {
        let mut replica = Replica::start().await;
        let (begun, mut last, mut tries) = (Instant::now(), None, 0);
        while begun.elapsed() < Duration::from_mins(1) {
            let next = replica.read("list").await;
            if let Some((at, pause)) = last {
                assert_pause(at, next.at, pause, pause / 2.0);
            }
            last = Some((next.at, last.map_or(0.5, |(_, pause)| f64::min(pause * 2.0, 5.0))));
            next.asked.respond(code, &status(code, "not now"));
            tries += 1;
        }
        assert!((10..=18).contains(&tries), "{code}: {tries} tries");
        replica.read("list").await.asked.respond(200, &list("5", &[account("gitlab-a", "4")]));
        replica.patch("gitlab-a").await;
        let watch = replica.watch_from("5").await.asked.stream();
        // The pauses begin anew once something is told.
        watch.event("ADDED", &with_role("gitlab-b", "6", "ours"));
        Replica::settle().await;
        watch.event("ERROR", &status(500, "not now"));
        let ended = Instant::now();
        let next = replica.watch_from("6").await;
        assert_pause(ended, next.at, 0.5, 0.25);
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_gets_429_holds_every_patch_for_as_long_as_asked() {
    let in_body = json!({"code": 429, "message": "too many", "details": {"retryAfterSeconds": 20}});
    let words = status(429, "too many");
    let cases: [(Headers<'_>, &Value, f64); 4] = [
        (&[], &words, 1.0),
        (&[("retry-after", "7")], &words, 7.0),
        (&[], &in_body, 20.0),
        (&[("retry-after", "86400")], &words, 60.0),
    ];
    for (headers, body, pause) in cases {
        let (mut replica, watch) = Replica::with(&[account("gitlab-a", "4")]).await;
        let first = replica.patch("gitlab-a").await;
        let answered = Instant::now();
        first.asked.respond_with(429, headers, body.to_string());
        Replica::settle().await;
        // Another one is due meanwhile.
        watch.event("ADDED", &account("gitlab-b", "6"));
        let mut patched = Vec::new();
        for _ in 0..2 {
            let patch = next(&mut replica.writes).await;
            // The one that failed has a pause of its own, of a second.
            assert_pause(answered, patch.at, pause, spread(1.0));
            patched.push(patch.asked.path.clone());
            let (_, name) = patch.asked.path.rsplit_once('/').unwrap();
            let repaired = with_role(name, "9", "ours");
            patch.asked.respond(200, &repaired);
        }
        patched.sort();
        assert_eq!(patched, [format!("{ACCOUNTS}/gitlab-a"), format!("{ACCOUNTS}/gitlab-b")]);
        replica.writes_nothing_for(Duration::from_mins(1)).await;
        assert_eq!((replica.count(RepairResult::Failed), replica.count(RepairResult::Repaired)), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn patches_that_fail_or_have_no_effect_are_sent_ever_more_slowly_until_one_has_effect() {
    let fails: [(&str, RepairResult, Answers); 5] = [
        ("500", RepairResult::Failed, |asked| asked.respond(500, &status(500, "not now"))),
        ("409", RepairResult::Failed, |asked| asked.respond(409, &status(409, "conflict"))),
        ("unreadable", RepairResult::Failed, |asked| asked.respond_with(200, &[], "{\"metadata\"")),
        ("no effect", RepairResult::NoEffect, |asked| asked.respond(200, &account("gitlab-a", "4"))),
        ("still another role", RepairResult::NoEffect, |asked| {
            // Our own role of before, and a record that it is ours.
            let mut old = with_role("gitlab-a", "4", "old");
            let applied =
                json!({"annotations": old["metadata"]["annotations"], "rule": "serviceAccount=gitlab*"});
            old["metadata"]["annotations"]["gitlab-iam-webhook/applied"] = applied.to_string().into();
            asked.respond(200, &old);
        }),
    ];
    for (how, result, fail) in fails {
        let (mut replica, _watch) = Replica::with(&[account("gitlab-a", "4")]).await;
        let mut failed = Instant::now();
        // A minute of them.
        for pause in [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
            let patch = replica.patch("gitlab-a").await;
            assert_pause(failed, patch.at, pause, spread(pause));
            failed = Instant::now();
            fail(patch.asked);
        }
        let patch = replica.patch("gitlab-a").await;
        assert_pause(failed, patch.at, 64.0, spread(64.0));
        patch.asked.respond(200, &with_role("gitlab-a", "9", "ours"));
        replica.writes_nothing_for(Duration::from_mins(4)).await;
        assert_eq!((replica.count(result), replica.count(RepairResult::Repaired)), (7, 1), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_is_never_answered_is_given_up_after_ten_seconds_and_sent_again() {
    let (mut replica, _watch) = Replica::with(&[account("gitlab-a", "4")]).await;
    let never = replica.patch("gitlab-a").await;
    let again = replica.patch("gitlab-a").await;
    assert_pause(never.at, again.at, 11.0, spread(1.0));
    again.asked.respond(200, &with_role("gitlab-a", "9", "ours"));
    replica.writes_nothing_for(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_is_refused_is_sent_again_after_an_hour_and_heals() {
    for code in [403, 422] {
        let (mut replica, _watch) = Replica::with(&[account("gitlab-a", "4")]).await;
        replica.answer_reads(&[account("gitlab-a", "4")]);
        let mut last = replica.patch("gitlab-a").await;
        for _ in 0..2 {
            // Lists that are begun anew meanwhile show it again, and that is no reason to hurry.
            let answered = Instant::now();
            last.asked.respond(code, &status(code, "forbidden"));
            last = replica.patch("gitlab-a").await;
            assert_pause(answered, last.at, 3600.0, spread(3600.0));
        }
        last.asked.respond(200, &with_role("gitlab-a", "9", "ours"));
        Replica::settle().await;
        assert_eq!((replica.count(RepairResult::Refused), replica.count(RepairResult::Repaired)), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_or_being_deleted_is_let_go() {
    let mut deleted = account("gitlab-a", "9");
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    for (code, answer) in [(404, status(404, "not found")), (200, deleted.clone())] {
        let (mut replica, _watch) = Replica::with(&[account("gitlab-a", "4")]).await;
        replica.patch("gitlab-a").await.asked.respond(code, &answer);
        replica.writes_nothing_for(Duration::from_mins(4)).await;
    }
    let (mut replica, watch) = Replica::with(&[deleted]).await;
    // It is deleted before its turn comes.
    watch.event("ADDED", &account("gitlab-b", "10"));
    watch.event("DELETED", &account("gitlab-b", "11"));
    replica.writes_nothing_for(Duration::from_mins(4)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_another_replica_repairs_first_is_not_patched() {
    let (mut replica, watch) = Replica::with(&[]).await;
    for n in 0..100 {
        let (name, version) = (format!("gitlab-{n}"), format!("{}", 10 + 2 * n));
        watch.event("ADDED", &account(&name, &version));
        watch.event("MODIFIED", &with_role(&name, &version, "ours"));
    }
    replica.writes_nothing_for(Duration::from_mins(4)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_changed_back_three_times_is_left_alone_and_gets_an_event() {
    let (mut replica, watch) = Replica::with(&[]).await;
    let change_back = |version: u32| watch.event("MODIFIED", &account("gitlab-a", &version.to_string()));
    for round in 0..3 {
        change_back(10 + round);
        replica.patch("gitlab-a").await.asked.respond(200, &with_role("gitlab-a", "20", "ours"));
        Replica::settle().await;
    }
    change_back(30);
    let left_alone = Instant::now();
    let event = next(&mut replica.writes).await;
    assert_eq!(
        (event.asked.verb, &*event.asked.path),
        ("create", "/apis/events.k8s.io/v1/namespaces/team/events")
    );
    let told = event.asked.json();
    assert_eq!((&told["reason"], &told["type"]), (&json!("RoleChangedBack"), &json!("Warning")));
    assert_eq!(told["regarding"]["name"], "gitlab-a");
    let note = told["note"].as_str().unwrap();
    assert!(note.contains("changed back 3 times in 10 minutes") && note.contains("alone for 10m"), "{note}");
    // Nothing depends on it.
    event.asked.respond(403, &status(403, "forbidden"));
    assert_eq!(replica.count(RepairResult::LeftAlone), 1);
    change_back(31);
    let patch = replica.patch("gitlab-a").await;
    assert_pause(left_alone, patch.at, 600.0, JITTER);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_patched_while_the_mapping_here_may_not_be_the_newest() {
    // Nobody can say which one is the newest.
    let (mut replica, watch) = Replica::with(&[]).await;
    replica.mapping.lock().unwrap().broken = Some(503);
    sleep(seconds(1.1)).await;
    watch.event("ADDED", &account("gitlab-a", "6"));
    replica.writes_nothing_for(Duration::from_mins(2)).await;
    replica.mapping.lock().unwrap().broken = None;
    let healed = Instant::now();
    let patch = replica.patch("gitlab-a").await;
    assert_pause(healed, patch.at, 0.0, 2.5);
    assert_eq!(replica.count(RepairResult::Failed), 0);

    // There is a newer one, and the watch is silent about it.
    let (mut replica, watch) = Replica::with(&[]).await;
    replica.mapping.lock().unwrap().edit(&mapping("newer"), false);
    sleep(seconds(1.1)).await;
    // By the newer mapping it is as decided.
    watch.event("ADDED", &with_role("gitlab-a", "6", "newer"));
    watch.event("ADDED", &account("gitlab-b", "7"));
    let request = replica.read("list").await;
    assert_eq!(replica.mapping.lock().unwrap().lists, 2, "it was listed anew");
    assert!(replica.writes.is_empty(), "nothing was written by the older one");
    request.asked.respond(200, &list("8", &[with_role("gitlab-a", "6", "newer"), account("gitlab-b", "7")]));
    replica.patch("gitlab-b").await.asked.respond(200, &with_role("gitlab-b", "9", "newer"));
    replica.writes_nothing_for(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_ready_patches_nothing_until_it_is() {
    let (mut replica, watch) = Replica::with(&[]).await;
    let hold = replica.readiness.hold("the certificate to be trusted");
    watch.event("ADDED", &account("gitlab-a", "6"));
    replica.writes_nothing_for(Duration::from_mins(2)).await;
    drop(hold);
    let ready = Instant::now();
    let patch = replica.patch("gitlab-a").await;
    assert_pause(ready, patch.at, 0.0, 1.0 + JITTER);
}

#[tokio::test(start_paused = true)]
async fn a_new_mapping_lists_everything_again_and_waits_for_no_patch_under_way() {
    let (mut replica, _watch) = Replica::with(&[account("gitlab-a", "4"), account("other", "4")]).await;
    let under_way = replica.patch("gitlab-a").await;
    replica.mapping.lock().unwrap().edit(&mapping("new"), true);
    let edited = Instant::now();
    let anew = replica.read("list").await;
    assert_pause(edited, anew.at, 0.0, 0.2);
    anew.asked.respond(200, &list("8", &[account("gitlab-a", "4"), account("other", "4")]));
    let patch = replica.patch("gitlab-a").await;
    assert_pause(edited, patch.at, 0.0, 0.2 + JITTER);
    // The older one is answered after all.
    under_way.asked.respond(200, &with_role("gitlab-a", "7", "ours"));
    patch.asked.respond(200, &with_role("gitlab-a", "9", "new"));
    replica.watch_from("8").await;
    replica.writes_nothing_for(Duration::from_mins(1)).await;
    assert_eq!((replica.count(RepairResult::Repaired), replica.count(RepairResult::NoEffect)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_leaves_is_let_go_also_while_a_patch_is_under_way() {
    let (mut replica, _watch) = Replica::with(&[account("gitlab-a", "4")]).await;
    let under_way = replica.patch("gitlab-a").await;
    replica.namespaces.send_replace(Some(names(&[])));
    Replica::settle().await;
    under_way.asked.respond(500, &status(500, "not now"));
    replica.writes_nothing_for(Duration::from_mins(4)).await;
    assert!(replica.reads.is_empty(), "its watch has ended");
    assert_eq!(replica.count(RepairResult::Failed), 0);
    // It comes back, and is listed.
    replica.namespaces.send_replace(Some(names(&["team"])));
    replica.read("list").await.asked.respond(200, &list("9", &[account("gitlab-a", "4")]));
    replica.patch("gitlab-a").await;
}

#[tokio::test(start_paused = true)]
async fn an_impact_preview_adds_up_all_pages_and_says_when_it_could_not_look_everywhere() {
    let rules = compile(&mapping("ours"), &OperatorPolicy::default()).unwrap();
    let second_page: [(&str, Answers); 4] = [
        ("changes 2, orphans 0 of 3 ServiceAccounts", |asked| {
            asked.respond(200, &list("5", &[account("gitlab-b", "4"), account("other", "4")]));
        }),
        ("at least", |asked| asked.respond(410, &status(410, "the continue token is too old"))),
        ("at least", |asked| asked.respond_with(429, &[("retry-after", "7")], "")),
        // It is never answered, and the API server waits for us.
        ("at least", |asked| std::mem::forget(asked.stream())),
    ];
    for (expected, answer) in second_page {
        let (api, mut script) = scripted(&Pool::new(POOL));
        let (_namespaces, opted_in) = watch::channel(Some(names(&["team"])));
        let preview = ImpactPreview::new(api, opted_in);
        let begun = Instant::now();
        let (warnings, ()) = tokio::join!(preview.warnings(&rules), async {
            let mut page = list("5", &[account("gitlab-a", "4")]);
            page["metadata"]["continue"] = "rest".into();
            script.expect("list", ACCOUNTS).await.respond(200, &page);
            let second = script.expect("list", ACCOUNTS).await;
            assert_eq!(second.parameter("continue"), Some("rest"));
            answer(second);
        });
        assert!(begun.elapsed() <= seconds(3.01), "{:?}", begun.elapsed());
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{warnings:?}");
        // Nothing is tried again: somebody waits for it.
        script.expect_silence(Duration::from_mins(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_impact_preview_counts_observed_namespaces_apart() {
    let rules = compile(&mapping("ours"), &OperatorPolicy::default()).unwrap();
    let (api, mut script) = scripted(&Pool::new(POOL));
    let mut both = names(&["team"]);
    both.observed = names(&["watched"]).enabled;
    let (_namespaces, known) = watch::channel(Some(both));
    let preview = ImpactPreview::new(api, known);
    let (warnings, ()) = tokio::join!(preview.warnings(&rules), async {
        let accounts = [account("gitlab-a", "4"), with_role("gitlab-b", "4", "ours")];
        script.expect("list", ACCOUNTS).await.respond(200, &list("5", &accounts));
        let accounts = [account("gitlab-c", "4"), account("gitlab-d", "4"), account("other", "4")];
        let observed = script.expect("list", "/api/v1/namespaces/watched/serviceaccounts").await;
        observed.respond(200, &list("5", &accounts));
    });
    let [changes, observed] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(changes.contains(": changes 1, orphans 0 of 2 ServiceAccounts; "), "{changes}");
    assert!(observed.contains(": observed: would change 2, orphans 0 of 3 ServiceAccounts; "), "{observed}");
}
