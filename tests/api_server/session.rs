//! Is the recorded session of the README what these commands print?

use std::fs;

use crate::commands::gitlab_chart;
use crate::harness::{Space, Webhook, eventually};
use crate::session_picture;
use serde_json::{Value, json};

const COMMANDS: [&str; 6] = [
    "cat role-mapping.yaml",
    "kubectl replace -f role-mapping.yaml",
    "sed -i s/webservise/webservice/ role-mapping.yaml",
    "kubectl replace -f role-mapping.yaml --dry-run=server",
    "kubectl replace -f role-mapping.yaml",
    "kubectl -n gitlab get serviceaccounts -o custom-columns='NAME:.metadata.name,ROLE:.metadata.annotations.eks\\.amazonaws\\.com/role-arn'",
];

const BROKEN: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: role-mapping, namespace: gitlab-iam-webhook}
data:
  mapping.yaml: |
    account: "123456789012"
    rules:
      - match: {component: registry, namespace: gitlab}
        role: gitlab-registry
      - match: {component: [webservise, sidekiq], namespace: gitlab}
        role: gitlab
"#;

/// The session as an asciicast, version 2. Its times are those of somebody who types fast and reads slowly.
fn cast(steps: &[(&str, String)]) -> String {
    let mut events = Vec::new();
    let mut now = 0.5;
    let mut tell = |now: f64, text: &str| {
        let text = text.replace('\n', "\r\n");
        // Milliseconds, without the noise of adding them up.
        events.push(json!([(now * 1000.0).round() / 1000.0, "o", text]));
    };
    for (command, output) in steps {
        tell(now, "$ ");
        now += 0.4;
        for word in command.split_inclusive([' ', ',']) {
            tell(now, word);
            now += 0.15;
        }
        now += 0.3;
        tell(now, &format!("\n{output}"));
        now += 1.6 + 0.3 * f64::from(u32::try_from(output.lines().count()).unwrap());
    }
    let header = json!({
        "version": 2, "width": 108, "height": 40,
        "title": "A broken edit is refused, its repair tells what it changes, and the ServiceAccounts get their roles",
    });
    let lines = std::iter::once(header).chain(events);
    lines.map(|line: Value| format!("{line}\n")).collect()
}

#[test]
fn the_recorded_session_is_what_is_printed() {
    let space = Space::named("gitlab-iam-webhook", &json!({}));
    let gitlab = Space::named("gitlab", &json!({"gitlab-iam-webhook/inject": "enabled"}));
    let chart = gitlab_chart(&gitlab.folder().join("chart"), &["registry", "webservice", "sidekiq"]);
    gitlab.run("helm", &["install", "gitlab", &chart], "").good();
    eventually("its `default` is there", || gitlab.get("serviceaccount", "default"));
    space.map("rules: []\n").good();

    let arguments = ["--repair", "--watch-namespace", "gitlab"];
    let webhook = Webhook::start_self_managed(&space, &arguments);
    space.register_unsigned(&[&webhook], |entry| {
        entry["namespaceSelector"] = json!({"matchLabels": {"gitlab-iam-webhook/inject": "enabled", "kubernetes.io/metadata.name": "gitlab"}});
    });
    // As the chart registers it.
    let validating = json!({
        "name": "validate.mapping.gitlab-iam-webhook",
        "clientConfig": {"url": format!("https://127.0.0.1:{}/validate", webhook.port)},
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 10, "failurePolicy": "Ignore",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gitlab-iam-webhook"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}],
        "matchConditions": [{"name": "the-mapping", "expression": "request.name == 'role-mapping'"}],
    });
    space.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": space.name}, "webhooks": [validating],
    }));
    webhook.wait_until_ready();
    fs::write(space.folder().join("role-mapping.yaml"), BROKEN).unwrap();
    eventually("edits are validated", || {
        let refused = space.shell("kubectl replace -f role-mapping.yaml --dry-run=server");
        refused.contains("webservise").then_some(())
    });
    eventually("GitLab's namespace is known", || {
        (webhook.metric("gitlab_iam_webhook_opted_in_namespaces") == 1).then_some(())
    });

    let steps = COMMANDS.map(|command| {
        if command.contains(" get ") {
            eventually("all are repaired", || {
                let printed = space.shell(command);
                (printed.matches("arn:aws:iam::").count() == 3).then_some(())
            });
        }
        (command, space.shell(command))
    });
    let cast = cast(&steps);
    session_picture::update(&cast);
    let recorded = fs::read_to_string(session_picture::recording()).unwrap();
    assert_eq!(recorded, cast, "UPDATE_SESSION=1 records it again");
    let length: Value = serde_json::from_str(recorded.lines().last().unwrap()).unwrap();
    assert!(length[0].as_f64().unwrap() < 30.0, "it is to be told in thirty seconds: {}", length[0]);
}
