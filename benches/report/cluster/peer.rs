//! Which other webhook is measured beside ours? Variables of the environment say it:
//!
//! | variable | what it says |
//! |---|---|
//! | `PEER` | It is where the webhook answers: `https://HOST:PORT/PATH`. |
//! | `PEER_COMMAND` | This line of shell starts the webhook, where it does not run yet. The line finds the files `PEER_CERT` and `PEER_KEY`, with which the webhook is to serve, and `KUBECONFIG`, by which it reaches the API server. |
//! | `PEER_CA` | Without a command: this file, PEM, vouches for the webhook's certificate. |
//! | `PEER_SERVICE` | Without a command: the certificate is for this Service, `NAMESPACE/NAME`. |
//! | `PEER_RESOURCES` | The webhook is asked about these: `pods`, which is the default, or `pods,serviceaccounts`. |
//! | `PEER_NAME` | The tables call it so, best with its version. |
//!
//! The EKS pod identity webhook, for example, is measured so:
//!
//! ```sh
//! export PEER=https://127.0.0.1:9443/mutate PEER_NAME='EKS pod identity webhook v0.6.17'
//! export PEER_COMMAND='amazon-eks-pod-identity-webhook --in-cluster=false --kubeconfig "$KUBECONFIG" --port 9443
//!   --tls-cert "$PEER_CERT" --tls-key "$PEER_KEY"'
//! make bench SECTIONS=cluster
//! ```

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::Command;

use crate::subject::{Files, Server};

pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) resources: Vec<String>,
    pub(crate) service: Option<(String, String)>,
    command: Option<String>,
    trusted: Option<String>,
}

impl Peer {
    pub(crate) fn given() -> Option<Self> {
        env::var("PEER").ok().filter(|url| !url.is_empty()).map(|url| Self::at(&url))
    }

    fn at(url: &str) -> Self {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let place = url.strip_prefix("https://").expect("PEER is https://HOST:PORT/PATH");
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let mut addresses = host.to_socket_addrs().expect("PEER is https://HOST:PORT/PATH");
        let service = given("PEER_SERVICE").map(|service| {
            let (namespace, name) = service.split_once('/').expect("PEER_SERVICE is NAMESPACE/NAME");
            (namespace.to_owned(), name.to_owned())
        });
        let (command, trusted) = (given("PEER_COMMAND"), given("PEER_CA"));
        assert!(command.is_some() || trusted.is_some() && service.is_some(), "PEER_CA and PEER_SERVICE");
        let resources = given("PEER_RESOURCES").unwrap_or_else(|| "pods".to_owned());
        Self {
            name: given("PEER_NAME").unwrap_or_else(|| "peer".to_owned()),
            address: addresses.find(SocketAddr::is_ipv4).expect("PEER has an address"),
            path: format!("/{path}"),
            resources: resources.split(',').map(str::to_owned).collect(),
            service,
            command,
            trusted,
        }
    }

    /// Starts it, where it is ours to start.
    pub(crate) fn start(&self, files: &Files, kubeconfig: &Path) -> Option<Server> {
        let line = self.command.as_ref()?;
        let mut command = Command::new("sh");
        // The shell becomes the program, so that it can be ended.
        command.args(["-c", &format!("exec {}", line.replace('\n', " "))]).env("KUBECONFIG", kubeconfig);
        command.env("PEER_CERT", files.path("tls.crt")).env("PEER_KEY", files.path("tls.key"));
        Some(Server::start(command, self.address, None, || TcpStream::connect(self.address).is_ok()))
    }

    /// What its certificate is trusted by.
    pub(crate) fn trusted(&self, files: &Files) -> Vec<u8> {
        fs::read(self.trusted.as_ref().map_or_else(|| files.path("tls.crt"), Into::into)).unwrap()
    }
}
