//! How is a bounded answer got over HTTP, through proxies, from whom the roots of TLS vouch for?

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::BoxError;

use crate::telemetry::duration_in_words;
use crate::tls;

/// How long a connection may take until it is open.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// The longest file of certificates that is read, in bytes.
const LONGEST_CA_FILE: u64 = 4 << 20;

/// The way to others.
#[derive(Clone)]
pub struct Http {
    tls: Arc<ClientConfig>,
    /// There is none where nothing goes through a proxy.
    proxies: Option<Arc<Matcher>>,
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("reading the CA file {path}")]
    Read {
        /// The file.
        path: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// There is no certificate in it.
    #[error("the CA file {0} holds no certificate in PEM that can be used")]
    NoCertificate(String),
    /// TLS cannot be set up.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request cannot be built.
    #[error("building the request")]
    Request(#[source] http::Error),
    /// The connection failed, or broke off.
    #[error("the connection failed{}", .hint)]
    Call {
        /// What to do, where that is known.
        hint: &'static str,
        /// What went wrong.
        #[source]
        source: ClientError,
    },
    /// It took too long.
    #[error("no answer within {}: is the network open to it, or HTTPS_PROXY needed?", duration_in_words(*.0))]
    TooLate(Duration),
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer broke off.
    #[error("the answer broke off")]
    Body(#[source] BoxError),
    /// The proxy speaks something else than HTTP.
    #[error("the proxy {0} is not one of http:// or https://, and others are not supported")]
    Proxy(String),
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address of a proxy may hold a password.
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// The way that the environment names (`HTTPS_PROXY`, `NO_PROXY`). The certificates of this file are
    /// trusted, or else those of the system, or else Mozilla's.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, RootsError> {
        let roots = match ca_file {
            Some(path) => read_roots(path)?,
            None => system_roots(),
        };
        let builder = ClientConfig::builder_with_provider(tls::provider());
        let tls = builder
            .with_safe_default_protocol_versions()
            .map_err(RootsError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), proxies: Some(Arc::new(Matcher::from_env())) })
    }

    /// The same without proxies, for what is on this machine.
    #[must_use]
    pub fn without_proxies(&self) -> Self {
        Self { proxies: None, ..self.clone() }
    }

    /// Sends a request, and returns the status and the body of the answer. Redirects are not followed.
    ///
    /// # Errors
    /// When there is no answer, or it has more bytes than this.
    pub async fn send(&self, request: Request<Bytes>, longest: usize) -> Result<(u16, Bytes), HttpError> {
        let request = request.map(Full::new);
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let direct = HttpsConnector::from((connector, Arc::clone(&self.tls)));
        // In plain, a request goes to this machine or to its link alone.
        let is_https = request.uri().scheme_str() == Some("https");
        let proxies = self.proxies.as_ref().filter(|_| is_https);
        let answer = match proxies.and_then(|proxies| proxies.intercept(request.uri())) {
            None => call(direct, request).await?,
            Some(proxy) => {
                if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
                    return Err(HttpError::Proxy(proxy.uri().host().unwrap_or_default().to_owned()));
                }
                let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
                if let Some(password) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(password.clone());
                }
                call(HttpsConnector::from((tunnel, Arc::clone(&self.tls))), request).await?
            }
        };
        let status = answer.status().as_u16();
        match Limited::new(answer.into_body(), longest).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong(longest)),
            Err(error) => Err(HttpError::Body(error)),
        }
    }
}

async fn call<C>(connector: C, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_max_idle_per_host(0).http1_max_buf_size(LONGEST_HEAD);
    client.build(connector).request(request).await.map_err(|source| {
        let is_unknown = crate::telemetry::causes(&source).contains("UnknownIssuer");
        let hint = if is_unknown { ", name the CA of a proxy that opens TLS with --ca-file" } else { "" };
        HttpError::Call { hint, source }
    })
}

fn read_roots(path: &Path) -> Result<RootCertStore, RootsError> {
    use std::io::Read as _;

    let name = path.display().to_string();
    let mut pem = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_CA_FILE).read_to_end(&mut pem));
    read.map_err(|source| RootsError::Read { path: name.clone(), source })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() { Err(RootsError::NoCertificate(name)) } else { Ok(roots) }
}

/// The system's roots; in an image that has none, Mozilla's, which are part of this binary.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
