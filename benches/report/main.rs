//! What does the webhook cost, beside what people would use instead? Measures the sections that are named, or
//! all, and makes `docs/benchmarks.md` of all that were ever measured here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench stops at what is wrong"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and figures are far smaller"
)]

mod call;
#[path = "../captured.rs"]
mod captured;
mod client;
mod cluster;
mod connecting;
mod connection;
mod load;
mod machine;
mod mapping;
mod memory;
mod page;
mod plot;
mod profile;
mod repair;
mod reviews;
mod rounds;
mod section;
mod server;
mod stage;
mod statistics;
mod subject;

use std::sync::OnceLock;
use std::time::Instant;

use machine::Run;
use section::{Kept, Section};

/// A section's name, and what measures it. It measures nothing where this machine lacks what it takes.
type Measure = (&'static str, fn() -> Option<Section>);

/// All sections, in the order of the page.
const SECTIONS: &[Measure] = &[
    ("call", || Some(call::measure())),
    ("server", || Some(server::measure())),
    ("cluster", || Some(cluster::measure())),
    ("repair", || Some(repair::measure())),
    ("mapping", || Some(mapping::measure())),
    ("memory", || Some(memory::measure())),
    ("profile", profile::measure),
];

/// In the place of a section, this measures nothing and makes the page of what is kept.
const PAGE: &str = "page";

fn main() {
    // Cargo adds the first argument.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for name in &wanted {
        let known: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
        assert!(
            name == PAGE || known.contains(&&**name),
            "no section {name}: there are {}",
            known.join(", ")
        );
    }
    let chosen = SECTIONS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    for (name, measure) in chosen {
        let run = Run::of_now();
        progress(&format!("{name}, of commit {}", run.commit()));
        match measure() {
            Some(section) => Kept { section, run }.keep(),
            None => progress(&format!("{name} stays as it was")),
        }
    }
    let kept: Vec<_> = SECTIONS.iter().filter_map(|(name, _)| Kept::of(name)).collect();
    page::write(&kept);
    progress("docs/benchmarks.md is made");
}

/// Says what is measured now, with the seconds since the start.
#[expect(clippy::print_stderr, reason = "whoever waits is to see how far it is")]
pub(crate) fn progress(what: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    eprintln!("{:5.0} s  {what}", START.get_or_init(Instant::now).elapsed().as_secs_f64());
}
