//! How many instructions does one call take, and has it become more?
//!
//! Valgrind counts them. This program runs itself under it, with some calls and with twice as many: the
//! difference has nothing of what comes before the calls and after them. `instructions.json` holds what was
//! counted when the call was last made faster or slower on purpose; `UPDATE_INSTRUCTIONS=1` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::admission::parse;
use gitlab_iam_webhook::engine::decision::decide;
use serde::{Deserialize, Serialize};

use crate::captured::review;
use crate::reviews::{Match, REVIEWS, mapping, ruleset};

const CALLS: u64 = 100;

/// More than that above what the repository holds is a regression.
const TOLERANCE: f64 = 1.02;

/// What was counted, by part, review and number of rules: `respond/pod-9kB/10`.
type Counts = BTreeMap<String, u64>;

/// What the repository holds.
#[derive(Serialize, Deserialize)]
struct Reference {
    /// What it was counted with. Counts of other compilers and architectures differ.
    counted_with: String,
    /// Where the counts of `start` are from.
    start_commit: String,
    start: Counts,
    now: Counts,
}

/// Does a part of the call so many times.
pub(crate) fn repeat(part: &str, name: &str, rules: &str, calls: &str) {
    let review = review(name);
    let ruleset = ruleset(&mapping(rules.parse().unwrap(), Match::Last));
    let request = parse(&review, &ruleset).unwrap();
    let review = review.as_slice();
    for _ in 0..calls.parse().unwrap() {
        match part {
            "parse" => drop(black_box(parse(black_box(review), &ruleset).unwrap())),
            "decide" => drop(black_box(request.with_subject(|subject| decide(&ruleset, subject)).unwrap())),
            _ => drop(black_box(respond(black_box(review), &ruleset, Mode::Mutate).unwrap())),
        }
    }
}

/// Counts everything, keeps it for the benchmarks' page, and compares it with what the repository holds.
pub(crate) fn count() -> ExitCode {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = repository.join("benches/respond/instructions.json");
    let mut reference: Reference = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let counted_with = compiler();
    let is_judged = reference.counted_with == counted_with;
    let mut regressions = 0;
    let mut now = Counts::new();
    for (name, words) in cases() {
        let count = (under_valgrind(&words, 2 * CALLS) - under_valgrind(&words, CALLS)) / CALLS;
        let change = |before: Option<&u64>| before.map(|before| ratio(count, *before));
        let (start, before) = (change(reference.start.get(&name)), change(reference.now.get(&name)));
        let told =
            |change: Option<f64>| change.map_or_else(|| "-".to_owned(), |change| format!("{change:.3}"));
        let is_worse = is_judged && before.is_some_and(|before| before > TOLERANCE);
        regressions += u32::from(is_worse);
        let verdict = if is_worse { "  WORSE" } else { "" };
        println!(
            "{name:32} {count:9}  of the start {:>6}  of before {:>6}{verdict}",
            told(start),
            told(before)
        );
        now.insert(name, count);
    }
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        (reference.now, reference.counted_with) = (now.clone(), counted_with.clone());
        write(&file, &reference);
        regressions = 0;
    } else if !is_judged {
        println!(
            "not judged: the repository's were counted with {}, these with {counted_with}",
            reference.counted_with
        );
    }
    (reference.now, reference.counted_with) = (now, counted_with);
    let kept: PathBuf = repository.join("target/bench/instructions.json");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    write(&kept, &reference);
    if regressions == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far smaller")]
fn ratio(count: u64, before: u64) -> f64 {
    count as f64 / before as f64
}

fn write(file: &Path, reference: &Reference) {
    fs::write(file, serde_json::to_string_pretty(reference).unwrap() + "\n").unwrap();
}

/// What is counted: a part of the call, a review, and how many rules there are.
fn cases() -> Vec<(String, [String; 3])> {
    let whole = REVIEWS.iter().flat_map(|review| [("respond", review, 10), ("respond", review, 10_000)]);
    let parts = REVIEWS.iter().flat_map(|review| [("parse", review, 10), ("decide", review, 10)]);
    let case = |(part, review, rules): (&str, &&str, u32)| {
        let words = [part.to_owned(), (*review).to_owned(), rules.to_string()];
        (words.join("/"), words)
    };
    whole.chain(parts).map(case).collect()
}

/// The compiler and the target, as `1.95.0 x86_64-unknown-linux-gnu`.
fn compiler() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    format!("{} {}", line("release: "), line("host: "))
}

/// Returns how many instructions this program takes for so many calls.
fn under_valgrind(words: &[String; 3], calls: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .arg("repeat")
        .args(words)
        .arg(calls.to_string())
        .output()
        .expect("valgrind runs (Debian package valgrind)");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let count = told.lines().find_map(|line| line.split_once("Collected : ")).expect("a count");
    count.1.trim().parse().unwrap()
}
