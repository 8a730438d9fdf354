//! Where does the time of a review go, ours beside the floor? perf samples both under the same load, and
//! inferno draws what it saw.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::load::{Amount, Load};
use crate::machine::root;
use crate::plot::number;
use crate::progress;
use crate::reviews;
use crate::section::{Section, Table};
use crate::subject::{Contenders, Server, Which, pause};

const FREQUENCY: u32 = 999;
/// The load begins a second before, and goes on for a second after.
const SAMPLED: Duration = Duration::from_secs(6);
/// How many functions the table names.
const FUNCTIONS: usize = 20;

const TEXT: [&str; 2] = [
    "Both are built as for a release, with symbols and frame pointers, and are sent the ServiceAccount over \
     8 connections in a closed loop, while perf samples their threads 999 times a second. A column of a \
     picture is where a thread was: the server below, what it called above. Its width is its share of that \
     picture's own time, so that two pictures do not compare by width. The cost of a review is the time of all \
     samples over the reviews that were answered meanwhile. Both are slower with frame pointers and under perf \
     than in [The server](#the-server). `sccp` is how musl calls the kernel.",
    "A sample counts for the part whose function is nearest to where it was taken: copying in `rustls` is \
     TLS. What allocates counts for the allocator, wherever it was called, and all of the thread that writes \
     the log for the log. The decision is all of `respond()`, which the first section measures by itself.",
];

/// What stands behind the name of a function of the kernel.
const IN_KERNEL: &str = "_[k]";
const KERNEL_FRAMES: usize = 6;
/// Each system call begins with these.
const PASSAGES: [&str; 3] = ["entry_SYSCALL_64_after_hwframe_[k]", "do_syscall_64_[k]", "x64_sys_call_[k]"];

/// What names a part's functions. The first that fits a function counts.
const PARTS: [(&str, &[&str]); 7] = [
    ("the decision", &["gitlab_iam_webhook::engine"]),
    ("the log", &["tracing", "gitlab_iam_webhook::log", "gitlab_iam_webhook::telemetry", "webhook::record"]),
    ("metrics", &["prometheus", "gitlab_iam_webhook::metrics"]),
    ("connections and limits", &["gitlab_iam_webhook"]),
    ("TLS", &["rustls", "aws_lc", "aes_", "gcm_", "AES", "GCM", "EVP_", "OPENSSL"]),
    ("HTTP", &["hyper", "axum", "http", "tower", "matchit"]),
    ("the runtime", &["tokio", "mio", "std::sys", "epoll"]),
];
/// What names a part of the kernel, anywhere on the stack.
const KERNEL: [(&str, &[&str]); 3] = [
    ("the kernel: memory", &["mmap_[k]", "munmap_[k]", "mmap_pgoff", "page_fault", "madvise"]),
    ("the kernel: network", &["do_writev", "sys_writev", "recvfrom", "sendto", "sendmsg", "sys_accept"]),
    ("the kernel: other writes, of the log and of wake-ups", &["ksys_write"]),
];
const ALLOCATOR: [&str; 9] =
    ["malloc", "free", "realloc", "calloc", "alloc_slot", "get_meta", "alloc_group", "mi_", "enframe"];

/// Nanoseconds for each review, of ours and of the floor.
type Costs = BTreeMap<String, [f64; 2]>;

pub(crate) fn measure() -> Option<Section> {
    if !Command::new("perf").arg("--version").stdout(Stdio::null()).status().is_ok_and(|said| said.success())
    {
        progress("there is no perf that works: the Debian package linux-perf has it");
        return None;
    }
    let name = "profile".to_owned();
    let title = "Where the time goes".to_owned();
    let mut text: Vec<String> = TEXT.map(str::to_owned).into();
    let pictures = Which::BOTH
        .map(|which| format!("![Flame graph, {name}](benchmarks/flame-{name}.svg)", name = which.name()));
    let (mut parts, mut functions) = (Costs::new(), Costs::new());
    let [(_, account), _] = reviews::all();
    let contenders = Contenders::start(|which| which.binary_in("target/bench/profiled", "release"), &account);
    for (which, server) in contenders.in_turns(0) {
        progress(&format!("profile: {}", which.name()));
        let (folded, reviews) = sample(&contenders, server);
        draw(*which, &folded);
        count(*which, &folded, reviews, &mut parts, &mut functions);
    }
    let tables = vec![by_part(&parts), by_function(&functions)];
    text.extend(pictures);
    Some(Section { name, title, text, tables, plots: Vec::new(), goals: Vec::new(), summary: None })
}

/// Stacks with the time of each, a line each, and how many reviews were answered meanwhile.
fn sample(contenders: &Contenders, server: &Server) -> (String, f64) {
    let second = Duration::from_secs(1);
    let recorded = contenders.files.path("perf.data");
    let load =
        Load { review: &contenders.review, connections: 8, amount: Amount::Closed(SAMPLED + 2 * second) };
    let seen = thread::scope(|scope| {
        let seen = scope.spawn(|| load.send(&contenders.files, server));
        pause(second);
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "-g", "--event", "cpu-clock", "--freq", &FREQUENCY.to_string()]);
        perf.args(["--pid", &server.pid().to_string(), "--output"]).arg(&recorded);
        perf.args(["--", "sleep", &SAMPLED.as_secs().to_string()]);
        assert!(perf.stdout(Stdio::null()).status().unwrap().success(), "{perf:?}");
        seen.join().unwrap()
    });
    let script =
        Command::new("perf").args(["script", "--input"]).arg(&recorded).stderr(Stdio::null()).output();
    let script = contenders.files.write("perf.script", script.unwrap().stdout);
    let folded = run(Command::new(tool("inferno-collapse-perf")).arg("--kernel").arg(script));
    (legible(&folded), seen.rate * SAMPLED.as_secs_f64())
}

/// Without frames that have no name, and no deeper into the kernel than tells what it does.
fn legible(folded: &str) -> String {
    let shown = stacks(folded).map(|(mut stack, time)| {
        stack.retain(|frame| *frame != "[unknown]" && !PASSAGES.contains(frame));
        let users = stack.iter().filter(|frame| !frame.ends_with(IN_KERNEL)).count();
        stack.truncate(users + KERNEL_FRAMES);
        format!("{} {time:.0}\n", stack.join(";"))
    });
    shown.collect()
}

fn tool(name: &str) -> PathBuf {
    root().join("target/bench/tools/bin").join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Each line of folded stacks, with its time in nanoseconds: the clock of a core counts these.
fn stacks(folded: &str) -> impl Iterator<Item = (Vec<&str>, f64)> {
    folded.lines().map(|line| {
        let (stack, time) = line.rsplit_once(' ').unwrap();
        (stack.split(';').collect(), time.parse().unwrap())
    })
}

/// Without a script: a page that shows the picture runs none.
fn draw(which: Which, folded: &str) {
    let file = Path::new("target/bench").join(format!("{}.folded", which.name()));
    let file = root().join(file);
    fs::write(&file, folded.replace("gitlab_iam_webhook::", "ours::")).unwrap();
    let title = format!("Where the time of a review goes: {}", which.name());
    let mut flamegraph = Command::new(tool("inferno-flamegraph"));
    flamegraph.args(["--no-javascript", "--deterministic", "--colors", "rust", "--bgcolors", "#ffffff"]);
    flamegraph
        .args(["--width", "1200", "--fontwidth", "0.64", "--minwidth", "0.25"])
        .args(["--title", &title])
        .arg(file);
    let svg = run(&mut flamegraph);
    let (before, script) = svg.split_once("<script").unwrap();
    let (_, after) = script.split_once("</script>").unwrap();
    let svg = format!("{}{after}", before.replace(" onload=\"init(evt)\"", ""));
    // Nobody can search without it.
    let svg = svg.replace(">Search<", "><");
    let folder = root().join("docs/benchmarks");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("flame-{}.svg", which.name())), svg).unwrap();
}

fn count(which: Which, folded: &str, reviews: f64, parts: &mut Costs, functions: &mut Costs) {
    for (stack, time) in stacks(folded) {
        let cost = time / reviews;
        let function = stack.last().unwrap();
        *of(parts, part_of(&stack), which) += cost;
        *of(parts, "**all**", which) += cost;
        if !is_kernel(&stack) {
            *of(functions, function, which) += cost;
        }
    }
}

/// What is counted under this name.
fn of<'a>(costs: &'a mut Costs, name: &str, which: Which) -> &'a mut f64 {
    &mut costs.entry(name.to_owned()).or_default()[usize::from(which == Which::Floor)]
}

fn is_kernel(stack: &[&str]) -> bool {
    stack.last().is_some_and(|function| function.ends_with(IN_KERNEL))
}

fn part_of(stack: &[&str]) -> &'static str {
    // The first is the name of the thread.
    if stack.first() == Some(&"log") {
        return "the log";
    }
    if is_kernel(stack) {
        let named = |names: &[&str]| names.iter().any(|name| stack.iter().any(|frame| frame.contains(name)));
        let part = KERNEL.iter().find(|(_, names)| named(names));
        return part.map_or("the kernel: waiting, waking and the rest", |(part, _)| part);
    }
    if stack.last().is_some_and(|function| ALLOCATOR.iter().any(|name| function.contains(name))) {
        return "the allocator";
    }
    let named =
        |function: &&str| PARTS.iter().find(|(_, names)| names.iter().any(|name| function.contains(name)));
    stack.iter().rev().find_map(named).map_or("the rest", |(part, _)| part)
}

/// Those first in which ours is furthest above the floor.
fn rows(costs: &Costs) -> Vec<Vec<String>> {
    let mut costs: Vec<_> = costs.iter().collect();
    costs.sort_by(|(_, [ours, floor]), (_, [other, other_floor])| {
        (other - other_floor).total_cmp(&(ours - floor))
    });
    let row = |(name, [ours, floor]): (&String, &[f64; 2])| {
        vec![name.clone(), number(*ours), number(*floor), number(ours - floor)]
    };
    costs.into_iter().map(row).collect()
}

fn columns(first: &str) -> Vec<String> {
    [first, "ours", "floor", "ours above it"].map(str::to_owned).into()
}

fn by_part(parts: &Costs) -> Table {
    let caption = "Nanoseconds on a core for each review, by part:".to_owned();
    Table { caption, columns: columns("part"), rows: rows(parts) }
}

fn by_function(functions: &Costs) -> Table {
    let mut rows = rows(functions);
    rows.truncate(FUNCTIONS);
    for row in &mut rows {
        row[0] = format!("`{}`", row[0]);
    }
    let caption = "The functions outside the kernel in which ours takes most time above the floor, without \
                   what they call, in nanoseconds for each review:";
    Table { caption: caption.to_owned(), columns: columns("function"), rows }
}
