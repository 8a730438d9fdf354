//! Does `status` tell a real cluster as it is, and what an edit of the mapping would change as the edit
//! itself tells it?

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::doctor::{Installed, MAPPING, viewer};
use crate::harness::{Cluster, Space, eventually};

const IRSA: &str = "eks.amazonaws.com/role-arn";

fn labels(component: &str) -> Value {
    json!({"app": component, "chart": format!("{component}-9.0.0"), "release": "gitlab"})
}

fn account(name: &str, component: &str) -> Value {
    let metadata = json!({"name": name, "labels": labels(component)});
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
}

fn deployment(component: &str) -> Value {
    let name = format!("gitlab-{component}");
    let container = json!({"name": "a", "image": "x"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": component}},
            "template": {
                "metadata": {"labels": labels(component)},
                "spec": {"serviceAccountName": name, "containers": [container]},
            },
        },
    })
}

fn mapping(more: &str) -> String {
    format!(
        "account: \"123456789012\"\nrules:\n  - {{match: {{component: registry}}, role: registry}}\n{more}"
    )
}

const KUBE2IAM: &str = "  - {match: {component: sidekiq}, provider: kube2iam, role: sidekiq}\n";

impl Installed {
    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = ["status", "--webhook-configuration", &self.ours.name, "-n", &self.gitlab.name];
        [&own[..], more].concat()
    }

    /// How `status` exits, and what it prints.
    fn status(&self, more: &[&str]) -> (i32, String) {
        let (code, out, err) = Space::ours(None, &self.arguments(more));
        assert!(!err.contains("error: "), "{err}");
        (code, out)
    }

    /// The states of the objects with this name, or with a name that begins so.
    fn states(&self, kind: &str, name: &str) -> Vec<String> {
        let (_, out) = self.status(&["-o", "json"]);
        let all: Value = serde_json::from_str(&out).unwrap();
        let objects = all["objects"].as_array().unwrap().iter();
        let of = objects
            .filter(|object| object["kind"] == kind && object["name"].as_str().unwrap().starts_with(name));
        of.map(|object| object["state"].as_str().unwrap().to_owned()).collect()
    }

    fn file(&self, text: &str) -> String {
        let path = self.gitlab.folder().join("candidate.yaml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// What an edit of the mapping, as a dry run, is told of its impact.
    fn told_of_edit(&self, text: &str) -> String {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping"},
            "data": {"mapping.yaml": text},
        });
        let arguments = ["--server-side", "--force-conflicts", "--dry-run=server"];
        let err = eventually("the edit is told its impact", || {
            let done = self.ours.try_apply(&object, &arguments).good();
            done.err.contains("ServiceAccounts").then_some(done.err)
        });
        let line = err.lines().find(|line| line.contains("ServiceAccounts")).unwrap();
        line.rsplit_once("gitlab-iam-webhook: ").unwrap().1.to_owned()
    }
}

#[test]
fn what_the_webhook_made_is_in_step_and_what_it_prints_mends_the_rest() {
    let installed = Installed::with("status", &[]);
    let Installed { ours, gitlab, .. } = &installed;
    gitlab.apply(&account("gitlab-registry", "registry"));
    gitlab.apply(&account("gitlab-sidekiq", "sidekiq"));
    gitlab.apply(&deployment("sidekiq"));
    gitlab.apply(&deployment("registry"));
    for name in ["gitlab-sidekiq", "gitlab-registry"] {
        eventually("a Pod is made", || (installed.states("Pod", name).len() == 1).then_some(()));
    }
    assert_eq!(installed.states("ServiceAccount", "gitlab-registry"), ["in-step"]);
    assert_eq!(installed.states("Pod", "gitlab-sidekiq"), ["no-rule"]);
    // No webhook of EKS is here: a restart would bring no role.
    let (code, out) = installed.status(&[]);
    assert_eq!(code, 1, "{out}");
    assert_eq!(installed.states("Pod", "gitlab-registry"), ["stale"]);
    assert!(out.contains("no webhook of EKS") && !out.contains("rollout restart"), "{out}");
    assert!(out.starts_with(&format!("mapping:    ConfigMap {}/role-mapping, 1 rule\n", ours.name)), "{out}");
    gitlab.kubectl(&["delete", "deployment", "gitlab-registry"]).good();

    // A role that came after the Pod: the line that is printed brings it, and nothing else restarts.
    ours.map(&mapping(KUBE2IAM)).good();
    eventually("the Pod is stale", || (installed.states("Pod", "gitlab-sidekiq") == ["stale"]).then_some(()));
    let (_, out) = installed.status(&[]);
    let lines: Vec<&str> = out.lines().filter(|line| line.contains("rollout restart")).collect();
    let want = format!("  kubectl rollout restart deployment/gitlab-sidekiq -n {}", gitlab.name);
    assert_eq!(lines, [want.as_str()], "{out}");
    let restart: Vec<&str> = want.split_whitespace().skip(1).collect();
    gitlab.kubectl(&restart).good();
    eventually("its next Pod is in step", || {
        installed.states("Pod", "gitlab-sidekiq").contains(&"in-step".to_owned()).then_some(())
    });

    // An account that nobody saw: the line that is printed has the webhook decide again.
    let fighter = "!has(request.options.fieldManager) || request.options.fieldManager != 'fighter'";
    installed.evade(fighter);
    let remove = format!(r#"{{"metadata":{{"annotations":{{"{IRSA}":null}}}}}}"#);
    let patch = ["patch", "serviceaccount", "gitlab-registry", "--type", "merge", "-p", &remove];
    gitlab.kubectl(&[&patch[..], &["--field-manager", "fighter"]].concat()).good();
    assert_eq!(installed.states("ServiceAccount", "gitlab-registry"), ["drift"]);
    let (_, out) = installed.status(&[]);
    let line =
        out.lines().find(|line| line.contains("kubectl patch serviceaccount gitlab-registry")).unwrap();
    gitlab.shell(line.trim());
    assert_eq!(installed.states("ServiceAccount", "gitlab-registry"), ["in-step"]);
}

impl Installed {
    /// Requests for which this does not hold pass the webhook by, as where it is down.
    fn evade(&self, expression: &str) {
        let held = self.ours.get("mutatingwebhookconfiguration", &self.ours.name).unwrap();
        let conditions = json!([{"name": "not-the-fighter", "expression": expression}]);
        let set = |n: usize| {
            let path = format!("/webhooks/{n}/matchConditions");
            json!({"op": "add", "path": path, "value": conditions})
        };
        let patch = (0..held["webhooks"].as_array().unwrap().len()).map(set).collect();
        self.patch("mutatingwebhookconfiguration", &patch);
    }
}

#[test]
fn who_changes_a_role_back_again_and_again_makes_it_contested() {
    let installed = Installed::with("status-fight", &["--repair"]);
    let gitlab = &installed.gitlab;
    gitlab.apply(&account("gitlab-registry", "registry"));
    installed.evade("!has(request.options.fieldManager) || request.options.fieldManager != 'fighter'");
    let has_role = || gitlab.annotation("serviceaccount", "gitlab-registry", IRSA).is_some();
    let remove = format!(r#"{{"metadata":{{"annotations":{{"{IRSA}":null}}}}}}"#);
    let patch = ["patch", "serviceaccount", "gitlab-registry", "--type", "merge", "-p", &remove];
    for _ in 0..4 {
        eventually("it has its role", || has_role().then_some(()));
        gitlab.kubectl(&[&patch[..], &["--field-manager", "fighter"]].concat()).good();
    }
    installed.webhook.wait_for("left alone for 10m");
    eventually("its Event is there", || {
        (installed.states("ServiceAccount", "gitlab-registry") == ["contested"]).then_some(())
    });
    let (code, out) = installed.status(&[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains(&format!("  sa/gitlab-registry -n {}\n", gitlab.name)), "{out}");
}

#[test]
fn a_candidate_is_told_in_the_same_numbers_as_its_edit() {
    let installed = Installed::with("status-candidate", &[]);
    let Installed { ours, gitlab, .. } = &installed;
    for (name, component) in [("gitlab-registry", "registry"), ("gitlab-kas", "kas"), ("other", "gitaly")] {
        gitlab.apply(&account(name, component));
    }
    let kept = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": "kept", "labels": labels("registry"),
        "annotations": {IRSA: "arn:aws:iam::123456789012:role/by-hand"},
    }});
    gitlab.apply(&kept);
    let candidates = [
        mapping("").replace("role: registry", "role: other"),
        mapping("").replace("component: registry", "component: kas"),
        mapping("  - {match: {component: kas}, role: kas}\n"),
        "rules: []\n".to_owned(),
        // It is in force but for a comment.
        format!("# again\n{}", mapping("")),
    ];
    for (candidate, covered) in candidates.iter().zip([0, 1, 1, 0, 0]) {
        let told = installed.told_of_edit(candidate);
        let counts = told.split(';').next().unwrap();
        let file = installed.file(candidate);
        let (code, out) = installed.status(&["-m", &file]);
        assert!(out.contains(&format!("\n{counts}\n")), "{counts}: {out}");
        assert!(out.contains(&format!("\nnewly covered {covered} ServiceAccount")), "{out}");
        let is_found = !counts.starts_with("changes 0, orphans 0 ");
        assert_eq!(code, i32::from(is_found), "{counts}: {out}");
        assert_eq!(told.contains("see `kubectl gitlab-iam status`"), is_found, "{told}");
    }
    // What is refused in the mapping is told as it is of an edit.
    let file = installed.file("ruels: []\n");
    let (code, out, err) = Space::ours(None, &installed.arguments(&["-m", &file]));
    assert!(code == 2 && out.is_empty() && err.contains("unknown key `ruels`"), "{err}");
    // Nothing was changed by any of it.
    assert_eq!(ours.get("configmap", "role-mapping").unwrap()["data"]["mapping.yaml"], mapping(""));
}

#[test]
fn who_may_read_little_is_told_what_was_not_looked_at() {
    let installed = Installed::with("status-viewer", &[]);
    let gitlab = &installed.gitlab;
    gitlab.apply(&account("gitlab-registry", "registry"));
    viewer(gitlab, "viewer", &["--resource=serviceaccounts"]);
    let user = format!("system:serviceaccount:{}:viewer", gitlab.name);
    let file = installed.file(&mapping(""));
    let (code, out, err) = Space::ours(None, &installed.arguments(&["-m", &file, "--as", &user]));
    assert_eq!(code, 0, "{out}{err}");
    for what in
        ["the installation of gitlab-iam-webhook: ", "Namespace ", "Pods of the namespace ", "Events of "]
    {
        let line = out.lines().find(|line| line.starts_with(&format!("not looked at: {what}")));
        assert!(line.is_some_and(|line| line.contains("forbidden")), "{what}: {out}");
    }
    // All ServiceAccounts could be read, so that the counts are whole: the two of the test, and `default`.
    assert!(out.contains("\nchanges 0, orphans 0 of 3 ServiceAccounts\n"), "{out}");
    let strict = installed.arguments(&["-m", &file, "--strict", "--as", &user]);
    assert_eq!(Space::ours(None, &strict).0, 1);
    let (code, _, err) = Space::ours(None, &installed.arguments(&["--as", &user]));
    assert!(code == 2 && err.contains("give a mapping with -m FILE"), "{err}");
    let nobody = ["status", "-m", &file, "--as", &user];
    let (code, _, err) = Space::ours(None, &nobody);
    assert!(code == 2 && err.contains("name them with -n"), "{err}");
}

#[test]
fn twenty_thousand_accounts_are_told_in_bounded_memory() {
    let cluster = Cluster::of_its_own();
    let ours = Space::within(cluster, "ours", &json!({}));
    let gitlab = Space::within(cluster, "gitlab", &json!({"gitlab-iam-webhook/inject": "enabled"}));
    let installed = Installed::within(ours, gitlab, MAPPING, &[]);
    let gitlab = &installed.gitlab;
    let padding = "x".repeat(2_000);
    let padded = &|n: usize| {
        let mut account = account(&format!("gitlab-{n}"), "registry");
        account["metadata"]["annotations"] = json!({"padding": padding});
        account
    };
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                let items: Vec<Value> = (part * 5_000..(part + 1) * 5_000).map(padded).collect();
                let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
                gitlab.run("kubectl", &["create", "-f", "-"], &list).good();
            });
        }
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
        .args(installed.arguments(&["--watch"]))
        .env("KUBECONFIG", &cluster.kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It stays there after it has told all, so that the kernel can be asked how much it took.
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (mut seen, begun) = (0, Instant::now());
    for line in lines {
        seen += usize::from(line.contains(" sa/gitlab-") && line.starts_with("in-step "));
        if line.contains(" ServiceAccounts, ") {
            break;
        }
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let took = begun.elapsed();
    assert_eq!(seen, 20_000);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.split_whitespace().next().unwrap().parse().unwrap();
    println!("status of {seen} ServiceAccounts: {took:.1?}, at most {} MiB resident", peak >> 10);
    assert!(peak < 100 << 10, "{peak} KiB");
}
