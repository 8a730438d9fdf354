//! What does the task ask that looks whether the API server reaches the webhook, and what does it tell?

use std::sync::Arc;
use std::time::Duration;

use gitlab_iam_webhook::cluster::probe::{Probe, Reach};
use gitlab_iam_webhook::engine::admission::validate::PROBE;
use gitlab_iam_webhook::health::Readiness;
use gitlab_iam_webhook::memory::{POOL, Pool};
use gitlab_iam_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::scripted_api::{Asked, ScriptedApi, scripted, status};

const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hook";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hook";
const LAST_GOOD: &str = "/api/v1/namespaces/ns/configmaps/role-mapping-last-good";
const REFUSAL: &str = "admission webhook \"entry\" denied the request: mapping.yaml has 1 problem";

fn probe() -> (Probe, ScriptedApi) {
    let (api, script) = scripted(&Pool::new(POOL));
    (Probe::new(api, &"ns/role-mapping".parse().unwrap(), "hook"), script)
}

fn configuration() -> Value {
    let client = json!({"service": {"name": "hook", "namespace": "ns"}, "caBundle": "YQ=="});
    json!({"metadata": {"resourceVersion": "1"}, "webhooks": [{"name": "entry", "clientConfig": client}]})
}

/// Answers one probe. The dry run itself is returned, before it is answered.
async fn dry_run(script: &mut ScriptedApi) -> Asked {
    script.expect("get", VALIDATING).await.respond(200, &configuration());
    script.expect("get", MUTATING).await.respond(200, &configuration());
    script.expect("patch", LAST_GOOD).await
}

/// How a dry run is answered.
type Answer = fn(Asked);

fn refuse(asked: Asked) {
    asked.respond(422, &status(422, REFUSAL));
}

fn admit(asked: Asked) {
    asked.respond(200, &json!({"metadata": {"name": "role-mapping-last-good", "resourceVersion": "2"}}));
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_a_dry_run_by_name_that_meets_no_conflict() {
    let (probe, mut script) = probe();
    let outcome = tokio::spawn(async move { probe.ask().await });
    let asked = dry_run(&mut script).await;
    assert_eq!(asked.parameter("dryRun"), Some("All"));
    assert_eq!(asked.parameter("force"), Some("true"));
    let wanted = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping-last-good"},
        "data": {"mapping.yaml": PROBE},
    });
    assert_eq!(asked.json(), wanted);
    refuse(asked);
    assert_eq!(outcome.await.unwrap().reach(), Reach::Reached);
}

#[tokio::test(start_paused = true)]
async fn where_the_configurations_cannot_be_read_nothing_is_said_of_the_webhook() {
    let (probe, mut script) = probe();
    let outcome = tokio::spawn(async move { probe.ask().await });
    script.expect("get", VALIDATING).await.respond(503, &status(503, "not now"));
    assert_eq!(outcome.await.unwrap().reach(), Reach::NotAnswered);
}

#[test]
fn without_a_cluster_the_command_says_in_one_line_what_it_needs() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
        .args(["probe", "--mapping-config-map", "ns/role-mapping", "--webhook-configuration", "hook"])
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(
        said.starts_with("error: connecting to the cluster: found no credentials: set KUBECONFIG"),
        "{said}"
    );
}

/// The lines of the metric and of its time, of which there are none before the first answer.
fn metric(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode().unwrap();
    let lines = text.lines().filter(|line| line.starts_with("gitlab_iam_webhook_reachable"));
    lines.map(str::to_owned).collect()
}

fn is(metrics: &Metrics, value: u8) -> bool {
    let [reachable, at] = &metric(metrics)[..] else { return false };
    assert!(at.starts_with("gitlab_iam_webhook_reachable_from_api_server_timestamp_seconds 1"), "{at}");
    *reachable == format!("gitlab_iam_webhook_reachable_from_api_server {value}")
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_while_ready_every_five_minutes_and_sooner_while_something_is_wrong() {
    let (probe, mut script) = probe();
    let (readiness, metrics) = (Readiness::default(), Arc::new(Metrics::default()));
    let hold = readiness.hold("something");
    let stop = CancellationToken::new();
    let task = tokio::spawn(probe.follow(readiness.clone(), Arc::clone(&metrics), stop.clone()));
    script.expect_silence(Duration::from_mins(10)).await;
    drop(hold);

    let fail: Answer = |asked| asked.respond(503, &status(503, "not now"));
    let mut before = Instant::now();
    for (step, (answer, from, to, value)) in [
        (refuse as Answer, 5, 7, Some(1)),
        (refuse, 300, 361, Some(1)),
        // It is confirmed before it is told.
        (admit, 300, 361, Some(1)),
        (admit, 10, 13, Some(0)),
        (admit, 60, 73, Some(0)),
        // Nobody can say: what was known stays.
        (fail, 60, 73, Some(0)),
        (fail, 10, 13, Some(0)),
        (refuse, 60, 73, Some(1)),
    ]
    .into_iter()
    .enumerate()
    {
        if step == 0 {
            assert_eq!(metric(&metrics), [""; 0], "nothing is known yet");
        }
        let asked = dry_run(&mut script).await;
        let waited = before.elapsed().as_secs();
        assert!((from..=to).contains(&waited), "step {step}: {waited} s");
        before = Instant::now();
        answer(asked);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(value.map(|value| is(&metrics, value)), Some(true), "step {step}: {:?}", metric(&metrics));
    }

    let _hold = readiness.hold("something");
    script.expect_silence(Duration::from_mins(30)).await;
    stop.cancel();
    task.await.unwrap();
}
