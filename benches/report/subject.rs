//! What is measured? The binary that goes into the image, and the floor, which is built in the same way: each
//! is started on this machine as a process of its own, and both with the same certificate.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use gitlab_iam_webhook::tls::issue;
use rustls::client::Resumption;

use crate::client::Client;
use crate::machine::root;
use crate::reviews;

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(10);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Ours,
    Floor,
}

impl Which {
    pub(crate) const BOTH: [Self; 2] = [Self::Ours, Self::Floor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Floor => "floor",
        }
    }

    /// Where its binary is, under the folder that Cargo was given for what it builds.
    pub(crate) fn binary_in(self, target: &str, profile: &str) -> PathBuf {
        let folder = format!("{target}/{}-unknown-linux-musl/{profile}", std::env::consts::ARCH);
        root().join(folder).join(match self {
            Self::Ours => "gitlab-iam-webhook",
            Self::Floor => "examples/floor",
        })
    }

    /// The binary of a release.
    pub(crate) fn binary(self) -> PathBuf {
        let binary = self.binary_in("target", "release");
        assert!(binary.exists(), "no {}: benches/report/build builds it", binary.display());
        binary
    }
}

/// The files that servers are started with.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// With a certificate for 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::naming(&["127.0.0.1".to_owned()])
    }

    /// With a certificate for these names and addresses.
    pub(crate) fn naming(names: &[String]) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        let day = Duration::from_hours(24);
        let pair = issue::self_signed(names, SystemTime::now(), day).unwrap();
        files.write("tls.crt", &pair.certificate);
        files.write("tls.key", &pair.key);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

/// The environment that the image gives its binary: it tells the allocator how long to keep freed memory.
fn environment_of_image() -> Vec<(String, String)> {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let settings =
        dockerfile.lines().filter_map(|line| line.strip_prefix("ENV ")).flat_map(str::split_whitespace);
    settings
        .map(|setting| setting.split_once('=').unwrap())
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// A server that runs until this is dropped.
pub(crate) struct Server {
    process: Child,
    /// Where it answers reviews.
    pub(crate) address: SocketAddr,
    /// Where ours answers probes and scrapes.
    admin: Option<SocketAddr>,
    /// From the start of its process until it said that it is ready.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts ours with this mapping, and with the log that the chart gives it. The log goes into a pipe that
    /// is read, as a container runtime does.
    pub(crate) fn ours(binary: &Path, files: &Files, mapping: &Path) -> Self {
        let (address, admin) = (free_address(), free_address());
        let mut command = Command::new(binary);
        command.arg("serve").arg("--mapping").arg(mapping).args(["--log-format", "json"]);
        command.arg("--tls-cert").arg(files.path("tls.crt")).arg("--tls-key").arg(files.path("tls.key"));
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        Self::start(command, address, Some(admin), || is_ready(admin))
    }

    /// Starts the floor, which gives this answer to each review.
    pub(crate) fn floor(binary: &Path, files: &Files, answer: &Path) -> Self {
        let address = free_address();
        let mut command = Command::new(binary);
        command.arg(address.to_string()).args([files.path("tls.crt"), files.path("tls.key")]).arg(answer);
        Self::start(command, address, None, || TcpStream::connect(address).is_ok())
    }

    /// Starts what answers reviews here, and waits until it is ready.
    pub(crate) fn start(
        mut command: Command,
        address: SocketAddr,
        admin: Option<SocketAddr>,
        is_ready: impl Fn() -> bool,
    ) -> Self {
        command.envs(environment_of_image());
        let started = Instant::now();
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut log = process.stderr.take().unwrap();
        // It ends with the process.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        while !is_ready() {
            assert!(process.try_wait().unwrap().is_none(), "{command:?} ended");
            assert!(started.elapsed() < START, "{command:?} is not ready");
            pause(Duration::from_millis(1));
        }
        Self { process, address, admin, ready_after: started.elapsed() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The time that its threads have run on a core so far, in the kernel too.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name of the program, which may hold spaces, ends with the last parenthesis.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        // Linux counts here in hundredths of a second.
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Whether it has written a line for every review.
    pub(crate) fn has_logged_all(&self) -> bool {
        let Some(admin) = self.admin else { return true };
        let metrics = get(admin, "/metrics").unwrap();
        metrics.lines().any(|line| line.ends_with("dropped_log_lines_total 0"))
    }

    /// What it holds of the machine's memory now, and the most that it ever held, in bytes.
    pub(crate) fn resident(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ours and the floor, started to answer one review alike.
pub(crate) struct Contenders {
    pub(crate) files: Files,
    /// The file of the review.
    pub(crate) review: PathBuf,
    servers: [(Which, Server); 2],
}

impl Contenders {
    /// Starts these binaries, ours with ten rules. The floor answers what ours answered.
    pub(crate) fn start(binary: impl Fn(Which) -> PathBuf, review: &[u8]) -> Self {
        let files = Files::new();
        let mapping = files.write("mapping.yaml", reviews::mapping(10));
        let ours = Server::ours(&binary(Which::Ours), &files, &mapping);
        let answer = Client::new(&files, Resumption::disabled()).post(ours.address, review).body;
        assert!(answer.windows(7).any(|bytes| bytes == b"\"patch\""), "the last rule gives a role");
        let answer = files.write("answer.json", answer);
        let floor = Server::floor(&binary(Which::Floor), &files, &answer);
        let review = files.write("review.json", review);
        Self { files, review, servers: [(Which::Ours, ours), (Which::Floor, floor)] }
    }

    /// Both, in an order that changes from round to round.
    pub(crate) fn in_turns(&self, round: usize) -> [&(Which, Server); 2] {
        let [ours, floor] = &self.servers;
        if round.is_multiple_of(2) { [ours, floor] } else { [floor, ours] }
    }
}

/// What a server answers, with its head.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    io::read_to_string(stream)
}

/// Whether ours says at its admin address that it is ready.
pub(crate) fn is_ready(admin: SocketAddr) -> bool {
    get(admin, "/readyz").is_ok_and(|answer| answer.contains(" 200 "))
}

/// An address of this machine on which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "there is nothing else to do on this thread")]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}
