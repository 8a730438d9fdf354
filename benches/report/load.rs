//! How is load sent, and what was seen? oha sends it, which is installed by `benches/report/build`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::machine::root;
use crate::subject::{Files, Server};

/// How many seconds oha needs to open its connections. What it sends meanwhile is not counted: its first
/// connection alone takes a tenth of a second, in which an open loop has fallen behind.
const START: f64 = 0.5;

/// What is sent, and how.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    /// The file of the review that is sent over and over.
    pub(crate) review: &'a Path,
    pub(crate) connections: u32,
    pub(crate) amount: Amount,
}

#[derive(Clone, Copy)]
pub(crate) enum Amount {
    /// Each connection sends the next review when it has its answer, for so long.
    Closed(Duration),
    /// The same for so many reviews in all.
    Count(u32),
    /// So many reviews a second are due, whether there are answers or not, for so long. A review that could not be
    /// sent when it was due counts from then on, so that no waiting is hidden.
    Open(f64, Duration),
}

/// What was seen of one load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Answers a second.
    pub(crate) rate: f64,
    /// The server's time on a core for each review, in microseconds.
    pub(crate) cpu: f64,
    /// Half of the reviews, 90, 99 and 99.9 of a hundred had their answer in this time, in milliseconds.
    pub(crate) latency: Latency,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
}

impl Load<'_> {
    /// Sends it to this server, and stops at any answer but 200.
    pub(crate) fn send(self, files: &Files, server: &Server) -> Seen {
        let before = server.cpu_time();
        let output = self.command(files, server).output().unwrap();
        let cpu = server.cpu_time().saturating_sub(before);
        let printed = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let mut reviews: Vec<Review> = printed.lines().skip(1).map(Review::of).collect();
        assert!(output.status.success() && !reviews.is_empty(), "oha: {said}");
        let answers = reviews.len();
        assert!(
            !matches!(self.amount, Amount::Count(count) if answers != count as usize),
            "{answers} answers"
        );
        reviews.retain(|review| review.sent >= START);
        let ended = reviews.iter().map(|review| review.sent + review.took).fold(0.0, f64::max);
        let rate = reviews.len() as f64 / (ended - START);
        let mut took: Vec<f64> = reviews.iter().map(|review| review.took * 1_000.0).collect();
        took.sort_by(f64::total_cmp);
        let of = |part: f64| took[(took.len() as f64 * part) as usize];
        let latency = Latency { p50: of(0.5), p90: of(0.9), p99: of(0.99), p99_9: of(0.999) };
        Seen { rate, cpu: cpu.as_secs_f64() * 1e6 / answers as f64, latency }
    }

    fn command(self, files: &Files, server: &Server) -> Command {
        let mut oha = Command::new(program());
        oha.args(["--no-tui", "--output-format", "csv", "--http-version", "1.1", "--method", "POST"]);
        oha.args(["-T", "application/json", "-D"]).arg(self.review);
        oha.arg("--cacert").arg(files.path("tls.crt")).args(["-c", &self.connections.to_string()]);
        let time = |time: Duration| format!("{}ms", time.as_millis());
        match self.amount {
            Amount::Closed(duration) => oha.args(["-w", "-z", &time(duration)]),
            Amount::Count(count) => oha.args(["-n", &count.to_string()]),
            Amount::Open(rate, duration) => {
                oha.args(["-w", "-z", &time(duration), "--latency-correction", "-q", &format!("{rate:.0}")])
            }
        };
        oha.arg(format!("https://{}/mutate", server.address));
        oha
    }
}

/// One review and its answer, in seconds since the start.
struct Review {
    /// When it was sent, or was due.
    sent: f64,
    took: f64,
}

impl Review {
    /// Reads a line of oha: start, lookup, connection, first byte, duration, bytes, status.
    fn of(line: &str) -> Self {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.last(), Some(&"200"), "{line}");
        Self { sent: fields[0].parse().unwrap(), took: fields[4].parse().unwrap() }
    }
}

fn program() -> PathBuf {
    let program = root().join("target/bench/tools/bin/oha");
    assert!(program.exists(), "no oha: benches/report/build installs it");
    program
}
