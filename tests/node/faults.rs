//! Something goes wrong while ServiceAccounts are created at a steady pace. `make chaos` lets each fault go
//! on for longer.

use std::fs;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::harness::{
    OURS, Stage, arn, eventually, eventually_within, fault_seconds, mapping, process_of, state,
};
use crate::load::{Load, count};

fn pause(seconds: u64) {
    std::thread::park_timeout(std::time::Duration::from_secs(seconds));
}

/// With everything in place, and the load on.
fn under_load(stage: &Stage, values: &[&str]) -> Load {
    stage.install(values);
    stage.map(&mapping("load-", "loaded"));
    stage.opt_in("busy", "enabled");
    let trial = ["create", "serviceaccount", "load-trial", "-n", "busy", "--dry-run=server", "-o", "json"];
    for _ in 0..5 {
        // One replica after the other.
        eventually("the mapping is in force", || {
            stage.kubectl(&trial).out.contains("role/loaded").then_some(())
        });
    }
    eventually("in both", || (stage.metric("gitlab_iam_webhook_mapping_rules") >= 2).then_some(()));
    Load::start("busy")
}

#[test]
fn both_replicas_restart_and_no_call_fails() {
    let stage = Stage::new();
    let load = under_load(&stage, &[]);
    let start = Instant::now();
    let mut restarts = 0;
    while restarts == 0 || start.elapsed() < fault_seconds() {
        stage.kubectl(&["rollout", "restart", &format!("deployment/{OURS}"), "-n", OURS]).good();
        stage.wait_until_rolled_out();
        restarts += 1;
    }
    let report = load.stop();
    assert_eq!(report.failed, [""; 0]);
    assert_eq!(count("busy", "load-", &arn("loaded")), (report.created, 0), "every one is annotated");
    println!("{} ServiceAccounts over {restarts} restarts of both replicas", report.created);
}

#[test]
fn a_replica_is_killed_outright_and_what_slips_through_is_repaired() {
    let Some(stage) = Stage::on_our_node("a replica falls silent and is killed outright") else { return };
    let load = under_load(&stage, &["webhooks.serviceAccounts.failurePolicy.create=Ignore"]);
    let start = Instant::now();
    let mut kills = 0;
    while kills == 0 || start.elapsed() < fault_seconds() {
        // As when its node dies: it falls silent first, and its connections stay open.
        let victim = process_of(&stage.busiest());
        signal("-STOP", &victim);
        pause(3);
        signal("-KILL", &victim);
        kills += 1;
        pause(2);
        stage.wait_until_rolled_out();
    }
    let report = load.stop();
    let stopped = Instant::now();
    assert_eq!(report.failed, [""; 0], "with Ignore no call fails");
    let (_, missed) = count("busy", "load-", &arn("loaded"));
    eventually("all are repaired", || {
        (count("busy", "load-", &arn("loaded")) == (report.created, 0)).then_some(())
    });
    let took = stopped.elapsed();
    let repaired = stage.metric("gitlab_iam_webhook_repairs_total{result=\"repaired\"}");
    println!(
        "{} ServiceAccounts over {kills} kills; at least {repaired} slipped through and were repaired, {missed} of them after the end, within {took:?}",
        report.created
    );
}

fn signal(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

#[test]
fn the_certificate_is_rolled_and_no_handshake_fails() {
    let stage = Stage::new();
    let load = under_load(&stage, &["certificates.life=20s", "certificates.rollWait=2s"]);
    let rolls = || stage.log().matches("it is served from now on").count();
    let start = Instant::now();
    eventually_within(fault_seconds() * 10, "two generations", || {
        (rolls() >= 2 && start.elapsed() >= fault_seconds()).then_some(())
    });
    let report = load.stop();
    assert_eq!(report.failed, [""; 0]);
    assert_eq!(count("busy", "load-", &arn("loaded")), (report.created, 0), "every one is annotated");
    assert_eq!(stage.metric("gitlab_iam_webhook_tls_handshakes_total{result=\"failed\"}"), 0);
    println!("{} ServiceAccounts over {} rolls", report.created, rolls());
}

#[test]
fn the_api_server_goes_away_and_comes_back() {
    let Some(stage) = Stage::on_our_node("the API server goes away and comes back") else { return };
    stage.install(&[]);
    stage.map(&mapping("gitlab-", "before"));
    stage.opt_in("gitlab", "enabled");
    stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
    eventually("it has its role", || {
        (stage.role("gitlab", "gitlab-kas") == Some(arn("before"))).then_some(())
    });
    let pods = stage.pods();
    let addresses: Vec<String> =
        pods.iter().map(|pod| pod["status"]["podIP"].as_str().unwrap().to_owned()).collect();
    fs::write(state("hold-apiserver"), "").unwrap();
    eventually("it is away", || {
        (!stage.kubectl(&["get", "--raw", "/readyz", "--request-timeout", "1s"]).ok).then_some(())
    });
    let start = Instant::now();
    while start.elapsed() < fault_seconds() {
        for address in &addresses {
            assert!(answers(address, "livez"), "{address} is live");
            assert!(answers(address, "readyz"), "{address} is ready: it serves whoever reaches it");
        }
        pause(1);
    }
    fs::remove_file(state("hold-apiserver")).unwrap();
    eventually("it is back", || {
        stage.kubectl(&["get", "--raw", "/readyz", "--request-timeout", "1s"]).ok.then_some(())
    });
    let back = Instant::now();
    eventually("the edit is stored", || {
        stage.kubectl(&["get", "configmap", "role-mapping", "-n", OURS]).ok.then_some(())
    });
    stage.map(&mapping("gitlab-", "after"));
    eventually("it catches up", || (stage.role("gitlab", "gitlab-kas") == Some(arn("after"))).then_some(()));
    println!("caught up at most {:?} after the API server was back", back.elapsed());
    for pod in stage.pods() {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "nobody was restarted for it");
    }
}

/// Whether a Pod answers 200, asked from the machine itself.
fn answers(address: &str, path: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect((address, 8080)) else { return false };
    let mut answer = String::new();
    let asked = write!(stream, "GET /{path} HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn two_replicas_start_on_an_empty_secret_and_it_is_healed_when_it_is_lost() {
    let stage = Stage::new();
    stage.install(&[]);
    let secret = format!("{OURS}-tls");
    assert_eq!(stage.log().matches("a new one was made").count(), 1, "one certificate for both");
    let held = || {
        let done = stage.kubectl(&["get", "secret", &secret, "-n", OURS, "-o", "jsonpath={.data.tls\\.crt}"]);
        done.ok.then_some(done.out).filter(|held| !held.is_empty())
    };
    let first = held().unwrap();
    for loss in [
        vec!["delete", "secret", &secret, "-n", OURS],
        vec![
            "patch",
            "secret",
            &secret,
            "-n",
            OURS,
            "--type",
            "merge",
            "-p",
            r#"{"data":{"tls.crt":"cnViYmlzaA=="}}"#,
        ],
    ] {
        stage.kubectl(&loss).good();
        eventually("it is healed", || (held().as_ref() == Some(&first)).then_some(()));
    }
    eventually("and said", || {
        (stage.log().matches("it gets the one being served").count() >= 2).then_some(())
    });
}

#[test]
fn a_mapping_that_is_made_to_eat_memory_is_refused_and_nobody_dies_of_it() {
    let stage = Stage::new();
    stage.install(&[]);
    stage.map(&mapping("gitlab-", "safe"));
    for text in [format!("[{}[]]", "[],".repeat(199_000)), "- []\n".repeat(190_000), "a: [".repeat(250_000)] {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping", "namespace": OURS},
            "data": {"mapping.yaml": text},
        });
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let refused = stage.run_with("kubectl", &apply, &object.to_string());
        assert!(!refused.ok && refused.err.contains("mapping.yaml"), "{}", refused.err);
    }
    for pod in stage.pods() {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "nobody was killed for it");
    }
}
