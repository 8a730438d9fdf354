//! What is watched and written in the cluster, and by which task?
//!
//! Each task runs until it is stopped; `cli/serve.rs` starts those that the options ask for.
//!
//! ```text
//! task                watches                       writes                       tells
//! ─────────────────────────────────────────────────────────────────────────────────────────────────────
//! MappingWatch        the mapping's ConfigMap NAME  NAME-last-good; NAME, where  MappingLoader: the text;
//!                     and, every 5 seconds, which   there is none and a starter  MappingFreshness: its
//!                     version of it is the newest   is asked for                 version; Readiness
//! Certificates        the certificate's Secret      that Secret                  CertResolver: what to serve
//!                                                                                CaBundle: what to trust
//! CaBundle            both webhook configurations;  their caBundle, where        Certificates: what each
//!                     which certificate is served   Certificates runs            entry trusts; Readiness
//! namespaces::follow  Namespaces with our label,    nothing                      Repair, Observe and
//!                     their metadata alone                                       ImpactPreview: which have
//!                                                                                opted in or are observed;
//!                                                                                EventWriter
//! Repair              ServiceAccounts in those      an empty patch to each that  EventWriter: what somebody
//!                     namespaces, their metadata    is not as decided            must settle
//!                     alone; which mapping decides
//! Observe             ServiceAccounts in observed   nothing                      EventWriter
//!                     namespaces, likewise
//! EventWriter         what it is told by the other  Events                       nobody
//!                     tasks, and by reviews
//! Probe               nothing: every 5 minutes it   a broken NAME-last-good, as  nobody; the log and the
//!                     asks the API server           a dry run: it is refused     metrics say what came of it
//! ```
//!
//! Two more are no tasks: [`mapping_freshness`] reads the mapping's version for `Repair` and `MappingWatch`,
//! and [`impact_preview`] reads the ServiceAccounts when `/validate` asks. [`default_account`] tells
//! `EventWriter` what a review found. [`inventory`] collects once what a command looks at, [`tokens`] gets
//! the tokens that a command sends to STS, and [`issuer`] asks who issues them.

mod bundle_exchange;
pub mod ca_bundle;
pub mod certificates;
mod configurations;
pub mod default_account;
pub mod events;
mod failure;
pub mod impact_preview;
pub mod inventory;
pub mod issuer;
pub mod mapping_freshness;
pub mod mapping_watch;
pub mod namespaces;
pub mod observe;
pub mod observed;
mod pages;
pub mod probe;
mod read;
pub mod repair;
mod retry;
mod service_account_watches;
mod service_accounts;
pub mod tokens;
mod watch;
mod write_throttle;

use std::path::PathBuf;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::api::PatchParams;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapErrLayer;

use crate::memory::Pool;
pub use read::ApiServer;

/// The field manager of everything that we write.
const MANAGER: &str = "gitlab-iam-webhook";

/// How many bytes are held of each connection before they are read: at least the longest head of an answer.
const BUFFER: usize = 16 << 10;

/// How many connections are kept for the next call.
const IDLE: usize = 4;

/// One object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME, as in gitlab-iam-webhook/role-mapping".to_owned()),
        }
    }
}

/// Why the cluster cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is neither a kubeconfig nor a Pod's credentials.
    #[error(
        "found no credentials: set KUBECONFIG to a kubeconfig that can be read, \
         or run in a Pod of the cluster"
    )]
    Credentials,
    /// The kubeconfig that was named cannot be used.
    #[error("using the kubeconfig")]
    Kubeconfig(#[source] KubeconfigError),
    /// The credentials cannot be used.
    #[error("using the credentials of the cluster")]
    Client(#[source] kube::Error),
}

/// Which kubeconfig is used, and which of its contexts.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The kubeconfig; `None` for the one that is found.
    pub kubeconfig: Option<PathBuf>,
    /// The context; `None` for the current one.
    pub context: Option<String>,
}

/// Connects as a person asked for. Nothing is asked of the API server yet. What it answers takes its room in
/// this pool.
///
/// # Errors
/// When there are no credentials, or they cannot be used.
pub async fn connect_with(access: &Access, pool: Pool) -> Result<ApiServer, ConnectError> {
    let Access { kubeconfig, context } = access;
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let config = match kubeconfig {
        Some(path) => {
            let named = Kubeconfig::read_from(path).map_err(ConnectError::Kubeconfig)?;
            Config::from_custom_kubeconfig(named, &options).await.map_err(ConnectError::Kubeconfig)?
        }
        None if context.is_some() => {
            Config::from_kubeconfig(&options).await.map_err(ConnectError::Kubeconfig)?
        }
        None => return connect(pool).await,
    };
    Ok(ApiServer::new(client(&config).map_err(ConnectError::Client)?, pool))
}

/// Connects with KUBECONFIG, or with the credentials of the Pod that this runs in. Nothing is asked of the
/// API server yet. What it answers takes its room in this pool.
///
/// # Errors
/// When there are neither, or they cannot be used.
pub async fn connect(pool: Pool) -> Result<ApiServer, ConnectError> {
    // kube's error names each place twice. Ours names the places as well, so kube's is left out.
    let config = Config::infer().await.map_err(|_| ConnectError::Credentials)?;
    let client = client(&config).map_err(ConnectError::Client)?;
    Ok(ApiServer::new(client, pool))
}

/// A client without time limits and tries of its own: each caller has them, and must be told to wait rather
/// than wait unknowingly.
fn client(config: &Config) -> Result<Client, kube::Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let service = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        // Up to 400 kB would be held for each connection otherwise.
        .http1_read_buf_exact_size(BUFFER)
        .pool_max_idle_per_host(IDLE)
        .build(config.rustls_https_connector_with_connector(connector)?);
    let builder =
        ClientBuilder::new(service, &*config.default_namespace).with_layer(&MapErrLayer::new(BoxError::from));
    let (address, headers) = (config.base_uri_layer(), config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(credentials) => {
            builder.with_layer(&headers).with_layer(&credentials).with_layer(&address).build()
        }
        None => builder.with_layer(&headers).with_layer(&address).build(),
    })
}

/// The parameters of a patch that is written in our name.
fn in_our_name() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Tells a value to whoever follows it, where it is another one than before.
fn tell<T: PartialEq>(told: &tokio::sync::watch::Sender<T>, value: T) {
    told.send_if_modified(|last| {
        let differs = *last != value;
        *last = value;
        differs
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaced_name_is_a_namespace_and_a_name() {
        assert_eq!("a/b".parse::<NamespacedName>().unwrap().to_string(), "a/b");
        for bad in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(bad.parse::<NamespacedName>().is_err(), "{bad}");
        }
    }
}
