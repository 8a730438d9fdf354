//! How is the client of the API server made from a kubeconfig, or from the credentials of a Pod?

use std::io;
use std::path::{Path, PathBuf};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapErrLayer;

use super::credential_fault::{Unusable, of_client, of_kubeconfig};
use super::credential_plugin::{self, Use};
use super::read::ApiServer;
use crate::memory::Pool;

/// How many bytes are held of each connection before they are read: at least the longest head of an answer.
const BUFFER: usize = 16 << 10;

/// How many connections are kept for the next call.
const IDLE: usize = 4;

/// Why the cluster cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is neither a kubeconfig nor a Pod's credentials.
    #[error(
        "found no credentials: set KUBECONFIG to a kubeconfig that can be read, \
         or run in a Pod of the cluster"
    )]
    Credentials(#[source] Unusable),
    /// The kubeconfig that was named cannot be used.
    #[error("using the kubeconfig")]
    Kubeconfig(#[source] Unusable),
    /// The credentials cannot be used.
    #[error("using the credentials of the cluster")]
    Client(#[source] Unusable),
}

/// Which kubeconfig is used, which of its contexts, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The kubeconfig; `None` for the one that is found.
    pub kubeconfig: Option<PathBuf>,
    /// The context; `None` for the current one.
    pub context: Option<String>,
    /// The user to act as; `None` for the one of the kubeconfig.
    pub user: Option<String>,
    /// The groups to act as, beside the user.
    pub groups: Vec<String>,
}

/// Connects as a person asked for. Nothing is asked of the API server yet. What it answers takes its room in
/// this pool.
///
/// # Errors
/// When there are no credentials, or they cannot be used.
pub async fn connect_with(access: &Access, pool: Pool) -> Result<ApiServer, ConnectError> {
    let Access { kubeconfig, context, user, groups } = access;
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let unusable = |error| ConnectError::Kubeconfig(of_kubeconfig(&place(kubeconfig.as_deref()), &error));
    let mut config = match kubeconfig {
        Some(path) => {
            let named = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(named, &options).await.map_err(unusable)?
        }
        None if context.is_some() => Config::from_kubeconfig(&options).await.map_err(unusable)?,
        None => found().await?,
    };
    if user.is_some() {
        // Nothing of another user whom the kubeconfig acts as is left: his groups would be given to this one.
        let who = &mut config.auth_info;
        who.impersonate.clone_from(user);
        who.impersonate_groups = (!groups.is_empty()).then(|| groups.clone());
        (who.impersonate_uid, who.impersonate_user_extra) = (None, None);
    }
    api_server(config, Use::Once, pool).await
}

/// Connects with KUBECONFIG, or with the credentials of the Pod that this runs in. Nothing is asked of the
/// API server yet. What it answers takes its room in this pool.
///
/// # Errors
/// When there are neither, or they cannot be used.
pub async fn connect(pool: Pool) -> Result<ApiServer, ConnectError> {
    api_server(found().await?, Use::Lasting, pool).await
}

async fn found() -> Result<Config, ConnectError> {
    Config::infer().await.map_err(|error| {
        let kubeconfig = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
        let kubeconfig = kubeconfig.unwrap_or(&KubeconfigError::FindPath);
        let why = of_kubeconfig(&place(None), kubeconfig);
        // Where there is one, another advice than what it says itself would mislead.
        if is_there(kubeconfig) { ConnectError::Kubeconfig(why) } else { ConnectError::Credentials(why) }
    })
}

/// Whether there is a kubeconfig, of which this is the fault.
fn is_there(fault: &KubeconfigError) -> bool {
    match fault {
        KubeconfigError::FindPath => false,
        KubeconfigError::ReadConfig(why, _) => why.kind() != io::ErrorKind::NotFound,
        _ => true,
    }
}

/// Where the kubeconfig is, in words.
fn place(named: Option<&Path>) -> String {
    match (named, std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty())) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(paths)) => format!("{} (from KUBECONFIG)", paths.display()),
        (None, None) => "~/.kube/config".to_owned(),
    }
}

async fn api_server(mut config: Config, lasts: Use, pool: Pool) -> Result<ApiServer, ConnectError> {
    credential_plugin::run(&mut config.auth_info, lasts).await.map_err(ConnectError::Client)?;
    credential_plugin::must_fit_a_header(&config.auth_info).map_err(ConnectError::Client)?;
    let client = client(&config).map_err(|error| ConnectError::Client(of_client(&error)))?;
    Ok(ApiServer::new(client, pool).at(&config.cluster_url))
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
