//! Pods come from real controllers, under their own names; and from runners, by impersonation.

use crate::harness::{POD_ROLE, ROLE, Space, Webhook, eventually};
use serde_json::{Value, json};

const MAPPING: &str = "account: \"123456789012\"
provider: kube2iam
rules:
  - {name: both, match: {component: webservice}, provider: [irsa, kube2iam], role: web}
  - {name: toolbox, match: {component: toolbox}, role: toolbox}
  - {name: job, match: {component: runner-job, project: 42, runner: NAMESPACE/gitlab-runner}, role: \"job-{project}\"}
";

fn labels(component: &str) -> Value {
    json!({"app": component, "chart": format!("{component}-9.10.0"), "release": "gitlab"})
}

fn pod_spec() -> Value {
    json!({"containers": [{"name": "main", "image": "nothing"}], "restartPolicy": "Always"})
}

#[test]
fn pods_of_real_controllers_get_their_roles_and_others_do_not() {
    let space = Space::new("pods");
    space.map(&MAPPING.replace("NAMESPACE", &space.name)).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    assert_eq!(space.annotation("serviceaccount", "default", ROLE), None);

    space.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "gitlab-webservice", "labels": labels("webservice")},
    }));
    assert!(space.annotation("serviceaccount", "gitlab-webservice", ROLE).unwrap().ends_with("role/web"));
    let template = |component: &str| json!({"metadata": {"labels": labels(component)}, "spec": pod_spec()});
    space.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "webservice"}}, "template": template("webservice")},
    }));
    let mut job = template("toolbox");
    job["spec"]["restartPolicy"] = "Never".into();
    space.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "backup"}, "spec": {"template": job},
    }));
    for (component, role) in [("webservice", "role/web"), ("toolbox", "role/toolbox")] {
        let pod = eventually("the controller's Pod", || {
            let done =
                space.kubectl(&["get", "pods", "-l", &format!("app={component}"), "-o", "json"]).good();
            let pods: Value = serde_json::from_str(&done.out).unwrap();
            pods["items"].as_array().unwrap().first().cloned()
        });
        let found = pod["metadata"]["annotations"][POD_ROLE].as_str().unwrap_or_default();
        assert!(found.ends_with(role), "{component}: {found}");
    }

    // A person's Pod that says it is webservice is none.
    let bare = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "labels": labels("webservice")}, "spec": pod_spec(),
    });
    let said = space.apply(&bare).err;
    assert!(said.contains("labels say webservice, but no workload controller asked"), "{said}");
    assert_eq!(space.annotation("pod", "bare", POD_ROLE), None);
}

#[test]
fn a_jobs_role_needs_its_runners_identity() {
    let space = Space::new("jobs");
    space.map(&MAPPING.replace("NAMESPACE", &space.name)).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    for account in ["gitlab-runner", "other"] {
        space.kubectl(&["create", "serviceaccount", account]).good();
        let subject = format!("--serviceaccount={}:{account}", space.name);
        space.kubectl(&["create", "rolebinding", account, "--clusterrole=edit", &subject]).good();
    }
    let job = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"project.runner.gitlab.com/id": "42"}}, "spec": pod_spec(),
        })
    };
    for (account, wanted) in [("gitlab-runner", true), ("other", false)] {
        let user = format!("--as=system:serviceaccount:{}:{account}", space.name);
        space.run("kubectl", &["create", "-f", "-", &user], &job(account).to_string()).good();
        let role = space.annotation("pod", account, POD_ROLE);
        assert_eq!(role.is_some_and(|role| role.ends_with("role/job-42")), wanted, "{account}");
    }
}

fn deployment(name: &str, component: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": component}},
            "template": {"metadata": {"labels": labels(component)}, "spec": pod_spec()},
        },
    })
}

/// The Events that say so of Pods that run as `default`.
fn told(space: &Space) -> Vec<Value> {
    let events = space.kubectl(&["get", "events.v1.events.k8s.io", "-o", "json"]).good();
    let events: Value = serde_json::from_str(&events.out).unwrap();
    let ours = |event: &&Value| event["reason"] == "RunsAsDefault";
    events["items"].as_array().unwrap().iter().filter(ours).cloned().collect()
}

/// How many Pods of this component there are.
fn pods(space: &Space, component: &str) -> usize {
    let selector = format!("app={component}");
    space.kubectl(&["get", "pods", "-l", &selector, "-o", "name"]).good().out.lines().count()
}

#[test]
fn a_workload_whose_pods_run_as_default_gets_one_event_that_says_what_to_set() {
    let space = Space::new("default-account");
    space
        .map("account: \"123456789012\"\nrules:\n  - {name: all, match: {component: \"*\"}, role: gitlab}\n")
        .good();
    // With these a replica knows which namespaces carry the label.
    let watching = ["--repair", "--watch-namespace", &space.name];
    let webhook = Webhook::start(&space, &watching);
    webhook.wait_for("mapping in force");
    space.register(&webhook, "Fail");
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    let unreached = |webhook: &Webhook| webhook.metric("gitlab_iam_webhook_unreached_pods_total");
    assert_eq!(unreached(&webhook), 0, "it is there from the start");
    eventually("the label is known", || {
        (webhook.metric("gitlab_iam_webhook_opted_in_namespaces") == 1).then_some(())
    });

    space.apply(&deployment("web", "webservice", 3));
    eventually("three Pods", || (pods(&space, "webservice") == 3).then_some(()));
    let event = eventually("the ReplicaSet is told", || told(&space).pop());
    assert_eq!((&event["type"], &event["regarding"]["kind"]), (&json!("Warning"), &json!("ReplicaSet")));
    let note = event["note"].as_str().unwrap();
    for words in [
        "global.serviceAccount.enabled=true",
        "role of webservice",
        "arn:aws:iam::123456789012:role/gitlab",
        "rule all",
    ] {
        assert!(note.contains(words), "{note}");
    }
    let replica_set = event["regarding"]["name"].as_str().unwrap().to_owned();
    let described = space.kubectl(&["describe", "replicaset", &replica_set]).good().out;
    assert!(described.contains("RunsAsDefault"), "{described}");
    assert_eq!((unreached(&webhook), told(&space).len()), (3, 1));
    let warned = |line: &str| line.contains("WARN") && line.contains("global.serviceAccount.enabled=true");
    assert_eq!(webhook.lines_where(warned), 3);

    // After a restart the same is not told again, and another workload is told for itself.
    webhook.stop();
    let second = Webhook::start(&space, &watching);
    second.wait_for("mapping in force");
    space.register_at(&second, "Fail", "/observe");
    eventually("the label is known", || {
        (second.metric("gitlab_iam_webhook_opted_in_namespaces") == 1).then_some(())
    });
    space.kubectl(&["delete", "pods", "-l", "app=webservice", "--force", "--grace-period=0"]).good();
    eventually("the Pods are made anew", || (unreached(&second) == 3).then_some(()));
    space.apply(&deployment("registry", "registry", 1));
    eventually("the other workload is told", || (told(&space).len() == 2).then_some(()));
    let written = second.metric("gitlab_iam_webhook_events_total{result=\"written\"}");
    assert_eq!(written, 2, "the first one was there already");
}

#[test]
fn who_is_no_controller_causes_no_event_whatever_the_pod_says() {
    let space = Space::new("forged-owner");
    space
        .map("account: \"123456789012\"\nrules:\n  - {name: all, match: {component: \"*\"}, role: gitlab}\n")
        .good();
    let webhook = Webhook::start(&space, &["--repair", "--watch-namespace", &space.name]);
    webhook.wait_for("mapping in force");
    space.register(&webhook, "Fail");
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    let uid = space.get("serviceaccount", "default").unwrap()["metadata"]["uid"].clone();
    for (n, component) in ["webservice", "registry", "sidekiq"].into_iter().enumerate() {
        space.apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("forged-{n}"), "labels": labels(component),
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "any", "uid": uid, "controller": true}],
            },
            "spec": pod_spec(),
        }));
        webhook.wait_for(&format!("\"name\":\"forged-{n}\""));
    }
    assert_eq!(webhook.metric("gitlab_iam_webhook_unreached_pods_total"), 0);
    for result in ["written", "failed", "dropped"] {
        let events = webhook.metric(&format!("gitlab_iam_webhook_events_total{{result=\"{result}\"}}"));
        assert_eq!(events, 0, "{result}");
    }
    assert_eq!(told(&space), [] as [Value; 0]);
}
