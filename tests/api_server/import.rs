//! Does an import give what a real cluster and real Helm's objects had?

use std::fs;

use gitlab_iam_webhook::engine::object::provider::Provider;
use gitlab_iam_webhook::import::{self, Chart, Fate, Terms, Values};
use gitlab_iam_webhook::inventory;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::chart::{HELMS, helm};
use crate::gitlab_chart::{Object, any_values, remove, render};
use crate::harness::{POD_ROLE, ROLE, Space, eventually};

/// How many values Helm renders.
const CASES: usize = 20;

/// What Helm makes of the tests' own chart, as the model has it.
fn rendered(with: &str, values: &Value) -> Vec<Object> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let (chart, file) = ("tests/data/gitlab-chart", file.display().to_string());
    let text = helm(with, &["template", "gitlab", chart, "-n", "gitlab", "--values", &file]).good().out;
    let found = inventory::read(&text, "gitlab").unwrap().inventory;
    let accounts = found.service_accounts.into_iter().map(|account| Object {
        kind: "ServiceAccount".to_owned(),
        service_account: account.metadata.name.clone(),
        name: account.metadata.name,
        labels: account.metadata.labels,
        annotations: account.metadata.annotations,
    });
    let pods = found.pods.into_iter().map(|pod| Object {
        service_account: pod.service_account().to_owned(),
        kind: pod.written_kind,
        name: pod.metadata.name,
        labels: pod.metadata.labels,
        annotations: pod.metadata.annotations,
    });
    let mut objects: Vec<Object> = accounts.chain(pods).collect();
    objects.sort();
    objects
}

#[test]
fn the_model_of_the_tests_own_chart_makes_what_helm_makes_of_it() {
    Space::tools();
    let mut runner = TestRunner::deterministic();
    let strategy = any_values();
    let mut accounts = 0;
    for case in 0..CASES {
        let values = strategy.new_tree(&mut runner).unwrap().current();
        let mut read = Values::default();
        read.merge("values", &values.to_string()).unwrap();
        let terms = Terms {
            namespaces: vec!["gitlab".to_owned()],
            release: None,
            pod_provider: Provider::Kube2iam,
            base_role_arn: None,
            only_gitlab: false,
        };
        let made = import::from_values(&read, &Chart::new(false, None), &terms);
        let mut without = values.clone();
        for note in made.values.iter().filter(|note| note.fate != Fate::Stays) {
            remove(&mut without, &note.steps);
        }
        let with = HELMS[case % HELMS.len()];
        for values in [values, without] {
            let objects = rendered(with, &values);
            accounts += objects.iter().filter(|object| object.kind == "ServiceAccount").count();
            assert_eq!(objects, render(&values), "{with}: {values:#}");
        }
    }
    assert!(accounts > CASES, "{accounts}: the values make accounts at all");
}

#[test]
fn a_namespace_of_a_real_cluster_is_imported_as_far_as_it_may_be_read() {
    let space = Space::new("import");
    let labels = |component: &str| json!({"app": component, "chart": format!("{component}-9.10.0"), "release": "gitlab"});
    let role = "arn:aws:iam::123456789012:role/gitlab";
    for name in ["gitlab-webservice", "made-by-hand"] {
        let labels = if name == "made-by-hand" { json!({}) } else { labels("webservice") };
        space.apply(&json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "labels": labels, "annotations": {ROLE: role}},
        }));
    }
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    space.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "registry"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "registry"}}, "template": {
            "metadata": {"labels": labels("registry"), "annotations": {POD_ROLE: "registry"}},
            "spec": {"containers": [{"name": "main", "image": "nothing"}]},
        }},
    }));
    eventually("both Pods of the Deployment", || {
        let pods = space.kubectl(&["get", "pods", "-o", "name"]).good().out;
        (pods.lines().count() == 2).then_some(())
    });
    let config = format!(
        r#"{{"{0}/listed": {{"RoleARN": "{role}"}}, "other/x": {{"RoleARN": "{role}"}}}}"#,
        space.name
    );
    space.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pod-identity-webhook"},
        "data": {"config": config},
    }));
    let place = format!("{}/pod-identity-webhook", space.name);
    let arguments = ["import", "-n", &space.name, "--eks-config-map", &place, "--output", "json"];
    let (code, out, err) = Space::ours(None, &arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let mapping = told["mapping"].as_str().unwrap();
    for rule in [
        format!(
            "  - match: {{component: webservice, namespace: {}}}\n    provider: irsa\n    role: {role}\n",
            space.name
        ),
        format!(
            "  - match: {{component: registry, namespace: {}}}\n    provider: kube2iam\n    role: registry\n",
            space.name
        ),
        format!(
            "  - match: {{serviceAccount: [listed, made-by-hand], namespace: {}}}\n    provider: irsa\n",
            space.name
        ),
    ] {
        assert!(mapping.contains(&rule), "{rule}\n{mapping}");
    }
    assert!(!mapping.contains("other"), "{mapping}");

    // Who may read ServiceAccounts only is told what was not looked at.
    let rights = ["create", "role", "few", "--verb=list", "--resource=serviceaccounts"];
    space.kubectl(&rights).good();
    space.kubectl(&["create", "rolebinding", "few", "--role=few", "--user=somebody"]).good();
    let view = space.run_anywhere("kubectl", &["config", "view", "--raw", "-o", "json"], "").good().out;
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"]["as"] = "somebody".into();
    let kubeconfig = space.folder().join("somebody");
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let (code, out, err) = eventually("the rights are in force", || {
        let ran = Space::ours(Some(&kubeconfig), &["import", "-n", &space.name]);
        ran.1.contains("component: webservice").then_some(ran)
    });
    assert_eq!(code, 2, "{err}");
    assert!(!out.contains("registry"), "{out}");
    assert!(err.contains(&format!("note: not looked at: Pods of the namespace {}", space.name)), "{err}");
    assert!(err.contains("orbidden"), "{err}");
    // What is not there is not taken for what may not be read.
    let (code, _, err) = Space::ours(None, &["import", "-A", "--eks-config-map", "default/none"]);
    assert!(code == 2 && err.contains("reading the ConfigMap default/none: there is none"), "{err}");
}
