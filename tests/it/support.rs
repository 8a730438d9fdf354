//! What several tests need: a running binary, objects, mappings, and waiting with a deadline.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use gitlab_iam_webhook::tls::{Pair as TlsPair, issue};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::schema;
pub(crate) use crate::things::{REPLICASET_CONTROLLER, RUNNER, Thing, chart_labels};

/// How long anything may take that is waited for. Long, because machines are slow; nothing waits that long
/// when it works.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn ruleset(text: &str) -> Ruleset {
    ruleset_within(text, &OperatorPolicy::default())
}

pub(crate) fn ruleset_within(text: &str, bounds: &OperatorPolicy) -> Ruleset {
    let ruleset = mapping::compile(text, bounds).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    schema::assert_takes(text);
    ruleset
}

/// The reviews that a real API server sent, by name.
pub(crate) fn captured_reviews() -> Vec<(String, Vec<u8>)> {
    let mut reviews: Vec<_> = fs::read_dir(data("reviews"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    reviews.sort();
    assert_eq!(reviews.len(), 15);
    reviews
}

/// The review of an edit of the mapping's ConfigMap, from the old text to the new one.
pub(crate) fn edit(operation: &str, old: Option<&str>, new: Option<&str>) -> Value {
    let config_map = |text: &str| serde_json::json!({"metadata": {"name": "role-mapping"}, "data": {"mapping.yaml": text}});
    serde_json::json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "operation": operation,
            "namespace": "a", "name": "role-mapping", "object": new.map(config_map), "oldObject": old.map(config_map),
        },
    })
}

/// The patch of an answer, decoded.
pub(crate) fn patch_of(answer: &Value) -> Value {
    use base64::Engine as _;
    match answer["response"]["patch"].as_str() {
        Some(patch) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        }
        None => Value::Array(Vec::new()),
    }
}

/// Polls until it holds, or fails with what was waited for.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        ticks.tick().await;
    }
}

pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    });
}

/// A certificate for loopback.
pub(crate) fn certificate() -> TlsPair {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    issue::self_signed(&names, std::time::SystemTime::now(), Duration::from_hours(1)).unwrap()
}

/// The real binary, serving on free ports of loopback.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) mapping: PathBuf,
    pub(crate) tls: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    /// The log is read by whoever holds it.
    reading: Arc<tokio::sync::Mutex<()>>,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start(mapping: &str) -> Self {
        Self::start_with(mapping, &[]).await
    }

    pub(crate) async fn start_with(mapping: &str, arguments: &[&str]) -> Self {
        install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let mapping_path = folder.path().join("mapping.yaml");
        fs::write(&mapping_path, mapping).unwrap();
        let tls = folder.path().join("tls");
        fs::create_dir(&tls).unwrap();
        write_secret(&tls, &certificate(), 0);
        let mut child = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .arg("--mapping")
            .arg(&mapping_path)
            .arg("--tls-cert")
            .arg(tls.join("tls.crt"))
            .arg("--tls-key")
            .arg(tls.join("tls.key"))
            .args(arguments)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let sink = Arc::clone(&lines);
        let reading = Arc::new(tokio::sync::Mutex::new(()));
        let reader = Arc::clone(&reading);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                let _reading = reader.lock().await;
                sink.lock().unwrap().push(line);
            }
        });
        let mut server = Self {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            mapping: mapping_path,
            tls,
            lines,
            reading,
            _folder: folder,
        };
        let started = server.logged("serving").await;
        server.address = started["address"].as_str().unwrap().parse().unwrap();
        server.admin = started["admin_address"].as_str().unwrap().parse().unwrap();
        server
    }

    /// The first log line with this message, waited for.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        let mut found = None;
        eventually(&format!("log line {message:?} in {:#?}", self.lines.lock().unwrap()), async || {
            found = self
                .log()
                .into_iter()
                .find(|line| line["message"].as_str().is_some_and(|text| text.contains(message)));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Nobody reads the log until what is returned is dropped.
    pub(crate) async fn log_unread(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.reading).lock_owned().await
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.address.port())
    }

    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The value of one series, by its whole line but the value.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.admin("/metrics").await;
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        self.client_from([127, 0, 0, 1])
    }

    /// A client that trusts the certificate now on disk, from this address of loopback.
    pub(crate) fn client_from(&self, source: [u8; 4]) -> reqwest::Client {
        let pem = fs::read(self.tls.join("tls.crt")).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
            .local_address(std::net::IpAddr::from(source))
            .tls_info(true)
            .timeout(DEADLINE)
            .build()
            .unwrap()
    }

    pub(crate) async fn post(
        &self,
        client: &reqwest::Client,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        let request = client.post(self.url(path)).header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let status = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; its exit status.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("the server ends").unwrap()
    }
}

/// Lays files out as the kubelet does for a Secret volume: `tls.crt -> ..data/tls.crt`, `..data -> ..N`,
/// swapped by rename.
pub(crate) fn write_secret(folder: &Path, pair: &TlsPair, generation: u32) {
    let version = folder.join(format!("..{generation}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("tls.crt"), &pair.certificate).unwrap();
    fs::write(version.join("tls.key"), &pair.key).unwrap();
    let new_data = folder.join("..data_tmp");
    std::os::unix::fs::symlink(version.file_name().unwrap(), &new_data).unwrap();
    fs::rename(&new_data, folder.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let link = folder.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
}

/// Runs a program of ours in a folder, where no cluster is known: how it exited, and what it printed on
/// standard output and on standard error.
pub(crate) fn run_in(folder: &Path, program: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("KUBECONFIG", folder.join("no-kubeconfig"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
