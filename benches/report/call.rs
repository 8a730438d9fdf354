//! What does the call itself cost, without a network? Its parts are timed by criterion, and its instructions
//! counted.

mod times;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Deserialize;
use times::{Times, bytes};

use crate::machine::root;
use crate::progress;
use crate::rounds::raised;
use crate::section::{Axis, Goal, Plot, Section, Series, Table};

/// How often everything is timed, in turns: in a row, a noisy second would count against one of them alone.
const TURNS: usize = 3;

const RULES: [&str; 5] = ["1", "10", "100", "1000", "10000"];
const REVIEWS: [&str; 4] = ["service-account", "pod-2kB", "pod-9kB", "pod-100kB"];
/// Those for which the goals are.
const MAIN: [&str; 2] = ["service-account", "pod-9kB"];

/// What `benches/respond/instructions.rs` keeps.
#[derive(Deserialize)]
struct Instructions {
    counted_with: String,
    start_commit: String,
    start: BTreeMap<String, u64>,
    now: BTreeMap<String, u64>,
}

pub(crate) fn measure() -> Section {
    progress("call: the instructions");
    let kept = root().join("target/bench/instructions.json");
    if !kept.exists() {
        bench(&["--bench", "respond", "--", "instructions"]);
    }
    let instructions: Instructions = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    // Criterion keeps what it once measured, also where it is measured no more.
    let criterion = root().join("target/criterion");
    if criterion.exists() {
        fs::remove_dir_all(criterion).unwrap();
    }
    let mut times = Times::default();
    for turn in 1..=TURNS {
        progress(&format!("call: the times, turn {turn} of {TURNS}"));
        bench(&["--bench", "respond"]);
        for group in ["rules", "match", "bytes", "labels", "parts", "compile"] {
            times.add(group);
        }
    }
    progress("call: annotate");
    bench(&["--bench", "annotate"]);
    times.add("annotate");
    section(&instructions, &times)
}

/// The repository.
fn bench(words: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).current_dir(root()).arg("bench").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn section(instructions: &Instructions, times: &Times) -> Section {
    let Instructions { counted_with, start_commit, .. } = instructions;
    let text = [
        format!(
            "The call is `respond()`: a review as bytes in, the answer as bytes out. Its instructions are \
             counted under callgrind with rustc {counted_with}, which gives the same number on a busy \
             machine, and compared with commit {start_commit}. `make bench` fails where one is more than 2 % \
             above what `benches/respond/instructions.json` holds. Here the call is built with glibc and its \
             allocator, and not with what the image has."
        ),
        format!(
            "Times are in microseconds where nothing else is said: the median of {TURNS} turns of 20 samples, \
             and the quartiles. The reviews are a ServiceAccount and a Pod as an API server sent them; the \
             Pod has fewer or more variables of its environment, so that it has that size. Where nothing else \
             is said, a mapping has 10 rules, and the last one gives the role. Tables are timed minutes apart, so that \
             the same call may differ between two of them."
        ),
    ];
    Section {
        name: "call".to_owned(),
        title: "The call itself".to_owned(),
        text: text.into(),
        tables: vec![
            counts(instructions),
            over_rules(times),
            by_match(times),
            over_bytes(times),
            by_part(instructions, times),
            elsewhere(times),
        ],
        plots: vec![rules_plot(times), bytes_plot(times)],
        goals: goals(instructions, times),
        summary: None,
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn counts(Instructions { start_commit, start, now, .. }: &Instructions) -> Table {
    let rows = REVIEWS.iter().map(|review| {
        let [few, many] = ["10", "10000"].map(|rules| format!("respond/{review}/{rules}"));
        let ratio = |over: u64, under: u64| raised(over as f64 / under as f64);
        vec![
            (*review).to_owned(),
            start[&few].to_string(),
            now[&few].to_string(),
            ratio(now[&few], start[&few]),
            now[&many].to_string(),
            ratio(now[&many], now[&few]),
        ]
    });
    Table {
        caption: format!("Instructions of one call, now and at commit {start_commit}:"),
        columns: words(["review", "then", "now", "now over then", "with 10,000 rules", "over those with 10"]),
        rows: rows.collect(),
    }
}

fn over_rules(times: &Times) -> Table {
    let rows = RULES.iter().map(|rules| {
        let of = |review: &str| {
            let [time, ten] = [*rules, "10"].map(|rules| times.of(&format!("rules/{review}/{rules}")));
            [time.shown(1e3), raised(time.median / ten.median)]
        };
        let cells = MAIN.iter().flat_map(|review| of(review));
        std::iter::once((*rules).to_owned()).chain(cells).collect()
    });
    Table {
        caption: "Time over the number of rules:".to_owned(),
        columns: words(["rules", "service-account", "over that with 10", "pod-9kB", "over that with 10"]),
        rows: rows.collect(),
    }
}

fn by_match(times: &Times) -> Table {
    let cases = MAIN.iter().flat_map(|review| ["10", "10000"].map(|rules| (*review, rules)));
    let rows = cases.map(|(review, rules)| {
        let matching = ["first", "last", "none"];
        let cells = matching.map(|which| times.of(&format!("match/{review}/{rules}-{which}")).shown(1e3));
        words([review, rules]).into_iter().chain(cells).collect()
    });
    Table {
        caption: "Time by which rule matches:".to_owned(),
        columns: words(["review", "rules", "the first", "the last", "none"]),
        rows: rows.collect(),
    }
}

fn over_bytes(times: &Times) -> Table {
    let mut labels: Vec<&str> = times.below("labels/").collect();
    labels.sort_by_key(|name| name.parse::<u64>().unwrap());
    let pods = REVIEWS.map(|review| (review.to_owned(), format!("bytes/{review}")));
    let labels =
        labels.iter().map(|name| ("service-account with many labels".to_owned(), format!("labels/{name}")));
    let rows = pods.into_iter().chain(labels).map(|(review, name)| {
        let (time, bytes) = (times.of(&name), bytes(&name));
        vec![review, bytes.to_string(), time.shown(1e3), raised(time.median / bytes)]
    });
    Table {
        caption: "Time over the bytes of the review:".to_owned(),
        columns: words(["review", "bytes", "time", "nanoseconds for each byte"]),
        rows: rows.collect(),
    }
}

fn by_part(Instructions { now, .. }: &Instructions, times: &Times) -> Table {
    let rows = REVIEWS.iter().map(|review| {
        let time = |part: &str| times.of(&format!("parts/{part}/{review}"));
        let count = |part: &str| now[&format!("{part}/{review}/10")];
        let rest = count("respond") - count("parse") - count("decide");
        vec![
            (*review).to_owned(),
            time("parse").shown(1e3),
            time("decide").shown(1e3),
            time("respond").shown(1e3),
            count("parse").to_string(),
            count("decide").to_string(),
            rest.to_string(),
        ]
    });
    Table {
        caption: "The parts of the call. To decide takes in that labels and annotations are unescaped. What \
                  is left of the instructions is spent on the patch and the answer:"
            .to_owned(),
        columns: words([
            "review",
            "parse",
            "decide",
            "the whole call",
            "instructions to parse",
            "to decide",
            "to answer",
        ]),
        rows: rows.collect(),
    }
}

fn elsewhere(times: &Times) -> Table {
    let mut rules: Vec<&str> = times.below("compile/").collect();
    rules.sort_by_key(|name| name.parse::<u64>().unwrap());
    let mappings = rules.iter().map(|rules| {
        let time = times.of(&format!("compile/{rules}"));
        vec![format!("a mapping of {rules} rules is read, checked and indexed"), time.shown(1e6)]
    });
    let annotate = times.below("annotate/").map(|what| {
        let what = what.replace('-', " ");
        vec![
            format!("`annotate` of {what}"),
            times.of(&format!("annotate/{}", what.replace(' ', "-"))).shown(1e6),
        ]
    });
    Table {
        caption: "What is not on the path of a review, in milliseconds:".to_owned(),
        columns: words(["what", "time"]),
        rows: mappings.chain(annotate).collect(),
    }
}

fn axis(label: &str) -> Axis {
    Axis { label: label.to_owned(), is_logarithmic: true, names: Vec::new() }
}

fn rules_plot(times: &Times) -> Plot {
    let series = MAIN.iter().map(|review| {
        let point = |rules: &&str| times.of(&format!("rules/{review}/{rules}")).point(rules.parse().unwrap());
        Series { name: (*review).to_owned(), points: RULES.iter().map(point).collect() }
    });
    let y = Axis { is_logarithmic: false, ..axis("microseconds") };
    let title = "The time of a call over the number of rules".to_owned();
    Plot { name: "call-rules".to_owned(), title, x: axis("rules"), y, series: series.collect() }
}

fn bytes_plot(times: &Times) -> Plot {
    let of = |name: &str, mut names: Vec<String>| {
        names.sort_by(|a, b| bytes(a).total_cmp(&bytes(b)));
        let points = names.iter().map(|name| times.of(name).point(bytes(name)));
        Series { name: name.to_owned(), points: points.collect() }
    };
    let labels = times.below("labels/").map(|name| format!("labels/{name}")).collect();
    let pods = REVIEWS.iter().filter(|name| name.starts_with("pod")).map(|name| format!("bytes/{name}"));
    Plot {
        name: "call-bytes".to_owned(),
        title: "The time of a call over the bytes of the review".to_owned(),
        x: axis("bytes"),
        y: axis("microseconds"),
        series: vec![of("Pods", pods.collect()), of("a ServiceAccount with many labels", labels)],
    }
}

fn goals(Instructions { start_commit, start, now, .. }: &Instructions, times: &Times) -> Vec<Goal> {
    let at_most = |what: String, most: f64, seen: f64| Goal {
        what,
        goal: format!("at most {most}"),
        seen: Some(raised(seen)),
        is_reached: seen <= most,
    };
    let counts = MAIN.iter().map(|review| {
        let name = format!("respond/{review}/10");
        at_most(
            format!("instructions of {review}, over those of commit {start_commit}"),
            0.75,
            now[&name] as f64 / start[&name] as f64,
        )
    });
    let flat = MAIN.iter().map(|review| {
        let [many, few] = ["10000", "10"].map(|rules| now[&format!("respond/{review}/{rules}")] as f64);
        at_most(format!("instructions of {review} with 10,000 rules, over those with 10"), 1.3, many / few)
    });
    let each = |name: &str| times.of(&format!("bytes/{name}")).median / bytes(&format!("bytes/{name}"));
    let linear = at_most(
        "time for each byte of a Pod of 100 kB, over that for one of 9 kB".to_owned(),
        1.0,
        each("pod-100kB") / each("pod-9kB"),
    );
    let annotate = times.below("annotate/").map(|what| times.of(&format!("annotate/{what}")).median / 1e6);
    let annotate = annotate.fold(0.0, f64::max);
    let annotate = at_most("milliseconds of `annotate` for 20,000 lines".to_owned(), 200.0, annotate);
    counts.chain(flat).chain([linear, annotate]).collect()
}
