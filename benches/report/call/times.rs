//! How long did one call take, by what criterion kept?

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::machine::root;
use crate::section::Point;

/// What criterion kept of one turn: nanoseconds for so many calls each.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// The nanoseconds of one call, over all turns.
#[derive(Clone, Copy)]
pub(super) struct Time {
    lower_quartile: f64,
    pub(super) median: f64,
    upper_quartile: f64,
}

/// What was timed, by criterion's name of it: `rules/pod-9kB/10`.
#[derive(Default)]
pub(super) struct Times(BTreeMap<String, Vec<f64>>);

impl Times {
    /// Adds what criterion kept of the group's last turn.
    pub(super) fn add(&mut self, group: &str) {
        let folder = root().join("target/criterion");
        let mut open: Vec<PathBuf> = vec![folder.join(group)];
        while let Some(inner) = open.pop() {
            let sample = inner.join("new/sample.json");
            if !sample.exists() {
                open.extend(
                    fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_dir()),
                );
                continue;
            }
            let sample: Sample = serde_json::from_slice(&fs::read(sample).unwrap()).unwrap();
            let name = inner.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let each = sample.times.iter().zip(&sample.iters).map(|(time, iterations)| time / iterations);
            self.0.entry(name).or_default().extend(each);
        }
    }

    pub(super) fn of(&self, name: &str) -> Time {
        let mut sorted = self.0.get(name).unwrap_or_else(|| panic!("{name} was timed")).clone();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
        Time { lower_quartile: at(1), median: at(2), upper_quartile: at(3) }
    }

    /// The names that begin so, without that beginning.
    pub(super) fn below<'t>(&'t self, start: &'t str) -> impl Iterator<Item = &'t str> {
        self.0.keys().filter_map(move |name| name.strip_prefix(start))
    }
}

impl Time {
    /// The median, with the quartiles.
    pub(super) fn shown(self, nanoseconds: f64) -> String {
        let Self { lower_quartile, median, upper_quartile } = self;
        let digits = if median / nanoseconds < 100.0 { 2 } else { 0 };
        let [low, middle, high] = [lower_quartile, median, upper_quartile].map(|time| time / nanoseconds);
        format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
    }

    /// A point of a plot in microseconds.
    pub(super) fn point(self, x: f64) -> Point {
        let spread = Some((self.lower_quartile / 1e3, self.upper_quartile / 1e3));
        Point { x, y: self.median / 1e3, spread }
    }
}

/// How many bytes a review has, as criterion kept it.
pub(super) fn bytes(name: &str) -> f64 {
    let file = root().join("target/criterion").join(name).join("new/benchmark.json");
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    kept["throughput"]["Bytes"].as_f64().unwrap()
}
