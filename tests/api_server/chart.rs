//! The chart: what it renders is accepted, what is mistyped is refused, and what is made from it is up to
//! date.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use gitlab_iam_webhook::engine::decision::{APPLIED, WAS};
use gitlab_iam_webhook::engine::object::provider::Provider;
use gitlab_iam_webhook::engine::yaml::{self, Node, Value as Yaml};
use serde_json::{Value, json};

use crate::commands::{Done, path_of, root};
use crate::harness::{ROLE, Space, Webhook, eventually};

pub(crate) const HELMS: [&str; 2] = ["helm", "helm3"];

pub(crate) fn helm(helm: &str, arguments: &[&str]) -> Done {
    // So that neither this user's plugins nor their repositories matter.
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(path_of(helm));
    Done::of(&command.args(arguments).current_dir(root()).env("HOME", home.path()).output().unwrap())
}

fn template(with: &str, values: &[&str]) -> Done {
    let mut arguments = vec!["template", "release", "charts/gitlab-iam-webhook", "--namespace", "ours"];
    arguments.extend(["--kube-version", "1.30.0"]);
    for value in values {
        arguments.extend(["--set", value]);
    }
    helm(with, &arguments)
}

/// With values of any shape; the release is called `name` too.
fn template_as(with: &str, name: &str, values: &Value) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let (chart, file) = ("charts/gitlab-iam-webhook", file.display().to_string());
    let versions = ["--kube-version", "1.30.0", "--api-versions", "monitoring.coreos.com/v1"];
    helm(with, &[&["template", name, chart, "--namespace", name, "--values", &file][..], &versions].concat())
}

#[test]
fn what_is_made_from_the_chart_is_up_to_date() {
    Space::tools();
    for script in ["charts/readme", "deploy/make"] {
        let output = Command::new(root().join(script)).arg("--check").output().unwrap();
        Done::of(&output).good();
    }
}

#[test]
fn both_helms_find_nothing_to_complain_of_and_render_the_same_twice() {
    Space::tools();
    for with in HELMS {
        helm(with, &["lint", "--strict", "charts/gitlab-iam-webhook"]).good();
        assert_eq!(template(with, &[]).good().out, template(with, &[]).good().out);
    }
    // Whatever is chosen at installation time is the cluster's business, and keys are made in the cluster. What
    // the cluster tells is only ever a reason to refuse.
    for entry in fs::read_dir(root().join("charts/gitlab-iam-webhook/templates")).unwrap() {
        let path = entry.unwrap().path();
        // The folder `tests`.
        let path = if path.is_dir() { path.join("probe.yaml") } else { path };
        let text = fs::read_to_string(&path).unwrap();
        for function in ["genCA", "genSelfSigned", "genSignedCert", "genPrivateKey", "rand", "now "] {
            assert!(!text.contains(function), "{function}");
        }
        let lookups = if path.ends_with("_lookups.tpl") { 2 } else { 0 };
        assert_eq!(text.matches("lookup ").count(), lookups, "{}", path.display());
    }
}

#[test]
fn unknown_and_mistyped_values_are_refused_with_their_path() {
    Space::tools();
    for (value, words) in [
        ("replicas=3", "replicas"),
        ("replicaCount=two", "replicaCount"),
        ("image.tagg=1", "tagg"),
        ("webhooks.serviceAccounts.failurePolicy.create=Sometimes", "failurePolicy"),
        ("certificates.mode=magic", "mode"),
        ("certificates.mode=existing", "certificates.existingSecret"),
        ("allowedRoles=one", "allowedRoles"),
        ("namespaces[0]=kube-system", "never sent to the webhook"),
        ("resources.limits.memory[0]=1", "memory"),
        ("mapping.rules=none", "rules"),
    ] {
        for with in HELMS {
            let refused = template(with, &[value]);
            assert!(!refused.ok && refused.err.contains(words), "{with} {value}: {}", refused.err);
        }
    }
}

#[test]
fn the_policy_allows_exactly_the_annotations_that_are_written() {
    Space::tools();
    let rendered = template("helm", &[]).good().out;
    let (_, list) = rendered.split_once("- name: ours").unwrap();
    let (_, list) = list.split_once('[').unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let allowed: BTreeSet<&str> = list.split('\'').skip(1).step_by(2).collect();
    let keys = Provider::Irsa.service_account_keys().unwrap();
    assert_eq!(allowed, keys.iter().chain([APPLIED, WAS]).collect());
}

#[test]
fn the_plain_manifests_are_accepted_word_for_word() {
    let space = Space::new("plain");
    let deploy = root().join("deploy").display().to_string();
    let everything = space.run_anywhere("kubectl", &["kustomize", &deploy], "").good().out;
    for document in everything.split("\n---\n") {
        // The namespace is not there in a rehearsal, so what goes into it is rehearsed in ours.
        let document =
            document.replace("namespace: gitlab-iam-webhook", &format!("namespace: {}", space.name));
        let rehearse = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        space.run_anywhere("kubectl", &rehearse, &document).good();
    }
}

/// The same lists and keys, and every scalar of the same type.
fn assert_same_types(plain: &Node<'_>, odd: &Node<'_>, path: &str) {
    match (&plain.value, &odd.value) {
        (Yaml::Scalar(_), Yaml::Scalar(text)) => {
            assert_eq!(plain.describe(), odd.describe(), "{path}: {}", text.text);
        }
        (Yaml::Sequence(plain), Yaml::Sequence(odd)) => {
            assert_eq!(plain.len(), odd.len(), "{path}");
            for (n, (plain, odd)) in plain.iter().zip(odd).enumerate() {
                assert_same_types(plain, odd, &format!("{path}[{n}]"));
            }
        }
        (Yaml::Mapping(plain), Yaml::Mapping(odd)) => {
            assert_eq!(plain.len(), odd.len(), "{path}");
            for ((key, plain), (_, odd)) in plain.iter().zip(odd) {
                assert_same_types(plain, odd, &format!("{path}.{}", key.as_text().unwrap()));
            }
        }
        _ => panic!("{path}: {} and {}", plain.describe(), odd.describe()),
    }
}

#[test]
fn names_that_yaml_takes_for_something_else_stay_text() {
    Space::tools();
    // The names that a Kubernetes object may have, and those of Services, which begin with a letter.
    let values = |name: &str, letter: &str, change: &Value| {
        let mut values = json!({
            "fullnameOverride": letter, "nameOverride": letter, "commonLabels": {"a": name},
            "commonAnnotations": {"a": name}, "imagePullSecrets": [name], "global": {"imagePullSecrets": [letter]},
            "mappingConfigMap": {"name": name}, "namespaces": [format!("{name}0"), letter],
            "priorityClassName": name, "serviceAccount": {"name": name}, "podLabels": {"b": name},
            "image": {"repository": letter, "tag": name}, "extraArgs": [name],
            "networkPolicy": {"enabled": true}, "serviceMonitor": {"enabled": true, "namespace": name},
            "nodeSelector": {"a": name}, "extraEnv": [{"name": letter, "value": name}],
            "extraVolumes": [{"name": letter, "secret": {"secretName": name}}],
            "extraVolumeMounts": [{"name": letter, "mountPath": name}],
            "webhooks": {
                "annotations": {"a": name},
                "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": [name]}]},
                "serviceAccounts": {"objectSelector": {"matchLabels": {"a": name}}},
            },
        });
        values.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        values
    };
    let bundle = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";
    for with in HELMS {
        for (name, letter) in
            [("123", "on"), ("on", "null"), ("1e3", "true"), ("null", "y"), ("0x1f", "no"), ("012", "nan")]
        {
            let mode = |name: &str| {
                let own = json!({"mode": "existing", "existingSecret": name, "caBundle": bundle});
                [
                    json!({}),
                    json!({"mapping": "rules: []\n", "certificates": {"mode": "cert-manager"}}),
                    json!({"certificates": own, "rbac": {"create": false}}),
                ]
            };
            for (plain, odd) in mode("some-name").iter().zip(&mode(name)) {
                let plain =
                    template_as(with, "some-name", &values("some-name", "some-letter", plain)).good().out;
                let odd = template_as(with, name, &values(name, letter, odd)).good().out;
                let (plain, odd) = (yaml::read(&plain).unwrap(), yaml::read(&odd).unwrap());
                assert_eq!(plain.len(), odd.len());
                for (plain, odd) in plain.iter().zip(&odd) {
                    let kind = plain.get("kind").and_then(Node::as_text).unwrap();
                    assert_same_types(plain, odd, &format!("{with} {name} {kind}"));
                }
            }
        }
    }
}

#[test]
fn a_release_in_a_namespace_called_123_or_on_is_installed_and_says_that_nothing_is_changed_there() {
    let space = Space::new("odd");
    let confined = format!("namespaces[0]={}", space.name);
    for with in HELMS {
        for name in ["123", "on"] {
            let release = format!("{with}-{name}");
            let install = ["install", &release, "charts/gitlab-iam-webhook", "--namespace", name];
            let values = ["--create-namespace", "--set", &confined, "--set", "webhooks.pods.enabled=false"];
            let done = space.run_anywhere(with, &[&install[..], &values].concat(), "").good();
            let sentence = format!("Nothing in {name}, where this release is, is ever changed");
            assert!(
                done.out.contains(&sentence) && !done.out.contains("WARNING: this release"),
                "{}",
                done.out
            );
            space.run_anywhere(with, &["uninstall", &release, "--namespace", name], "").good();
        }
        let install =
            ["install", "beside", "charts/gitlab-iam-webhook", "--namespace", "gitlab", "--dry-run=client"];
        let done = space.run_anywhere(with, &install, "").good();
        assert!(done.out.contains("WARNING: this release is in the namespace gitlab"), "{}", done.out);
    }
}

#[test]
fn any_text_of_a_mapping_is_stored_as_it_was_given() {
    let space = Space::new("text");
    for text in [
        "rules: []\n",
        "rules: []",
        "# häuser\n\n\nrules: []\n",
        "  # indented\n  rules: []\n",
        "\trules: []\n",
        "\n\nrules: []\n",
        "rules: []\n\n\n",
        "rules: []  \n",
        "rules: [] \t",
        "account: b   \n   \n\nrules: []\n",
        "account: |\n  b\tc \n\n    d\nrules: []\n",
        "account: b\r\nrules: []\r\n",
        "account: \"\\t\\\\\"\nkiam: 'c'\nrules: []\n",
        "---\nrules: []\n...\n",
        "%YAML 1.1\n---\nrules: []\n",
        "# {{ .Values.image }}\nrules: []\n",
        "a: \u{85}\u{2028}\u{2029}\u{feff}\u{7f}\u{9b}\u{1b}\n",
        "a: \u{2028}b\n",
        "account: 😀\u{a0}\nrules: []\n",
    ] {
        let file = space.folder().join("mapping.yaml");
        fs::write(&file, text).unwrap();
        let value = format!("mapping={}", file.display());
        for with in HELMS {
            let mapping = ["--show-only", "templates/mapping.yaml", "--set-file", &value];
            let template = ["template", "one", "charts/gitlab-iam-webhook", "--namespace", &space.name];
            let versions = ["--kube-version", "1.30.0"];
            let rendered = helm(with, &[&template[..], &mapping, &versions].concat()).good().out;
            let documents = yaml::read(&rendered).unwrap();
            let ours = documents[0].at_path(&["data", "mapping.yaml"]).and_then(Node::as_text);
            assert_eq!(ours, Some(text), "{with}: {rendered}");
            let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
            let stored = space.run("kubectl", &create, &rendered).good().out;
            let stored: Value = serde_json::from_str(&stored).unwrap();
            assert_eq!(stored["data"]["mapping.yaml"], text, "{with}: {rendered}");
        }
    }
}

#[test]
fn pull_secrets_that_an_umbrella_shares_are_used_in_both_of_their_forms() {
    Space::tools();
    let folder = tempfile::tempdir().unwrap();
    let charts = folder.path().join("charts");
    fs::create_dir(&charts).unwrap();
    let copied =
        Command::new("cp").arg("-r").arg(root().join("charts/gitlab-iam-webhook")).arg(&charts).status();
    assert!(copied.unwrap().success());
    let metadata = json!({"apiVersion": "v2", "name": "umbrella", "version": "1.0.0"});
    fs::write(folder.path().join("Chart.yaml"), metadata.to_string()).unwrap();
    let values = json!({
        "global": {"imagePullSecrets": ["shared", {"name": "both"}], "hosts": {"domain": "example.com"}},
        "gitlab-iam-webhook": {"imagePullSecrets": [{"name": "both"}, "own"]},
    });
    fs::write(folder.path().join("values.yaml"), values.to_string()).unwrap();
    let umbrella = folder.path().display().to_string();
    for with in HELMS {
        let rendered = helm(with, &["template", "one", &umbrella, "--kube-version", "1.30.0"]).good().out;
        let documents = yaml::read(&rendered).unwrap();
        let secrets = documents
            .iter()
            .find_map(|object| object.at_path(&["spec", "template", "spec", "imagePullSecrets"]))
            .and_then(Node::as_sequence)
            .unwrap();
        let names: Vec<&str> =
            secrets.iter().map(|entry| entry.get("name").unwrap().as_text().unwrap()).collect();
        assert_eq!(names, ["shared", "both", "own"]);
        for mistyped in [json!("one"), json!([{"nme": "one"}]), json!([1])] {
            let refused = template_as(with, "one", &json!({"global": {"imagePullSecrets": mistyped}}));
            assert!(!refused.ok && refused.err.contains("imagePullSecrets"), "{with}: {}", refused.err);
        }
    }
}

/// The value at this path of the first object of this kind.
fn find<'n, 't>(documents: &'n [Node<'t>], kind: &str, path: &[&str]) -> Option<&'n Node<'t>> {
    let object = documents.iter().find(|object| object.get("kind").and_then(Node::as_text) == Some(kind))?;
    object.at_path(path)
}

#[test]
fn every_value_that_other_charts_have_too_is_rendered_by_both_helms() {
    Space::tools();
    let term = json!({"key": "env", "operator": "NotIn", "values": ["legacy", "old"]});
    let values = json!({
        "image": {"registry": "mirror.example.com:5000/ghcr"},
        "imagePullSecrets": ["pull"],
        "extraEnv": [{"name": "A", "value": "1"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
        "podDisruptionBudget": {"minAvailable": "50%"},
        "strategy": {"type": "Recreate"},
        "livenessProbe": {"initialDelaySeconds": 7},
        "readinessProbe": {"failureThreshold": 9},
        "certificates": {"mode": "cert-manager"},
        "webhooks": {
            "annotations": {"example.com/a": "b", "cert-manager.io/inject-ca-from": "elsewhere/ca"},
            "namespaceSelector": {"matchExpressions": [term]},
            "serviceAccounts": {
                "objectSelector": {
                    "matchLabels": {"release": "gitlab"},
                    "matchExpressions": [{"key": "tier", "operator": "Exists"}, {"key": "x", "operator": "DoesNotExist"}],
                },
            },
        },
    });
    for with in HELMS {
        let rendered = template_as(with, "ours", &values).good().out;
        let documents = yaml::read(&rendered).unwrap();
        let text = |kind: &str, path: &[&str]| find(&documents, kind, path).and_then(Node::as_text);
        let pod =
            |path: &[&str]| find(&documents, "Deployment", &[&["spec", "template", "spec"], path].concat());
        let container = &pod(&["containers"]).unwrap().as_sequence().unwrap()[0];
        let own = |path: &[&str]| container.at_path(path).and_then(Node::as_scalar).map(|found| &*found.text);
        let first = |node: Option<&Node<'_>>, key: &str| {
            let list = node.unwrap().as_sequence().unwrap();
            let texts = list.iter().map(|entry| entry.get(key).and_then(Node::as_text).unwrap().to_owned());
            texts.collect::<Vec<_>>()
        };
        assert_eq!(
            own(&["image"]),
            Some("mirror.example.com:5000/ghcr/gitlab-iam-webhook/gitlab-iam-webhook:0.1.0")
        );
        assert_eq!(first(pod(&["imagePullSecrets"]), "name"), ["pull"]);
        assert_eq!(first(container.get("env"), "name"), ["A"]);
        assert_eq!(first(pod(&["volumes"]), "name"), ["tls", "ca"]);
        assert_eq!(first(container.get("volumeMounts"), "name"), ["tls", "ca"]);
        assert_eq!(text("PodDisruptionBudget", &["spec", "minAvailable"]), Some("50%"));
        assert!(text("PodDisruptionBudget", &["spec", "maxUnavailable"]).is_none());
        assert_eq!(text("Deployment", &["spec", "strategy", "type"]), Some("Recreate"));
        assert!(find(&documents, "Deployment", &["spec", "strategy", "rollingUpdate"]).is_none());
        assert_eq!(own(&["livenessProbe", "initialDelaySeconds"]), Some("7"));
        assert_eq!(own(&["livenessProbe", "httpGet", "path"]), Some("/livez"));
        assert_eq!(own(&["readinessProbe", "failureThreshold"]), Some("9"));
        assert_eq!(own(&["readinessProbe", "httpGet", "path"]), Some("/readyz"));
        assert_eq!(pod(&["nodeSelector", "kubernetes.io/os"]).and_then(Node::as_text), Some("linux"));
        assert_eq!(pod(&["priorityClassName"]).and_then(Node::as_text), Some("system-cluster-critical"));
        for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            let annotation = |key: &str| text(kind, &["metadata", "annotations", key]);
            assert_eq!(annotation("example.com/a"), Some("b"), "{with} {kind}");
            let injected = "ours/ours-gitlab-iam-webhook";
            assert_eq!(annotation("cert-manager.io/inject-ca-from"), Some(injected), "{with} {kind}");
        }
        let args: Vec<&str> =
            container.get("args").unwrap().as_sequence().unwrap().iter().filter_map(Node::as_text).collect();
        for arg in [
            "--namespace-selector=env notin (legacy,old)",
            "--service-account-selector=release=gitlab,tier,!x",
        ] {
            assert!(args.contains(&arg), "{with}: {args:?}");
        }

        // Nothing narrows the entry that keeps our own account from giving roles, nothing but Pods' own labels
        // is left out for Pods, and no entry loses what the chart excludes.
        let entries = find(&documents, "MutatingWebhookConfiguration", &["webhooks"]).unwrap();
        for entry in entries.as_sequence().unwrap() {
            let name = entry.get("name").and_then(Node::as_text).unwrap();
            let keys = first(entry.at_path(&["namespaceSelector", "matchExpressions"]), "key");
            assert_eq!(keys[..2], ["gitlab-iam-webhook/inject", "kubernetes.io/metadata.name"], "{name}");
            let is_own = name.starts_with("own.");
            assert_eq!(keys.contains(&"env".to_owned()), !is_own, "{with} {name}");
            let selected = entry.get("objectSelector").is_some();
            assert_eq!(selected, name.contains(".serviceaccounts.") && !is_own, "{with} {name}");
        }
        assert_eq!(entries.as_sequence().unwrap().len(), 6);
    }
    // The registry of a repository gives way; a path without one gets it.
    for (repository, image) in [
        ("ghcr.io/a/b", "m.io/a/b:1"),
        ("localhost/b", "m.io/b:1"),
        ("localhost:5000/b", "m.io/b:1"),
        ("a/b", "m.io/a/b:1"),
        ("b", "m.io/b:1"),
    ] {
        let value = json!({"image": {"registry": "m.io", "repository": repository, "tag": "1"}});
        let rendered = template_as("helm", "ours", &value).good().out;
        assert!(rendered.contains(&format!("image: \"{image}\"")), "{repository}");
    }
}

#[test]
fn the_icon_is_the_picture_beside_the_chart() {
    use base64::Engine as _;

    let folder = root().join("charts/gitlab-iam-webhook");
    let icon = base64::engine::general_purpose::STANDARD.encode(fs::read(folder.join("icon.svg")).unwrap());
    let chart = fs::read_to_string(folder.join("Chart.yaml")).unwrap();
    assert!(chart.contains(&format!("\nicon: data:image/svg+xml;base64,{icon}\n")));
}

/// The indented commands of NOTES that contain these words.
fn commands<'n>(notes: &'n str, words: &str) -> Vec<&'n str> {
    notes.lines().map(str::trim).filter(|line| line.starts_with("kubectl ") && line.contains(words)).collect()
}

#[test]
fn no_page_restarts_everything() {
    let mut pages = vec![root().join("README.md"), root().join("deploy/README.md")];
    for folder in ["docs", "charts/gitlab-iam-webhook", "charts/gitlab-iam-webhook/templates"] {
        pages.extend(fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut found = 0;
    for page in pages.iter().filter(|page| page.is_file()) {
        let text = fs::read_to_string(page).unwrap();
        for line in text.lines().filter(|line| line.contains("rollout restart")) {
            found += 1;
            // A selector, or one by its name.
            let narrow = [" -l ", " --selector", "deployment/", "deploy/", "statefulset/"];
            assert!(narrow.iter().any(|part| line.contains(part)), "{}: {line}", page.display());
        }
    }
    assert!(found >= 2, "README and NOTES say how");
}

#[test]
fn the_restart_of_notes_reaches_what_uses_roles_and_neither_gitaly_nor_databases() {
    let space = Space::new("restart");
    let parts = [
        ("Deployment", "registry", true),
        ("Deployment", "webservice", true),
        ("Deployment", "toolbox", true),
        ("Deployment", "gitlab-shell", false),
        ("StatefulSet", "gitaly", false),
        ("StatefulSet", "postgresql", false),
        ("StatefulSet", "redis", false),
    ];
    for (kind, app, _) in parts {
        let labels = json!({"app": app, "release": "gitlab"});
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": app, "labels": labels},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "none"}]},
                },
            },
        });
        if kind == "StatefulSet" {
            object["spec"]["serviceName"] = app.into();
        }
        space.apply(&object);
    }
    let install = ["install", "one", "charts/gitlab-iam-webhook", "-n", "ours", "--dry-run=client"];
    let notes = space.run_anywhere("helm", &install, "").good().out;
    let [restart] = commands(&notes, "rollout restart")[..] else { panic!("{notes}") };
    let restart = restart.replace("GITLAB-NAMESPACE", &space.name);
    let (plain, selector) = restart.split_once('\'').unwrap();
    let mut words: Vec<&str> = plain.split_whitespace().skip(1).collect();
    words.push(selector.trim_end_matches('\''));
    space.run_anywhere("kubectl", &words, "").good();
    for (kind, app, restarts) in parts {
        let object = space.get(kind, app).unwrap();
        let annotations = &object["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["kubectl.kubernetes.io/restartedAt"].is_string(), restarts, "{kind} {app}");
    }
}

#[test]
fn notes_name_what_finds_everything_that_is_wrong_with_the_mapping_and_what_gitlab_needs() {
    let space = Space::new("notes");
    space.map("rules: [{match: {component: webservicee}, role: web}]\n").good();
    for with in HELMS {
        let roles = ["--set", "allowedRoles[0]=arn:aws:iam::*:role/gitlab-*"];
        let install = ["install", "one", "charts/gitlab-iam-webhook", "-n", &space.name, "--dry-run=client"];
        let notes = space.run_anywhere(with, &[&install[..], &roles].concat(), "").good().out;
        assert!(notes.contains("global.serviceAccount.enabled=true"), "{notes}");
        let [check] = commands(&notes, "/gitlab-iam-webhook check")[..] else { panic!("{notes}") };
        let (get, exec) = check.split_once(" | ").unwrap();
        let get: Vec<&str> = get.split_whitespace().skip(1).collect();
        let mapping = space.run_anywhere("kubectl", &get, "").good().out;
        let (exec, check) = exec.split_once(" -- /gitlab-iam-webhook ").unwrap();
        let pod = "deployment/one-gitlab-iam-webhook";
        assert_eq!(exec, format!("kubectl -n {} exec -i {pod}", space.name));
        // What would run in the Pod, by a shell as where it is pasted.
        let file = space.folder().join("mapping.yaml");
        fs::write(&file, mapping).unwrap();
        let line = format!("{} {check} <{}", env!("CARGO_BIN_EXE_gitlab-iam-webhook"), file.display());
        let done = Done::of(&Command::new("sh").args(["-c", &line]).output().unwrap());
        let said = format!("{}{}", done.out, done.err);
        assert!(!done.ok && said.contains("webservicee"), "{said}");
    }
}

#[test]
fn repair_leaves_alone_what_the_selectors_keep_from_the_webhook() {
    let space = Space::new("selected");
    space.map("account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: \"*\"}, role: any}\n").good();
    let account = |name: &str, tier: &str| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": {"tier": tier}},
        })
    };
    for (name, tier) in [("inside", "web"), ("outside", "db")] {
        space.apply(&account(name, tier));
    }
    let selector = "--service-account-selector=tier in (web)";
    let webhook =
        Webhook::start_self_managed(&space, &["--repair", selector, "--namespace-selector=env=prod"]);
    space.register_unsigned(&[&webhook], |entry| {
        entry["objectSelector"] = json!({"matchLabels": {"tier": "web"}});
        entry["namespaceSelector"]["matchLabels"]["env"] = "prod".into();
    });
    webhook.wait_until_ready();
    assert_eq!(webhook.metric("gitlab_iam_webhook_opted_in_namespaces"), 0, "env is not prod");
    space.kubectl(&["label", "namespace", &space.name, "env=prod"]).good();
    eventually("the account inside is repaired", || space.annotation("serviceaccount", "inside", ROLE));
    eventually("nothing waits", || (webhook.metric("gitlab_iam_webhook_repairs_waiting") == 0).then_some(()));
    assert_eq!(space.annotation("serviceaccount", "outside", ROLE), None);
    let result =
        |result: &str| webhook.metric(&format!("gitlab_iam_webhook_repairs_total{{result=\"{result}\"}}"));
    assert_eq!((result("repaired"), result("no_effect")), (1, 0));
    // An account that comes inside is repaired too.
    space.kubectl(&["label", "serviceaccount", "outside", "tier=web", "--overwrite"]).good();
    eventually("it has the role", || space.annotation("serviceaccount", "outside", ROLE));
    space.kubectl(&["label", "namespace", &space.name, "env=test", "--overwrite"]).good();
    eventually("the namespace is left", || {
        (webhook.metric("gitlab_iam_webhook_opted_in_namespaces") == 0).then_some(())
    });
}
