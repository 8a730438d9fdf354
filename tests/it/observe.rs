//! What is told of ServiceAccounts in observed namespaces, and when?
//!
//! The real driver talks to a scripted API server in paused time: nothing here waits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitlab_iam_webhook::cluster::events::Events;
use gitlab_iam_webhook::cluster::namespaces::{KnownNamespaces, Namespaces};
use gitlab_iam_webhook::cluster::observe::Observe;
use gitlab_iam_webhook::engine::decision::Outcome;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use gitlab_iam_webhook::live::Live;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::{Metrics, ObservedLabel};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Stream, list, scripted};

const ROLE: &str = "eks.amazonaws.com/role-arn";

/// Gives these two ServiceAccounts these roles.
fn rules(a: &str, b: &str) -> Ruleset {
    let text = format!(
        "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: a}}, role: {a}}}\n  \
         - {{match: {{serviceAccount: b}}, role: {b}}}\n"
    );
    compile(&text, &OperatorPolicy::default()).unwrap()
}

fn account(name: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "4", "uid": format!("uid-of-{name}")}})
}

fn with_role(name: &str, role: &str) -> Value {
    let mut account = account(name);
    account["metadata"]["annotations"] = json!({ROLE: format!("arn:aws:iam::123456789012:role/{role}")});
    account
}

/// A replica that observes the namespace `team`, and the API server that it talks to.
struct Replica {
    live: Arc<Live>,
    namespaces: watch::Sender<KnownNamespaces>,
    metrics: Arc<Metrics>,
    /// What a list of ServiceAccounts shows.
    accounts: Arc<Mutex<Vec<Value>>>,
    watches: Arc<Mutex<Vec<Stream>>>,
    events: Arc<Mutex<Vec<Value>>>,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Replica {
    fn start(accounts: Vec<Value>) -> Self {
        let (api, script) = scripted(&Pool::new(POOL));
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let none = compile("rules: []", &OperatorPolicy::default()).unwrap();
        let live = Arc::new(Live::new(none));
        let (events, writer) = Events::new(api.clone(), Arc::clone(&metrics));
        tokio::spawn(writer.follow(stop.clone()));
        let (namespaces, known) = watch::channel(None);
        let observe = Observe::new(api, Arc::clone(&live), known, events, Arc::clone(&metrics));
        tokio::spawn(observe.follow(stop));
        let replica = Self {
            live,
            namespaces,
            metrics,
            accounts: Arc::new(Mutex::new(accounts)),
            watches: Arc::default(),
            events: Arc::default(),
            writes: Arc::default(),
        };
        let (accounts, watches) = (Arc::clone(&replica.accounts), Arc::clone(&replica.watches));
        let (events, writes) = (Arc::clone(&replica.events), Arc::clone(&replica.writes));
        script.answer_all(move |asked| match asked.verb {
            "list" => asked.respond(200, &list("5", &accounts.lock().unwrap())),
            "watch" => watches.lock().unwrap().push(asked.stream()),
            verb => {
                writes.lock().unwrap().push(format!("{verb} {}", asked.path));
                events.lock().unwrap().push(asked.json());
                asked.respond(201, &json!({}));
            }
        });
        replica.observe(&["team"]);
        replica
    }

    fn observe(&self, names: &[&str]) {
        let observed: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let known = Namespaces { enabled: Arc::default(), observed: Arc::new(observed) };
        self.namespaces.send_replace(Some(known));
    }

    async fn edit(&self, rules: Ruleset) {
        self.live.swap(rules, Pool::new(POOL).take(1).await);
        sleep(Duration::from_secs(2)).await;
    }

    /// What was told since this was asked last, as `NAME REASON`.
    fn told(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        let words = events.iter().map(|event| {
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            format!("{} {}", word(&event["regarding"]["name"]), word(&event["reason"]))
        });
        words.collect()
    }

    fn count(&self, outcome: Outcome) -> i64 {
        self.metrics.observed_service_accounts.get_or_create(&ObservedLabel { outcome }).get()
    }

    fn tell(&self, kind: &str, account: &Value) {
        self.watches.lock().unwrap().last().unwrap().event(kind, account);
    }
}

#[tokio::test(start_paused = true)]
async fn what_exists_is_told_at_once_and_after_an_edit_what_changed() {
    let replica = Replica::start(vec![account("a"), with_role("b", "own"), account("other")]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(replica.told(), [""; 0], "there is no mapping yet");
    replica.edit(rules("first", "first")).await;
    let event = replica.events.lock().unwrap()[0].clone();
    assert_eq!(replica.told(), ["a RoleWouldBeSet", "b OtherRoleWouldBeKept"]);
    let note = "observed, and not written: it would get role arn:aws:iam::123456789012:role/first \
                (rule serviceAccount=a)";
    assert_eq!((&event["note"], &event["type"]), (&json!(note), &json!("Normal")));
    assert_eq!((&event["action"], &event["regarding"]["uid"]), (&json!("Observe"), &json!("uid-of-a")));
    let counts = |outcomes: [Outcome; 4]| outcomes.map(|outcome| replica.count(outcome));
    let outcomes = [Outcome::Set, Outcome::Kept, Outcome::NoRule, Outcome::InStep];
    assert_eq!(counts(outcomes), [1, 1, 1, 0]);

    replica.edit(rules("second", "first")).await;
    assert_eq!(replica.told(), ["a RoleWouldBeSet"]);
    replica.edit(rules("second", "own")).await;
    assert_eq!(replica.told(), ["b NothingWouldBeWritten"]);
    assert_eq!(counts(outcomes), [1, 0, 1, 1]);

    // Somebody touches them.
    replica.tell("MODIFIED", &account("a"));
    replica.tell("MODIFIED", &with_role("other", "any"));
    replica.tell("MODIFIED", &with_role("b", "another"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(replica.told(), ["b OtherRoleWouldBeKept"]);
    replica.tell("DELETED", &account("a"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((replica.told(), counts(outcomes)), (vec![], [0, 1, 1, 0]));

    // It is not observed any more.
    replica.observe(&[]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((replica.told(), counts(outcomes)), (vec![], [0, 0, 0, 0]));
    let writes = replica.writes.lock().unwrap();
    let only = "create /apis/events.k8s.io/v1/namespaces/team/events";
    assert!(writes.iter().all(|write| write == only), "nothing but Events is written: {writes:?}");
}

#[tokio::test(start_paused = true)]
async fn of_very_many_a_hundred_get_an_event_and_the_others_one_together() {
    let text = "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: \"a*\"}, role: r}\n";
    let many = compile(text, &OperatorPolicy::default()).unwrap();
    let replica = Replica::start((0..150).map(|n| account(&format!("a{n}"))).collect());
    replica.edit(many).await;
    sleep(Duration::from_secs(20)).await;
    let summary = replica.events.lock().unwrap().last().cloned().unwrap();
    let told = replica.told();
    assert_eq!(told.len(), 101, "{told:?}");
    assert_eq!(told.last().unwrap(), "team ServiceAccountsObserved");
    assert_eq!((&summary["regarding"]["kind"], &summary["type"]), (&json!("Namespace"), &json!("Normal")));
    let note = "observed, and not written: 150 ServiceAccounts: 150 set; not each of them has an Event";
    assert!(summary["note"].as_str().unwrap().starts_with(note), "{summary}");
}
