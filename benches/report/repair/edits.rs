//! What does one edit of the mapping cost that changes the role of all ServiceAccounts?

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::calls::{Audit, Calls};
use crate::stage::{Extra, Hook, Stage, deployed};
use crate::subject::{Files, Server, Which, free_address, is_ready, pause};

const OURS: &str = "gitlab-iam-webhook";
const GITLAB: &str = "gitlab";
const ROLE: &str = "eks.amazonaws.com/role-arn";

/// Clients that make ServiceAccounts.
const MAKERS: usize = 8;

const DEADLINE: Duration = Duration::from_mins(5);

/// How long replicas are left alone before their memory is read.
const REST: Duration = Duration::from_secs(3);

/// The repair has come to its end when no call came for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// An edit that changed the role of all.
pub(crate) struct Edit {
    pub(crate) objects: usize,
    pub(crate) replicas: usize,
    pub(crate) seconds: f64,
    pub(crate) calls: Calls,
    /// MiB of the replica that holds most: before the edit, and the most that it ever held.
    pub(crate) rest: f64,
    pub(crate) peak: f64,
}

pub(crate) struct Cluster {
    stage: Stage,
    audit: Audit,
    files: Files,
    /// Where the first replica answers reviews.
    address: SocketAddr,
    edits: usize,
}

impl Cluster {
    /// With the rights and the registration of the chart, and the Service leading to one replica.
    pub(crate) fn start() -> Self {
        let audit = Audit::new();
        let more = audit.arguments();
        let stage = Stage::start(Extra { api_server: &more, ..Extra::default() });
        stage.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OURS}}));
        let files = Files::naming(&[format!("{OURS}.{OURS}.svc")]);
        let address = free_address();
        let trusted = fs::read(files.path("tls.crt")).unwrap();
        let client_config = |path: &str| {
            stage.client_config(&Hook { address, service: (OURS, OURS), path, trusted: &trusted })
        };
        for mut object in deployed() {
            let kind = object["kind"].as_str().unwrap().to_owned();
            if kind.ends_with("WebhookConfiguration") {
                for entry in object["webhooks"].as_array_mut().unwrap() {
                    let path = entry["clientConfig"]["service"]["path"].as_str().unwrap().to_owned();
                    entry["clientConfig"] = client_config(&path);
                }
                stage.apply(&object);
            } else if kind.contains("Role") || kind == "ServiceAccount" {
                stage.apply(&object);
            }
        }
        let cluster = Self { stage, audit, files, address, edits: 0 };
        let metadata = json!({"namespace": OURS, "name": "role-mapping"});
        let mapping =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": cluster.data()});
        cluster.stage.apply(&mapping);
        // The webhook itself is not needed to make this one.
        cluster.stage.namespace(GITLAB);
        cluster
    }

    fn role(&self) -> String {
        format!("role-{}", self.edits)
    }

    fn data(&self) -> Value {
        let text = format!(
            "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: \"gitlab-*\"}}, role: {}}}\n",
            self.role()
        );
        json!({"mapping.yaml": text})
    }

    /// One of the replicas, with a token of its own, so that its calls can be told from the other's.
    pub(crate) fn replica(&self, number: usize) -> Server {
        let token =
            self.stage.kubectl(&["create", "token", OURS, "--namespace", OURS, "--duration", "1h"], "");
        let kubeconfig = self.stage.kubeconfig_of(&format!("replica-{number}"), token.trim());
        let address = if number == 0 { self.address } else { free_address() };
        let admin = free_address();
        let mut command = Command::new(Which::Ours.binary());
        command.args(["serve", "--repair", "--log-format", "json"]).env("KUBECONFIG", kubeconfig);
        command.args(["--mapping-config-map", &format!("{OURS}/role-mapping")]);
        command.args(["--except-namespace", "kube-system", "--except-namespace", OURS]);
        command.arg("--tls-cert").arg(self.files.path("tls.crt"));
        command.arg("--tls-key").arg(self.files.path("tls.key"));
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        Server::start(command, address, Some(admin), || is_ready(admin))
    }

    /// Makes ServiceAccounts, which get the role of the mapping at once.
    pub(crate) fn make(&self, numbers: std::ops::Range<usize>) {
        let path = format!("/api/v1/namespaces/{GITLAB}/serviceaccounts");
        thread::scope(|scope| {
            for maker in 0..MAKERS {
                let (path, mut numbers) = (&path, numbers.clone().skip(maker).step_by(MAKERS));
                scope.spawn(move || {
                    let mut api = self.stage.connect();
                    numbers.by_ref().for_each(|number| {
                        let metadata = json!({"name": format!("gitlab-{number}")});
                        let made = api.post(path, &json!({"metadata": metadata}));
                        assert!(made["metadata"]["annotations"][ROLE].is_string(), "{made}");
                    });
                });
            }
        });
    }

    pub(crate) fn edit(&mut self, objects: usize, replicas: usize) -> Edit {
        let servers: Vec<Server> = (0..replicas).map(|number| self.replica(number)).collect();
        pause(REST);
        let most = |of: fn((u64, u64)) -> u64| {
            let bytes = servers.iter().map(|server| of(server.resident())).max().unwrap();
            bytes as f64 / f64::from(1 << 20)
        };
        let rest = most(|(now, _)| now);
        let accounts = format!("/api/v1/namespaces/{GITLAB}/serviceaccounts");
        let mut api = self.stage.connect();
        let listed = api.get(&format!("{accounts}?limit=1"));
        let version = listed["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let position = self.audit.position();
        self.edits += 1;
        let role = format!("arn:aws:iam::123456789012:role/{}", self.role());
        let begun = Instant::now();
        let mapping = format!("/api/v1/namespaces/{OURS}/configmaps/role-mapping");
        api.ask(Method::PATCH, &mapping, &json!({"data": self.data()}));
        let mut done = HashSet::new();
        self.stage.api.watch(&accounts, version, DEADLINE, |event| {
            let metadata = &event["object"]["metadata"];
            if metadata["annotations"][ROLE] == *role {
                done.insert(metadata["name"].to_string());
            }
            done.len() == objects
        });
        let seconds = begun.elapsed().as_secs_f64();
        self.settle();
        Edit {
            objects,
            replicas,
            seconds,
            calls: self.audit.since(position),
            rest,
            peak: most(|(_, peak)| peak),
        }
    }

    fn settle(&self) {
        let mut position = 0;
        while position != self.audit.position() {
            position = self.audit.position();
            pause(SETTLED);
        }
    }
}

impl Edit {
    pub(crate) fn patches_of_each(&self) -> f64 {
        self.calls.patches as f64 / self.objects as f64
    }

    pub(crate) fn milliseconds_of_each(&self) -> f64 {
        self.seconds * 1000.0 / self.objects as f64
    }
}
