//! On which machine was a section measured, with which versions, and of which commit?

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What stands for a program that is not there.
const NONE: &str = "none";

/// All that a figure depends on beside the code that measures it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Each with its name.
    pub(crate) facts: Vec<(String, String)>,
}

impl Run {
    /// This machine, these versions and this commit.
    pub(crate) fn of_now() -> Self {
        let facts = [
            ("processor", processor()),
            ("memory", memory()),
            ("kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease"))),
            ("compiler", said("rustc", &["--version"])),
            ("profile", profile()),
            ("API server", said("target/kube/bin/kube-apiserver", &["--version"])),
            ("load generator", said("target/bench/tools/bin/oha", &["--version"])),
            ("commit", commit()),
            ("date", time::OffsetDateTime::from(SystemTime::now()).date().to_string()),
        ];
        Self { facts: facts.map(|(name, fact)| (name.to_owned(), fact)).into() }
    }

    pub(crate) fn commit(&self) -> &str {
        let commit = self.facts.iter().find(|(name, _)| name == "commit");
        commit.map_or("unknown", |(_, commit)| commit)
    }
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// What follows `key` in a file of lines such as `model name : AMD EPYC`.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn processor() -> String {
    let cores = std::thread::available_parallelism().unwrap();
    format!("{}, {cores} cores", value(&read("/proc/cpuinfo"), "model name"))
}

fn memory() -> String {
    let total = value(&read("/proc/meminfo"), "MemTotal");
    let kib: u64 = total.trim_end_matches(" kB").parse().unwrap();
    format!("{} GiB", kib >> 20)
}

/// What a program prints, or that it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        _ => NONE.to_owned(),
    }
}

/// The release profile, as Cargo.toml says it. What it says of single packages stands in
/// `docs/architecture.md`.
fn profile() -> String {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let release = manifest["profile"]["release"].as_table().unwrap();
    let own = release.iter().filter(|(_, value)| !value.is_table());
    let own: Vec<_> = own.map(|(key, value)| format!("{key} = {}", serde_json::json!(value))).collect();
    format!("release for musl ({})", own.join(", "))
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
    // What the report itself writes does not count.
    let others = [":!docs/benchmarks.md", ":!docs/benchmarks"];
    let changed = said("git", &[&["status", "--porcelain", "--", "."], others.as_slice()].concat());
    match (commit.as_str(), changed.is_empty()) {
        (NONE, _) => "unknown: there is no git here".to_owned(),
        (_, true) => commit,
        (_, false) => format!("{commit}, with changes that are not committed"),
    }
}
