//! Does `explain` say of objects of a real cluster what decides on them, and what it may not read?

use std::fs;

use serde_json::{Value, json};

use crate::doctor::{Installed, viewer};
use crate::harness::{ROLE, Space, eventually};

const OLD: &str = "arn:aws:iam::123456789012:role/old";
const WANTED: &str = "arn:aws:iam::123456789012:role/registry";

/// How `explain` exits in GitLab's namespace, and what it prints.
fn explain(installed: &Installed, arguments: &[&str]) -> (i32, String, String) {
    let all = ["explain", "-n", &installed.gitlab.name, "--webhook-configuration", &installed.ours.name];
    Space::ours(None, &[&all[..], arguments].concat())
}

/// The registry of a GitLab. There is no EKS here: its Pods have the role of a template, as if they had
/// started when their account carried it.
fn registry(gitlab: &Space) -> String {
    let labels = json!({"app": "registry", "chart": "registry-0.7.0", "release": "gitlab"});
    gitlab.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "gitlab-registry", "labels": labels},
    }));
    let spec = json!({
        "serviceAccountName": "gitlab-registry",
        "containers": [{"name": "registry", "image": "x", "env": [
            {"name": "AWS_ROLE_ARN", "value": OLD},
            {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/t/token"},
        ]}],
        "volumes": [{"name": "t", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}},
        ]}}],
    });
    gitlab.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gitlab-registry"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }));
    gitlab.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "by-hand", "labels": labels.clone()},
        "spec": {"serviceAccountName": "gitlab-registry", "containers": [{"name": "a", "image": "x"}]},
    }));
    let env = json!([{"name": "AWS_ROLE_ARN", "value": OLD}]);
    gitlab.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own-role", "labels": labels.clone()},
        "spec": {
            "serviceAccountName": "gitlab-registry",
            "containers": [{"name": "a", "image": "x", "env": env}],
        },
    }));
    eventually("the Deployment's Pod is there", || {
        let pods = gitlab.kubectl(&["get", "pods", "-o", "name"]).good().out;
        pods.lines().find(|pod| pod.starts_with("pod/gitlab-registry-")).map(str::to_owned)
    })
}

#[test]
fn an_object_of_the_cluster_is_explained_by_the_mapping_in_force() {
    let installed = Installed::new("explain");
    let Installed { ours, gitlab, .. } = &installed;
    let pod = registry(gitlab);
    let namespace = &gitlab.name;
    let first = format!("mapping {}/role-mapping, in force\n", ours.name);

    let (code, out, err) = explain(&installed, &["sa/gitlab-registry"]);
    assert_eq!(code, 0, "{err}");
    let told = format!(
        "{first}namespace {namespace}: it has opted in

ServiceAccount {namespace}/gitlab-registry
  component: registry
  irsa: role {WANTED}, already in step
    yes  line 3, component=registry
"
    );
    assert_eq!(out, told);

    // Through its ServiceAccount, asked for by its ReplicaSet's controller, and with the role of before.
    let (code, out, err) = explain(&installed, &[&pod]);
    assert_eq!(code, 0, "{err}");
    for words in [
        "\n  component: registry\n  serviceAccount: gitlab-registry\n",
        "\n  asked for by system:serviceaccount:kube-system:replicaset-controller, as its owner ReplicaSet ",
        &format!(
            "\n  irsa, through its ServiceAccount: role {WANTED}, already in step\n    yes  line 3, component=registry\n"
        ),
        &format!(
            "\n  it runs with {OLD} (AWS_ROLE_ARN), and its ServiceAccount carries {WANTED}: its Pods get that \
             once they are restarted\n"
        ),
        "\nA Pod is decided on when it is created: ",
    ] {
        assert!(out.contains(words), "{words} is not in: {out}");
    }
    let (_, out, _) = explain(&installed, &["pod/by-hand"]);
    for words in ["its labels say registry, which is believed only of a workload", "it has no owner, which "]
    {
        assert!(out.contains(words), "{words} is not in: {out}");
    }
    // A restart is promised only where it helps, as `status` says.
    let (_, out, _) = explain(&installed, &["pod/own-role"]);
    let words = format!(
        "carries {WANTED}: no restart changes that, as its template sets the variables of a role by hand\n"
    );
    assert!(out.contains(&words), "{words} is not in: {out}");
    let (_, out, _) = explain(&installed, &["-o", "json", "pod/own-role"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told[0]["stale"], false);
    assert_eq!(told[0]["notStaleBecause"], "its template sets the variables of a role by hand");
    let controller = "system:serviceaccount:kube-system:job-controller";
    let (_, out, _) = explain(&installed, &["pod/by-hand", "--user", controller]);
    assert!(out.contains("\n  component: registry\n"), "{out}");
    assert!(out.contains(&format!("asked for by {controller} (--user)")), "{out}");

    // Several at once, of which one is not there; the others are told all the same.
    let (code, out, err) = explain(&installed, &["deployments.apps/gitlab-registry", &pod, "sts/nobody"]);
    assert_eq!(code, 2);
    let missing = format!("error: reading StatefulSet {namespace}/nobody: it is not there: ");
    assert!(err.starts_with(&missing) && err.lines().count() == 1, "{err}");
    assert!(out.contains("\nOBJECT ") && !out.contains("    yes  line"), "{out}");
    let row = out.lines().find(|line| line.starts_with("Deployment ")).unwrap();
    assert!(
        row.ends_with(&format!("registry   {WANTED}  component=registry  ServiceAccount: in_step")),
        "{row}"
    );

    let (_, out, _) = explain(&installed, &["-o", "json", &pod]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told[0]["requester"], "system:serviceaccount:kube-system:replicaset-controller");
    assert_eq!(told[0]["requesterAssumed"], false);
    assert_eq!((&told[0]["runsWith"], &told[0]["stale"]), (&json!(OLD), &json!(true)));
    assert_eq!(told[0]["throughServiceAccount"]["role"], WANTED);
    assert_eq!(told[0]["line"], Value::Null);
}

#[test]
fn what_the_webhook_does_there_at_all_is_said_first() {
    let installed = Installed::new("explain-scope");
    let Installed { ours, gitlab, .. } = &installed;
    registry(gitlab);
    let label = |label: &str| {
        gitlab
            .run_anywhere("kubectl", &["label", "namespace", &gitlab.name, label, "--overwrite"], "")
            .good();
    };
    let second = |arguments: &[&str]| {
        let (code, out, err) = explain(&installed, arguments);
        assert_eq!(code, 0, "{err}");
        out.lines().nth(1).unwrap().to_owned()
    };
    let state = |words: &str| format!("namespace {}: {words}", gitlab.name);
    let account = ["sa/gitlab-registry"];
    assert_eq!(second(&account), state("it has opted in"));
    label("gitlab-iam-webhook/inject=observe");
    assert_eq!(second(&account), state("it is observed: nothing is written"));
    label("gitlab-iam-webhook/inject=yes");
    let futile = "its label gitlab-iam-webhook/inject=yes does nothing: nothing is written";
    assert_eq!(second(&account), state(futile));
    label("gitlab-iam-webhook/inject-");
    let none = "it has not opted in (it has no label gitlab-iam-webhook/inject): nothing is written";
    assert_eq!(second(&account), state(none));
    label("gitlab-iam-webhook/inject=enabled");
    let (_, out, _) = explain(&installed, &["-n", &ours.name, "sa/default"]);
    assert!(out.is_empty(), "a namespace is named once");
    let own = ["explain", "--webhook-configuration", &ours.name, "-n", &ours.name, "sa/default"];
    let (_, out, _) = Space::ours(None, &own);
    assert!(out.contains(": the webhook leaves it alone: nothing is written\n"), "{out}");

    // What the selectors of the installation leave out.
    let held = ours.get("mutatingwebhookconfiguration", &ours.name).unwrap();
    let entries = held["webhooks"].as_array().unwrap();
    let narrowed = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry["rules"][0]["resources"] == json!(["serviceaccounts"]));
    let patch: Value = narrowed
        .map(|(n, _)| {
            json!({"op": "add", "path": format!("/webhooks/{n}/objectSelector"), "value": {"matchLabels": {"app": "kas"}}})
        })
        .collect();
    installed.patch("mutatingwebhookconfiguration", &patch);
    let (_, out, _) = explain(&installed, &account);
    let words = format!(
        "\n  nothing is written on it: the webhook is not asked, as no entry of {} selects its labels (objectSelector)\n",
        ours.name
    );
    assert!(out.contains(&words), "{out}");
}

#[test]
fn what_may_not_be_read_is_said_and_a_mapping_can_be_named_instead() {
    let installed = Installed::new("explain-viewer");
    let Installed { ours, gitlab, .. } = &installed;
    let pod = registry(gitlab);
    let file = gitlab.folder().join("candidate.yaml");
    fs::write(&file, "account: \"123456789012\"\nrules: [{match: {component: registry}, role: candidate}]\n")
        .unwrap();
    let file = file.display().to_string();
    let (_, out, _) = explain(&installed, &["-m", &file, "sa/gitlab-registry"]);
    assert!(out.starts_with(&format!("mapping {file}\n")), "{out}");
    assert!(
        out.contains("\n  ~ eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/candidate\n"),
        "{out}"
    );
    assert_eq!(gitlab.annotation("serviceaccount", "gitlab-registry", ROLE).as_deref(), Some(WANTED));

    let viewing = viewer(gitlab, "viewer", &["--resource=pods"]);
    let name = ["--webhook-configuration", ours.name.as_str(), "-n", &gitlab.name];
    let ask =
        |arguments: &[&str]| Space::ours(Some(&viewing), &[&["explain"][..], &name, arguments].concat());
    let (code, out, err) = ask(&[&pod]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.starts_with("error: finding the mapping in force: the installation cannot be read: "),
        "{err}"
    );
    assert!(err.trim_end().ends_with("; name a mapping with -m FILE"), "{err}");
    let (code, out, err) = ask(&["-m", &file, &pod]);
    assert_eq!(code, 0, "{err}");
    for words in [
        "whether it has opted in could not be read: ",
        "irsa, through its ServiceAccount: not known, as ServiceAccount gitlab-registry could not be read: ",
        "\nnot looked at: the installation of gitlab-iam-webhook: ",
    ] {
        assert!(out.contains(words), "{words} is not in: {out}");
    }
    let (code, out, err) = ask(&["-m", &file, "sa/gitlab-registry"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("forbidden") && err.lines().count() == 1, "{err}");

    let nowhere = ["explain", "sa/a", "-n", "no-such-namespace", "-m", &file];
    let (code, _, err) = Space::ours(None, &nowhere);
    assert_eq!(
        (code, err.as_str()),
        (2, "error: asking the cluster: there is no namespace no-such-namespace\n")
    );
}
