//! Can this certificate be served with this key? Everything about certificates begins with such a pair.

pub mod cert_resolver;
pub mod chain_check;
pub mod issue;
pub mod reload;
pub mod rotation;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate chain and its private key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The chain, with the leaf first.
    pub certificate: Vec<u8>,
    /// The key, as PKCS#8, PKCS#1 or SEC1.
    pub key: Vec<u8>,
}

/// A pair that was checked and can be served.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The chain and the key, as rustls takes them.
    pub key: Arc<CertifiedKey>,
    /// The time when the leaf ends, in seconds since 1970.
    pub not_after: i64,
}

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificates are not in PEM.
    #[error("reading the certificate as PEM")]
    CertificatePem(#[source] rustls::pki_types::pem::Error),
    /// The file holds no certificate.
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    /// The key is not in PEM, or of an unknown kind.
    #[error("reading the private key as PEM")]
    KeyPem(#[source] rustls::pki_types::pem::Error),
    /// The leaf is not an X.509 certificate.
    #[error("reading the certificate as X.509")]
    X509(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// The key is not the one of the certificate, or it cannot be used.
    #[error("using the private key with the certificate")]
    Mismatch(#[source] rustls::Error),
}

/// The one provider of cryptography that everything here uses.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key must not reach a log.
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

impl Pair {
    /// Checks that the certificate and the key belong together, and makes them ready to be served.
    ///
    /// # Errors
    /// What is wrong with them first.
    pub fn identity(&self) -> Result<Identity, PairError> {
        let provider = provider();
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(PairError::CertificatePem)?;
        let leaf = chain.first().ok_or(PairError::NoCertificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(PairError::X509)?;
        let not_after = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(PairError::KeyPem)?;
        // `from_der` refuses a key that is not the certificate's.
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(PairError::Mismatch)?;
        Ok(Identity { key: Arc::new(certified), not_after })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn pair() -> Pair {
        let life = Duration::from_hours(1);
        issue::self_signed(&["localhost".to_owned()], SystemTime::UNIX_EPOCH + life, life).unwrap()
    }

    #[test]
    fn a_pair_that_belongs_together_is_usable_and_knows_its_end() {
        assert_eq!(pair().identity().unwrap().not_after, 7200);
    }

    #[test]
    fn a_pair_that_does_not_is_refused_with_a_reason() {
        let (one, other) = (pair(), pair());
        let mixed = Pair { certificate: one.certificate.clone(), key: other.key };
        assert!(matches!(mixed.identity(), Err(PairError::Mismatch(_))));
        let no_key = Pair { certificate: one.certificate.clone(), key: b"rubbish".to_vec() };
        assert!(matches!(no_key.identity(), Err(PairError::KeyPem(_))));
        let empty = Pair { certificate: Vec::new(), key: one.key.clone() };
        assert!(matches!(empty.identity(), Err(PairError::NoCertificate)));
        let cut = one.certificate.get(..200).unwrap().to_vec();
        let cut = Pair { certificate: cut, key: one.key };
        assert!(matches!(cut.identity(), Err(PairError::CertificatePem(_))));
    }
}
