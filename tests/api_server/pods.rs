//! Pods come from real controllers, under their own names; and from runners, by impersonation.

use crate::harness::{POD_ROLE, ROLE, Space, eventually};
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
