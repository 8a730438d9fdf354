//! How much memory does the server hold, how big is it, and how soon is it ready?

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustls::client::Resumption;
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Client, request};
use crate::load::{Amount, Load};
use crate::machine::root;
use crate::progress;
use crate::reviews;
use crate::rounds::{Rounds, raised};
use crate::section::{Goal, Section, Table};
use crate::subject::{Contenders, Files, Server, Which, pause};

/// Half of the chart's limit, in MiB.
const HALF_OF_LIMIT: f64 = 32.0;
const STARTS: usize = 11;
const REVIEWS: u32 = 100_000;
/// All that the webhook allows, half of them from each of two addresses.
const CONNECTIONS: usize = 128;

const TEXT: [&str; 2] = [
    "Memory is what the process holds resident (`VmRSS`), and the most that it ever held (`VmHWM`), the \
     pages of its binary included. The chart's limit is 64 MiB. What a replica holds while it repairs \
     thousands of ServiceAccounts stands in the section on repair, since that takes an API server, and what \
     the worst of every way in takes at once in [operating.md](operating.md#measured).",
    "Start-up is the time from the start of the process, with a mapping of ten rules and a certificate in \
     files, to the first answer 200 of `/readyz`, asked every millisecond: the median of 11 starts, with the \
     earliest and the latest. The floor has no such page: its time is that until it takes a connection.",
];

/// One state of a server, in MiB.
struct Held {
    what: String,
    now: f64,
    peak: f64,
}

impl Held {
    fn by(server: &Server, what: impl Into<String>) -> Self {
        let (now, peak) = server.resident();
        Self { what: what.into(), now: mib(now), peak: mib(peak) }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(crate) fn measure() -> Section {
    let held = held();
    progress("memory: start-up");
    let [ours, floor] = Which::BOTH.map(starts);
    let sizes = Which::BOTH.map(|which| fs::metadata(which.binary()).unwrap().len());
    let image = image();
    Section {
        name: "memory".to_owned(),
        title: "Memory, start and size".to_owned(),
        text: TEXT.map(str::to_owned).into(),
        tables: vec![table_of(&held), start_and_size([&ours, &floor], sizes, image)],
        plots: Vec::new(),
        goals: goals(&held, &ours, image),
        summary: None,
    }
}

/// Ours and the floor in every state.
fn held() -> [Vec<Held>; 2] {
    let mut held = [Vec::new(), Vec::new()];
    let [_, (_, pod)] = reviews::all();
    let contenders = Contenders::start(Which::binary, &pod);
    // What the start left behind is settled then.
    pause(Duration::from_secs(2));
    for (which, server) in contenders.in_turns(0) {
        let held = &mut held[usize::from(*which == Which::Floor)];
        progress(&format!("memory: {}", which.name()));
        held.push(Held::by(server, "at rest, ten rules"));
        let load = Load { review: &contenders.review, connections: 8, amount: Amount::Count(REVIEWS) };
        load.send(&contenders.files, server);
        held.push(Held::by(server, "after 100,000 reviews of a 9 kB Pod"));
        let open = open_all(&contenders.files, server.address, &pod);
        held.push(Held::by(server, format!("with {} connections, each in a review", open.len())));
    }
    let files = Files::new();
    let mapping = files.write("mapping.yaml", reviews::mapping(10_000));
    let server = Server::ours(&Which::Ours.binary(), &files, &mapping);
    pause(Duration::from_secs(2));
    held[0].push(Held::by(&server, "at rest, 10,000 rules"));
    held
}

/// Opens every connection that the webhook allows, and sends each most of a review.
fn open_all(files: &Files, server: SocketAddr, review: &[u8]) -> Vec<impl Sized + use<>> {
    let client = Client::new(files, Resumption::disabled());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = request(review, "keep-alive");
    let open = (0..CONNECTIONS).map(|n| {
        let from: SocketAddr =
            if n.is_multiple_of(2) { "127.0.0.1:0" } else { "127.0.0.2:0" }.parse().unwrap();
        let stream: TcpStream = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(from).unwrap();
            socket.connect(server).await.unwrap()
        });
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let mut connection = client.connect(stream);
        connection.write_all(&request[..request.len() - 1]).unwrap();
        connection
    });
    let open: Vec<_> = open.collect();
    pause(Duration::from_millis(300));
    open
}

/// Milliseconds from the start to readiness.
fn starts(which: Which) -> Rounds {
    let files = Files::new();
    let mapping = files.write("mapping.yaml", reviews::mapping(10));
    let answer = files.write("answer.json", r#"{"uid":""}"#);
    let start = |_| {
        let server = match which {
            Which::Ours => Server::ours(&which.binary(), &files, &mapping),
            Which::Floor => Server::floor(&which.binary(), &files, &answer),
        };
        server.ready_after.as_secs_f64() * 1_000.0
    };
    (0..STARTS).map(start).collect()
}

/// The unpacked size of the image in bytes, as `make image` says it, if it can be made here.
fn image() -> Option<u64> {
    progress("memory: image");
    let archive = root().join("target/bench/image.tar");
    let image =
        Command::new(root().join("tests/node/image")).arg("gitlab-iam-webhook:bench").arg(&archive).output();
    let size = String::from_utf8(image.unwrap().stdout).unwrap();
    let _ = fs::remove_file::<&Path>(&archive);
    size.lines().last()?.parse().ok()
}

fn table_of([ours, floor]: &[Vec<Held>; 2]) -> Table {
    let rows = ours.iter().map(|ours| {
        let beside = floor.iter().find(|floor| floor.what == ours.what);
        let beside =
            |of: fn(&Held) -> f64| beside.map_or_else(|| "-".to_owned(), |floor| format!("{:.2}", of(floor)));
        let (now, peak) = (raised(ours.now), raised(ours.peak));
        vec![ours.what.clone(), now, peak, beside(|held| held.now), beside(|held| held.peak)]
    });
    Table {
        caption: "Resident memory in MiB:".to_owned(),
        columns: ["state", "ours", "ours, peak", "floor", "floor, peak"].map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

fn start_and_size(starts: [&Rounds; 2], sizes: [u64; 2], image: Option<u64>) -> Table {
    let megabytes = |bytes: u64| format!("{} MB", raised(bytes as f64 / 1e6));
    let start = |rounds: &Rounds| {
        let (low, high) = rounds.spread();
        format!("{} ms ({} to {})", raised(rounds.median()), raised(low), raised(high))
    };
    let [ours, floor] = starts;
    let image = image.map_or_else(|| "not made: it takes root and buildah".to_owned(), megabytes);
    let rows = [
        ["from its start to readiness".to_owned(), start(ours), start(floor)],
        ["binary".to_owned(), megabytes(sizes[0]), megabytes(sizes[1])],
        ["image, unpacked".to_owned(), image, "-".to_owned()],
    ];
    Table {
        caption: "Start and size:".to_owned(),
        columns: ["what", "ours", "floor"].map(str::to_owned).into(),
        rows: rows.map(Vec::from).into(),
    }
}

fn goals([ours, _]: &[Vec<Held>; 2], start: &Rounds, image: Option<u64>) -> Vec<Goal> {
    let at_most = |what: &str, unit: &str, most: f64, seen: Option<f64>| Goal {
        what: what.to_owned(),
        goal: format!("at most {most:.0} {unit}"),
        seen: seen.map(|seen| format!("{} {unit}", raised(seen))),
        is_reached: seen.is_some_and(|seen| seen <= most),
    };
    let most = ours.iter().map(|held| held.peak).fold(0.0, f64::max);
    vec![
        at_most("resident memory at rest, ten rules", "MiB", 12.0, Some(ours[0].now)),
        at_most(
            "resident memory in the states of this section, at its peak",
            "MiB",
            HALF_OF_LIMIT,
            Some(most),
        ),
        at_most("from exec to readiness, with a certificate at hand", "ms", 200.0, Some(start.median())),
        at_most("image, unpacked", "MB", 16.0, image.map(|bytes| bytes as f64 / 1e6)),
    ]
}
