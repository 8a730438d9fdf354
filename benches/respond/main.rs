//! What does one review cost, and how does that grow with rules and with bytes?
//!
//! Machines differ, so that only the ratios within one run can be compared. `-- instructions` counts
//! instructions instead, of which a machine takes the same number however busy it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench stops at what is wrong, and prints what it finds"
)]

#[path = "../captured.rs"]
mod captured;
mod instructions;
mod reviews;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use captured::review;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::admission::parse;
use gitlab_iam_webhook::engine::decision::decide;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use reviews::{Match, REVIEWS, mapping, ruleset, service_account_of};

fn main() -> ExitCode {
    // Cargo adds the first argument.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["repeat", part, review, rules, calls] => instructions::repeat(part, review, rules, calls),
        ["instructions"] => return instructions::count(),
        _ => measure(),
    }
    ExitCode::SUCCESS
}

fn measure() {
    let mut criterion = Criterion::default().nresamples(2_000).configure_from_args();
    over_rules(&mut group(&mut criterion, "rules"));
    by_match(&mut group(&mut criterion, "match"));
    over_bytes(&mut group(&mut criterion, "bytes"));
    over_labels(&mut group(&mut criterion, "labels"));
    by_part(&mut group(&mut criterion, "parts"));
    mappings(&mut group(&mut criterion, "compile"));
    criterion.final_summary();
}

/// Makes a group of short measurements: `benches/report/call.rs` makes them several times.
fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    group
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, id: BenchmarkId, review: &[u8], ruleset: &Ruleset) {
    group.throughput(Throughput::Bytes(review.len() as u64));
    group.bench_function(id, |bencher| {
        bencher.iter(|| respond(black_box(review), ruleset, Mode::Mutate).unwrap().body.len());
    });
}

/// Whether the answer carries a patch, so that what is measured is what was meant.
fn patches(review: &[u8], ruleset: &Ruleset) -> bool {
    let reply = respond(review, ruleset, Mode::Mutate).unwrap();
    reply.body.windows(7).any(|bytes| bytes == b"\"patch\"")
}

fn over_rules(group: &mut BenchmarkGroup<'_, WallTime>) {
    for name in ["service-account", "pod-9kB"] {
        let review = review(name);
        for rules in [1, 10, 100, 1_000, 10_000] {
            let ruleset = ruleset(&mapping(rules, Match::Last));
            assert!(patches(&review, &ruleset), "the last rule wins");
            bench(group, BenchmarkId::new(name, rules), &review, &ruleset);
        }
    }
}

fn by_match(group: &mut BenchmarkGroup<'_, WallTime>) {
    for name in ["service-account", "pod-9kB"] {
        let review = review(name);
        for rules in [10, 10_000] {
            for matching in [Match::First, Match::Last, Match::Nowhere] {
                let ruleset = ruleset(&mapping(rules, matching));
                assert_eq!(patches(&review, &ruleset), matching != Match::Nowhere);
                let id = BenchmarkId::new(name, format!("{rules}-{}", matching.name()));
                bench(group, id, &review, &ruleset);
            }
        }
    }
}

fn over_bytes(group: &mut BenchmarkGroup<'_, WallTime>) {
    let ruleset = ruleset(&mapping(10, Match::Last));
    for name in REVIEWS {
        bench(group, BenchmarkId::from_parameter(name), &review(name), &ruleset);
    }
}

fn over_labels(group: &mut BenchmarkGroup<'_, WallTime>) {
    let ruleset = ruleset(&mapping(10, Match::Last));
    for bytes in [1 << 14, 1 << 17, 1 << 20] {
        bench(group, BenchmarkId::from_parameter(bytes), &service_account_of(bytes), &ruleset);
    }
}

fn by_part(group: &mut BenchmarkGroup<'_, WallTime>) {
    let ruleset = ruleset(&mapping(10, Match::Last));
    for name in REVIEWS {
        let review = review(name);
        let request = parse(&review, &ruleset).unwrap();
        group.bench_function(BenchmarkId::new("parse", name), |bencher| {
            bencher.iter(|| parse(black_box(&review), &ruleset).unwrap().weight());
        });
        // Before it is decided, what was kept is unescaped.
        group.bench_function(BenchmarkId::new("decide", name), |bencher| {
            bencher.iter(|| black_box(&request).with_subject(|subject| decide(&ruleset, subject)).unwrap());
        });
        bench(group, BenchmarkId::new("respond", name), &review, &ruleset);
    }
}

/// What an edit of the mapping costs: it is read, checked and indexed.
fn mappings(group: &mut BenchmarkGroup<'_, WallTime>) {
    for rules in [10, 100, 1_000, 10_000] {
        let text = mapping(rules, Match::Last);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
            bencher.iter(|| ruleset(black_box(&text)));
        });
    }
}
