//! How is a certificate made? It is a self-signed leaf: it is its own trust anchor, so that there is no CA
//! key to guard.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;

use super::Pair;

/// The clocks of API servers may be behind ours by this much.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Makes a key, and a certificate for these names and addresses that is valid for `lifetime` from `now`.
///
/// # Errors
/// A name cannot stand in a certificate.
pub fn self_signed(names: &[String], now: SystemTime, lifetime: Duration) -> Result<Pair, rcgen::Error> {
    let mut parameters = CertificateParams::new(names.to_vec())?;
    parameters.distinguished_name.push(DnType::CommonName, "gitlab-iam-webhook");
    // A clock at the beginning of time cannot be set back.
    parameters.not_before = OffsetDateTime::from(now.checked_sub(CLOCK_SKEW).unwrap_or(now));
    parameters.not_after = OffsetDateTime::from(now + lifetime);
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
}
