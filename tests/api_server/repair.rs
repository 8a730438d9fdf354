//! What exists is brought into step by re-admission, and nobody is fought over it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Cluster, ROLE, Space, Webhook, eventually, eventually_within};
use serde_json::json;

fn mapping(role: &str) -> String {
    format!(
        "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: \"gitlab*\"}}, role: {role}}}\n"
    )
}

fn arn(role: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{role}")
}

fn account(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

fn has(space: &Space, name: &str, role: &str) -> bool {
    space.annotation("serviceaccount", name, ROLE) == Some(arn(role))
}

fn repairs(webhook: &Webhook, result: &str) -> u64 {
    webhook.metric(&format!("gitlab_iam_webhook_repairs_total{{result=\"{result}\"}}"))
}

const SHIFTED: &str = "gitlab-iam-webhook/inject-";

#[test]
fn accounts_from_before_the_label_are_repaired_and_follow_every_mapping() {
    let space = Space::new("repair");
    space.map(&mapping("first")).good();
    space.kubectl(&["label", "namespace", &space.name, SHIFTED]).good();
    for n in 0..20 {
        space.apply(&account(&format!("gitlab-{n}")));
    }
    space.apply(&account("other"));
    let webhook = Webhook::start_self_managed(&space, &["--repair"]);
    let second = Webhook::start_self_managed(&space, &["--repair"]);
    space.register_unsigned(&[&webhook, &second], |_| {});
    webhook.wait_until_ready();
    second.wait_until_ready();
    let all_have = |role: &str| {
        let start = Instant::now();
        eventually("all are repaired", || {
            (0..20).all(|n| has(&space, &format!("gitlab-{n}"), role)).then_some(())
        });
        println!("20 ServiceAccounts have {role} after at most {:?}", start.elapsed());
    };
    space.kubectl(&["label", "namespace", &space.name, "gitlab-iam-webhook/inject=enabled"]).good();
    all_have("first");
    space.map(&mapping("second")).good();
    all_have("second");
    eventually("both have settled", || {
        let waiting = |webhook: &Webhook| webhook.metric("gitlab_iam_webhook_repairs_waiting");
        (waiting(&webhook) + waiting(&second) == 0).then_some(())
    });
    assert_eq!(space.annotation("serviceaccount", "other", ROLE), None);
    assert!(repairs(&webhook, "repaired") + repairs(&second, "repaired") >= 40);
    for result in ["failed", "left_alone"] {
        assert_eq!(repairs(&webhook, result) + repairs(&second, result), 0, "{result}");
    }
    let managers = space.get("serviceaccount", "gitlab-0").unwrap()["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("role-arn"), "nobody owns the key: {managers}");

    // Once the label has gone, nothing is touched any more.
    space.kubectl(&["label", "namespace", &space.name, SHIFTED]).good();
    eventually("it is known", || {
        (webhook.metric("gitlab_iam_webhook_opted_in_namespaces") == 0).then_some(())
    });
    space.kubectl(&["annotate", "serviceaccount", "gitlab-0", &format!("{ROLE}-")]).good();
    space.map(&mapping("third")).good();
    eventually("the mapping is known", || (webhook.count("mapping in force") == 3).then_some(()));
    assert_eq!(space.annotation("serviceaccount", "gitlab-0", ROLE), None);
}

#[test]
fn one_that_is_changed_back_again_and_again_is_left_alone_and_its_owner_told() {
    let space = Space::new("fight");
    space.map(&mapping("ours")).good();
    let webhook = Webhook::start_self_managed(&space, &["--repair"]);
    // What this manager writes does not come by the webhook, as where it is down.
    let fighter = "!has(request.options.fieldManager) || request.options.fieldManager != 'fighter'";
    space.register_unsigned(&[&webhook], |entry| {
        entry["matchConditions"] = json!([{"name": "not-the-fighter", "expression": fighter}]);
    });
    webhook.wait_until_ready();
    space.apply(&account("gitlab-registry"));
    eventually("it has its role", || has(&space, "gitlab-registry", "ours").then_some(()));
    let change_back = || {
        let remove = format!(r#"{{"metadata":{{"annotations":{{"{ROLE}":null}}}}}}"#);
        space
            .kubectl(&[
                "patch",
                "serviceaccount",
                "gitlab-registry",
                "--field-manager",
                "fighter",
                "--type",
                "merge",
                "-p",
                &remove,
            ])
            .good();
    };
    for round in 1..=3 {
        change_back();
        eventually(&format!("repaired, round {round}"), || {
            has(&space, "gitlab-registry", "ours").then_some(())
        });
        eventually("it is counted", || (repairs(&webhook, "repaired") >= round).then_some(()));
    }
    change_back();
    webhook.wait_for("left alone for 10m");
    assert_eq!(repairs(&webhook, "left_alone"), 1);
    let told = eventually("an Event tells it", || {
        let events = space
            .kubectl(&["get", "events", "--field-selector", "reason=RoleChangedBack", "-o", "json"])
            .good();
        events.out.contains("gitlab-registry").then_some(events.out)
    });
    assert!(told.contains("changed back 3 times in 10 minutes") && told.contains("\"Warning\""), "{told}");
    change_back();
    assert_eq!(space.annotation("serviceaccount", "gitlab-registry", ROLE), None);
    // A new mapping is a new word.
    space.map(&mapping("new")).good();
    eventually("it follows", || has(&space, "gitlab-registry", "new").then_some(()));
}

#[test]
fn a_re_admission_without_effect_is_counted_and_tried_again() {
    let space = Space::new("vain");
    space.map(&mapping("late")).good();
    space.apply(&account("gitlab-kas"));
    // Nothing is registered: the API server does not know us.
    let webhook = Webhook::start(&space, &["--repair", "--watch-namespace", &space.name]);
    eventually("it is counted", || (repairs(&webhook, "no_effect") >= 2).then_some(()));
    webhook.wait_for("re-admitted without effect: the API server does not reach the webhook");
    space.register(&webhook, "Fail");
    eventually("the next try has effect", || has(&space, "gitlab-kas", "late").then_some(()));
}

/// Passes plain connections on. Those that carry the watch on a mapping can be frozen: nothing comes any
/// more, and nothing ends.
struct Pipe {
    port: u16,
    connections: Arc<Mutex<Vec<Arc<Connection>>>>,
}

#[derive(Default)]
struct Connection {
    carries_the_mapping: AtomicBool,
    frozen: AtomicBool,
}

impl Connection {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..read]);
            if text.starts_with("GET") && text.contains("/configmaps?") && text.contains("watch=true") {
                self.carries_the_mapping.store(true, Ordering::SeqCst);
            }
            while self.frozen.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}

impl Pipe {
    fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::default();
        let pipe = Self { port, connections: Arc::clone(&connections) };
        std::thread::spawn(move || {
            for down in listener.incoming().map_while(Result::ok) {
                let up = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
                let connection = Arc::new(Connection::default());
                connections.lock().unwrap().push(Arc::clone(&connection));
                let (from_api, to_webhook) = (up.try_clone().unwrap(), down.try_clone().unwrap());
                let answers = Arc::clone(&connection);
                std::thread::spawn(move || connection.pass(down, up));
                std::thread::spawn(move || answers.pass(from_api, to_webhook));
            }
        });
        pipe
    }

    /// How many connections carry a watch on a mapping and are frozen now.
    fn freeze(&self) -> usize {
        let connections = self.connections.lock().unwrap();
        let watches = connections.iter().filter(|one| one.carries_the_mapping.load(Ordering::SeqCst));
        watches.inspect(|one| one.frozen.store(true, Ordering::SeqCst)).count()
    }
}

#[test]
fn a_replica_whose_watch_is_frozen_on_an_old_mapping_rewrites_nothing_and_finds_back() {
    let space = Space::new("frozen");
    space.map(&mapping("old")).good();
    for n in 0..5 {
        space.apply(&account(&format!("gitlab-{n}")));
    }
    let repair = ["--repair", "--watch-namespace", &space.name];
    let proxy = Space::proxy();
    let pipe = Pipe::to(proxy.port);
    let stale = Webhook::start_through(&space, pipe.port, &repair);
    let fresh = Webhook::start(&space, &repair);
    stale.wait_for("mapping in force");
    fresh.wait_for("mapping in force");
    // The API server asks the fresh one: what the stale one would answer is another matter.
    space.register(&fresh, "Fail");
    let all_have = |role: &str| (0..5).all(|n| has(&space, &format!("gitlab-{n}"), role));
    eventually("all have the old role", || all_have("old").then_some(()));
    eventually("its watch is frozen", || (pipe.freeze() > 0).then_some(()));
    space.map(&mapping("new")).good();
    eventually("all have the new role", || all_have("new").then_some(()));
    let version = |n: usize| {
        space.get("serviceaccount", &format!("gitlab-{n}")).unwrap()["metadata"]["resourceVersion"]
            .to_string()
    };
    let before: Vec<String> = (0..5).map(version).collect();
    // By its old mapping these are not as decided, and it sees them.
    stale.wait_for("the watch on the mapping fell silent");
    eventually("it finds back", || (stale.count("mapping in force") == 2).then_some(()));
    assert!(all_have("new"));
    let after: Vec<String> = (0..5).map(version).collect();
    assert_eq!(before, after, "nothing was written in between");
}

#[test]
fn an_accepted_edit_tells_how_many_it_would_change_and_names_nobody() {
    let space = Space::new("rehearse");
    space.map(&mapping("first")).good();
    let webhook = Webhook::start_self_managed(&space, &["--repair"]);
    space.register_unsigned(&[&webhook], |_| {});
    webhook.wait_until_ready();
    space.register_at(&webhook, "Fail", "/mutate");
    for n in 0..4 {
        space.apply(&account(&format!("gitlab-{n}")));
    }
    space.apply(&account("other"));
    let edit = |text: &str, more: &[&str]| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping"},
            "data": {"mapping.yaml": text},
        });
        let arguments = [&["--server-side", "--force-conflicts"], more].concat();
        eventually("the validating webhook is asked", || {
            let done = space.try_apply(&object, &arguments).good();
            done.err.contains("ServiceAccounts").then_some(done.err)
        })
    };
    let told = edit(&mapping("second"), &["--dry-run=server"]);
    // The namespace's `default` is one of them.
    assert!(told.contains("changes 4, orphans 0 of 6 ServiceAccounts"), "{told}");
    // Whoever reaches the port may ask, and may not know who is there.
    assert!(!told.contains("gitlab-0") && !told.contains(&space.name), "{told}");
    let typo = mapping("first").replace("gitlab*", "gitlbа*");
    let told = edit(&typo, &["--dry-run=server"]);
    assert!(told.contains("changes 0, orphans 4 of 6 ServiceAccounts"), "{told}");
    assert!(!told.contains("gitlab-0"), "{told}");
    assert!(has(&space, "gitlab-0", "first"), "a rehearsal changes nothing");
    // In earnest: no role is lost by the typo.
    let told = edit(&typo, &[]);
    assert!(told.contains("orphans 4 of 6"), "{told}");
    webhook.wait_for("\"generation\":2");
    assert!(has(&space, "gitlab-0", "first"));
}

#[test]
fn accounts_with_a_hundred_thousand_labels_are_repaired_in_bounded_memory() {
    const LABELS: usize = 102_000;
    let cluster = Cluster::of_its_own();
    let space = |name: &str| Space::within(cluster, name, &json!({"gitlab-iam-webhook/inject": "enabled"}));
    let (space, other) = (space("heavy"), space("heavy-too"));
    space.map(&mapping("heavy")).good();
    let arguments = ["--repair", "--watch-namespace", &other.name];
    let at_rest = Webhook::start_self_managed(&space, &arguments);
    space.register_unsigned(&[&at_rest], |_| {});
    at_rest.wait_until_ready();
    let rest = at_rest.peak_memory();
    at_rest.stop();
    space.kubectl(&["delete", "mutatingwebhookconfiguration", &space.name]).good();

    let labels: serde_json::Map<_, _> = (0..LABELS).map(|n| (format!("l{n}"), "".into())).collect();
    for space in [&space, &other] {
        for name in ["gitlab-a", "gitlab-b"] {
            let mut account = account(name);
            account["metadata"]["labels"] = labels.clone().into();
            space.run("kubectl", &["create", "-f", "-"], &account.to_string()).good();
        }
    }
    let webhook = Webhook::start_self_managed(&space, &arguments);
    let namespaces = [&*space.name, &*other.name];
    space.register_unsigned(&[&webhook], |entry| {
        entry["namespaceSelector"] = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces},
        ]});
    });
    webhook.wait_until_ready();
    for space in [&space, &other] {
        for name in ["gitlab-a", "gitlab-b"] {
            // What it takes to read such an account is much where other tests run beside this one.
            eventually_within(Duration::from_mins(3), "it is repaired", || {
                has(space, name, "heavy").then_some(())
            });
        }
    }
    assert_eq!(webhook.admin("/readyz").0, 200);
    let grown = webhook.peak_memory() - rest;
    println!("at rest {} KiB, with four accounts of {LABELS} labels {} KiB more", rest >> 10, grown >> 10);
    assert!(grown < 24 << 20, "{grown} bytes more than the {rest} at rest");
}
