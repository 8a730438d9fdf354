//! Everything at once that somebody can send to do harm, for as long as a fault goes on, while
//! ServiceAccounts are created at a steady pace: nobody is killed, no create fails, and memory stays where
//! docs/operating.md says.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{OURS, Stage, arn, eventually_within, fault_seconds, process_of};
use crate::load::{Load, count, runtime};

/// The chart's memory limit, bytes.
const LIMIT: u64 = 64 << 20;

/// Rules of the largest honest mapping.
const RULES: usize = 10_000;

/// 980 kB; the accounts of the load have the last rule.
fn largest_mapping(role: &str) -> String {
    let mut text = "account: \"123456789012\"\nrules:\n".to_owned();
    for n in 1..RULES {
        writeln!(
            text,
            "  - {{match: {{serviceAccount: account-{n}, namespace: namespace-{n}}}, role: role-for-account-{n}}}"
        )
        .unwrap();
    }
    writeln!(text, "  - {{match: {{serviceAccount: \"load-*\"}}, role: {role}}}").unwrap();
    text
}

/// A review of a ServiceAccount with this `metadata`.
fn review(metadata: &str) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"hostile","kind":{{"group":"","version":"v1","kind":"ServiceAccount"}},"operation":"CREATE","namespace":"busy","userInfo":{{"username":"developer"}},"object":{{"metadata":{metadata}}}}}}}"#
    )
    .into_bytes()
}

/// An edit of the mapping.
fn edit(text: &str) -> Vec<u8> {
    let config_map =
        |text: &str| json!({"metadata": {"name": "role-mapping"}, "data": {"mapping.yaml": text}});
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "hostile", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "operation": "UPDATE",
            "namespace": OURS, "name": "role-mapping", "object": config_map(text), "oldObject": config_map("rules: []"),
        },
    });
    review.to_string().into_bytes()
}

fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect()
}

/// What is posted, and where.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let labels = |count| many(count, |n| format!("\"{n}\":\"\","));
    let patterns =
        many(27_000, |n| format!("- {{match: {{namespace: \"{}{n}\"}}, skip: true}}\n", "{a,b}".repeat(6)));
    let slow = many(219, |n| {
        let globs = many(1_000, |m| format!("*{n}a{m}*,"));
        format!("- {{match: {{namespace: [{globs}]}}, skip: true}}\n")
    });
    let end = |text: String, most: usize| text.chars().take(most).collect::<String>();
    vec![
        ("/mutate", review(&format!(r#"{{"labels":{{{}"a":""}}}}"#, labels(600_000)))),
        ("/mutate", review(&format!(r#"{{"name":"x","labels":{{{}"a":""}}}}"#, labels(300_000)))),
        (
            "/mutate",
            review(&format!(
                r#"{{"name":"x","annotations":{{"eks.amazonaws.com/role-arn":"{}"}}}}"#,
                "\\u003c".repeat(250_000)
            )),
        ),
        (
            "/mutate",
            review(&format!(
                r#"{{"name":"x","annotations":{{"eks.amazonaws.com/role-arn":"{}"}}}}"#,
                "\\n".repeat(2_000_000)
            )),
        ),
        ("/mutate", vec![b'['; 8 << 20]),
        ("/mutate", review(&format!("\"{}", "\\n".repeat(4_000_000)))),
        ("/validate", edit(&end(format!("rules: []\n{}", many(115_000, |n| format!("k{n}: 1\n"))), 1 << 20))),
        ("/validate", edit(&end(format!("rules:\n{patterns}"), 1 << 20))),
        ("/validate", edit(&end(format!("rules:\n{slow}"), 1 << 20))),
        ("/validate", edit(&format!("[{}[]]", "[],".repeat(199_000)))),
        ("/validate", edit(&format!("rules:\n{}", "- {}\n".repeat(200_000)))),
        ("/validate", edit(&largest_mapping("candidate"))),
    ]
}

/// Posts all of it again and again, some at once, until the end.
async fn post(
    client: reqwest::Client,
    bodies: Arc<Vec<(&'static str, Vec<u8>)>>,
    offset: usize,
    end: Instant,
) -> usize {
    let mut answered = 0;
    for n in offset.. {
        if Instant::now() >= end {
            break;
        }
        let (path, body) = &bodies[n % bodies.len()];
        let request = client
            .post(format!("https://{OURS}.{OURS}.svc:8443{path}"))
            .header("content-type", "application/json")
            .body(body.clone());
        // A refusal is an answer, and so is a connection that had to give way.
        answered += usize::from(request.send().await.is_ok());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    answered
}

/// Keeps connections open that say this and no more, and opens them again where they are closed.
async fn hoard(address: SocketAddr, say: Arc<Vec<u8>>, end: Instant) {
    while Instant::now() < end {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(&say).await;
            let mut ignored = [0; 64];
            let left = end.saturating_duration_since(Instant::now());
            let _ = tokio::time::timeout(left, stream.read(&mut ignored)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The beginning of a `ClientHello` that never ends: 62 kB.
fn half_a_hello() -> Vec<u8> {
    let mut message = vec![1, 0, 0xff, 0x00];
    message.resize(62_000, 0);
    message
        .chunks(16_384)
        .flat_map(|part| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1][..], &length, part].concat()
        })
        .collect()
}

async fn attack(addresses: Vec<String>, bundle: Vec<u8>, end: Instant) -> usize {
    let bodies = Arc::new(bodies());
    let (hello, nothing) = (Arc::new(half_a_hello()), Arc::new(Vec::new()));
    let (mut posts, mut held) = (JoinSet::new(), JoinSet::new());
    for address in &addresses {
        let to: SocketAddr = format!("{address}:8443").parse().unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&bundle).unwrap()])
            .resolve(&format!("{OURS}.{OURS}.svc"), to)
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        for n in 0..4 {
            posts.spawn(post(client.clone(), Arc::clone(&bodies), n * 3, end));
        }
        for n in 0..200 {
            let say = if n % 2 == 0 { &hello } else { &nothing };
            held.spawn(hoard(to, Arc::clone(say), end));
        }
        let admin = format!("{address}:8080").parse().unwrap();
        for _ in 0..50 {
            held.spawn(hoard(admin, Arc::clone(&nothing), end));
        }
    }
    held.join_all().await;
    posts.join_all().await.into_iter().sum()
}

#[test]
fn the_worst_of_every_way_in_at_once_kills_nobody_and_fails_no_create() {
    let Some(stage) = Stage::on_our_node("the worst of every way in at once") else { return };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    stage.install(&[]);
    stage.opt_in("busy", "enabled");
    // 102,000 labels are what fits into the API server's store.
    for namespace in ["wide-1", "wide-2"] {
        stage.opt_in(namespace, "enabled");
        for n in 0..2 {
            let labels: serde_json::Map<String, Value> =
                (0..102_000).map(|n| (format!("l{n}"), Value::String(String::new()))).collect();
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": format!("load-wide-{n}"), "labels": labels},
            });
            stage.run_with("kubectl", &["create", "-n", namespace, "-f", "-"], &account.to_string()).good();
        }
    }
    map(&stage, "first");
    in_force(&stage, "first");
    let configuration = stage.json(&["get", "mutatingwebhookconfiguration", OURS]);
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap();
    let bundle = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap();
    let pods = stage.pods();
    let addresses = pods.iter().map(|pod| pod["status"]["podIP"].as_str().unwrap().to_owned()).collect();

    let load = Load::start("busy");
    let end = Instant::now() + fault_seconds();
    let attack = std::thread::spawn(move || runtime().block_on(attack(addresses, bundle, end)));
    // An honest mapping of 10,000 rules is edited meanwhile: the old one, the new one and one that is judged
    // are there at once.
    let (mut edits, mut role) = (0, String::new());
    while edits < 3 || Instant::now() < end {
        edits += 1;
        role = format!("edit-{edits}");
        map(&stage, &role);
        in_force(&stage, &role);
    }
    let answered = attack.join().unwrap();
    let report = load.stop();
    assert_eq!(report.failed, [""; 0]);
    assert!(answered > 0, "the attack reached somebody");
    eventually_within(Duration::from_mins(2), "all follow, the wide ones too", || {
        let all = count("busy", "load-", &arn(&role)) == (report.created, 0);
        let wide = ["wide-1", "wide-2"].iter().all(|name| count(name, "load-", &arn(&role)) == (2, 0));
        (all && wide).then_some(())
    });
    for pod in stage.pods() {
        let name = &pod["metadata"]["name"];
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "64Mi");
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{name} was killed");
        let peak = peak(&pod);
        println!("{name}: at most {} KiB resident", peak / 1024);
        assert!(peak < LIMIT * 2 / 3, "{name}: {peak} bytes are over two thirds of the limit");
    }
    println!(
        "{} ServiceAccounts created and {edits} edits of {RULES} rules, none failed, beside {answered} hostile requests that were answered",
        report.created
    );
}

fn map(stage: &Stage, role: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping", "namespace": OURS},
        "data": {"mapping.yaml": largest_mapping(role)},
    });
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    stage.run_with("kubectl", &apply, &object.to_string()).good();
}

fn in_force(stage: &Stage, role: &str) {
    let trial = ["create", "serviceaccount", "load-trial", "-n", "busy", "--dry-run=server", "-o", "json"];
    eventually_within(Duration::from_mins(1), "the edit is in force", || {
        stage.kubectl(&trial).out.contains(&format!("role/{role}\"")).then_some(())
    });
}

/// The most memory that the webhook's process ever had resident, bytes.
pub(crate) fn peak(pod: &Value) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process_of(pod))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
