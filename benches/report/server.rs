//! What does the server cost beside the floor: how many reviews a second does it answer, how soon, and what
//! does a new connection take?

use std::time::Duration;

use crate::connecting::{self, Connecting};
use crate::load::{Amount, Load, Seen};
use crate::plot::number;
use crate::progress;
use crate::reviews;
use crate::rounds::{Rounds, cut, raised};
use crate::section::{Axis, Goal, Plot, Point, Section, Series, Table};
use crate::subject::{Contenders, Which};

const CONNECTIONS: [u32; 3] = [1, 8, 64];
/// How often each load is sent to each, in turns. These are even, so that each is first as often.
const ROUNDS: usize = 6;
const OPEN_ROUNDS: usize = 4;
/// How long each load lasts, with the half second that is not counted.
const THROUGHPUT: Duration = Duration::from_millis(1_700);
const LATENCY: Duration = Duration::from_secs(3);

/// Its heights are far apart.
const LATENCY_PLOT: &str = "server-latency";

const TEXT: [&str; 5] = [
    "The release binary for musl, which goes into the image, and the floor, built in the same way, are sent \
     the same review over and over by [oha](https://github.com/hatoo/oha) on the same cores, over TLS 1.3 \
     with connections that stay open. Ours has ten rules, of which the last one matches, and patches the \
     object. Its log is on, in JSON, into a pipe that is read, as under a container runtime, and the run \
     stops where a line is dropped. The floor logs nothing, and its answer is the one that ours gave.",
    "oha was chosen because it has an open loop that corrects for reviews which could not be sent in time, \
     and gives the time of every review, so that those of its own start can be left out: the first half \
     second is not counted.",
    "**Throughput** is measured in a closed loop: each connection sends its next review when it has its \
     answer. *Core* is the time that the server's own threads run for each review, the kernel's part \
     included. It says more than the throughput, which the load generator shares.",
    "**Latency** is measured in an open loop: reviews are due at half of the floor's throughput for that \
     review and number of connections, for both the same, whether answers are there or not. Waiting counts \
     from when a review was due. **Ratios** are those of each round, ours over the floor's. All figures are \
     medians of rounds in turns, 6 of throughput and of new connections and 4 of latency, with the lowest \
     and the highest.",
    "**Where reviews wait**: half of what the floor answers can be most of what ours answers beside a load \
     generator on the same cores, as the table of latency says. There the figures show how long reviews wait \
     for a core, and not how long one takes. An API server sends far fewer: with 32 clients and nothing \
     registered it made fewer than a thousand creates a second on such cores. What ours takes above the floor \
     is in [Where the time goes](#where-the-time-goes); the floor does none of it, so that its throughput \
     cannot be reached by what decides, logs and has limits.",
];

/// What was seen of one server under one load.
#[derive(Default)]
struct Figures {
    rate: Rounds,
    cpu: Rounds,
    p50: Rounds,
    p90: Rounds,
    p99: Rounds,
    p99_9: Rounds,
}

impl Figures {
    fn push(&mut self, seen: Seen) {
        self.rate.push(seen.rate);
        self.cpu.push(seen.cpu);
        self.p50.push(seen.latency.p50);
        self.p90.push(seen.latency.p90);
        self.p99.push(seen.latency.p99);
        self.p99_9.push(seen.latency.p99_9);
    }
}

/// One of them.
type Of = fn(&Figures) -> &Rounds;

/// Ours and the floor under the same load.
#[derive(Default)]
struct Pair {
    ours: Figures,
    floor: Figures,
}

impl Pair {
    fn by_mut(&mut self, which: Which) -> &mut Figures {
        match which {
            Which::Ours => &mut self.ours,
            Which::Floor => &mut self.floor,
        }
    }

    fn by(&self, which: Which) -> &Figures {
        match which {
            Which::Ours => &self.ours,
            Which::Floor => &self.floor,
        }
    }

    fn ratio(&self, of: Of) -> Rounds {
        of(&self.ours).over(of(&self.floor))
    }
}

/// One review over so many connections.
struct Case {
    review: &'static str,
    connections: u32,
    closed: Pair,
    /// How many reviews a second were due in the open loop.
    rate: f64,
    open: Pair,
}

pub(crate) fn measure() -> Section {
    let (mut cases, mut connections_made) = (Vec::new(), Vec::new());
    for (review, bytes) in reviews::all() {
        let contenders = Contenders::start(Which::binary, &bytes);
        for connections in CONNECTIONS {
            progress(&format!("server: {review}, {connections} connections"));
            cases.push(case(&contenders, review, connections));
        }
        progress(&format!("server: {review}, new connections"));
        connections_made.push((review, Connecting::measure(&contenders, &bytes, ROUNDS)));
    }
    Section {
        name: "server".to_owned(),
        title: "The server".to_owned(),
        text: TEXT.map(str::to_owned).into(),
        tables: vec![throughput(&cases), latency(&cases), connecting::table(&connections_made)],
        plots: plots(&cases),
        goals: goals(&cases),
        summary: None,
    }
}

fn case(contenders: &Contenders, review: &'static str, connections: u32) -> Case {
    let (mut closed, mut open) = (Pair::default(), Pair::default());
    let load = |amount| Load { review: &contenders.review, connections, amount };
    for round in 0..ROUNDS {
        for (which, server) in contenders.in_turns(round) {
            closed.by_mut(*which).push(load(Amount::Closed(THROUGHPUT)).send(&contenders.files, server));
        }
    }
    let rate = closed.floor.rate.median() / 2.0;
    for round in 0..OPEN_ROUNDS {
        for (which, server) in contenders.in_turns(round) {
            open.by_mut(*which).push(load(Amount::Open(rate, LATENCY)).send(&contenders.files, server));
        }
    }
    Case { review, connections, closed, rate, open }
}

fn names(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn throughput(cases: &[Case]) -> Table {
    let rows = cases.iter().map(|Case { review, connections, closed, .. }| {
        vec![
            (*review).to_owned(),
            connections.to_string(),
            closed.ours.rate.cell(),
            closed.floor.rate.cell(),
            closed.ratio(|figures| &figures.rate).cell(),
            closed.ours.cpu.cell(),
            closed.floor.cpu.cell(),
            closed.ratio(|figures| &figures.cpu).cell(),
        ]
    });
    Table {
        caption: "Throughput in reviews a second, and the server's time on a core for each in microseconds:"
            .to_owned(),
        columns: names(&[
            "review",
            "connections",
            "ours",
            "floor",
            "ratio",
            "ours, core µs",
            "floor, core µs",
            "ratio of cores",
        ]),
        rows: rows.collect(),
    }
}

fn latency(cases: &[Case]) -> Table {
    let parts: [(&str, Of); 4] = [
        ("p50", |figures| &figures.p50),
        ("p90", |figures| &figures.p90),
        ("p99", |figures| &figures.p99),
        ("p99.9", |figures| &figures.p99_9),
    ];
    let rows = cases.iter().flat_map(|Case { review, connections, closed, rate, open }| {
        parts.map(|(part, of)| {
            let share = number(100.0 * rate / closed.ours.rate.median());
            let (ours, floor) = (of(&open.ours).cell(), of(&open.floor).cell());
            vec![
                (*review).to_owned(),
                connections.to_string(),
                number(*rate),
                share,
                part.to_owned(),
                ours,
                floor,
                open.ratio(of).cell(),
            ]
        })
    });
    Table {
        caption: "Latency in milliseconds at half of the floor's throughput:".to_owned(),
        columns: names(&[
            "review",
            "connections",
            "due a second",
            "% of ours in a closed loop",
            "part",
            "ours",
            "floor",
            "ratio",
        ]),
        rows: rows.collect(),
    }
}

/// A figure of every case, ours beside the floor's.
fn plot(cases: &[Case], name: &str, title: &str, unit: &str, of: fn(&Case, Which) -> &Rounds) -> Plot {
    let series = Which::BOTH.map(|which| {
        let points = cases.iter().enumerate().map(|(n, case)| {
            let rounds = of(case, which);
            Point { x: n as f64, y: rounds.median(), spread: Some(rounds.spread()) }
        });
        Series { name: which.name().to_owned(), points: points.collect() }
    });
    let is_logarithmic = name == LATENCY_PLOT;
    let axis = |label: &str, is_logarithmic, names| Axis { label: label.to_owned(), is_logarithmic, names };
    let names = cases.iter().map(|case| format!("{}, {}", case.review, case.connections));
    Plot {
        name: name.to_owned(),
        title: title.to_owned(),
        x: axis(
            "review, connections; the lines reach from the lowest to the highest round",
            false,
            names.collect(),
        ),
        y: axis(unit, is_logarithmic, Vec::new()),
        series: series.into(),
    }
}

fn plots(cases: &[Case]) -> Vec<Plot> {
    let core = "The server's time on a core for each review, in a closed loop";
    let p99 = "p99 in an open loop at half of the floor's throughput";
    vec![
        plot(cases, "server-core", core, "microseconds", |case, which| &case.closed.by(which).cpu),
        plot(cases, LATENCY_PLOT, p99, "milliseconds", |case, which| &case.open.by(which).p99),
    ]
}

/// Each review's worst number of connections.
fn goals(cases: &[Case]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (review, _) in reviews::all() {
        let of_review = || cases.iter().filter(|case| case.review == review);
        let rates = of_review().map(|case| (case.closed.ratio(|figures| &figures.rate).median(), case));
        let (rate, case) = rates.min_by(|(one, _), (other, _)| one.total_cmp(other)).unwrap();
        goals.push(Goal {
            what: format!("{review}: throughput over the floor's, with the log on"),
            goal: "at least 0.95".to_owned(),
            seen: Some(format!("{} at worst (connections: {})", cut(rate), case.connections)),
            is_reached: rate >= 0.95,
        });
        let p99s = of_review().map(|case| (case.open.ratio(|figures| &figures.p99).median(), case));
        let (p99, case) = p99s.max_by(|(one, _), (other, _)| one.total_cmp(other)).unwrap();
        goals.push(Goal {
            what: format!("{review}: p99 over the floor's at half of its throughput, with the log on"),
            goal: "at most 1.1".to_owned(),
            seen: Some(format!("{} at worst (connections: {})", raised(p99), case.connections)),
            is_reached: p99 <= 1.1,
        });
    }
    goals
}
