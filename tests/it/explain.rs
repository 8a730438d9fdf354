//! What does `explain` tell of many objects, of one that is asked for, and of what it cannot find?

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{data, run_in};

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {match: {component: webservice}, provider: kube2iam, role: web}
";

const CHART: &str = "kind: ServiceAccount
metadata: {name: gitlab-registry, labels: {app: registry, chart: registry-0.7.0, release: gitlab}}
---
kind: Deployment
metadata: {name: gitlab-registry}
spec: {template: {metadata: {labels: {app: registry, chart: registry-0.7.0, release: gitlab}}, spec: {serviceAccountName: gitlab-registry}}}
---
kind: Deployment
metadata: {name: gitlab-webservice}
spec: {template: {metadata: {labels: {app: webservice, chart: webservice-9.0.0, release: gitlab}}, spec: {serviceAccountName: gitlab-web}}}
---
kind: Pod
metadata: {name: \"other\\e[2J\\nx\", annotations: {iam.amazonaws.com/role: by-hand}, labels: {app: webservice, chart: webservice-9.0.0, release: gitlab}}
";

/// A folder with a mapping and a chart.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
    fs::write(folder.path().join("chart.yaml"), CHART).unwrap();
    folder
}

fn explain(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    run_in(folder, program, &[&["explain"], arguments].concat())
}

#[test]
fn many_objects_are_a_table_and_one_that_is_asked_for_is_told_whole() {
    let folder = folder();
    let all = ["-m", "mapping.yaml", "-n", "gitlab", "chart.yaml"];
    let (code, out, err) = explain(folder.path(), &all);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("explain_table", out);
    assert!(!out.contains('\u{1b}'), "{out:?}");
    let (_, traced, _) = explain(folder.path(), &[&all[..], &["--trace"]].concat());
    let (table, _) = out.split_once("\n\n").unwrap();
    assert!(traced.starts_with(table), "{traced}");
    assert_eq!(traced.matches("    yes  line 3, component=registry\n").count(), 2, "{traced}");
    assert!(!traced.contains("say --trace"), "{traced}");

    let one = ["-m", "mapping.yaml", "-n", "gitlab", "-f", "chart.yaml", "deployments.apps/gitlab-registry"];
    let (code, out, _) = explain(folder.path(), &one);
    assert_eq!(code, 0);
    let whole = "Deployment gitlab/gitlab-registry (line 4)
  component: registry
  serviceAccount: gitlab-registry
  irsa, through its ServiceAccount (line 1): role arn:aws:iam::123456789012:role/registry
    yes  line 3, component=registry
  kube2iam: no rule matches, nothing changes
    no   line 4, component=webservice: component: the object's is `registry`
";
    assert!(out.starts_with("Deployment gitlab/gitlab-registry (line 4)\n"), "{out}");
    for line in whole.lines() {
        assert!(out.contains(line), "{line} is not in {out}");
    }
    let (_, json, _) = explain(folder.path(), &[&all[..], &["-o", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 4);
    assert!(json[0]["providers"][0]["tried"][0]["matches"].as_bool().unwrap(), "programs are told all");
}

#[test]
fn a_whole_chart_is_a_line_for_each_object() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = data("one-rule-per-component.yaml").display().to_string();
    let objects = data("gitlab-objects.yaml").display().to_string();
    let (code, out, _) = explain(folder.path(), &["-m", &mapping, &objects]);
    assert_eq!(code, 0);
    let (table, _) = out.split_once("\n\n").unwrap();
    assert!(table.lines().count() <= 1 + 2 * 72, "{out}");
    assert!(!out.contains("    no   line"), "no rule that was tried: {out}");
}

#[test]
fn a_file_and_an_object_of_the_cluster_of_the_same_name_are_told_apart() {
    let folder = folder();
    fs::create_dir(folder.path().join("sa")).unwrap();
    fs::write(folder.path().join("sa/gitlab-registry"), CHART).unwrap();
    let (code, out, err) = explain(folder.path(), &["-m", "mapping.yaml", "sa/gitlab-registry"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        err,
        "error: sa/gitlab-registry is a file here, and may be an object of the cluster: write \
         ./sa/gitlab-registry for the file, or serviceaccounts/gitlab-registry for the object\n"
    );
    let (code, out, _) = explain(folder.path(), &["-m", "mapping.yaml", "./sa/gitlab-registry"]);
    assert!(code == 0 && out.contains("Deployment default/gitlab-webservice"), "{out}");
    let (code, _, err) = explain(folder.path(), &["-m", "mapping.yaml", "serviceaccounts/gitlab-registry"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("error: connecting to the cluster: "), "{err}");
}

#[test]
fn what_is_wrong_on_the_command_line_is_said_with_what_to_write() {
    let folder = folder();
    for (arguments, said) in [
        (&["chart.yaml"][..], "finding the mapping: name it with -m FILE (only objects of the cluster, "),
        (&["svc/x"], "svc/x is no file here: svc is no kind that gets a role: name a sa, pod, deploy, "),
        (&["-m", "mapping.yaml", "nothing.yaml"], "reading nothing.yaml: No such file or directory"),
        (
            &["-m", "mapping.yaml", "-f", "chart.yaml", "sa/nobody"],
            "looking for ServiceAccount/nobody in chart.yaml: it is not there",
        ),
        (
            &["-m", "mapping.yaml", "chart.yaml", "sa/a"],
            "ServiceAccount/a is an object of the cluster, and chart.yaml a file: write -f chart.yaml to ",
        ),
        (&["-m", "mapping.yaml", "chart.yaml", "mapping.yaml"], "reading chart.yaml and mapping.yaml: name "),
    ] {
        let (code, out, err) = explain(folder.path(), arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.starts_with(&format!("error: {said}")), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    for word in ["sa/", "sa/a/b", "sa/../../x", "deploy/"] {
        let (code, _, err) = explain(folder.path(), &["-m", "mapping.yaml", word]);
        assert!(code == 2 && err.contains(": write ") && err.contains("/NAME"), "{word}: {err}");
    }
    for (arguments, said) in [
        (&["sa/a", "-n", ""][..], "it is empty: name a namespace"),
        (&["sa/a", "-n", "A/../b"], "a namespace's name has up to 63 of the letters"),
        (&["-f", "chart.yaml", "--context", "x"], "cannot be used with"),
    ] {
        let (code, _, err) = explain(folder.path(), arguments);
        assert!(code == 2 && err.contains(said), "{arguments:?}: {err}");
    }
}

#[test]
fn a_kubeconfig_that_names_no_context_is_told_with_its_own_remedy_alone() {
    let folder = folder();
    fs::write(folder.path().join("no-kubeconfig"), "apiVersion: v1\nkind: Config\n").unwrap();
    let (code, _, err) = explain(folder.path(), &["sa/a"]);
    let file = folder.path().join("no-kubeconfig").display().to_string();
    let want = format!(
        "error: connecting to the cluster: using the kubeconfig: {file} (from KUBECONFIG): it sets no current \
         context: name one with --context\n"
    );
    assert_eq!((code, err), (2, want));
}

/// What a command prints on a terminal, which shows both streams.
fn on_a_terminal(folder: &Path, command: &str, term: &str, ci: Option<&str>) -> (i32, String) {
    let ours = env!("CARGO_BIN_EXE_gitlab-iam-webhook");
    let output = Command::new("script")
        .args(["-qec", &format!("{ours} {command}"), "/dev/null"])
        .current_dir(folder)
        .env("TERM", term)
        .env_remove("NO_COLOR")
        .env_remove("CI")
        .envs(ci.map(|ci| ("CI", ci)))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn who_names_nothing_on_a_terminal_is_told_what_can_be_named() {
    let folder = folder();
    let (code, said) = on_a_terminal(folder.path(), "explain", "xterm", None);
    let want = "error: nothing is named that is to be explained: name an object, as sa/NAME, or a file\r\n";
    assert_eq!((code, said.as_str()), (2, want));
}

#[test]
fn only_a_terminal_that_has_colours_gets_some() {
    let folder = folder();
    for command in [
        "annotate -m mapping.yaml -n gitlab --diff chart.yaml",
        "status -m mapping.yaml -f chart.yaml",
        "--help",
    ] {
        for ci in [None, Some("true")] {
            let said = |term: &str| on_a_terminal(folder.path(), command, term, ci).1;
            assert!(said("xterm").contains("\u{1b}["), "{command}");
            assert!(!said("dumb").contains('\u{1b}'), "{command}");
        }
    }
}
