//! A packet filter stands between the API server and the webhook: who tells, and who tells when it is gone?

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::harness::{OURS, Stage, eventually, eventually_within, mapping, state};

const REACHED: &str = "the API server reaches the webhook";
const NOT_REACHED: &str = "the API server that answered does not reach the webhook";

/// Drops what the API server sends to the webhook's port, as a security group does. It ends with the test.
struct Filter;

impl Filter {
    fn new() -> Self {
        Self::change("--insert");
        Self
    }

    /// The API server is a process of the node, whose network is its own. The kubelet's probes go to another
    /// port.
    fn change(how: &str) {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let pids = fs::read_to_string(state("pids")).unwrap();
        let network = pids
            .lines()
            .map(|pid| format!("/proc/{pid}/ns/net"))
            .find(|path| fs::read_link(path).is_ok_and(|network| network != own))
            .expect("a process of the node");
        let done = Command::new("nsenter")
            .arg(format!("--net={network}"))
            .args([
                "iptables",
                "--wait",
                how,
                "OUTPUT",
                "--protocol",
                "tcp",
                "--dport",
                "8443",
                "--jump",
                "DROP",
            ])
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        Self::change("--delete");
    }
}

/// Whether `helm test` succeeds.
fn succeeds(stage: &Stage, helm: &str) -> bool {
    // Helm 3 looks for the log only after it has deleted the Pod, and fails: so it is not asked for `--logs`.
    stage.run(helm, &["test", OURS, "--namespace", OURS, "--timeout", "3m"]).ok
}

/// What `/metrics` of each replica says of it.
fn metrics(stage: &Stage) -> Vec<Option<String>> {
    let of = |pod: &String| {
        let path = format!("/api/v1/namespaces/{OURS}/pods/{pod}:8080/proxy/metrics");
        let text = stage.kubectl(&["get", "--raw", &path]).good().out;
        let name = "gitlab_iam_webhook_reachable_from_api_server ";
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    stage.pod_names().iter().map(of).collect()
}

fn all(value: &str) -> Vec<Option<String>> {
    vec![Some(value.to_owned()); 2]
}

/// With `helm test` of a chart that this Helm installed. The filter stays.
fn filtered(stage: &Stage, helm: &str) -> Filter {
    stage.chart(helm, "install", &[]).good();
    assert!(succeeds(stage, helm), "{helm}");
    let pod = format!("{OURS}-probe");
    let left = stage.kubectl(&["get", "pod", &pod, "--namespace", OURS, "--ignore-not-found"]).good().out;
    assert_eq!(left, "", "{helm}: a test that succeeded leaves nothing");
    eventually("each replica says that it is reached", || (metrics(stage) == all("1")).then_some(()));
    assert_eq!(stage.log().matches(REACHED).count(), 2, "once each");

    let filter = Filter::new();
    assert!(!succeeds(stage, helm), "{helm}");
    let log = stage.kubectl(&["logs", &pod, "--namespace", OURS]).good().out;
    assert!(log.contains(NOT_REACHED) && log.contains("docs/eks.md"), "{helm}: {log}");
    println!("{helm} test: {log}");
    let endpoints = stage.kubectl(&["get", "endpointslices", "--namespace", OURS, "-o", "json"]).good().out;
    assert!(!endpoints.contains(&pod), "{helm}: it answers no review");
    filter
}

#[test]
fn helm_test_of_both_helms_tells_of_a_packet_filter_and_so_do_the_log_and_a_metric() {
    let Some(stage) = Stage::on_our_node("a packet filter keeps the API server out") else { return };
    let filter = filtered(&stage, "helm3");
    drop(filter);
    assert!(succeeds(&stage, "helm3"));
    drop(stage);

    let stage = Stage::new();
    let filter = filtered(&stage, "helm");
    // Readiness does not see it: the replicas start anew, and are rolled out.
    stage.kubectl(&["rollout", "restart", &format!("deployment/{OURS}"), "--namespace", OURS]).good();
    stage.wait_until_rolled_out();
    eventually("each replica says that it is not reached", || (metrics(&stage) == all("0")).then_some(()));
    let told = stage.log();
    assert_eq!(told.matches(NOT_REACHED).count(), 2, "once each: {told}");
    assert!(told.lines().all(|line| !line.contains(NOT_REACHED) || line.contains("\"level\":\"WARN\"")));

    drop(filter);
    eventually_within(Duration::from_mins(3), "each replica says that it is reached again", || {
        (metrics(&stage) == all("1")).then_some(())
    });
    assert_eq!(stage.log().matches(REACHED).count(), 2, "once each");
    assert!(succeeds(&stage, "helm"));
}

#[test]
fn the_only_replica_is_not_held_up_by_its_own_validation_when_it_keeps_the_mapping() {
    let stage = Stage::new();
    stage.install(&["replicaCount=1", "log.filter=info\\,gitlab_iam_webhook=debug"]);
    stage.map(&mapping("gitlab-", "kept"));
    let kept = || {
        let done = stage.kubectl(&["get", "configmap", "role-mapping-last-good", "-n", OURS, "-o", "json"]);
        (done.ok && done.out.contains("role: kept")).then_some(())
    };
    eventually("the mapping is kept", kept);
    // Where no Pod is left, the Service has no endpoint when the next one keeps the mapping.
    for (what, wait_for_the_old) in [("beside one that ends", false), ("alone", true)] {
        let scale = |to: &str| {
            stage.kubectl(&["scale", "deployment", OURS, "--replicas", to, "-n", OURS]).good();
        };
        scale("0");
        let all = ["get", "pods", "-n", OURS, "-o", "name"];
        eventually("nobody is left", || {
            let is_empty = match wait_for_the_old.then(|| stage.kubectl(&all).good().out) {
                Some(names) => names.is_empty(),
                None => stage.pods().is_empty(),
            };
            is_empty.then_some(())
        });
        stage.kubectl(&["delete", "configmap", "role-mapping-last-good", "-n", OURS]).good();
        scale("1");
        eventually("the mapping is kept", kept);
        stage.kubectl(&["rollout", "status", &format!("deployment/{OURS}"), "-n", OURS]).good();
        let pod = stage.pod_names().pop().unwrap();
        let line = |log: &str, words: &str| -> Option<SystemTime> {
            let line = log.lines().find(|line| line.contains(words))?;
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).unwrap())
        };
        let (in_force, kept) = eventually("it has said so", || {
            let log = stage.kubectl(&["logs", &pod, "-n", OURS]).good().out;
            Some((line(&log, "mapping in force")?, line(&log, "\"kept in role-mapping-last-good\"")?))
        });
        let took = kept.duration_since(in_force).unwrap();
        println!("a Pod {what} kept the mapping {took:?} after it was in force");
        // The API server would wait for a silent webhook for 5 seconds.
        assert!(took < Duration::from_secs(4), "{what}: {took:?}");
    }
}
