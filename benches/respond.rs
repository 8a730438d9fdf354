//! What does one review cost, and how does that grow with rules?
//!
//! Machines differ, so that only the ratios within one run can be compared. The targets are at most 15
//! microseconds for a Pod of 9 kB with 10 rules, at most twice that with 10,000 rules, and at most 6
//! microseconds for a ServiceAccount.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench stops at what is wrong"
)]
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;

const POD: &[u8] = include_bytes!("../tests/data/reviews/pod-create-webservice-replicaset.json");
const SERVICE_ACCOUNT: &[u8] = include_bytes!("../tests/data/reviews/sa-create-webservice-helm4-apply.json");

/// Returns the captured Pod with as much environment as a real webservice has, which makes it 9 kB.
fn pod_of_9_kb() -> Vec<u8> {
    let mut review: serde_json::Value = serde_json::from_slice(POD).unwrap();
    let env: Vec<_> = (0..64)
        .map(
            |n| serde_json::json!({"name": format!("SETTING_NUMBER_{n}"), "value": "a value of some length"}),
        )
        .collect();
    review["request"]["object"]["spec"]["containers"][0]["env"] = env.into();
    let bytes = serde_json::to_vec(&review).unwrap();
    assert!((8_800..9_600).contains(&bytes.len()), "{} bytes", bytes.len());
    bytes
}

/// Makes a mapping whose last rule wins. The literals of the others differ from it.
fn mapping(rules: usize) -> String {
    let mut text = "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules:\n".to_owned();
    for n in 1..rules {
        writeln!(
            text,
            "  - {{match: {{serviceAccount: account-{n}, namespace: namespace-{n}}}, role: role-{n}}}"
        )
        .unwrap();
    }
    text.push_str("  - {match: {component: webservice, namespace: gitlab}, role: gitlab}\n");
    text
}

fn ruleset(text: &str) -> Ruleset {
    compile(text, &OperatorPolicy::default()).unwrap()
}

fn answers(criterion: &mut Criterion) {
    let pod = pod_of_9_kb();
    let reviews = [("pod-9kB", pod.as_slice()), ("service-account", SERVICE_ACCOUNT)];
    let mut group = criterion.benchmark_group("respond");
    for (name, review) in reviews {
        group.throughput(Throughput::Bytes(review.len() as u64));
        for rules in [10, 10_000] {
            let ruleset = ruleset(&mapping(rules));
            let reply = respond(review, &ruleset, Mode::Mutate).unwrap();
            assert!(reply.body.windows(7).any(|bytes| bytes == b"\"patch\""), "the last rule wins");
            group.bench_function(format!("{name}/{rules}-rules"), |bencher| {
                bencher.iter(|| respond(black_box(review), &ruleset, Mode::Mutate).unwrap().body.len());
            });
        }
    }
    group.finish();
}

/// Returns a ServiceAccount of so many bytes, most of which are labels. What nobody reads must cost no more
/// than its bytes.
fn service_account_of(bytes: usize) -> Vec<u8> {
    let mut review: serde_json::Value = serde_json::from_slice(SERVICE_ACCOUNT).unwrap();
    let labels = review["request"]["object"]["metadata"]["labels"].as_object_mut().unwrap();
    for n in 0..bytes / 16 {
        labels.insert(format!("label-{n:06}"), "".into());
    }
    serde_json::to_vec(&review).unwrap()
}

fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("growth");
    group.sample_size(20);
    let ruleset = ruleset(&mapping(10));
    for bytes in [1 << 14, 1 << 17, 1 << 20] {
        let review = service_account_of(bytes);
        group.throughput(Throughput::Bytes(review.len() as u64));
        group.bench_function(format!("labels/{bytes}-bytes"), |bencher| {
            bencher.iter(|| respond(black_box(&review), &ruleset, Mode::Mutate).unwrap().body.len());
        });
    }
    group.finish();
}

fn mappings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(20);
    for rules in [10, 10_000] {
        let text = mapping(rules);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{rules}-rules"), |bencher| bencher.iter(|| ruleset(black_box(&text))));
    }
    group.finish();
}

criterion_group!(benches, answers, growth, mappings);
criterion_main!(benches);
