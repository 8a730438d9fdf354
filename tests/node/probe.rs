//! A packet filter stands between the API server and the webhook: who tells, and who tells when it is gone?

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::harness::{OURS, Stage, eventually, eventually_within, mapping, state};

const HELMS: [&str; 2] = ["helm", "helm3"];
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

fn helm_test(stage: &Stage, helm: &str) -> (bool, String) {
    let done = stage.run(helm, &["test", OURS, "--namespace", OURS, "--logs", "--timeout", "3m"]);
    (done.ok, format!("{}{}", done.out, done.err))
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

#[test]
fn a_packet_filter_is_told_by_helm_test_the_log_and_a_metric_and_so_is_its_end() {
    for helm in HELMS {
        let Some(stage) = Stage::on_our_node("a packet filter keeps the API server out") else { return };
        stage.chart(helm, "install", &[]).good();
        let (ok, said) = helm_test(&stage, helm);
        assert!(ok && said.contains(REACHED), "{helm}: {said}");
        let pod = format!("{OURS}-probe");
        let left = stage.kubectl(&["get", "pod", &pod, "--namespace", OURS, "--ignore-not-found"]).good().out;
        assert_eq!(left, "", "{helm}: a test that succeeded leaves nothing");
        eventually("each replica says so", || (metrics(&stage) == all("1")).then_some(()));
        assert_eq!(stage.log().matches(REACHED).count(), 2, "once each");

        let filter = Filter::new();
        let (ok, said) = helm_test(&stage, helm);
        assert!(!ok, "{helm}: {said}");
        let log = stage.kubectl(&["logs", &pod, "--namespace", OURS]).good().out;
        assert!(log.contains(NOT_REACHED) && log.contains("docs/eks.md"), "{helm}: {log}");
        let services = ["get", "endpointslices", "--namespace", OURS, "-o", "json"];
        assert!(!stage.kubectl(&services).good().out.contains(&pod), "{helm}: it answers no review");
        println!("{helm} test: {log}");

        // Readiness does not see it: the replicas start anew, and are rolled out.
        stage.kubectl(&["rollout", "restart", &format!("deployment/{OURS}"), "--namespace", OURS]).good();
        stage.wait_until_rolled_out();
        eventually("each replica says that it is not reached", || {
            (metrics(&stage) == all("0")).then_some(())
        });
        let told = stage.log();
        assert_eq!(told.matches(NOT_REACHED).count(), 2, "once each: {told}");
        assert!(told.lines().all(|line| !line.contains(NOT_REACHED) || line.contains("\"level\":\"WARN\"")));

        drop(filter);
        eventually_within(Duration::from_mins(3), "each replica says that it is reached again", || {
            (metrics(&stage) == all("1")).then_some(())
        });
        assert_eq!(stage.log().matches(REACHED).count(), 2, "{helm}: once each");
        let (ok, said) = helm_test(&stage, helm);
        assert!(ok, "{helm}: {said}");
    }
}

#[test]
fn the_only_replica_does_not_wait_for_itself_when_it_keeps_the_mapping() {
    let stage = Stage::new();
    stage.install(&["replicaCount=1"]);
    stage.map(&mapping("gitlab-", "kept"));
    let kept = || {
        let done = stage.kubectl(&["get", "configmap", "role-mapping-last-good", "-n", OURS, "-o", "json"]);
        done.ok.then_some(done.out).filter(|object| object.contains("role: kept"))
    };
    eventually("the mapping is kept", kept);
    // A new Pod has no endpoint yet when it keeps the mapping.
    let name = ["delete", "configmap", "role-mapping-last-good", "-n", OURS];
    stage.kubectl(&["scale", "deployment", OURS, "--replicas", "0", "-n", OURS]).good();
    eventually("nobody is there", || stage.pods().is_empty().then_some(()));
    stage.kubectl(&name).good();
    stage.kubectl(&["scale", "deployment", OURS, "--replicas", "1", "-n", OURS]).good();
    eventually("the mapping is kept", kept);
    let object = stage.json(&["get", "configmap", "role-mapping-last-good", "-n", OURS]);
    let time = |text: &str| humantime::parse_rfc3339_weak(text).unwrap();
    let stored = time(object["metadata"]["creationTimestamp"].as_str().unwrap());
    let log = stage.log();
    let line = log.lines().find(|line| line.contains("mapping in force")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
    let in_force = time(line["timestamp"].as_str().unwrap());
    let took = stored.duration_since(in_force).unwrap_or_default();
    println!("a Pod without an endpoint kept the mapping {took:?} after it was in force, to the second");
    assert!(took < Duration::from_secs(5), "{took:?}: it waited for its own answer");
}
