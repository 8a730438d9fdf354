//! What every test against a cluster types: kubectl, helm, and a chart shaped like GitLab's.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) const ROLE: &str = "eks.amazonaws.com/role-arn";

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `KUBEBUILDER_ASSETS` takes the place of what it holds.
pub(crate) fn path_of(tool: &str) -> PathBuf {
    let brought = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(tool));
    brought.filter(|path| path.exists()).unwrap_or_else(|| root().join("target/kube/bin").join(tool))
}

/// Polls until it holds, or fails with what was waited for.
pub(crate) fn eventually<T>(what: &str, holds: impl FnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, holds)
}

/// The same for what takes longer.
pub(crate) fn eventually_within<T>(
    deadline: Duration,
    what: &str,
    mut holds: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Runs one of the project's own scripts, which says itself what is missing.
pub(crate) fn script(name: &str, arguments: &[&str]) {
    let status = Command::new(root().join(name)).args(arguments).status().unwrap();
    assert!(status.success(), "{name} says what is missing");
}

/// Starts a cluster, and waits until it is ready. It ends when its standard input is closed: the system does
/// so when we are gone.
pub(crate) fn start(script: &str, arguments: &[&OsStr]) -> (Child, ChildStdin) {
    let mut up = Command::new(root().join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{script} says why not");
    let stdin = up.stdin.take().unwrap();
    (up, stdin)
}

/// How a command ended.
pub(crate) struct Done {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert!(self.ok, "{}{}", self.out, self.err);
        self
    }
}

/// Runs one of the tools against a cluster. `home` is where it may leave its caches.
pub(crate) fn run(tool: &str, kubeconfig: &Path, home: &Path, arguments: &[&str], input: &str) -> Done {
    let mut child = Command::new(path_of(tool))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", home)
        // What `kubectl apply --prune` knows its objects by, also those of a server-side apply.
        .env("KUBECTL_APPLYSET", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Done::of(&child.wait_with_output().unwrap())
}

/// A chart whose ServiceAccounts are labelled as GitLab's are, in this folder.
pub(crate) fn gitlab_chart(folder: &Path, components: &[&str]) -> String {
    fs::create_dir_all(folder.join("templates")).unwrap();
    let metadata = json!({"apiVersion": "v2", "name": "gitlab", "version": "9.10.0"});
    fs::write(folder.join("Chart.yaml"), metadata.to_string()).unwrap();
    fs::write(folder.join("values.yaml"), "annotations: {}\n").unwrap();
    for component in components {
        let chart = if *component == "runner" { "gitlab-runner" } else { component };
        let template = format!(
            "apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{{{ .Release.Name }}}}-{component}
  labels:
    app: {component}
    chart: {chart}-9.10.0
    release: {{{{ .Release.Name }}}}
    heritage: Helm
  {{{{- with (index .Values.annotations \"{component}\") }}}}
  annotations: {{{{ toYaml . | nindent 4 }}}}
  {{{{- end }}}}
"
        );
        fs::write(folder.join(format!("templates/{component}.yaml")), template).unwrap();
    }
    folder.display().to_string()
}
