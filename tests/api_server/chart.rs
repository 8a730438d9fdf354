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
use crate::harness::Space;

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
        "account: b   \n   \n\nkiam: d\n",
        "account: |\n  b\tc \n\n    d\nrules: []\n",
        "account: b\r\nrules: []\r\n",
        "account: \"\\t\\\\\"\nkiam: 'c'\n",
        "---\nrules: []\n...\n",
        "%YAML 1.1\n---\nrules: []\n",
        "# {{ .Values.image }}\nrules: []\n",
        "a: \u{85}\u{2028}\u{2029}\u{feff}\u{7f}\u{9b}\u{1b}\n",
        "a: \u{2028}b\n",
        "account: 😀\u{a0}\n",
        "\n",
        " ",
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
