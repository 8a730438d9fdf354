//! Would the API server accept this certificate? The check is that of a TLS client: trust anchors, name and
//! time.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::provider;
use crate::telemetry::unix_time_in_words;

/// Checks a chain, with the leaf first, against a bundle of trust anchors. Both are in PEM.
///
/// # Errors
/// A sentence that says why a client would refuse it.
pub fn check(bundle: &[u8], chain: &[u8], name: &str, now: SystemTime) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for anchor in certificates(bundle) {
        // Go passes over an anchor that it cannot use.
        let _ = roots.add(anchor);
    }
    let chain = certificates(chain);
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err("there is no certificate".to_owned());
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|_| "the bundle is empty".to_owned())?;
    let server = ServerName::try_from(name).map_err(|error| format!("`{name}`: {error}"))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    match verifier.verify_server_cert(leaf, intermediates, &server, &[], now) {
        Ok(_) => Ok(()),
        Err(error) => Err(sentence(&error)),
    }
}

/// Says in words what a client would say, without the time of day: what is said again is not logged again.
fn sentence(error: &rustls::Error) -> String {
    let words = |time: &UnixTime| unix_time_in_words(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    match error {
        rustls::Error::InvalidCertificate(ExpiredContext { not_after, .. }) => {
            format!("the certificate ended at {}", words(not_after))
        }
        rustls::Error::InvalidCertificate(NotValidYetContext { not_before, .. }) => {
            format!("the certificate is not valid before {}", words(not_before))
        }
        error => error.to_string(),
    }
}

/// The certificates of a PEM text. What cannot be read is left out.
#[must_use]
pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// Returns whether each certificate of `wanted` is in `bundle`.
#[must_use]
pub fn contains(bundle: &[u8], wanted: &[u8]) -> bool {
    let (held, wanted) = (certificates(bundle), certificates(wanted));
    !wanted.is_empty() && wanted.iter().all(|certificate| held.contains(certificate))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::issue;
    use super::*;

    const LIFE: Duration = Duration::from_hours(1);

    #[test]
    fn a_self_signed_leaf_is_trusted_by_itself_within_its_time_and_name_and_by_nothing_else() {
        let now = SystemTime::now();
        let pair = |name: &str| issue::self_signed(&[name.to_owned()], now, LIFE).unwrap().certificate;
        let (own, other) = (pair("hook.ns.svc"), pair("hook.ns.svc"));
        assert_eq!(check(&own, &own, "hook.ns.svc", now), Ok(()));
        assert_eq!(check(&[&*other, &*own].concat(), &own, "hook.ns.svc", now), Ok(()));
        for (bundle, name, at) in [
            (&other[..], "hook.ns.svc", now),
            (&own[..], "other.ns.svc", now),
            (&own[..], "hook.ns.svc", now + 2 * LIFE),
            (b"rubbish", "hook.ns.svc", now),
            (b"", "hook.ns.svc", now),
        ] {
            assert!(check(bundle, &own, name, at).is_err(), "{name}");
        }
    }

    #[test]
    fn that_a_certificate_ended_or_is_still_to_begin_is_said_in_words_that_do_not_change() {
        let begin = UNIX_EPOCH + Duration::from_mins(29_921_500);
        let own = issue::self_signed(&["hook.ns.svc".to_owned()], begin, LIFE).unwrap().certificate;
        let at = |now: SystemTime| check(&own, &own, "hook.ns.svc", now);
        for late in [LIFE + Duration::from_secs(1), 63 * 24 * LIFE] {
            let want = "the certificate ended at 2026-11-21T20:40:00Z";
            assert_eq!(at(begin + late), Err(want.to_owned()));
        }
        let want = "the certificate is not valid before 2026-11-21T19:35:00Z";
        assert_eq!(at(begin - LIFE), Err(want.to_owned()));
    }

    #[test]
    fn a_bundle_contains_what_stands_in_it_in_any_order() {
        let one = issue::self_signed(&["a.b.svc".to_owned()], SystemTime::now(), LIFE).unwrap().certificate;
        let two = issue::self_signed(&["a.b.svc".to_owned()], SystemTime::now(), LIFE).unwrap().certificate;
        let both = [&*one, &*two].concat();
        assert!(contains(&both, &two) && contains(&both, &one));
        assert!(!contains(&one, &both));
        assert!(!contains(&both, b"rubbish"));
    }
}
