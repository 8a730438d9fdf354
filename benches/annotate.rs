//! What does it cost to annotate what a chart renders?
//!
//! The target is 200 milliseconds for 20,000 lines, which is about what four releases of GitLab's chart are.

#![allow(clippy::unwrap_used, reason = "a bench stops at what is wrong")]
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gitlab_iam_webhook::engine::annotate::{Circumstances, annotate};
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;

const OBJECTS: &str = include_str!("../tests/data/gitlab-objects.yaml");
const MAPPING: &str = include_str!("../tests/data/one-rule-per-component.yaml");
const LINES: usize = 20_000;

fn manifests(criterion: &mut Criterion) {
    let once = format!("{OBJECTS}---\n");
    let text = once.repeat(LINES.div_ceil(once.lines().count()));
    let ruleset = compile(MAPPING, &OperatorPolicy::default()).unwrap();
    let circumstances = Circumstances { namespace: Some("gitlab"), user: None };
    let done = annotate(&text, &ruleset, &circumstances).unwrap();
    assert!(done.splices.len() > 300, "{}", done.splices.len());
    let mut group = criterion.benchmark_group("annotate");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("{}-lines", text.lines().count()), |bencher| {
        bencher.iter(|| annotate(black_box(&text), &ruleset, &circumstances).unwrap().text.len());
    });
    group.bench_function("its-own-output", |bencher| {
        bencher.iter(|| annotate(black_box(&done.text), &ruleset, &circumstances).unwrap().text.len());
    });
    group.finish();
}

criterion_group!(benches, manifests);
criterion_main!(benches);
