//! Does a request wait while a large mapping is replaced?

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::Method;

use crate::cluster::{Kind, mapping};
use crate::connection::{Connection, Host};
use crate::progress;
use crate::section::{Section, Table};
use crate::statistics::{Figure, Samples, figure, quantile};
use crate::subject::{Files, Server, Which, pause};

const RULES: usize = 10_000;
const NAMESPACE: &str = "gitlab";

/// Rounds with and without swaps, in turns.
const ROUNDS: usize = 10;
const SWAPS_A_ROUND: usize = 10;

/// How long a round without swaps lasts. One with swaps lasts as long as they take: the file is looked at once a
/// second.
const QUIET: Duration = Duration::from_secs(3);

/// Each client sends at its times, whether the answer before has come or not: what was to be sent meanwhile has waited
/// since its own time.
const CLIENTS: u32 = 4;
const PERIOD: Duration = Duration::from_millis(10);

pub(crate) fn measure() -> Section {
    let files = Files::new();
    let file = files.write("mapping.yaml", mapping(RULES, NAMESPACE, "role-0"));
    let server = Server::ours(&Which::Ours.binary(), &files, &file);
    let trusted = fs::read(files.path("tls.crt")).unwrap();
    let host = Host::new(server.address, &trusted, None);
    let (mut quiet, mut swapping): (Samples, Samples) = (Vec::new(), Vec::new());
    let mut swaps = 0;
    let mut asked = host.connect();
    let mut swap = || {
        swaps += 1;
        let role = format!("role-{swaps}");
        let next = files.write("next.yaml", mapping(RULES, NAMESPACE, &role));
        fs::rename(next, &file).unwrap();
        while !gives(&host, &mut asked, &role) {
            pause(Duration::from_millis(50));
        }
    };
    for round in 1..=ROUNDS {
        progress(&format!("mapping: {SWAPS_A_ROUND} swaps of {RULES} rules, {round} of {ROUNDS}"));
        quiet.push(load(&host, || pause(QUIET)));
        swapping.push(load(&host, || (0..SWAPS_A_ROUND).for_each(|_| swap())));
    }
    Section {
        name: "mapping".into(),
        title: "A mapping that is replaced under load".into(),
        text: text(),
        tables: vec![table(&quiet, &swapping)],
        plots: Vec::new(),
        goals: Vec::new(),
        summary: None,
    }
}

/// Whether a ServiceAccount gets this role.
fn gives(host: &Host, connection: &mut Connection, role: &str) -> bool {
    let review = Kind::ServiceAccount.review(NAMESPACE).to_string();
    let (_, answer, _) = connection.timed(&host.call(Method::POST, "/mutate", review));
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let patch = answer["response"]["patch"].as_str().expect("a patch");
    let patch = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, patch).unwrap();
    String::from_utf8(patch).unwrap().contains(&format!(":role/{role}\""))
}

/// The milliseconds of all requests that were to be sent while this went on.
fn load(host: &Host, meanwhile: impl FnOnce()) -> Vec<f64> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = |number: u32| send(host, PERIOD * number / CLIENTS, &is_over);
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        meanwhile();
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

fn send(host: &Host, after: Duration, is_over: &AtomicBool) -> Vec<f64> {
    let call = host.call(Method::POST, "/mutate", Kind::ServiceAccount.review(NAMESPACE).to_string());
    let mut connection = host.connect();
    // Both have done what only the first request costs.
    connection.timed(&call);
    let mut due = Instant::now() + after;
    let mut seen = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        pause(due.saturating_duration_since(Instant::now()));
        let (status, ..) = connection.timed(&call);
        assert!(status.is_success(), "{status}");
        seen.push(due.elapsed().as_secs_f64() * 1000.0);
        due += PERIOD;
    }
    seen
}

fn text() -> Vec<String> {
    let swaps = ROUNDS * SWAPS_A_ROUND;
    vec![
        format!(
            "The mapping has {RULES} rules and lies in a file, which is replaced by rename(2) {swaps} times. Each \
             file is written as soon as an answer shows the role of the one before it. {CLIENTS} clients \
             together send {} reviews of a ServiceAccount a second, at fixed times: a request that is late has \
             waited since the time at which it was to be sent. Rounds with swaps and rounds without take turns.",
            CLIENTS * 1000 / u32::try_from(PERIOD.as_millis()).unwrap()
        ),
        "Brackets are 95 % confidence intervals (bootstrap over rounds). The compilation of a mapping is measured by \
         itself in the section about the call."
            .to_owned(),
    ]
}

fn table(quiet: &Samples, swapping: &Samples) -> Table {
    let of = |samples: &Samples, part| figure(&[samples], |pooled| quantile(&mut pooled[0], part));
    let over = |part| {
        figure(&[swapping, quiet], |pooled| quantile(&mut pooled[0], part) / quantile(&mut pooled[1], part))
    };
    let row = |name: &str, count: usize, figures: [Figure; 3]| {
        let figures = figures.iter().map(Figure::words);
        [name.to_owned(), count.to_string()].into_iter().chain(figures).collect()
    };
    let parts = [0.5, 0.99, 0.999];
    let count = |samples: &Samples| samples.iter().map(Vec::len).sum();
    let mut ratio: Vec<String> = row("ratio", 0, parts.map(over));
    ratio[1] = String::new();
    Table {
        caption: "Milliseconds from the time at which a request was to be sent until its answer".into(),
        columns: ["", "requests", "p50", "p99", "p99.9"].map(str::to_owned).into(),
        rows: vec![
            row("without swaps", count(quiet), parts.map(|part| of(quiet, part))),
            row("during swaps", count(swapping), parts.map(|part| of(swapping, part))),
            ratio,
        ],
    }
}
