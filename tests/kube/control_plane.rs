//! How is a cluster without nodes started: etcd, an API server and the real controllers?

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};

use tempfile::TempDir;

use super::commands::{Done, eventually, run, start};

/// Who signs the tokens of the cluster's ServiceAccounts, as it calls itself.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// A cluster that ends when this process does.
pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    /// Closing it ends the cluster; the system does so when we are gone.
    stdin: ChildStdin,
    up: Child,
    folder: TempDir,
}

/// Arguments that are added to the usual ones, with spaces between them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extra<'a> {
    pub(crate) api_server: &'a str,
    pub(crate) controller_manager: &'a str,
}

pub(crate) fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

impl Cluster {
    /// Whose API server accepts tokens for these audiences, which commas separate.
    pub(crate) fn start(issuer: &str, audiences: &str) -> Self {
        Self::start_with(issuer, audiences, Extra::default())
    }

    pub(crate) fn start_with(issuer: &str, audiences: &str, extra: Extra<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The API server signs the tokens of ServiceAccounts with it.
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(folder.path().join("sa.key"), key.serialize_pem()).unwrap();
        fs::write(folder.path().join("sa.pub"), key.public_key_pem()).unwrap();
        // The oldest that is supported: KUBE_APISERVER=kube-apiserver-1.30.
        let apiserver = std::env::var_os("KUBE_APISERVER").unwrap_or_else(|| "kube-apiserver".into());
        let ports = [free_port(), free_port(), free_port()];
        let [api, etcd, peer] = ports.each_ref().map(OsStr::new);
        let places = [folder.path().as_ref(), api, etcd, peer, &apiserver];
        let words = [issuer, audiences, extra.api_server, extra.controller_manager].map(OsStr::new);
        let (up, stdin) = start("tests/kube/up", &[&places[..], &words].concat());
        let kubeconfig = folder.path().join("kubeconfig");
        Self { kubeconfig, stdin, up, folder }
    }

    /// Where its logs and certificates are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// With the rights of an admin.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> Done {
        run("kubectl", &self.kubeconfig, self.folder.path(), arguments, input)
    }

    /// The private key that signs the tokens of its ServiceAccounts, PEM.
    pub(crate) fn signing_key(&self) -> String {
        fs::read_to_string(self.folder.path().join("sa.key")).unwrap()
    }

    /// Ends it, and gives back its folder, which it has removed itself.
    pub(crate) fn end(self) -> TempDir {
        let Self { stdin, mut up, folder, .. } = self;
        drop(stdin);
        eventually("the cluster has ended", || up.try_wait().unwrap());
        folder
    }
}
