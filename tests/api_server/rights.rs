//! What the chart's policies leave to whoever has stolen the token of the webhook's account.

use gitlab_iam_webhook::engine::decision::{APPLIED, WAS};
use serde_json::{Value, json};

use crate::chart::helm;
use crate::commands::Done;
use crate::harness::{ROLE, Space, Webhook, eventually};

const STARTER: &str = include_str!("../../src/cluster/starter-mapping.yaml");
const RULE: &str =
    "rules: [{match: {serviceAccount: \"*\"}, role: \"arn:aws:iam::123456789012:role/any\"}]\n";
const KEPT: &str = "role-mapping-last-good";

/// An installation without what makes the API server ask a webhook, and the token of its account.
struct Stolen {
    space: Space,
    token: String,
}

fn apply(space: &Space, template: &str, values: &[&str]) {
    let chart = "charts/gitlab-iam-webhook";
    // What is for the whole cluster has a name of its own in each test.
    let name = format!("fullnameOverride={}", space.name);
    let template = format!("templates/{template}.yaml");
    let mut arguments = vec!["template", "release", chart, "--namespace", &space.name, "--set", &name];
    arguments.extend(["--kube-version", "1.30.0", "--show-only", &template]);
    for value in values {
        arguments.extend(["--set", value]);
    }
    let rendered = helm("helm", &arguments).good().out;
    space.run_anywhere("kubectl", &["apply", "-f", "-"], &rendered).good();
}

impl Stolen {
    fn new(test: &str, values: &[&str]) -> Self {
        let space = Space::new(test);
        for template in ["serviceaccount", "rbac", "validatingadmissionpolicy"] {
            apply(&space, template, values);
        }
        let token = space.kubectl(&["create", "token", &space.name]).good().out.trim().to_owned();
        let stolen = Self { space, token };
        // Of each kind that a policy is about, until all of them are in force.
        stolen.give_every_right();
        for object in [
            config_map("other", &json!({})),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}}),
            event(&stolen.space.name, "other", "Pod"),
        ] {
            eventually("the policy is in force", || stolen.is_refused(&object).then_some(()));
        }
        stolen
    }

    /// So that nothing but the policies stands in the way.
    fn give_every_right(&self) {
        let account = format!("--serviceaccount={0}:{0}", self.space.name);
        let name = format!("{}-every-right", self.space.name);
        let binding = ["create", "clusterrolebinding", &name, "--clusterrole", "cluster-admin", &account];
        self.space.kubectl(&binding).good();
    }

    fn run(&self, arguments: &[&str], input: &str) -> Done {
        self.space.run("kubectl", &[&["--token", &self.token], arguments].concat(), input)
    }

    /// As the webhook creates: by server-side apply.
    fn apply(&self, object: &Value, arguments: &[&str]) -> Done {
        let apply = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"];
        self.run(&[&apply[..], arguments].concat(), &object.to_string())
    }

    fn patch(&self, kind: &str, name: &str, patch: &Value) -> Done {
        self.run(&["patch", kind, name, "--type", "merge", "-p", &patch.to_string()], "")
    }

    /// Asked, and not done.
    fn is_refused(&self, object: &Value) -> bool {
        is_refused(&self.apply(object, &["--dry-run=server"]))
    }
}

/// By one of our policies, not by RBAC.
fn is_refused(done: &Done) -> bool {
    !done.ok && done.err.contains("ValidatingAdmissionPolicy") && done.err.contains("gitlab-iam-webhook")
}

fn config_map(name: &str, fields: &Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    merge(&mut object, fields);
    object
}

fn mapping(name: &str, text: &str) -> Value {
    config_map(name, &json!({"data": {"mapping.yaml": text}}))
}

fn event(namespace: &str, controller: &str, kind: &str) -> Value {
    let name = if kind == "Namespace" { namespace } else { "any" };
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "told"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Repair", "reason": "Told", "type": "Warning",
        "reportingController": controller, "reportingInstance": "one", "note": "something",
        "regarding": {"apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name},
    })
}

fn merge(object: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().unwrap() {
        match object.get_mut(key).filter(|there| there.is_object()) {
            Some(there) => merge(there, value),
            None => object[key] = value.clone(),
        }
    }
}

/// Ways to have an object deleted, or never again changed, without the right to.
fn strings() -> [Value; 3] {
    let nobody = json!([{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "0"}]);
    [
        json!({"metadata": {"ownerReferences": nobody}}),
        json!({"metadata": {"finalizers": ["example.com/never"]}}),
        json!({"immutable": true}),
    ]
}

#[test]
fn with_the_charts_rights_and_policies_the_webhook_writes_its_starter_and_keeps_what_is_good() {
    let stolen = Stolen::new("own-rights", &[]);
    // The webhook itself has no more than the chart's rights.
    let binding = format!("{}-every-right", stolen.space.name);
    stolen.space.kubectl(&["delete", "clusterrolebinding", &binding]).good();
    let webhook = Webhook::start_as(&stolen.space, &stolen.token, &["--starter-mapping"]);
    webhook.wait_for("created with a mapping to start from");
    for text in [RULE, &format!("# again\n{RULE}")] {
        stolen.space.map(text).good();
        eventually("the edit is kept", || {
            let kept = stolen.space.get("configmap", KEPT)?;
            (kept["data"]["mapping.yaml"] == text).then_some(())
        });
    }
    assert!(!webhook.has_seen("orbidden"), "nothing was forbidden");
}

#[test]
fn with_the_charts_rights_and_policies_a_probe_passes_and_without_them_it_says_what_is_missing() {
    let stolen = Stolen::new("probe-rights", &[]);
    let name = &stolen.space.name;
    let binding = format!("{name}-every-right");
    stolen.space.kubectl(&["delete", "clusterrolebinding", &binding]).good();
    stolen.space.map(RULE).good();
    let webhook = Webhook::start_as(&stolen.space, &stolen.token, &["--webhook-configuration", name]);
    stolen.space.register(&webhook, "Fail");
    webhook.wait_for("the API server reaches the webhook");
    let kubeconfig = stolen.space.folder().join("kubeconfig");
    let mapping = format!("{name}/role-mapping");
    let arguments = ["probe", "--mapping-config-map", &mapping, "--webhook-configuration", name];
    let probe = || Space::ours(Some(&kubeconfig), &arguments);
    let (code, out, err) = probe();
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert!(!webhook.has_seen("orbidden"), "nothing was forbidden");

    stolen.space.kubectl(&["delete", "rolebinding", name]).good();
    let (code, _, err) = eventually("the right is gone", || Some(probe()).filter(|(code, ..)| *code != 0));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("cannot patch") && err.contains("role-mapping-last-good"), "{err}");
    stolen.space.kubectl(&["delete", "clusterrolebinding", name]).good();
    let (code, _, err) = eventually("that right as well", || {
        Some(probe()).filter(|(_, _, err)| err.contains("may get both webhook configurations"))
    });
    assert_eq!(code, 2, "{err}");
}

#[test]
fn with_its_token_the_mapping_can_be_begun_without_rules_and_never_changed() {
    let stolen = Stolen::new("mapping-rights", &[]);
    let rule_after = |line_break: &str| format!("# nothing{line_break}{RULE}");
    for text in [
        RULE,
        "rules: []\naccount: \"123456789012\"\n",
        " rules: []\n",
        "rules: [] # none\n",
        "rules:\n",
        "rules: []",
        &rule_after("\n"),
        // Where YAML begins a new line, and other readers do not.
        &rule_after("\r"),
        &rule_after("\u{85}"),
        &rule_after("\u{2028}"),
        &rule_after("\u{2029}"),
        &format!("{STARTER}{RULE}"),
    ] {
        let beginning: String = text.chars().take(60).collect();
        // An apply is read as YAML, which makes spaces of some of them.
        let object = mapping("role-mapping", text).to_string();
        let escaped = object.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028");
        let create = ["create", "--dry-run=server", "--validate=false", "-f", "-"];
        let done = stolen.run(&create, &escaped.replace('\u{2029}', "\\u2029"));
        assert!(is_refused(&done), "{beginning:?}: {}{}", done.out, done.err);
    }
    for fields in [
        json!({"data": {"mapping.yaml": STARTER, "other": "text"}}),
        json!({"data": {"mapping.yaml": STARTER}, "binaryData": {"other": "AAAA"}}),
    ] {
        assert!(stolen.is_refused(&config_map("role-mapping", &fields)), "{fields}");
    }
    for string in strings() {
        let mut starter = mapping("role-mapping", STARTER);
        merge(&mut starter, &string);
        assert!(stolen.is_refused(&starter), "{string}");
    }

    stolen.apply(&mapping("role-mapping", STARTER), &[]).good();
    for patch in [
        json!({"data": {"mapping.yaml": RULE}}),
        json!({"data": null}),
        json!({"metadata": {"labels": {"a": "b"}}}),
    ]
    .iter()
    .chain(&strings())
    {
        let done = stolen.patch("configmap", "role-mapping", patch);
        assert!(is_refused(&done), "{patch}: {}{}", done.out, done.err);
    }
    assert!(stolen.is_refused(&mapping("role-mapping", RULE)));
    assert!(is_refused(&stolen.run(&["delete", "configmap", "role-mapping"], "")));

    // What it keeps is its own, and nothing but its content.
    for text in [STARTER, RULE] {
        stolen.apply(&mapping(KEPT, text), &[]).good();
    }
    stolen.patch("configmap", KEPT, &json!({"data": {"mapping.yaml": "again"}})).good();
    for string in strings() {
        let done = stolen.patch("configmap", KEPT, &string);
        assert!(is_refused(&done), "{string}: {}{}", done.out, done.err);
    }
    assert!(is_refused(&stolen.run(&["delete", "configmap", KEPT], "")));

    assert!(stolen.is_refused(&mapping("other", STARTER)));
    assert!(is_refused(&stolen.run(&["delete", "configmap", "kube-root-ca.crt"], "")));
    assert!(is_refused(&stolen.run(&["delete", "configmaps", "--all"], "")));
    for name in ["role-mapping", KEPT] {
        let apply = ["apply", "--server-side", "-f", "-", "--dry-run=server", "--token", &stolen.token];
        let elsewhere = [&apply[..], &["--namespace", "default"]].concat();
        let done = stolen.space.run_anywhere("kubectl", &elsewhere, &mapping(name, STARTER).to_string());
        assert!(is_refused(&done), "{name}: {}{}", done.out, done.err);
    }

    // Nobody else is held to it.
    stolen.space.map(RULE).good();
    stolen.space.apply(&mapping(KEPT, RULE));
    stolen.space.kubectl(&["delete", "configmap", "role-mapping", KEPT]).good();
}

#[test]
fn with_its_token_a_mapping_of_the_charts_own_cannot_even_be_begun() {
    let stolen = Stolen::new("chart-rights", &["mapping=rules: []"]);
    for text in [STARTER, RULE, "rules: []\n"] {
        assert!(stolen.is_refused(&mapping("role-mapping", text)));
    }
    stolen.apply(&mapping(KEPT, RULE), &[]).good();
}

#[test]
fn with_its_token_a_service_account_can_be_admitted_again_and_given_nothing() {
    let gitlab = Space::new("given");
    let confined = format!("namespaces[0]={}", gitlab.name);
    let stolen = Stolen::new("role-rights", &[&confined]);
    gitlab.kubectl(&["create", "serviceaccount", "a"]).good();
    // Nothing answers, and to an update nothing but the first entry minds.
    apply(&stolen.space, "mutatingwebhookconfiguration", &[&confined]);
    let role = "arn:aws:iam::123456789012:role/any";
    let patch = |patch: &Value| {
        let patch = patch.to_string();
        gitlab.kubectl(&[
            "patch",
            "serviceaccount",
            "a",
            "--type",
            "merge",
            "-p",
            &patch,
            "--token",
            &stolen.token,
        ])
    };
    let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    for key in [ROLE, APPLIED, WAS] {
        eventually("the first entry is asked", || {
            let done = patch(&annotate(key, role.into()));
            (!done.ok && done.err.contains("own.serviceaccounts.gitlab-iam-webhook")).then_some(())
        });
    }
    // The first try may have come before the API server knew.
    gitlab.kubectl(&["annotate", "serviceaccount", "a", &format!("{APPLIED}-"), &format!("{WAS}-")]).good();
    gitlab.kubectl(&["annotate", "serviceaccount", "a", "--overwrite", &format!("{ROLE}={role}")]).good();
    for value in [Value::Null, "".into(), "arn:aws:iam::123456789012:role/other".into()] {
        let done = patch(&annotate(ROLE, value.clone()));
        assert!(
            !done.ok && done.err.contains("own.serviceaccounts.gitlab-iam-webhook"),
            "{value}: {}",
            done.err
        );
    }
    patch(&json!({})).good();
    assert_eq!(gitlab.annotation("serviceaccount", "a", ROLE).as_deref(), Some(role));
}

#[test]
fn with_its_token_no_secret_can_be_written_but_its_own_and_that_is_no_token() {
    let stolen = Stolen::new("secret-rights", &[]);
    let own = format!("{}-tls", stolen.space.name);
    let secret = |name: &str, kind: &str, metadata: &Value| {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name},
        });
        merge(&mut object, &json!({"metadata": metadata}));
        object
    };
    let of_another = json!({"annotations": {"kubernetes.io/service-account.name": "default"}});
    assert!(stolen.is_refused(&secret(&own, "kubernetes.io/service-account-token", &of_another)));
    assert!(stolen.is_refused(&secret("other", "Opaque", &json!({}))));
    for string in strings() {
        let mut object = secret(&own, "Opaque", &json!({}));
        merge(&mut object, &string);
        assert!(stolen.is_refused(&object), "{string}");
    }
    stolen.apply(&secret(&own, "Opaque", &json!({})), &[]).good();
    stolen.patch("secret", &own, &json!({"data": {"tls.crt": "AAAA"}})).good();
    // The garbage collector would delete it, and another type could take its place.
    for string in strings() {
        let done = stolen.patch("secret", &own, &string);
        assert!(is_refused(&done), "{string}: {}{}", done.out, done.err);
    }
    assert!(is_refused(&stolen.run(&["delete", "secret", &own], "")));

    let mounted = Stolen::new("mounted-rights", &["certificates.mode=cert-manager"]);
    assert!(mounted.is_refused(&secret(&format!("{}-tls", mounted.space.name), "Opaque", &json!({}))));
}

#[test]
fn with_its_token_no_events_can_be_written_but_its_own() {
    let stolen = Stolen::new("event-rights", &[]);
    let event = |controller, kind| event(&stolen.space.name, controller, kind);
    for (controller, kind) in [
        ("kubelet", "ServiceAccount"),
        ("kubelet", "Namespace"),
        ("gitlab-iam-webhook", "Secret"),
        ("gitlab-iam-webhook", "Node"),
        ("gitlab-iam-webhook", "Deployment"),
        ("gitlab-iam-webhook", ""),
    ] {
        assert!(stolen.is_refused(&event(controller, kind)), "{controller} {kind}");
    }
    for kind in [
        "ServiceAccount",
        "Namespace",
        "Pod",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "ReplicationController",
    ] {
        stolen.apply(&event("gitlab-iam-webhook", kind), &["--dry-run=server"]).good();
    }
    // An Event on a namespace is written into that namespace, so that it is not told of another one.
    let mut other = event("gitlab-iam-webhook", "Namespace");
    other["regarding"]["name"] = "kube-system".into();
    assert!(stolen.is_refused(&other));
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    stolen.space.apply(&event("kubelet", "ServiceAccount"));
    let done = stolen.patch("events.events.k8s.io", "told", &series);
    assert!(is_refused(&done), "{}{}", done.out, done.err);
    stolen.space.kubectl(&["delete", "events.events.k8s.io", "told"]).good();
    stolen.apply(&event("gitlab-iam-webhook", "ServiceAccount"), &[]).good();
    stolen.patch("events.events.k8s.io", "told", &series).good();
}

#[test]
fn with_the_charts_rights_alone_and_without_repair_what_is_observed_is_told() {
    let stolen = Stolen::new("observe-rights", &["repair.enabled=false"]);
    let (gitlab, own) = (Space::new("observed"), &stolen.space);
    let binding = format!("{}-every-right", own.name);
    own.kubectl(&["delete", "clusterrolebinding", &binding]).good();
    let observe = ["label", "namespace", &gitlab.name, "gitlab-iam-webhook/inject=observe", "--overwrite"];
    gitlab.kubectl(&observe).good();
    gitlab.kubectl(&["create", "serviceaccount", "a"]).good();
    own.map(RULE).good();
    let arguments = [
        "--webhook-configuration",
        &own.name,
        "--watch-namespace",
        &gitlab.name,
        "--watch-namespace",
        &own.name,
        "--except-namespace",
        &own.name,
    ];
    let webhook = Webhook::start_as(own, &stolen.token, &arguments);
    for (space, reason) in [(&gitlab, "RoleWouldBeSet"), (own, "LabelHasNoEffect")] {
        eventually("an Event tells it", || {
            let events = space.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).good().out;
            events.contains(reason).then_some(())
        });
    }
    assert!(!webhook.has_seen("cannot be written"), "nothing was forbidden");
}

#[test]
fn the_api_server_finds_no_fault_with_the_types_in_the_policies() {
    for values in [&[][..], &["mapping=rules: []", "certificates.mode=cert-manager"]] {
        let stolen = Stolen::new("types", values);
        let policies = eventually("each policy has been looked at", || {
            let all = stolen.space.kubectl(&["get", "validatingadmissionpolicies", "-o", "json"]).good().out;
            let all: Value = serde_json::from_str(&all).unwrap();
            let own = |policy: &&Value| {
                policy["metadata"]["name"].as_str().unwrap().starts_with(&stolen.space.name)
            };
            let own: Vec<Value> = all["items"].as_array().unwrap().iter().filter(own).cloned().collect();
            let looked_at =
                |policy: &Value| policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
            own.iter().all(looked_at).then_some(own)
        });
        assert!(policies.len() >= 4);
        for policy in policies {
            let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
            assert!(warnings.is_null(), "{}: {warnings}", policy["metadata"]["name"]);
        }
    }
}
