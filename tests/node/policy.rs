//! Do ServiceAccounts get their roles while every replica is dead, and is the policy in step again as soon as one
//! is back?

use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::{OURS, Stage, arn, eventually, eventually_within, mapping};

const VALUES: [&str; 3] = [
    "policy.enabled=true",
    "allowedRoles[0]=arn:aws:iam::123456789012:role/*",
    "webhooks.serviceAccounts.failurePolicy.create=Ignore",
];

fn scale(stage: &Stage, replicas: usize) {
    let replicas = format!("--replicas={replicas}");
    stage.kubectl(&["scale", &format!("deployment/{OURS}"), "--namespace", OURS, &replicas]).good();
}

/// What is in the policy's parameter.
fn parameter(stage: &Stage) -> String {
    let get = ["get", "configmap", "role-mapping-policy", "-n", OURS, "-o", "jsonpath={.data}"];
    stage.kubectl(&get).good().out
}

fn a_replica_is_ready(stage: &Stage) -> bool {
    let pods = stage.pods();
    let conditions = pods.iter().filter_map(|pod| pod["status"]["conditions"].as_array());
    conditions.flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[test]
fn with_every_replica_dead_the_policy_gives_the_roles_and_follows_an_edit_when_the_first_one_is_back() {
    let stage = Stage::new();
    let served = stage.kubectl(&["get", "--raw", "/apis/admissionregistration.k8s.io/v1"]).good().out;
    if !served.contains("\"mutatingadmissionpolicies\"") {
        let mut past_the_capture = std::io::stderr();
        writeln!(past_the_capture, "not run: this cluster serves no MutatingAdmissionPolicy").unwrap();
        return;
    }
    stage.install(&VALUES);
    stage.opt_in("gitlab", "enabled");
    stage.map(&mapping("gitlab-", "first"));
    eventually("both replicas see that the policy is in step", || {
        let in_step = stage.metric("gitlab_iam_webhook_policy_in_step");
        (in_step == 2 && stage.metric("gitlab_iam_webhook_mapping_rules") >= 2).then_some(())
    });
    assert_eq!(stage.metric("gitlab_iam_webhook_policy_left_out_rules"), 0);
    assert!(parameter(&stage).contains("role/first"), "{}", parameter(&stage));

    scale(&stage, 0);
    // A replica that is on its way out still follows edits.
    eventually("every replica is dead", || {
        let label = format!("app.kubernetes.io/name={OURS}");
        let left = stage.json(&["get", "pods", "--namespace", OURS, "-l", &label]);
        left["items"].as_array().unwrap().is_empty().then_some(())
    });
    let chart = stage.gitlab(&["registry", "webservice", "sidekiq", "toolbox"]);
    stage.run("helm", &["install", "gitlab", &chart, "--namespace", "gitlab"]).good();
    for component in ["registry", "webservice", "sidekiq", "toolbox"] {
        let role = stage.role("gitlab", &format!("gitlab-{component}"));
        assert_eq!(role, Some(arn("first")), "{component}, when the install returns");
    }

    // Nobody judges the edit, and nobody follows it yet.
    stage.map(&mapping("gitlab-", "second"));
    stage.kubectl(&["create", "serviceaccount", "gitlab-between", "-n", "gitlab"]).good();
    assert_eq!(stage.role("gitlab", "gitlab-between"), Some(arn("first")));
    scale(&stage, 2);
    let (mut in_step, mut ready) = (None, None);
    let start = Instant::now();
    eventually_within(Duration::from_mins(2), "the first replica is back, and the policy in step", || {
        if in_step.is_none() && parameter(&stage).contains("role/second") {
            in_step = Some(start.elapsed());
        }
        if ready.is_none() && a_replica_is_ready(&stage) {
            ready = Some(start.elapsed());
        }
        in_step.zip(ready)
    });
    let (in_step, ready) = in_step.zip(ready).unwrap();
    println!(
        "the policy was in step {in_step:?} after the scaling, and the first replica ready after {ready:?}"
    );
    assert!(in_step <= ready + Duration::from_secs(1), "{in_step:?} {ready:?}");
    // The API server follows the parameter as soon as it sees it.
    eventually_within(Duration::from_secs(5), "the policy gives the new role", || {
        let trial =
            ["create", "serviceaccount", "gitlab-trial", "-n", "gitlab", "--dry-run=server", "-o", "json"];
        stage.kubectl(&trial).good().out.contains("role/second").then_some(())
    });
    eventually("what exists is repaired", || {
        let account = |name: &str| stage.role("gitlab", name) == Some(arn("second"));
        (account("gitlab-registry") && account("gitlab-between")).then_some(())
    });
    // With both in place, the webhook finds in step what the policy has written.
    stage.wait_until_rolled_out();
    stage.kubectl(&["create", "serviceaccount", "gitlab-late", "-n", "gitlab"]).good();
    assert_eq!(stage.role("gitlab", "gitlab-late"), Some(arn("second")));
    let reviews = |outcome: &str| {
        let labels =
            format!("mode=\"mutate\",kind=\"ServiceAccount\",operation=\"CREATE\",outcome=\"{outcome}\"");
        stage.metric(&format!("gitlab_iam_webhook_reviews_total{{{labels}}}"))
    };
    assert!(reviews("in_step") >= 1);
    assert_eq!(reviews("set"), 0, "nothing was left for the webhook to set");
}
