//! One cluster for the run, and one test at a time on it: what is installed is there for the whole cluster.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use crate::commands::{Done, ROLE, eventually, eventually_within, gitlab_chart, root};
use crate::commands::{run, script, start};

/// Where the webhook is installed, and what its objects are called.
pub(crate) const OURS: &str = "gitlab-iam-webhook";

const STATE: &str = "/run/gitlab-iam-webhook-node";

/// The namespaces that tests make.
const LABEL: &str = "gitlab-iam-webhook-test=node";

struct Cluster {
    kubeconfig: PathBuf,
    image: String,
    /// The node that was made for this run. Closing its standard input ends it; the system does so when we
    /// are gone.
    own: Option<(Child, ChildStdin)>,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| match std::env::var_os("KUBECONFIG") {
        Some(kubeconfig) => Cluster {
            kubeconfig: kubeconfig.into(),
            image: std::env::var("IMAGE")
                .expect("with KUBECONFIG give IMAGE too, REPOSITORY:TAG, an image of this version that the cluster can pull"),
            own: None,
        },
        None => Cluster::make(),
    })
}

impl Cluster {
    fn make() -> Self {
        script("tests/kube/build", &["node"]);
        script("tests/node/binary", &[]);
        // As deploy/ names it.
        let image = format!("ghcr.io/gitlab-iam-webhook/gitlab-iam-webhook:{}", env!("CARGO_PKG_VERSION"));
        let archive = root().join("target/image.tar").display().to_string();
        script("tests/node/image", &[&image, &archive]);
        let own = start("tests/node/up", &[archive.as_ref()]);
        Self { kubeconfig: Path::new(STATE).join("kubeconfig"), image, own: Some(own) }
    }
}

/// The cluster, for one test.
pub(crate) struct Stage {
    _turn: MutexGuard<'static, ()>,
    folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = Self { _turn: turn, folder: tempfile::tempdir().unwrap() };
        stage.clear();
        stage
    }

    /// The same, where the test needs what only the node of `tests/node/up` has; none on a cluster of one's
    /// own, and it is said.
    pub(crate) fn on_our_node(what: &str) -> Option<Self> {
        if cluster().own.is_none() {
            let mut past_the_capture = std::io::stderr();
            writeln!(past_the_capture, "not run on a cluster of your own: {what}").unwrap();
            return None;
        }
        Some(Self::new())
    }

    /// Nothing of an earlier test, or of a run that was killed.
    fn clear(&self) {
        // With the level that the chart promises to fit.
        self.namespace(OURS, "pod-security.kubernetes.io/enforce=restricted");
        for helm in ["helm", "helm3"] {
            self.run(helm, &["uninstall", OURS, "--namespace", OURS, "--ignore-not-found", "--wait"]).good();
        }
        let objects = [
            "mutatingwebhookconfiguration",
            "validatingwebhookconfiguration",
            "validatingadmissionpolicy",
            "validatingadmissionpolicybinding",
            "clusterrole",
            "clusterrolebinding",
        ];
        let objects = objects.join(",");
        let ours =
            ["delete", &objects, "-l", "app.kubernetes.io/name=gitlab-iam-webhook", "--ignore-not-found"];
        self.kubectl(&ours).good();
        self.kubectl(&["delete", "namespace", "-l", LABEL, "--timeout", "2m"]).good();
        // With the level that the chart promises to fit.
        self.namespace(OURS, "pod-security.kubernetes.io/enforce=restricted");
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Done {
        self.run_with(tool, arguments, "")
    }

    pub(crate) fn run_with(&self, tool: &str, arguments: &[&str], input: &str) -> Done {
        run(tool, &cluster().kubeconfig, self.folder.path(), arguments, input)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Done {
        self.run("kubectl", arguments)
    }

    /// With the token of the webhook's own account, and nothing else.
    pub(crate) fn as_the_webhook(&self, arguments: &[&str]) -> Done {
        let token = self.kubectl(&["create", "token", OURS, "--namespace", OURS]).good().out;
        let view = self.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).good().out;
        let mut config: Value = serde_json::from_str(&view).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let kubeconfig = self.folder.path().join("as-the-webhook");
        fs::write(&kubeconfig, config.to_string()).unwrap();
        run("kubectl", &kubeconfig, self.folder.path(), arguments, "")
    }

    pub(crate) fn kubeconfig() -> &'static Path {
        &cluster().kubeconfig
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn image() -> (&'static str, &'static str) {
        cluster().image.rsplit_once(':').unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let done = self.kubectl(&[arguments, &["-o", "json"]].concat()).good();
        serde_json::from_str(&done.out).unwrap()
    }

    pub(crate) fn apply(&self, object: &Value) -> Done {
        self.run_with("kubectl", &["apply", "-f", "-"], &object.to_string()).good()
    }

    /// With a label, `KEY=VALUE`. Never one that was there before the tests.
    pub(crate) fn namespace(&self, name: &str, label: &str) {
        match self.run("kubectl", &["get", "namespace", name, "-o", "jsonpath={.metadata.labels}"]) {
            found if found.ok => assert!(
                found.out.contains("\"gitlab-iam-webhook-test\":\"node\""),
                "the cluster has a namespace {name} that these tests did not make: they need another cluster"
            ),
            _ => drop(self.kubectl(&["create", "namespace", name]).good()),
        }
        self.kubectl(&["label", "namespace", name, "--overwrite", LABEL, label]).good();
    }

    pub(crate) fn opt_in(&self, name: &str, how: &str) {
        self.namespace(name, &format!("gitlab-iam-webhook/inject={how}"));
    }

    /// helm VERB of our chart, with these values; waits until it is ready.
    pub(crate) fn chart(&self, helm: &str, verb: &str, values: &[&str]) -> Done {
        let chart = root().join("charts/gitlab-iam-webhook").display().to_string();
        let (repository, tag) = Self::image();
        let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
        let mut arguments = vec![verb, OURS, &chart, "--namespace", OURS, "--wait", "--timeout", "2m"];
        arguments.extend(["--set", &repository, "--set", &tag]);
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.run(helm, &arguments)
    }

    /// Installs it with Helm 4.
    pub(crate) fn install(&self, values: &[&str]) {
        self.chart("helm", "install", values).good();
    }

    /// A chart shaped like GitLab's.
    pub(crate) fn gitlab(&self, components: &[&str]) -> String {
        gitlab_chart(&self.folder.path().join("gitlab"), components)
    }

    /// As `kubectl edit` of the starter would. What is printed for whoever edits it.
    pub(crate) fn map(&self, mapping: &str) -> String {
        let patch = json!({"data": {"mapping.yaml": mapping}}).to_string();
        let arguments =
            ["patch", "configmap", "role-mapping", "--namespace", OURS, "--type", "merge", "-p", &patch];
        eventually("the starter is there", || {
            self.kubectl(&["get", "configmap", "role-mapping", "-n", OURS]).ok.then_some(())
        });
        self.kubectl(&arguments).good().err
    }

    pub(crate) fn role(&self, namespace: &str, account: &str) -> Option<String> {
        let done = self.kubectl(&["get", "serviceaccount", account, "--namespace", namespace, "-o", "json"]);
        let object: Value = serde_json::from_str(&done.ok.then_some(done.out)?).unwrap();
        object["metadata"]["annotations"][ROLE].as_str().map(str::to_owned)
    }

    /// The names of the webhook's Pods that are not on their way out.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let pods = self.json(&[
            "get",
            "pods",
            "--namespace",
            OURS,
            "-l",
            "app.kubernetes.io/name=gitlab-iam-webhook",
        ]);
        let pods = pods["items"].as_array().unwrap().iter();
        pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
    }

    pub(crate) fn pod_names(&self) -> Vec<String> {
        self.pods().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn wait_until_rolled_out(&self) {
        let deployment = format!("deployment/{OURS}");
        self.kubectl(&["rollout", "status", &deployment, "--namespace", OURS, "--timeout", "2m"]).good();
        eventually("the old Pods have gone", || (self.pods().len() == 2).then_some(()));
    }

    /// A metric, added up over the replicas.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.pod_names().iter().map(|pod| self.metric_of(pod, name)).sum()
    }

    fn metric_of(&self, pod: &str, name: &str) -> u64 {
        let path = format!("/api/v1/namespaces/{OURS}/pods/{pod}:8080/proxy/metrics");
        let text = self.kubectl(&["get", "--raw", &path]).good().out;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse::<u64>().unwrap())
    }

    /// The replica that has answered most: API servers keep their connections, so that another one may have
    /// nothing to do.
    pub(crate) fn busiest(&self) -> Value {
        let answered = "gitlab_iam_webhook_review_duration_seconds_count";
        let pods = self.pods().into_iter();
        pods.max_by_key(|pod| self.metric_of(pod["metadata"]["name"].as_str().unwrap(), answered)).unwrap()
    }

    /// What all replicas have logged, and those before a restart of theirs.
    pub(crate) fn log(&self) -> String {
        let selector = "app.kubernetes.io/name=gitlab-iam-webhook";
        self.kubectl(&["logs", "--namespace", OURS, "-l", selector, "--prefix", "--tail=-1"]).good().out
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Where there is no cluster, its absence was the failure.
        if CLUSTER.get().is_none() {
            return;
        }
        if std::thread::panicking() {
            let tell = ["get", "pods,events,mutatingwebhookconfigurations", "--namespace", OURS];
            println!("{}", self.kubectl(&tell).out);
            println!(
                "{}",
                self.kubectl(&[
                    "logs",
                    "--namespace",
                    OURS,
                    "-l",
                    "app.kubernetes.io/name=gitlab-iam-webhook",
                    "--prefix",
                    "--tail=40"
                ])
                .out
            );
        } else {
            // A cluster of somebody's own is left as it was.
            self.clear();
            self.kubectl(&["delete", "namespace", OURS, "--wait=false"]).good();
        }
    }
}

/// Where the node keeps its files.
pub(crate) fn state(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}

/// How long faults go on: 10 seconds, or `FAULT_SECONDS`, as `make chaos` sets it.
pub(crate) fn fault_seconds() -> Duration {
    let seconds = std::env::var("FAULT_SECONDS").map_or(10, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// A mapping that gives every account whose name begins with `prefix` this role.
pub(crate) fn mapping(prefix: &str, role: &str) -> String {
    format!(
        "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: \"{prefix}*\"}}, role: {role}}}\n"
    )
}

pub(crate) fn arn(role: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{role}")
}

/// The process of a Pod of ours on the node, as this machine numbers it.
pub(crate) fn process_of(pod: &Value) -> String {
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    // Found by the control group that the kubelet made for the Pod.
    let pids = Command::new("pgrep").args(["-x", "gitlab-iam-webh"]).output().unwrap();
    let pids = String::from_utf8(pids.stdout).unwrap();
    let of_the_pod = pids.lines().find(|pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(uid) || groups.contains(&uid.replace('-', "_"))
    });
    of_the_pod.expect("the Pod's process").to_owned()
}
