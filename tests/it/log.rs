//! Does the log hold up answers, or lose what must be known, when whoever reads it is slow?

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::live::{MAPPING, is_patched};
use crate::support::{DEADLINE, Server, eventually};

/// A review of a ServiceAccount of this name, which is one of GitLab's registry, or of nobody.
fn review(name: &str, is_mapped: bool) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&crate::live::review()).unwrap();
    review["request"]["name"] = json!(name);
    review["request"]["object"]["metadata"]["name"] = json!(name);
    if !is_mapped {
        review["request"]["object"]["metadata"]["labels"] = json!({});
    }
    serde_json::to_vec(&review).unwrap()
}

/// Posts so many reviews over 8 connections, counts the answers, and fails where one is not as it must be.
async fn flood(server: &Server, count: usize, is_mapped: bool, answered: &Arc<AtomicUsize>) {
    let mut posts = JoinSet::new();
    for connection in 0..8 {
        let (client, url, answered) = (server.client(), server.url("/mutate"), Arc::clone(answered));
        posts.spawn(async move {
            for n in (connection..count).step_by(8) {
                let body = review(&format!("flood-{n}"), is_mapped);
                let request = client.post(&url).header("content-type", "application/json").body(body);
                let response = request.send().await.unwrap();
                let answer = (response.status().as_u16(), response.text().await.unwrap());
                assert_eq!((answer.0, is_patched(&answer)), (200, is_mapped), "{}", answer.1);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(done) = posts.join_next().await {
        done.unwrap();
    }
}

/// The names of the reviews in the log that set a role, in their order.
fn changed(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.iter().filter(|line| line["outcome"] == "set");
    lines.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

/// How many lines the log says were dropped.
fn said_to_be_dropped(server: &Server) -> Option<f64> {
    let log = server.log();
    let told = log.iter().filter(|line| line["message"].as_str().unwrap().starts_with("log lines dropped"));
    told.map(|line| line["lines"].as_f64()).sum()
}

const DROPPED: &str = "gitlab_iam_webhook_dropped_log_lines_total";

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_nobody_reads_holds_up_no_answer_and_hides_no_change_of_a_role() {
    let server = Server::start(MAPPING).await;
    assert_eq!(server.metric(DROPPED).await, Some(0.0));
    let unread = server.log_unread().await;
    flood(&server, 2_000, false, &Arc::default()).await;
    assert!(server.metric(DROPPED).await.unwrap() > 100.0);
    let client = server.client();
    let names: Vec<String> = (0..100).map(|n| format!("changed-{n}")).collect();
    for name in &names {
        assert!(is_patched(&server.post(&client, "/mutate", review(name, true)).await));
    }
    drop(unread);
    eventually("each change is told, in its order", async || changed(&server) == names).await;
    let dropped = server.metric(DROPPED).await;
    eventually("it is said how many were dropped", async || said_to_be_dropped(&server) == dropped).await;
    let told = server.log().iter().filter(|line| line["outcome"] == "no_rule").count();
    let told = f64::from(u32::try_from(told).unwrap());
    assert_eq!(dropped.map(|dropped| told + dropped), Some(2_000.0), "each is told or counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_changes_without_its_line() {
    let server = Server::start(MAPPING).await;
    let unread = server.log_unread().await;
    let answered = Arc::new(AtomicUsize::new(0));
    let (mut last, mut unread) = (0, Some(unread));
    let flood = flood(&server, 3_000, true, &answered);
    let stops = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let now = answered.load(Ordering::Relaxed);
            if now > 0 && now == std::mem::replace(&mut last, now) {
                break;
            }
        }
        assert!(last < 3_000, "they wait for room");
        assert_eq!(server.admin("/livez").await.0, 200, "and nothing is killed for it");
        let unready = (503, "not ready: waiting for whoever reads the log, which is full\n".to_owned());
        eventually("it is not ready", async || server.admin("/readyz").await == unready).await;
        unread.take();
    };
    tokio::join!(flood, stops);
    eventually("each is told", async || changed(&server).len() == 3_000).await;
    assert_eq!(server.admin("/readyz").await.0, 200);
    assert_eq!(server.metric(DROPPED).await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_are_out_before_the_process_ends() {
    let mut server = Server::start(MAPPING).await;
    server.signal("-TERM");
    server.ended().await;
    server.logged("stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_ends_though_nobody_reads_its_log() {
    let mut server = Server::start(MAPPING).await;
    let unread = server.log_unread().await;
    flood(&server, 2_000, false, &Arc::default()).await;
    assert!(server.metric(DROPPED).await.unwrap() > 100.0);
    server.signal("-TERM");
    server.ended().await;
    drop(unread);
}

/// Floods the server with changes of roles until it is not ready, because nobody reads their lines.
async fn stall(server: &Server) -> JoinSet<()> {
    let mut posts = JoinSet::new();
    for connection in 0..8 {
        let (client, url) = (server.client(), server.url("/mutate"));
        posts.spawn(async move {
            for n in 0.. {
                let body = review(&format!("stall-{connection}-{n}"), true);
                let request = client.post(&url).header("content-type", "application/json").body(body);
                if request.send().await.is_err() {
                    break;
                }
            }
        });
    }
    eventually("it is not ready", async || server.admin("/readyz").await.0 == 503).await;
    posts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_ends_though_changes_of_roles_wait_for_a_reader() {
    let mut server = Server::start_with(MAPPING, &["--drain-timeout", "1s"]).await;
    let _unread = server.log_unread().await;
    let _posts = stall(&server).await;
    server.signal("-TERM");
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_though_nobody_reads_the_log() {
    let mut server = Server::start_with(MAPPING, &["--shutdown-delay", "1h"]).await;
    let _unread = server.log_unread().await;
    let _posts = stall(&server).await;
    server.signal("-TERM");
    eventually("it is stopping", async || server.admin("/readyz").await.1.contains("stopping")).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // That it is stopping finds no room.
    assert!(server.metric(DROPPED).await <= Some(1.0), "while it still answers, roles wait for their lines");
    server.signal("-TERM");
    assert_eq!(server.ended().await.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_start_ends_though_nobody_reads_why() {
    let (_reader, mut stderr) = std::io::pipe().unwrap();
    // All that a pipe holds.
    stderr.write_all(&vec![b'.'; 64 << 10]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    command.args(["serve", "--mapping", "there-is-none.yaml"]).stderr(stderr).kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.spawn().unwrap().wait_with_output()).await;
    assert_eq!(ended.expect("it ends").unwrap().status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_sends_again_and_again_holds_up_no_role_though_nobody_reads_the_log() {
    let server = Server::start(MAPPING).await;
    let _unread = server.log_unread().await;
    let client = server.client();
    for _ in 0..2_500 {
        let request = client.post(server.url("/mutate")).header("content-type", "x".repeat(100));
        assert_eq!(request.send().await.unwrap().status().as_u16(), 415);
    }
    assert!(server.metric(DROPPED).await.unwrap() > 100.0);
    assert!(is_patched(&server.post(&client, "/mutate", review("changed", true)).await));
}
