//! Many ServiceAccounts, and one edit for all of them.

use std::fs;
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{OURS, Stage, arn, eventually_within, mapping, state};
use crate::hostile::peak;
use crate::load::{account, client, count, runtime};

/// In each namespace.
const ACCOUNTS: usize = 100;

/// The chart's memory limit, bytes.
const LIMIT: u64 = 64 << 20;

/// 5, or 50 for `make chaos`.
fn namespaces() -> usize {
    std::env::var("FAULT_SECONDS").map_or(5, |_| 50)
}

#[test]
fn an_edit_reaches_every_account_of_many_namespaces_within_the_memory_limit() {
    let Some(stage) = Stage::on_our_node("an edit reaches every account of many namespaces") else { return };
    stage.install(&[]);
    let names: Vec<String> = (0..namespaces()).map(|n| format!("many-{n}")).collect();
    for name in &names {
        stage.opt_in(name, "enabled");
    }
    runtime().block_on(async {
        let client = client().await;
        let mut calls = JoinSet::new();
        for name in &names {
            let api = Api::namespaced(client.clone(), name);
            for n in 0..ACCOUNTS {
                while calls.len() >= 16 {
                    calls.join_next().await.unwrap().unwrap();
                }
                let api = api.clone();
                calls.spawn(async move {
                    api.create(&PostParams::default(), &account(&format!("gitlab-{n}"))).await.unwrap();
                });
            }
        }
        calls.join_all().await;
    });
    // Anybody who may write ServiceAccounts can write large ones.
    stage.opt_in("large", "enabled");
    for n in 0..40 {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": format!("gitlab-{n}"), "annotations": {"large": "x".repeat(240 << 10)}},
        });
        stage.run_with("kubectl", &["create", "-n", "large", "-f", "-"], &account.to_string()).good();
    }
    let all = names.len() * ACCOUNTS;
    let (calls, edited) = (calls_of_ours(), Instant::now());
    stage.map(&mapping("gitlab-", "everywhere"));
    let role = arn("everywhere");
    eventually_within(Duration::from_mins(5), "all follow", || {
        // The last ones are the last to be listed.
        let done = names.iter().rev().all(|name| count(name, "gitlab-", &role) == (ACCOUNTS, 0));
        (done && count("large", "gitlab-", &role) == (40, 0)).then_some(())
    });
    let took = edited.elapsed();
    let calls = calls_of_ours() - calls;
    for pod in stage.pods() {
        let peak = peak(&pod);
        let name = &pod["metadata"]["name"];
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "64Mi");
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{name} was killed");
        assert!(peak < LIMIT, "{name}: {peak} bytes");
        println!("{name}: at most {} KiB resident", peak / 1024);
    }
    println!(
        "{all} ServiceAccounts in {} namespaces follow after {took:?}, with {calls} API calls of both replicas",
        names.len()
    );
}

/// Requests of our account so far.
fn calls_of_ours() -> usize {
    let log = fs::read_to_string(state("audit.log")).unwrap();
    log.lines()
        .filter(|line| line.contains(&format!("\"username\":\"system:serviceaccount:{OURS}:{OURS}\"")))
        .count()
}
