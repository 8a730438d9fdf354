//! What the API server does with our answers: repeated, dry, large, dropped, frozen, and in somebody else's
//! namespace.

use crate::harness::{POD_ROLE, ROLE, Space, eventually};
use serde_json::{Value, json};

const APPLIED: &str = "gitlab-iam-webhook/applied";
const MAPPING: &str = "account: \"123456789012\"
rules:
  - {name: registry, match: {component: registry}, role: registry}
  - {name: any, match: {serviceAccount: \"*\"}, role: any}
  - {name: pods, match: {namespace: \"*\"}, provider: kube2iam, role: pod}
";

fn registry(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "labels": {"app": "registry", "chart": "registry-0.7.0", "release": "x"}},
    })
}

fn role(space: &Space, account: &str) -> Option<String> {
    let role = space.annotation("serviceaccount", account, ROLE)?;
    role.rsplit('/').next().map(str::to_owned)
}

fn version(space: &Space, account: &str) -> Value {
    space.get("serviceaccount", account).unwrap()["metadata"]["resourceVersion"].clone()
}

fn pod(bytes: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "large"},
        "spec": {"containers": [{"name": "main", "image": "nothing", "env": [{"name": "LARGE", "value": "x".repeat(bytes)}]}]},
    })
}

#[test]
fn what_somebody_drops_comes_back_in_the_same_request() {
    let space = Space::new("drop");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    space.apply(&registry("a"));
    assert_eq!(role(&space, "a").as_deref(), Some("registry"));

    // An UPDATE that drops it, and a PUT of the whole without annotations.
    space.kubectl(&["annotate", "serviceaccount", "a", &format!("{ROLE}-")]).good();
    assert_eq!(role(&space, "a").as_deref(), Some("registry"));
    space.run("kubectl", &["replace", "-f", "-"], &registry("a").to_string()).good();
    assert_eq!(role(&space, "a").as_deref(), Some("registry"));

    // Another manager's apply of the key, and its withdrawal.
    let mut theirs = registry("a");
    theirs["metadata"]["annotations"] = json!({ROLE: "arn:aws:iam::111122223333:role/theirs"});
    let apply = ["--server-side", "--field-manager", "somebody"];
    space.try_apply(&theirs, &apply).good();
    assert_eq!(role(&space, "a").as_deref(), Some("theirs"));
    space.try_apply(&registry("a"), &apply).good();
    assert_eq!(role(&space, "a").as_deref(), Some("registry"));
}

#[test]
fn applying_again_and_again_writes_nothing_after_the_first() {
    let space = Space::new("again");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    std::thread::scope(|scope| {
        for way in [&["--server-side"][..], &[]] {
            let space = &space;
            scope.spawn(move || {
                let name = format!("again-{}", way.len());
                space.try_apply(&registry(&name), way).good();
                let first = version(space, &name);
                // As a GitOps controller does, only more often.
                for _ in 0..30 {
                    space.try_apply(&registry(&name), way).good();
                    std::thread::park_timeout(std::time::Duration::from_secs(1));
                }
                assert_eq!(version(space, &name), first);
            });
        }
    });
}

#[test]
fn dry_runs_generated_names_and_bare_objects_are_answered() {
    let space = Space::new("shapes");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    let dry = space.try_apply(&registry("dry"), &["--dry-run=server", "-o", "json"]).good();
    assert!(dry.out.contains("role/registry"), "{}", dry.out);
    assert!(space.get("serviceaccount", "dry").is_none());

    let mut generated = registry("x");
    generated["metadata"]["name"] = Value::Null;
    generated["metadata"]["generateName"] = "made-".into();
    let made = space.run("kubectl", &["create", "-o", "json", "-f", "-"], &generated.to_string()).good();
    assert!(made.out.contains("role/registry"), "{}", made.out);

    space.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bare"}}));
    assert_eq!(role(&space, "bare").as_deref(), Some("any"));
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    space.kubectl(&["patch", "serviceaccount", "default", "--type", "merge", "-p", "{}"]).good();
    assert_eq!(role(&space, "default"), None, "`*` does not name it");
}

#[test]
fn large_pods_are_answered() {
    let space = Space::new("large");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    space.run("kubectl", &["create", "-f", "-"], &pod(1_300_000).to_string()).good();
    assert!(space.annotation("pod", "large", POD_ROLE).is_some());
    let dry = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let dry =
        space.run("kubectl", &dry, &pod(2_900_000).to_string().replace("\"large\"", "\"larger\"")).good();
    assert!(dry.out.contains(POD_ROLE));
}

#[test]
fn a_second_webhook_that_changes_the_object_makes_ours_answer_twice_and_nothing_changes() {
    let space = Space::new("twice");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    // The same webhook under another name and path decides nothing new; a policy of the API server's own
    // would need 1.36.
    let other = Space::new("twice-other");
    let mapping = "account: \"123456789012\"\nrules:\n  - {name: other, match: {component: registry}, role: registry, irsa: {audience: other}}\n";
    other.map(mapping).good();
    let second = crate::harness::Webhook::start(&other, &[]);
    second.wait_for("mapping in force");
    space.register_second(&second);
    space.apply(&registry("both"));
    assert!(webhook.count("\"name\":\"both\"") >= 2, "it was asked again after the other one's change");
    assert_eq!(role(&space, "both").as_deref(), Some("registry"));
}

#[test]
fn opting_out_freezes_and_a_namespace_that_is_not_chosen_is_untouched() {
    let space = Space::new("frozen");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    let mut frozen = registry("frozen");
    frozen["metadata"]["annotations"] = json!({"gitlab-iam-webhook/inject": "disabled"});
    space.apply(&frozen);
    assert_eq!(role(&space, "frozen"), None);

    space.kubectl(&["label", "namespace", &space.name, "gitlab-iam-webhook/inject-"]).good();
    space.apply(&registry("unlabelled"));
    assert_eq!(role(&space, "unlabelled"), None, "the namespace is not opted in any more");

    let elsewhere = Space::new("elsewhere");
    elsewhere.apply(&registry("a"));
    assert_eq!(role(&elsewhere, "a"), None);
    assert!(!webhook.has_seen(&elsewhere.name));
}

#[test]
fn observing_reports_and_writes_nothing() {
    let space = Space::new("observe");
    space.map(MAPPING).good();
    let webhook = crate::harness::Webhook::start(&space, &[]);
    webhook.wait_for("mapping in force");
    space.register_at(&webhook, "Fail", "/observe");
    let said = space.apply(&registry("a")).err;
    assert!(
        said.contains("observed, not written: role arn:aws:iam::123456789012:role/registry, rule registry"),
        "{said}"
    );
    let account = space.get("serviceaccount", "a").unwrap();
    assert!(
        account["metadata"]["annotations"][ROLE].is_null()
            && account["metadata"]["annotations"][APPLIED].is_null()
    );
}

#[test]
fn rights_on_two_names_are_all_that_the_webhook_needs() {
    let space = Space::new("rights");
    let name = "webhook";
    space.kubectl(&["create", "serviceaccount", name]).good();
    space.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
        "rules": [{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["role-mapping", "role-mapping-last-good"],
            // `create` is asked for the name when an apply creates; a plain create has no name to allow.
            "verbs": ["get", "list", "watch", "patch", "create"],
        }],
    }));
    let subject = format!("--serviceaccount={}:{name}", space.name);
    space.kubectl(&["create", "rolebinding", name, "--role", name, &subject]).good();
    let token = space.kubectl(&["create", "token", name]).good().out;
    let webhook = crate::harness::Webhook::start_as(&space, token.trim(), &["--starter-mapping"]);
    webhook.wait_for("created with a mapping to start from");
    space.map(MAPPING).good();
    eventually("the edit", || (webhook.count("mapping in force") == 2).then_some(()));
    eventually("the last good mapping is kept", || {
        let kept = space.get("configmap", "role-mapping-last-good")?;
        (kept["data"]["mapping.yaml"] == MAPPING).then_some(())
    });
    assert!(!webhook.has_seen("orbidden"), "nothing was forbidden");
}
