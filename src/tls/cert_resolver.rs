//! Which certificate does a TLS handshake get? The one that was put here last.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::{Pair, PairError, provider};
use crate::metrics::{LoadResult, Metrics};

/// Holds the certificate being served. Before there is one, every handshake fails.
#[derive(Debug)]
pub struct CertResolver {
    key: ArcSwapOption<CertifiedKey>,
    pair: watch::Sender<Option<Pair>>,
    metrics: Arc<Metrics>,
}

impl CertResolver {
    /// Begins without a certificate.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { key: ArcSwapOption::empty(), pair: watch::Sender::new(None), metrics })
    }

    /// The set-up for rustls: TLS 1.2 and 1.3, HTTP/1.1, and the certificate that is served when a handshake
    /// begins.
    ///
    /// # Errors
    /// Rustls refuses the set-up.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Serves this pair from the next handshake on, and returns when it ends, in seconds since 1970.
    ///
    /// # Errors
    /// The pair cannot be served, and the one served so far stays.
    pub fn serve(&self, pair: &Pair) -> Result<i64, PairError> {
        let identity = pair.identity().inspect_err(|_| self.failed())?;
        self.metrics.certificate_loaded(LoadResult::Ok);
        self.metrics.certificate_not_after.set(identity.not_after);
        self.key.store(Some(identity.key));
        self.pair.send_replace(Some(pair.clone()));
        Ok(identity.not_after)
    }

    /// Counts a certificate that could not be loaded.
    pub fn failed(&self) {
        self.metrics.certificate_loaded(LoadResult::Failed);
    }

    /// The pair that is served.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        self.pair.borrow().clone()
    }

    /// The receiver is told whenever another pair is served.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Pair>> {
        self.pair.subscribe()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }
}
