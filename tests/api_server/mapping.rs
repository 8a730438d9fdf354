//! The mapping lives in its ConfigMap: edits count at once, mistakes are refused, the last good one outlives
//! everything.

use crate::harness::{ROLE, Space, Webhook, eventually};
use serde_json::json;

fn mapping(role: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: \"*\"}}, role: {role}}}\n")
}

/// The role that a new ServiceAccount gets; nothing is stored.
fn role_now(space: &Space) -> Option<String> {
    let create = ["create", "serviceaccount", "trial", "--dry-run=server", "-o", "json"];
    let done = space.kubectl(&create).good();
    let account: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let role = account["metadata"]["annotations"][ROLE].as_str()?;
    role.rsplit('/').next().map(str::to_owned)
}

#[test]
fn an_edit_counts_for_the_next_object_and_a_mistake_is_refused_with_all_its_problems() {
    let space = Space::new("edit");
    space.map(&mapping("first")).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    assert_eq!(role_now(&space).as_deref(), Some("first"));
    space.map(&mapping("second")).good();
    let edited = std::time::Instant::now();
    eventually("the next object follows", || (role_now(&space).as_deref() == Some("second")).then_some(()));
    println!("the edit counted after at most {:?}", edited.elapsed());

    let refused = space.map("acount: \"1\"\nrules:\n  - {match: {component: kass}, role: a b}\n");
    assert!(!refused.ok);
    for problem in [
        "1:1: acount: unknown key `acount`; did you mean `account`?",
        "3:25: rules[0].match.component: unknown component `kass`; did you mean `kas`?",
        "3:38: rules[0].role: the role name `a b` holds ` `",
    ] {
        assert!(
            refused.err.contains(problem) || problem.contains("4 problems"),
            "{problem} not in {}",
            refused.err
        );
    }
    // As a person edits: the editor is opened again, with what is wrong written into the text.
    let (edited, shown) = space.edit("role-mapping", "s/second/a b/");
    assert!(!edited.ok);
    assert!(shown.contains("mapping.yaml:3:42: rules[0].role: the role name `a b` holds ` `"), "{shown}");
    assert_eq!(role_now(&space).as_deref(), Some("second"));

    let covered = "account: \"123456789012\"\nrules:\n  - {name: a, match: {namespace: x}, role: a}\n  - {name: b, match: {namespace: x, component: kas}, role: b}\n";
    let warned = space.map(covered).good();
    assert!(warned.err.contains("rule b never decides: rule `a` on line 3 covers it"), "{}", warned.err);
}

#[test]
fn past_the_validating_webhook_the_old_mapping_goes_on_also_over_a_restart() {
    let space = Space::new("broken");
    space.map(&mapping("good")).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    eventually("the last good mapping is kept", || space.get("configmap", "role-mapping-last-good"));
    space.kubectl(&["delete", "validatingwebhookconfiguration", &space.name]).good();
    eventually("nobody refuses it", || space.map("rules: [broken\n").ok.then_some(()));
    webhook.wait_for("the last good mapping stays in force");
    // Seen once more, it is not taken for good: what is kept stays what it was.
    let kept = |space: &Space| space.get("configmap", "role-mapping-last-good").unwrap();
    let before = kept(&space);
    space.kubectl(&["annotate", "configmap", "role-mapping", "seen=again"]).good();
    webhook.wait_for("reading the mapping: nothing new");
    assert_eq!(kept(&space), before);
    assert_eq!(before["data"]["mapping.yaml"], mapping("good"));
    assert_eq!(role_now(&space).as_deref(), Some("good"));

    let port = webhook.port;
    webhook.stop();
    let again = Webhook::start_on(&space, port, &[]);
    again.wait_for("using the mapping kept in role-mapping-last-good");
    space.register(&again, "Fail");
    assert_eq!(role_now(&space).as_deref(), Some("good"));

    // A bound that came meanwhile holds for what was kept, too.
    again.stop();
    let bounded = Webhook::start_on(&space, port, &["--allowed-role", "arn:aws:iam::*:role/other"]);
    bounded.wait_for("is outside what the operator allows");
    let not_ready = |webhook: &Webhook| {
        let why = eventually("it says what it waits for", || {
            let (status, why) = webhook.admin("/readyz");
            why.contains("a mapping that can be used").then_some((status, why))
        });
        assert_eq!(why.0, 503);
        assert!(why.1.contains("role-mapping-last-good") && why.1.contains("see the log"), "{}", why.1);
    };
    not_ready(&bounded);
    space.register(&bounded, "Fail");
    assert_eq!(role_now(&space), None);

    // A last good one says that there was a mapping: nothing is created in its place.
    space.kubectl(&["delete", "configmap", "role-mapping"]).good();
    bounded.wait_for("is gone");
    bounded.stop();
    let bounds = ["--allowed-role", "arn:aws:iam::*:role/other", "--starter-mapping"];
    let without = Webhook::start(&space, &bounds);
    not_ready(&without);
    assert_eq!(space.get("configmap", "role-mapping"), None);
    assert_eq!(kept(&space)["data"], before["data"]);
    space.map(&mapping("other")).good();
    without.wait_until_ready();
    eventually("it is kept", || (kept(&space)["data"]["mapping.yaml"] == mapping("other")).then_some(()));
}

#[test]
fn what_is_to_be_created_is_written_over_nothing_that_is_there() {
    let space = Space::new("create");
    // Before it is known that there is none, somebody else creates it: as the webhook would, and with
    // kubectl.
    for (name, arguments) in
        [("theirs", &["--server-side", "--field-manager", "gitlab-iam-webhook-1"][..]), ("kubectls", &[])]
    {
        let object = |text: &str| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"mapping.yaml": text},
            })
        };
        space.try_apply(&object("newer"), arguments).good();
        let late =
            space.try_apply(&object("older"), &["--server-side", "--field-manager", "gitlab-iam-webhook-2"]);
        assert!(!late.ok && late.err.contains("conflict"), "{}", late.err);
        assert_eq!(space.get("configmap", name).unwrap()["data"]["mapping.yaml"], "newer");
    }
}

#[test]
fn a_last_good_mapping_outlives_a_starter_that_takes_the_place_of_the_mapping() {
    let space = Space::new("outlive");
    space.map(&mapping("mine")).good();
    let webhook = Webhook::start(&space, &["--starter-mapping"]);
    let kept =
        || space.get("configmap", "role-mapping-last-good").map(|kept| kept["data"]["mapping.yaml"].clone());
    eventually("it is kept", || (kept()? == mapping("mine")).then_some(()));
    // As though somebody had created the starter in the meantime.
    let starter = include_str!("../../src/cluster/starter-mapping.yaml");
    space.map(starter).good();
    eventually("the starter is in force", || (webhook.count("mapping in force") == 2).then_some(()));
    // Another mapping after it would be kept in its turn.
    std::thread::park_timeout(std::time::Duration::from_secs(1));
    assert_eq!(kept().unwrap(), mapping("mine"));
    space.map(&mapping("newer")).good();
    eventually("it is kept", || (kept()? == mapping("newer")).then_some(()));
}

#[test]
fn a_starter_is_created_where_there_is_none_and_never_written_again() {
    let space = Space::new("starter");
    let webhook = Webhook::start(&space, &["--starter-mapping"]);
    webhook.wait_for("created with a mapping to start from");
    let starter = eventually("the starter", || space.get("configmap", "role-mapping"));
    let text = starter["data"]["mapping.yaml"].as_str().unwrap();
    assert!(text.contains("rules: []") && text.contains("kubectl label namespace"), "{text}");
    webhook.wait_for("mapping in force");
    space.map(&mapping("mine")).good();
    eventually("the edit", || (webhook.count("mapping in force") == 2).then_some(()));
    webhook.stop();
    let again = Webhook::start(&space, &["--starter-mapping"]);
    again.wait_for("mapping in force");
    let kept = space.get("configmap", "role-mapping").unwrap();
    assert_eq!(kept["data"]["mapping.yaml"], mapping("mine"));
}

#[test]
fn two_hundred_accounts_made_by_20_clients_under_50_edits_get_their_own_roles() {
    const ACCOUNTS: usize = 200;
    let space = Space::new("crowd");
    let text = |edit: usize| {
        let rules: String = (0..ACCOUNTS)
            .map(|n| format!("  - {{match: {{serviceAccount: account-{n}}}, role: role-{n}-edit-{edit}}}\n"))
            .collect();
        format!("account: \"123456789012\"\nrules:\n{rules}")
    };
    space.map(&text(0)).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    std::thread::scope(|scope| {
        for client in 0..20 {
            let space = &space;
            scope.spawn(move || {
                for n in (client..ACCOUNTS).step_by(20) {
                    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": format!("account-{n}")}});
                    space.run("kubectl", &["create", "-f", "-"], &account.to_string()).good();
                }
            });
        }
        for edit in 1..=50 {
            space.map(&text(edit)).good();
        }
    });
    let all = space.kubectl(&["get", "serviceaccounts", "-o", "json"]).good();
    let all: serde_json::Value = serde_json::from_str(&all.out).unwrap();
    let mut seen = 0;
    for account in all["items"].as_array().unwrap() {
        let name = account["metadata"]["name"].as_str().unwrap();
        let Some(n) = name.strip_prefix("account-") else { continue };
        let role = account["metadata"]["annotations"][ROLE].as_str().unwrap();
        let own = format!("arn:aws:iam::123456789012:role/role-{n}-edit-");
        assert!(role.starts_with(&own), "{name} got {role}");
        seen += 1;
    }
    assert_eq!(seen, ACCOUNTS);
}
