//! Which certificate is served, and which ones are to be trusted?
//!
//! Everything here is pure: the time and all that was seen are given.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::cluster::bundle_exchange::TrustedBundles;
use crate::tls::rotation::{Keyring, RotationPolicy};
use crate::tls::{Pair, chain_check};

/// Since when all certificates of the Secret have been trusted by every entry.
#[derive(Debug, Default)]
pub(super) struct TrustedSince(Option<(Vec<u8>, Instant)>);

impl TrustedSince {
    /// Notes whether these certificates are trusted now. Other ones begin a new time.
    pub(super) fn observe(&mut self, certificates: Vec<u8>, is_trusted: bool, now: Instant) {
        match &self.0 {
            Some((since, _)) if is_trusted && *since == certificates => {}
            _ => self.0 = is_trusted.then_some((certificates, now)),
        }
    }

    /// For how long they have been trusted; none where they are not.
    pub(super) fn duration(&self, now: Instant) -> Option<Duration> {
        self.0.as_ref().map(|(_, since)| now.duration_since(*since))
    }
}

/// The pair that is to be served from now on; none where the one that is served stays. The current pair of
/// the keyring is served once it is trusted, or where the one that is served could not be accepted anyway.
pub(super) fn to_serve<'s>(
    policy: &RotationPolicy,
    keyring: &'s Keyring,
    served: Option<&Pair>,
    bundles: &TrustedBundles,
    now: SystemTime,
) -> Option<&'s Pair> {
    let current = keyring.current.as_ref().filter(|pair| policy.accepts(pair, now))?;
    let is_served_better =
        served.is_some_and(|served| policy.accepts(served, now)) && !bundles.all_trust(&current.certificate);
    (served != Some(current) && !is_served_better).then_some(current)
}

/// The certificates that every entry is to trust; none where nothing changes yet. A certificate that is
/// served here stays trusted until the keyring says who holds it.
pub(super) fn to_trust(
    policy: &RotationPolicy,
    keyring: &Keyring,
    served: Option<&Pair>,
    now: SystemTime,
) -> Option<Vec<u8>> {
    keyring.current.as_ref().filter(|pair| policy.accepts(pair, now))?;
    let bundle = keyring.bundle();
    served.is_none_or(|served| chain_check::contains(&bundle, &served.certificate)).then_some(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::issue;

    const LIFE: Duration = Duration::from_hours(24);

    fn policy() -> RotationPolicy {
        RotationPolicy {
            names: vec!["hook.ns.svc".to_owned()],
            lifetime: LIFE,
            propagation: Duration::from_mins(5),
        }
    }

    fn pair(name: &str) -> Pair {
        issue::self_signed(&[name.to_owned()], SystemTime::now(), LIFE).unwrap()
    }

    fn trusting(certificates: &[&Pair]) -> TrustedBundles {
        let bundle: Vec<u8> = certificates.iter().flat_map(|pair| pair.certificate.clone()).collect();
        std::iter::once(bundle).collect()
    }

    #[test]
    fn the_current_pair_is_served_once_it_is_trusted_or_where_nothing_better_is_served() {
        let (current, old, misnamed) = (pair("hook.ns.svc"), pair("hook.ns.svc"), pair("other.ns.svc"));
        let holds = |pair: &Pair| Keyring { current: Some(pair.clone()), ..Keyring::default() };
        let nobody = TrustedBundles::default();
        for (what, keyring, served, bundles, is_served) in [
            ("nothing is served yet", holds(&current), None, &nobody, true),
            ("it is served", holds(&current), Some(&current), &trusting(&[&current]), false),
            ("it is served, and not trusted", holds(&current), Some(&current), &nobody, false),
            ("it is not trusted yet", holds(&current), Some(&old), &trusting(&[&old]), false),
            ("nobody knows who trusts it", holds(&current), Some(&old), &nobody, false),
            ("it is trusted", holds(&current), Some(&old), &trusting(&[&old, &current]), true),
            ("what is served has another name", holds(&current), Some(&misnamed), &nobody, true),
            ("it has another name", holds(&misnamed), Some(&old), &trusting(&[&misnamed]), false),
            ("the keyring is empty", Keyring::default(), Some(&old), &nobody, false),
        ] {
            let served = to_serve(&policy(), &keyring, served, bundles, SystemTime::now());
            assert_eq!(served, is_served.then_some(&current), "{what}");
        }
        let late = SystemTime::now() + 2 * LIFE;
        let keyring = holds(&current);
        assert_eq!(
            to_serve(&policy(), &keyring, Some(&old), &trusting(&[&current]), late),
            None,
            "it has ended"
        );
    }

    #[test]
    fn what_is_to_be_trusted_changes_only_to_what_holds_the_certificate_that_is_served() {
        let (one, two) = (pair("hook.ns.svc"), pair("hook.ns.svc"));
        let keyring = Keyring { current: Some(one.clone()), ..Keyring::default() };
        let both = Keyring { next: Some(two.clone()), ..keyring.clone() };
        let ask = |keyring: &Keyring, served| to_trust(&policy(), keyring, served, SystemTime::now());
        assert_eq!(ask(&keyring, None), Some(keyring.bundle()));
        assert_eq!(ask(&keyring, Some(&one)), Some(keyring.bundle()));
        assert_eq!(ask(&both, Some(&two)), Some(both.bundle()));
        assert_eq!(ask(&keyring, Some(&two)), None, "the Secret will hold it soon");
        assert_eq!(ask(&Keyring { current: None, ..both }, Some(&two)), None, "it will be filled");
    }

    #[test]
    fn the_time_of_trust_begins_anew_with_other_certificates_and_when_trust_is_lost() {
        let (mut trusted, begun) = (TrustedSince::default(), Instant::now());
        for (second, certificates, is_trusted, seconds) in [
            (0, "a", false, None),
            (1, "a", true, Some(0)),
            (5, "a", true, Some(4)),
            (6, "b", true, Some(0)),
            (9, "b", true, Some(3)),
            (10, "b", false, None),
            (11, "b", true, Some(0)),
            (12, "a", false, None),
        ] {
            let now = begun + Duration::from_secs(second);
            trusted.observe(certificates.into(), is_trusted, now);
            assert_eq!(trusted.duration(now), seconds.map(Duration::from_secs), "after {second} seconds");
        }
    }
}
