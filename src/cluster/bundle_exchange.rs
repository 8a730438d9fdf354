//! What do the task of the certificate and the task of the caBundle tell each other?
//!
//! ```text
//!                    which certificates are to be trusted
//!   Certificates  ─────────────────────────────────────────▶  CaBundle
//!   the Secret    ◀─────────────────────────────────────────  the webhook configurations
//!                    which certificates each entry trusts
//! ```
//!
//! Neither of them waits for the other one to answer. A new certificate is put into the Secret, then its
//! trust is asked for. It is served once every entry trusts it, or at once where nothing else can be served;
//! the one before it is given up last. [`CaBundle::self_managed`](super::ca_bundle::CaBundle::self_managed)
//! makes both tasks and gives each its end.

use std::sync::Arc;

use tokio::sync::watch;

use super::tell;
use crate::tls::chain_check;

/// The caBundle of each entry, PEM. There is none while not all of the entries are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TrustedBundles(Arc<[Vec<u8>]>);

impl FromIterator<Vec<u8>> for TrustedBundles {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(bundles: I) -> Self {
        Self(bundles.into_iter().collect())
    }
}

impl TrustedBundles {
    /// Whether each entry trusts all of these certificates. Where no entry is known, nothing is trusted.
    pub(super) fn all_trust(&self, certificates: &[u8]) -> bool {
        !self.0.is_empty() && self.0.iter().all(|bundle| chain_check::contains(bundle, certificates))
    }

    /// Everything that any entry trusts, PEM.
    pub(super) fn concat(&self) -> Vec<u8> {
        self.0.concat()
    }
}

/// The end of the task that looks after the certificate.
pub(super) struct CertificateEnd {
    to_trust: watch::Sender<Option<Vec<u8>>>,
    trusted: watch::Receiver<TrustedBundles>,
}

/// The end of the task that looks after the caBundle.
pub(super) struct BundleEnd {
    to_trust: watch::Receiver<Option<Vec<u8>>>,
    trusted: watch::Sender<TrustedBundles>,
}

/// Makes the two ends.
pub(super) fn exchange() -> (CertificateEnd, BundleEnd) {
    let (asks, asked) = watch::channel(None);
    let (tells, told) = watch::channel(TrustedBundles::default());
    (CertificateEnd { to_trust: asks, trusted: told }, BundleEnd { to_trust: asked, trusted: tells })
}

impl CertificateEnd {
    /// Asks that every entry trusts these certificates, PEM, and no others.
    pub(super) fn ask_to_trust(&self, certificates: Vec<u8>) {
        tell(&self.to_trust, Some(certificates));
    }

    /// What the entries trust by now.
    pub(super) fn trusted(&mut self) -> TrustedBundles {
        self.trusted.borrow_and_update().clone()
    }

    /// Waits until the entries trust something else than was seen last.
    pub(super) async fn changed(&mut self) {
        next_change(&mut self.trusted).await;
    }
}

impl BundleEnd {
    /// The certificates that every entry is to trust, PEM. There are none before the Secret holds one.
    pub(super) fn to_trust(&self) -> Option<Vec<u8>> {
        self.to_trust.borrow().clone()
    }

    /// Waits until other certificates are to be trusted.
    pub(super) async fn changed(&mut self) {
        next_change(&mut self.to_trust).await;
    }

    /// Tells what the entries trust.
    pub(super) fn tell_trusted(&self, bundles: TrustedBundles) {
        tell(&self.trusted, bundles);
    }
}

/// Where the other task has ended this waits for ever, so that this task does not end as well: the error of
/// the process names the one that ended first.
async fn next_change<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
