//! One cluster for the run, a namespace for each test, and the real webhook in front of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use gitlab_iam_webhook::tls::issue;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::commands::{Done, gitlab_chart, path_of, root, run, script};
pub(crate) use crate::commands::{ROLE, eventually, eventually_within};
pub(crate) use crate::control_plane::{Cluster, ISSUER, free_port};

pub(crate) const POD_ROLE: &str = "iam.amazonaws.com/role";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        script("tests/kube/build", &[]);
        Cluster::start(ISSUER, ISSUER)
    })
}

impl Cluster {
    /// A new one that lasts as long as the run, for a test to which matters what others leave behind: each
    /// policy that others made takes its time at every write.
    pub(crate) fn of_its_own() -> &'static Self {
        cluster();
        Box::leak(Box::new(Self::start(ISSUER, ISSUER)))
    }

    /// The one of the whole run.
    pub(crate) fn shared() -> &'static Self {
        cluster()
    }

    /// `kubectl proxy`: the API server in plain HTTP.
    pub(crate) fn proxy(&self) -> Proxy {
        let port = free_port();
        let child = Command::new(path_of("kubectl"))
            .args(["proxy", "--port", &port])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Proxy { child, port: port.parse().unwrap() };
        eventually("kubectl proxies", || TcpStream::connect(("127.0.0.1", proxy.port)).ok());
        proxy
    }
}

#[test]
fn a_cluster_ends_with_whoever_started_it_and_leaves_nothing() {
    cluster();
    let other = Cluster::start(ISSUER, ISSUER);
    let work = other.folder().to_owned();
    let servers = || {
        let listed = Command::new("ps").args(["-eo", "args"]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).matches(&*work.to_string_lossy()).count()
    };
    assert!(servers() >= 1, "they are known by their folder");
    let _folder = other.end();
    assert_eq!(servers(), 0);
    assert!(!work.exists());
}

/// A namespace of its own in the cluster.
pub(crate) struct Space {
    pub(crate) name: String,
    folder: TempDir,
    cluster: &'static Cluster,
}

impl Space {
    /// Opted in to webhooks that are registered for it.
    pub(crate) fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{test}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::named(&name, &json!({"gitlab-iam-webhook/inject": "enabled"}))
    }

    /// With a name that a test shows, and that no other test uses.
    pub(crate) fn named(name: &str, labels: &Value) -> Self {
        Self::within(cluster(), name, labels)
    }

    /// In a cluster of its own.
    pub(crate) fn within(cluster: &'static Cluster, name: &str, labels: &Value) -> Self {
        let space = Self { name: name.to_owned(), folder: tempfile::tempdir().unwrap(), cluster };
        let metadata = json!({"name": name, "labels": labels});
        space.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        space
    }

    /// Builds them where they are missing.
    pub(crate) fn tools() {
        cluster();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A kubeconfig with the rights of this token, in this space's folder.
    pub(crate) fn kubeconfig(&self, token: &str) -> PathBuf {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let admin = fs::read_to_string(&self.cluster.kubeconfig).unwrap();
        fs::write(&kubeconfig, admin.replace("admin-token", token)).unwrap();
        kubeconfig
    }

    /// In no namespace, or in those that the objects name.
    pub(crate) fn run_anywhere(&self, tool: &str, arguments: &[&str], input: &str) -> Done {
        run(tool, &self.cluster.kubeconfig, self.folder.path(), arguments, input)
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str], input: &str) -> Done {
        let arguments = [arguments, &["--namespace", &self.name]].concat();
        run(tool, &self.cluster.kubeconfig, self.folder.path(), &arguments, input)
    }

    /// What a command prints in a terminal, in this space's folder.
    pub(crate) fn shell(&self, command: &str) -> String {
        let tools = path_of("kubectl").parent().unwrap().display().to_string();
        let path = format!("{tools}:{}", std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Done::of(&output).out
    }

    /// `kubectl edit` of a ConfigMap, with sed for an editor; how it ended, and what the editor was shown.
    pub(crate) fn edit(&self, name: &str, change: &str) -> (Done, String) {
        let editor = self.folder.path().join("editor");
        // Where the edit is refused the editor is opened again: without another change kubectl gives up.
        let shown = self.folder.path().join("shown");
        let script = format!("#!/bin/sh\ncat \"$1\" >>{}\nsed -i -e '{change}' \"$1\"\n", shown.display());
        fs::write(&editor, script).unwrap();
        fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = Command::new(path_of("kubectl"))
            .args(["edit", "configmap", name, "--namespace", &self.name])
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .env("KUBE_EDITOR", &editor)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (Done::of(&output), fs::read_to_string(shown).unwrap())
    }

    /// Our own command line against the cluster, with the rights of an admin or of another kubeconfig. How it
    /// exited, and what it printed on standard output and on standard error.
    pub(crate) fn ours(kubeconfig: Option<&Path>, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.unwrap_or(&cluster().kubeconfig))
            .output()
            .unwrap();
        let Done { out, err, .. } = Done::of(&output);
        (output.status.code().unwrap(), out, err)
    }

    /// A kubeconfig with the rights of this token, and no more.
    pub(crate) fn kubeconfig_with(&self, token: &str) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let file = format!("kubeconfig-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let kubeconfig = self.folder.path().join(file);
        let admin = fs::read_to_string(&self.cluster.kubeconfig).unwrap();
        fs::write(&kubeconfig, admin.replace("admin-token", token)).unwrap();
        kubeconfig
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Done {
        self.run("kubectl", arguments, "")
    }

    pub(crate) fn try_apply(&self, object: &Value, arguments: &[&str]) -> Done {
        self.run("kubectl", &[&["apply", "-f", "-"], arguments].concat(), &object.to_string())
    }

    pub(crate) fn apply(&self, object: &Value) -> Done {
        self.try_apply(object, &[]).good()
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let done = self.kubectl(&["get", kind, name, "-o", "json", "--show-managed-fields"]);
        done.ok.then(|| serde_json::from_str(&done.out).unwrap())
    }

    pub(crate) fn annotation(&self, kind: &str, name: &str, key: &str) -> Option<String> {
        self.get(kind, name)?["metadata"]["annotations"][key].as_str().map(str::to_owned)
    }

    /// Writes the mapping's ConfigMap past every webhook but ours.
    pub(crate) fn map(&self, mapping: &str) -> Done {
        self.try_apply(
            &json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping"},
                "data": {"mapping.yaml": mapping},
            }),
            &["--server-side", "--force-conflicts"],
        )
    }

    /// A chart as GitLab's are labelled, in a folder of its own.
    pub(crate) fn chart(&self, components: &[&str]) -> String {
        gitlab_chart(&self.folder.path().join("chart"), components)
    }

    /// Starts the webhook on this namespace's ConfigMap, and registers it for this namespace alone.
    pub(crate) fn webhook(&self, failure_policy: &str) -> Webhook {
        let webhook = Webhook::start(self, &[]);
        self.register(&webhook, failure_policy);
        webhook
    }

    pub(crate) fn register(&self, webhook: &Webhook, failure_policy: &str) {
        self.register_at(webhook, failure_policy, "/mutate");
    }

    /// Another webhook behind the first, on ServiceAccounts alone.
    pub(crate) fn register_second(&self, webhook: &Webhook) {
        let entry = self.entry(webhook, "second", "/mutate", "Fail", "serviceaccounts", &["CREATE"]);
        self.apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            // Webhooks are asked in the order of their configurations' names.
            "metadata": {"name": format!("{}-z", self.name)}, "webhooks": [entry],
        }));
        self.probe(webhook);
    }

    /// Registers each replica as an entry of its own, without a caBundle: that is theirs to write.
    pub(crate) fn register_unsigned(&self, replicas: &[&Webhook], change: impl Fn(&mut Value)) {
        let entries: Vec<Value> = replicas
            .iter()
            .enumerate()
            .map(|(n, replica)| {
                let name = format!("replica-{n}");
                let mut entry =
                    self.entry(replica, &name, "/mutate", "Fail", "serviceaccounts", &["CREATE", "UPDATE"]);
                entry["clientConfig"].as_object_mut().unwrap().remove("caBundle");
                change(&mut entry);
                entry
            })
            .collect();
        self.apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.name}, "webhooks": entries,
        }));
    }

    /// The caBundle of each entry, base64.
    pub(crate) fn bundles(&self) -> Vec<Option<String>> {
        let configuration = self.get("mutatingwebhookconfiguration", &self.name).unwrap();
        let webhooks = configuration["webhooks"].as_array().unwrap();
        let bundle = |webhook: &Value| webhook["clientConfig"]["caBundle"].as_str().map(str::to_owned);
        webhooks.iter().map(bundle).collect()
    }

    /// `kubectl proxy`: the API server in plain HTTP.
    pub(crate) fn proxy() -> Proxy {
        cluster().proxy()
    }

    fn entry(
        &self,
        webhook: &Webhook,
        name: &str,
        path: &str,
        policy: &str,
        resource: &str,
        operations: &[&str],
    ) -> Value {
        let bundle = base64::engine::general_purpose::STANDARD.encode(&webhook.certificate);
        json!({
            "name": format!("{name}.gitlab-iam-webhook.example.com"),
            "clientConfig": {"url": format!("https://127.0.0.1:{}{path}", webhook.port), "caBundle": bundle},
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 10,
            "failurePolicy": policy,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.name, "gitlab-iam-webhook/inject": "enabled"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": [resource], "operations": operations}],
        })
    }

    /// A configuration takes effect in the API server some moments after it is stored.
    fn probe(&self, webhook: &Webhook) {
        eventually("the API server asks the webhook", || {
            let probe =
                self.kubectl(&["create", "serviceaccount", "probe", "--dry-run=server", "-o", "name"]);
            (probe.ok && webhook.has_seen("\"name\":\"probe\"")).then_some(())
        });
    }

    pub(crate) fn register_at(&self, webhook: &Webhook, failure_policy: &str, path: &str) {
        let mut mutating = [
            self.entry(webhook, "accounts", path, failure_policy, "serviceaccounts", &["CREATE", "UPDATE"]),
            self.entry(webhook, "pods", path, failure_policy, "pods", &["CREATE"]),
        ];
        for entry in &mut mutating {
            entry["reinvocationPolicy"] = "IfNeeded".into();
        }
        let mut validating =
            self.entry(webhook, "mapping", "/validate", "Ignore", "configmaps", &["CREATE", "UPDATE"]);
        validating["matchConditions"] = json!([{"name": "mapping", "expression": what_is_validated()}]);
        let configuration = |kind: &str, webhooks: Value| {
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": self.name}, "webhooks": webhooks,
            })
        };
        self.apply(&configuration("MutatingWebhookConfiguration", json!(mutating)));
        self.apply(&configuration("ValidatingWebhookConfiguration", json!([validating])));
        if webhook.is_up() {
            self.probe(webhook);
        }
    }
}

/// Which ConfigMaps the chart sends to `/validate`, as `deploy/make` renders it.
fn what_is_validated() -> String {
    let manifests = fs::read_to_string(root().join("deploy/gitlab-iam-webhook.yaml")).unwrap();
    let (_, configuration) = manifests.split_once("\nkind: ValidatingWebhookConfiguration\n").unwrap();
    let expression = configuration.lines().find_map(|line| line.trim().strip_prefix("expression: "));
    expression.unwrap().to_owned()
}

/// Ends with the test.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The real binary, told its mapping by the cluster.
pub(crate) struct Webhook {
    child: Mutex<Option<Child>>,
    pub(crate) port: u16,
    certificate: Vec<u8>,
    lines: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Webhook {
    pub(crate) fn start(space: &Space, arguments: &[&str]) -> Self {
        let port = free_port().parse().unwrap();
        Self::start_on(space, port, arguments)
    }

    pub(crate) fn start_on(space: &Space, port: u16, arguments: &[&str]) -> Self {
        Self::start_with(space, port, &space.cluster.kubeconfig, arguments)
    }

    /// With the rights of this token, and no more.
    pub(crate) fn start_as(space: &Space, token: &str, arguments: &[&str]) -> Self {
        let kubeconfig = space.kubeconfig(token);
        Self::start_with(space, free_port().parse().unwrap(), &kubeconfig, arguments)
    }

    /// One replica of several: its certificate is in the namespace's Secret, and the configurations are its
    /// to write.
    pub(crate) fn start_self_managed(space: &Space, arguments: &[&str]) -> Self {
        let port = free_port().parse().unwrap();
        let secret = format!("{}/tls", space.name);
        let mut all = vec![
            "--certificate-secret",
            &secret,
            "--certificate-name",
            "127.0.0.1",
            "--webhook-configuration",
            &space.name,
            "--watch-namespace",
            &space.name,
        ];
        all.extend(arguments);
        Self::spawn(space, port, &space.cluster.kubeconfig, &all, Vec::new(), tempfile::tempdir().unwrap())
    }

    /// Reaches the API server in plain HTTP by a port on loopback.
    pub(crate) fn start_through(space: &Space, port: u16, arguments: &[&str]) -> Self {
        let kubeconfig = space.folder.path().join(format!("through-{port}"));
        let cluster = json!({"name": "test", "cluster": {"server": format!("http://127.0.0.1:{port}")}});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test", "clusters": [cluster],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        Self::start_with(space, free_port().parse().unwrap(), &kubeconfig, arguments)
    }

    fn start_with(space: &Space, port: u16, kubeconfig: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ["127.0.0.1".to_owned()];
        let pair = issue::self_signed(&names, SystemTime::now(), Duration::from_hours(1)).unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        fs::write(&certificate, &pair.certificate).unwrap();
        fs::write(&key, &pair.key).unwrap();
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let mut all = vec!["--tls-cert", &certificate, "--tls-key", &key];
        all.extend(arguments);
        Self::spawn(space, port, kubeconfig, &all, pair.certificate, folder)
    }

    fn spawn(
        space: &Space,
        port: u16,
        kubeconfig: &Path,
        arguments: &[&str],
        certificate: Vec<u8>,
        folder: TempDir,
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
            .args(["serve", "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--log", "info,kube_client=off,gitlab_iam_webhook=debug"])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--mapping-config-map", &format!("{}/role-mapping", space.name)])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let child = Mutex::new(Some(child));
        let webhook = Self { child, port, certificate, lines, _folder: folder };
        webhook.wait_for("\"message\":\"serving\"");
        webhook
    }

    /// The certificate that it serves, as a caBundle.
    pub(crate) fn bundle(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(&self.certificate)
    }

    pub(crate) fn has_seen(&self, words: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(words))
    }

    pub(crate) fn count(&self, words: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn lines_where(&self, holds: impl Fn(&str) -> bool) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| holds(line)).count()
    }

    pub(crate) fn wait_for(&self, words: &str) {
        eventually(&format!("log line {words}"), || self.has_seen(words).then_some(()));
    }

    /// What `/readyz` or `/metrics` says: status and text.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let line =
            self.lines.lock().unwrap().iter().find(|line| line.contains("\"message\":\"serving\"")).cloned();
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let mut stream = TcpStream::connect(line["admin_address"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn wait_until_ready(&self) {
        eventually("the webhook is ready", || (self.admin("/readyz").0 == 200).then_some(()));
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.admin("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.trim_end_matches(".0").parse().unwrap()
    }

    /// The most memory that the process ever had, bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let id = self.child.lock().unwrap().as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    fn is_up(&self) -> bool {
        self.child.lock().unwrap().is_some()
    }

    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop();
    }
}
