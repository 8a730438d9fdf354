//! Does `probe` tell whether the API server reaches the webhook, and is it without any trace?

use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use gitlab_iam_webhook::tls::issue;
use serde_json::{Value, json};

use crate::chart::helm;
use crate::harness::{Space, Webhook, eventually};

const LAST_GOOD: &str = "role-mapping-last-good";

/// A mapping whose second rule never decides, of which whoever edits it is warned.
fn mapping(role: &str) -> String {
    let rule = |name: &str, role: &str| {
        format!("  - {{name: {name}, match: {{serviceAccount: \"*\"}}, role: {role}}}\n")
    };
    format!("account: \"123456789012\"\nrules:\n{}{}", rule("a", role), rule("b", role))
}

/// The webhook, which asks for itself as well, once it is reached.
fn installed(space: &Space) -> Webhook {
    space.map(&mapping("first")).good();
    let webhook = Webhook::start(space, &["--webhook-configuration", &space.name]);
    space.register(&webhook, "Ignore");
    webhook.wait_until_ready();
    eventually("the mapping is kept", || space.get("configmap", LAST_GOOD));
    webhook
}

/// How `probe` exits, and what it says.
fn probe(space: &Space) -> (i32, String) {
    let mapping = format!("{}/role-mapping", space.name);
    let arguments = ["probe", "--mapping-config-map", &mapping, "--webhook-configuration", &space.name];
    let (code, out, err) = Space::ours(None, &arguments);
    (code, format!("{out}{err}"))
}

fn refused_requests(webhook: &Webhook) -> Vec<String> {
    let (_, metrics) = webhook.admin("/metrics");
    let refused = metrics.lines().filter(|line| line.starts_with("gitlab_iam_webhook_refused_requests"));
    refused.map(str::to_owned).collect()
}

#[test]
fn a_probe_that_arrives_is_refused_and_leaves_nothing_behind() {
    let space = Space::new("probe-arrives");
    let webhook = installed(&space);
    let kept = space.get("configmap", LAST_GOOD);
    let before = (refused_requests(&webhook), webhook.count("\"mapping validated\""));
    let (code, said) = probe(&space);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("reaches the webhook (127.0.0.1:{})", webhook.port)), "{said}");
    assert!(said.contains("this holds for the one API server that answered"), "{said}");
    assert_eq!(space.get("configmap", LAST_GOOD), kept, "also its version");
    // The webhook says and counts it itself, and no more often than once.
    webhook.wait_for("the API server reaches the webhook");
    assert_eq!(webhook.metric("gitlab_iam_webhook_reachable_from_api_server"), 1);
    assert!(webhook.count("\"probe answered\"") >= 2, "its own and that of the command line");
    assert_eq!((refused_requests(&webhook), webhook.count("\"mapping validated\"")), before);

    // That there is nothing to write to is no obstacle.
    space.kubectl(&["delete", "configmap", LAST_GOOD]).good();
    assert_eq!(probe(&space).0, 0);
    assert_eq!(space.get("configmap", LAST_GOOD), None, "nothing was created");
    let events = space.kubectl(&["get", "events", "-o", "name"]).good().out;
    assert_eq!(events, "");
    assert_eq!(webhook.count("the API server reaches the webhook"), 1);
}

#[test]
fn a_broken_mapping_cannot_be_kept_as_the_last_good_one_and_a_good_one_is_kept_without_a_word() {
    let space = Space::new("probe-guards");
    let webhook = installed(&space);
    let keep = |text: &str| {
        let metadata = json!({"name": LAST_GOOD});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mapping.yaml": text}});
        space.try_apply(&object, &["--server-side", "--force-conflicts"])
    };
    let refused = keep("ruels: []\n");
    assert!(!refused.ok && refused.err.contains("unknown key `ruels`"), "{}", refused.err);
    let done = keep(&mapping("other")).good();
    assert!(!done.err.contains("never decides") && !done.err.contains("ServiceAccounts"), "{}", done.err);
    // The webhook keeps the next one over it, by itself and through its own validation.
    let validated = webhook.count("last good mapping validated");
    let told = space.map(&mapping("second")).good().err;
    assert!(told.contains("never decides"), "{told}");
    eventually("it is kept", || {
        (space.get("configmap", LAST_GOOD)?["data"]["mapping.yaml"] == mapping("second")).then_some(())
    });
    assert!(webhook.count("last good mapping validated") > validated);
}

#[test]
fn a_probe_that_does_not_arrive_says_why_and_what_to_do() {
    let space = Space::new("probe-lost");
    let webhook = installed(&space);
    let kept = space.get("configmap", LAST_GOOD);
    webhook.stop();
    let (code, said) = probe(&space);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not reach the webhook") && said.contains("docs/eks.md"), "{said}");
    assert!(said.contains("only its own log says why"), "{said}");
    assert_eq!(space.get("configmap", LAST_GOOD), kept, "it was admitted, and not stored");

    // A replica that starts while nobody answers still keeps its mapping, and without a long wait.
    space.map(&mapping("second")).good();
    let again = Webhook::start(&space, &[]);
    again.wait_for("mapping in force");
    let begun = Instant::now();
    eventually("the mapping is kept", || {
        (space.get("configmap", LAST_GOOD)?["data"]["mapping.yaml"] == mapping("second")).then_some(())
    });
    println!("kept at most {:?} after it was in force, where connections are refused", begun.elapsed());

    let patch = |kind: &str, patch: &Value| {
        let patch = patch.to_string();
        space.kubectl(&["patch", kind, &space.name, "--type", "json", "-p", &patch]).good();
    };
    let policy = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]);
    patch("validatingwebhookconfiguration", &policy);
    eventually("the API server says why", || {
        let (code, said) = probe(&space);
        (code == 1 && said.contains("it says: failed to call webhook")).then_some(())
    });
    let policy = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    patch("validatingwebhookconfiguration", &policy);
    let bundle = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    patch("validatingwebhookconfiguration", &bundle);
    eventually("it is known that nothing is trusted", || {
        let (code, said) = probe(&space);
        (code == 1 && said.contains("has no caBundle")).then_some(())
    });
    space.kubectl(&["delete", "validatingwebhookconfiguration", &space.name]).good();
    let (code, said) = probe(&space);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("there is no ValidatingWebhookConfiguration {}", space.name)), "{said}");
}

#[test]
fn an_entry_that_trusts_something_else_is_named() {
    let space = Space::new("probe-differs");
    space.map(&mapping("first")).good();
    let webhook = Webhook::start(&space, &[]);
    space.register(&webhook, "Ignore");
    assert_eq!(probe(&space).0, 0);
    let other = issue::self_signed(&["127.0.0.1".to_owned()], SystemTime::now(), Duration::from_hours(1));
    let other = base64::engine::general_purpose::STANDARD.encode(other.unwrap().certificate);
    let patch =
        json!([{"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": other}]).to_string();
    space
        .kubectl(&["patch", "mutatingwebhookconfiguration", &space.name, "--type", "json", "-p", &patch])
        .good();
    let (code, said) = probe(&space);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the entry pods.gitlab-iam-webhook.example.com of"), "{said}");
    assert!(said.contains("has another caBundle"), "{said}");
    space.kubectl(&["delete", "mutatingwebhookconfiguration", &space.name]).good();
    let (code, said) = probe(&space);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("there is no MutatingWebhookConfiguration {}", space.name)), "{said}");
}

#[test]
fn the_pod_of_helm_test_answers_no_review_and_fits_the_level_restricted() {
    let space = Space::new("probe-pod");
    let level = "pod-security.kubernetes.io/enforce=restricted";
    space.run_anywhere("kubectl", &["label", "namespace", &space.name, level], "").good();
    space.kubectl(&["create", "serviceaccount", "one-gitlab-iam-webhook"]).good();
    // Labels that anybody gives to all Pods cannot make it one of the webhook's.
    let values = json!({
        "podLabels": {"app.kubernetes.io/name": "gitlab-iam-webhook", "a": "b"}, "imagePullSecrets": ["pull"],
        "commonLabels": {"app.kubernetes.io/instance": "one"}, "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"some": "node"},
    });
    let file = space.folder().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let file = file.display().to_string();
    for with in ["helm", "helm3"] {
        let rendered = |template: &str| {
            let chart = ["template", "one", "charts/gitlab-iam-webhook", "--namespace", &space.name];
            let only = ["--kube-version", "1.30.0", "--values", &file, "--show-only", template];
            let done = helm(with, &[&chart[..], &only].concat()).good().out;
            let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
            let done = space.run("kubectl", &create, &done).good();
            assert!(!done.err.contains("PodSecurity"), "{}", done.err);
            serde_json::from_str::<Value>(&done.out).unwrap()
        };
        let pod = rendered("templates/tests/probe.yaml");
        let deployment = rendered("templates/deployment.yaml");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"app.kubernetes.io/component": "probe", "app.kubernetes.io/managed-by": "Helm", "a": "b"}),
            "{with}"
        );
        let selector = &rendered("templates/service.yaml")["spec"]["selector"];
        let selects =
            |labels: &Value| selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value);
        assert!(!selects(&pod["metadata"]["labels"]));
        assert!(selects(&deployment["spec"]["template"]["metadata"]["labels"]));
        let (of_pod, of_webhook) = (&pod["spec"], &deployment["spec"]["template"]["spec"]);
        for key in ["serviceAccountName", "securityContext", "imagePullSecrets", "nodeSelector"] {
            assert_eq!(of_pod[key], of_webhook[key], "{with}: {key}");
        }
        for key in ["image", "imagePullPolicy", "securityContext", "resources"] {
            assert_eq!(of_pod["containers"][0][key], of_webhook["containers"][0][key], "{with}: {key}");
        }
        assert!(of_pod["tolerations"].as_array().unwrap().contains(&json!({"operator": "Exists"})));
    }
}
