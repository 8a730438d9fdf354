//! How does a measurement get a real API server, with webhooks in front of it?
//!
//! Each webhook is registered by its Service. No kube-proxy runs here: the Service is of the type `ExternalName`, so
//! that the API server connects to the name in it, which is the address of this machine's loopback.

#[path = "../../tests/kube/commands.rs"]
#[expect(dead_code, reason = "tests type more")]
mod commands;
#[path = "../../tests/kube/control_plane.rs"]
#[expect(dead_code, reason = "tests look at more of a cluster")]
mod control_plane;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::connection::{Connection, Host};
pub(crate) use commands::eventually;
pub(crate) use control_plane::Extra;
use control_plane::{Cluster, ISSUER};

/// A cluster without nodes.
pub(crate) struct Stage {
    cluster: Cluster,
    /// The API server, asked as an admin.
    pub(crate) api: Host,
}

/// A webhook as the API server is to reach it.
pub(crate) struct Hook<'a> {
    pub(crate) address: SocketAddr,
    /// Whose certificate is for `NAME.NAMESPACE.svc`.
    pub(crate) service: (&'a str, &'a str),
    pub(crate) path: &'a str,
    /// PEM.
    pub(crate) trusted: &'a [u8],
}

impl Stage {
    pub(crate) fn start(extra: Extra<'_>) -> Self {
        commands::script("tests/kube/build", &[]);
        let cluster = Cluster::start_with(ISSUER, ISSUER, extra);
        let kubeconfig = fs::read_to_string(&cluster.kubeconfig).unwrap();
        let (_, server) = kubeconfig.split_once("https://").unwrap();
        let address = server.split('"').next().unwrap().parse().unwrap();
        let trusted = fs::read(cluster.folder().join("certs/apiserver.crt")).unwrap();
        let api = Host::new(address, &trusted, Some("admin-token"));
        Self { cluster, api }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.cluster.kubeconfig
    }

    /// A kubeconfig with the rights of this token, in the cluster's folder.
    pub(crate) fn kubeconfig_of(&self, name: &str, token: &str) -> std::path::PathBuf {
        let file = self.cluster.folder().join(name);
        let admin = fs::read_to_string(&self.cluster.kubeconfig).unwrap();
        fs::write(&file, admin.replace("admin-token", token)).unwrap();
        file
    }

    pub(crate) fn connect(&self) -> Connection {
        self.api.connect()
    }

    /// `kubectl`, which is to succeed, and what it prints.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        self.cluster.kubectl(arguments, input).good().out
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.apply_text(&object.to_string());
    }

    pub(crate) fn apply_text(&self, manifests: &str) {
        self.kubectl(&["apply", "--server-side", "-f", "-"], manifests);
    }

    /// A namespace that has opted in.
    pub(crate) fn namespace(&self, name: &str) {
        let metadata = json!({"name": name, "labels": {"gitlab-iam-webhook/inject": "enabled"}});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    }

    /// Makes the Service of a webhook, and returns how a configuration names it.
    pub(crate) fn client_config(&self, hook: &Hook<'_>) -> Value {
        let (namespace, name) = hook.service;
        let metadata = json!({"name": namespace});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        let (host, port) = (hook.address.ip().to_string(), hook.address.port());
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
            "spec": {"type": "ExternalName", "externalName": host, "ports": [{"port": port}]},
        }));
        let service = json!({"namespace": namespace, "name": name, "port": port, "path": hook.path});
        let bundle = base64::engine::general_purpose::STANDARD.encode(hook.trusted);
        json!({"service": service, "caBundle": bundle})
    }
}

/// The objects of the plain manifests in `deploy/`, which are what the chart renders.
pub(crate) fn deployed() -> Vec<Value> {
    let text = fs::read_to_string(commands::root().join("deploy/gitlab-iam-webhook.yaml")).unwrap();
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap());
    // Between them are comments, too.
    documents.filter(Value::is_object).collect()
}
