//! What is to be done next so that the self-managed certificate is rotated before it ends?
//!
//! The decision is pure: the time and everything that was seen are arguments. Replicas share one keyring,
//! which lies in a Secret. A rotation takes three writes, and at each of them every client trusts what any
//! replica serves. First the next pair is added. Once its certificate has been trusted for a while, it
//! becomes the current pair, and the certificate before it stays trusted. After another while that one is
//! dropped.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Pair, chain_check, issue};

/// The most bytes of certificates that stay trusted from before. An ECDSA certificate takes about 700.
const MAX_PREVIOUS: usize = 16 << 10;

/// What certificates must be like, and how fast they are rotated.
#[derive(Clone, Debug)]
pub struct RotationPolicy {
    /// The names that the API server calls.
    pub names: Vec<String>,
    /// How long a certificate is valid. The next one is made when a third of it is left.
    pub lifetime: Duration,
    /// How long a new bundle may take to reach every API server, and a new keyring every replica.
    pub propagation: Duration,
}

/// The keys and certificates that replicas share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    /// The pair that is served.
    pub current: Option<Pair>,
    /// The pair that is trusted already, and will be served.
    pub next: Option<Pair>,
    /// The certificates, in PEM, that a replica may still serve.
    pub previous: Vec<u8>,
}

/// What one replica sees beside the keyring.
#[derive(Clone, Copy, Debug)]
pub struct RotationInput<'a> {
    /// The time now.
    pub now: SystemTime,
    /// The pair that this replica serves.
    pub served: Option<&'a Pair>,
    /// Every certificate that API servers trust now, in PEM.
    pub trusted: &'a [u8],
    /// For how long API servers have trusted the whole keyring; none while they do not.
    pub trusted_for: Option<Duration>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum RotationAction {
    /// Ask again after so long, or when something changes.
    Wait(Duration),
    /// Write this keyring over the one that was seen, for this reason.
    Write(Keyring, Reason),
}

/// Why the keyring is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has no usable pair, and this replica serves one.
    FilledWithServed,
    /// It has no usable pair, and nor has this replica.
    FilledWithNew,
    /// It was replaced by hand, and this replica still serves another certificate.
    KeptServed,
    /// The current certificate is in the last third of its lifetime.
    IssuedNext,
    /// The next pair cannot be used.
    DroppedNext,
    /// The next certificate has been trusted for long enough.
    PromotedNext,
    /// No replica serves the certificate before the current one any more.
    DroppedPrevious,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FilledWithServed => "the Secret held no usable certificate: it gets the one being served",
            Self::FilledWithNew => "the Secret held no usable certificate: a new one was made",
            Self::KeptServed => {
                "another certificate was put there: the one served so far stays trusted for a while"
            }
            Self::IssuedNext => "two thirds of the certificate's lifetime are over: the next one was made",
            Self::DroppedNext => "the next certificate cannot be used: it was dropped",
            Self::PromotedNext => "the next certificate is trusted everywhere: it is served from now on",
            Self::DroppedPrevious => "the certificate before this one is served nowhere: its trust ends",
        })
    }
}

impl Keyring {
    /// The certificates to be trusted, in PEM, in an order that all replicas agree on.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        let pairs = [&self.current, &self.next].into_iter().flatten();
        let texts = pairs.map(|pair| pair.certificate.as_slice()).chain([self.previous.as_slice()]);
        // A text that somebody put there by hand may hold a key beside its certificate, or not end its last
        // line.
        concatenate(texts, usize::MAX)
    }
}

impl RotationPolicy {
    /// Returns whether a client would accept this pair now, by every name.
    #[must_use]
    pub fn accepts(&self, pair: &Pair, now: SystemTime) -> bool {
        let trusts =
            |name: &String| chain_check::check(&pair.certificate, &pair.certificate, name, now).is_ok();
        pair.identity().is_ok() && self.names.iter().all(trusts)
    }

    /// Decides what is to be done next.
    ///
    /// # Errors
    /// No certificate can be made for these names.
    pub fn next_action(
        &self,
        keyring: &Keyring,
        seen: &RotationInput<'_>,
    ) -> Result<RotationAction, rcgen::Error> {
        Ok(match self.wanted_action(keyring, seen)? {
            // A certificate that is left out for its length would be written again and again.
            RotationAction::Write(wanted, _) if wanted == *keyring => RotationAction::Wait(self.propagation),
            action => action,
        })
    }

    fn wanted_action(
        &self,
        keyring: &Keyring,
        seen: &RotationInput<'_>,
    ) -> Result<RotationAction, rcgen::Error> {
        let accepted = |pair: &Option<Pair>| pair.clone().filter(|pair| self.accepts(pair, seen.now));
        let Some(current) = accepted(&keyring.current) else {
            return self.fill(accepted(&keyring.next), seen);
        };
        if let Some(served) = seen.served.filter(|served| self.accepts(served, seen.now))
            && !chain_check::contains(&keyring.bundle(), &served.certificate)
        {
            let previous = concatenate([&*served.certificate, &keyring.previous], MAX_PREVIOUS);
            return Ok(RotationAction::Write(Keyring { previous, ..keyring.clone() }, Reason::KeptServed));
        }
        let has_propagated = seen.trusted_for.is_some_and(|time| time >= self.propagation);
        let wait = seen.trusted_for.map(|time| self.propagation.saturating_sub(time));
        if let Some(next) = &keyring.next {
            if !self.accepts(next, seen.now) {
                return Ok(RotationAction::Write(
                    Keyring { next: None, ..keyring.clone() },
                    Reason::DroppedNext,
                ));
            }
            if has_propagated {
                let previous = concatenate([&*current.certificate, &keyring.previous], MAX_PREVIOUS);
                let promoted = Keyring { current: Some(next.clone()), next: None, previous };
                return Ok(RotationAction::Write(promoted, Reason::PromotedNext));
            }
            return Ok(RotationAction::Wait(wait.unwrap_or(self.propagation)));
        }
        if !keyring.previous.is_empty() {
            if has_propagated && seen.served == Some(&current) {
                let alone = Keyring { previous: Vec::new(), ..keyring.clone() };
                return Ok(RotationAction::Write(alone, Reason::DroppedPrevious));
            }
            return Ok(RotationAction::Wait(wait.filter(|wait| !wait.is_zero()).unwrap_or(self.propagation)));
        }
        let left = validity_left(&current, seen.now);
        if left <= self.lifetime / 3 {
            let next = issue::self_signed(&self.names, seen.now, self.lifetime)?;
            return Ok(RotationAction::Write(
                Keyring { next: Some(next), ..keyring.clone() },
                Reason::IssuedNext,
            ));
        }
        Ok(RotationAction::Wait(left.saturating_sub(self.lifetime / 3)))
    }

    /// Fills a keyring that has no usable current pair.
    fn fill(&self, next: Option<Pair>, seen: &RotationInput<'_>) -> Result<RotationAction, rcgen::Error> {
        let served = seen.served.filter(|served| self.accepts(served, seen.now));
        if let Some(served) = served {
            let filled = Keyring { current: Some(served.clone()), next, previous: Vec::new() };
            return Ok(RotationAction::Write(filled, Reason::FilledWithServed));
        }
        let current = match next {
            Some(next) => next,
            None => issue::self_signed(&self.names, seen.now, self.lifetime)?,
        };
        // Another replica may be serving what is trusted now.
        let previous = concatenate([seen.trusted], MAX_PREVIOUS);
        Ok(RotationAction::Write(
            Keyring { current: Some(current), next: None, previous },
            Reason::FilledWithNew,
        ))
    }
}

/// Writes the certificates of these texts as one bundle: each of them once and nothing else, as far as they
/// fit.
fn concatenate<'t>(texts: impl IntoIterator<Item = &'t [u8]>, max_bytes: usize) -> Vec<u8> {
    let mut bundle: Vec<u8> = Vec::new();
    for text in texts {
        for certificate in chain_check::certificates(text) {
            let pem = pem::Pem::new("CERTIFICATE", certificate.as_ref());
            let pem = pem::encode_config(&pem, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
            if bundle.len() + pem.len() <= max_bytes && !chain_check::contains(&bundle, pem.as_bytes()) {
                bundle.extend_from_slice(pem.as_bytes());
            }
        }
    }
    bundle
}

/// For how long the certificate of this pair is still valid.
fn validity_left(pair: &Pair, now: SystemTime) -> Duration {
    let not_after = pair.identity().map_or(0, |identity| identity.not_after);
    let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
    end.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_hours(90 * 24);
    const PROPAGATION: Duration = Duration::from_mins(5);

    fn policy() -> RotationPolicy {
        RotationPolicy { names: vec!["hook.ns.svc".to_owned()], lifetime: LIFETIME, propagation: PROPAGATION }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn made(at: SystemTime) -> Pair {
        issue::self_signed(&policy().names, at, LIFETIME).unwrap()
    }

    fn written(action: RotationAction) -> Keyring {
        match action {
            RotationAction::Write(keyring, _) => keyring,
            RotationAction::Wait(_) => panic!("{action:?}"),
        }
    }

    fn seen(now: SystemTime, served: Option<&Pair>, trusted_for: Option<Duration>) -> RotationInput<'_> {
        RotationInput { now, served, trusted: b"", trusted_for }
    }

    #[test]
    fn an_empty_or_rubbish_keyring_is_filled_with_what_is_served_or_else_anew() {
        let rubbish = Pair { certificate: b"x".to_vec(), key: b"y".to_vec() };
        for keyring in [Keyring::default(), Keyring { current: Some(rubbish), ..Keyring::default() }] {
            let served = made(now());
            let filled = written(policy().next_action(&keyring, &seen(now(), Some(&served), None)).unwrap());
            assert_eq!(filled.current.as_ref(), Some(&served));
            let other = made(now());
            let beside = RotationInput { trusted: &other.certificate, ..seen(now(), None, None) };
            let made = written(policy().next_action(&keyring, &beside).unwrap());
            assert!(policy().accepts(made.current.as_ref().unwrap(), now()));
            assert!(
                chain_check::contains(&made.bundle(), &other.certificate),
                "a replica that serves it is still trusted"
            );
        }
    }

    #[test]
    fn a_rotation_makes_waits_serves_waits_and_drops() {
        let first = made(now());
        let keyring = Keyring { current: Some(first.clone()), ..Keyring::default() };
        assert_eq!(
            policy().next_action(&keyring, &seen(now(), Some(&first), Some(PROPAGATION))).unwrap(),
            RotationAction::Wait(LIFETIME / 3 * 2),
            "until a third is left"
        );
        let late = now() + LIFETIME - LIFETIME / 3;
        let keyring = written(policy().next_action(&keyring, &seen(late, Some(&first), None)).unwrap());
        let next = keyring.next.clone().unwrap();
        assert_eq!(keyring.current.as_ref(), Some(&first));
        assert!(chain_check::contains(
            &keyring.bundle(),
            &[&*first.certificate, &*next.certificate].concat()
        ));
        assert_eq!(
            policy().next_action(&keyring, &seen(late, Some(&first), None)).unwrap(),
            RotationAction::Wait(PROPAGATION)
        );
        let almost = PROPAGATION.saturating_sub(Duration::from_secs(1));
        assert_eq!(
            policy().next_action(&keyring, &seen(late, Some(&first), Some(almost))).unwrap(),
            RotationAction::Wait(Duration::from_secs(1))
        );
        let keyring =
            written(policy().next_action(&keyring, &seen(late, Some(&first), Some(PROPAGATION))).unwrap());
        assert_eq!((keyring.current.as_ref(), keyring.next.as_ref()), (Some(&next), None));
        assert!(chain_check::contains(&keyring.bundle(), &first.certificate));
        // The old certificate stays trusted while this replica still serves it.
        assert!(matches!(
            policy().next_action(&keyring, &seen(late, Some(&first), Some(PROPAGATION))).unwrap(),
            RotationAction::Wait(_)
        ));
        let keyring =
            written(policy().next_action(&keyring, &seen(late, Some(&next), Some(PROPAGATION))).unwrap());
        assert_eq!(keyring, Keyring { current: Some(next), ..Keyring::default() });
    }

    #[test]
    fn what_was_put_there_by_hand_is_followed_without_a_gap() {
        let (served, foreign) = (made(now()), made(now()));
        let keyring = Keyring { current: Some(foreign), ..Keyring::default() };
        let both = written(policy().next_action(&keyring, &seen(now(), Some(&served), None)).unwrap());
        assert_eq!(both.current, keyring.current);
        assert!(chain_check::contains(&both.bundle(), &served.certificate));
        assert!(matches!(
            policy().next_action(&both, &seen(now(), Some(&served), None)).unwrap(),
            RotationAction::Wait(_)
        ));
    }

    #[test]
    fn after_a_long_sleep_or_under_another_name_a_new_one_is_made_at_once() {
        let old = made(now());
        let keyring = Keyring { current: Some(old.clone()), ..Keyring::default() };
        let later = now() + 2 * LIFETIME;
        let filled = written(policy().next_action(&keyring, &seen(later, Some(&old), None)).unwrap());
        assert!(policy().accepts(filled.current.as_ref().unwrap(), later));
        let renamed = RotationPolicy { names: vec!["other.ns.svc".to_owned()], ..policy() };
        let filled = written(renamed.next_action(&keyring, &seen(now(), Some(&old), None)).unwrap());
        assert!(renamed.accepts(filled.current.as_ref().unwrap(), now()));
    }

    #[test]
    fn no_key_gets_into_the_bundle_and_every_certificate_is_whole() {
        let (mut one, two) = (made(now()), made(now()));
        // The key stands in the text of the certificate, whose last line does not end.
        one.certificate = [one.key.as_slice(), one.certificate.trim_ascii_end()].concat();
        let keyring = Keyring { current: Some(one), next: Some(two), ..Keyring::default() };
        let bundle = String::from_utf8(keyring.bundle()).unwrap();
        assert!(!bundle.contains("PRIVATE"));
        assert_eq!(bundle.matches("-----END CERTIFICATE-----\n").count(), 2);
    }

    #[test]
    fn what_is_kept_stays_small() {
        let many: Vec<u8> = (0..40).flat_map(|_| made(now()).certificate).collect();
        assert!(concatenate([&*many], MAX_PREVIOUS).len() <= MAX_PREVIOUS);
        assert!(!concatenate([&b"rubbish"[..], &many], MAX_PREVIOUS).is_empty());
    }
}
