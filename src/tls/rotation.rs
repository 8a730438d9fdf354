//! What is the next step in the life of the self-managed certificate? Pure: the time and all that was seen are given.
//!
//! The certificates live in one store that replicas share. A roll takes three writes, and every client trusts what any replica serves
//! at each of them: the next pair is put beside the current one; once its certificate has been trusted for a while it becomes the current
//! one, and the certificate before it stays trusted; after another while that one is dropped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Pair, chain_check, issue};

/// The longest chain of certificates that stays trusted from before, in bytes. An ECDSA certificate takes about 700.
const MAX_PREVIOUS: usize = 16 << 10;

/// What is asked of certificates.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The names that the API server calls.
    pub names: Vec<String>,
    /// How long a certificate is valid; the next one is made when a third of it is left.
    pub life: Duration,
    /// How long a change of what is trusted may take to reach every API server, and a change of the store every replica.
    pub wait: Duration,
}

/// What replicas share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The pair that is served.
    pub current: Option<Pair>,
    /// Trusted already, to be served.
    pub next: Option<Pair>,
    /// Certificates that may still be served somewhere, PEM.
    pub previous: Vec<u8>,
}

/// What one replica sees beside the store.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time.
    pub now: SystemTime,
    /// What it serves itself.
    pub served: Option<&'a Pair>,
    /// Everything that is trusted now, PEM.
    pub trusted: &'a [u8],
    /// For how long all of the store has been trusted; none where it is not.
    pub trusted_for: Option<Duration>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for so long, unless something changes.
    Rest(Duration),
    /// Write this store over the one that was seen, and say why.
    Write(Store, &'static str),
}

impl Store {
    /// The certificates to be trusted, PEM, in an order that all replicas agree on.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        let pairs = [&self.current, &self.next].into_iter().flatten();
        let texts = pairs.map(|pair| pair.certificate.as_slice()).chain([self.previous.as_slice()]);
        // Written anew: a text that somebody put there by hand may hold a key beside its certificate, or not end its last line.
        keep(texts, usize::MAX)
    }
}

impl Plan {
    /// Whether a client would accept it now, by every name.
    #[must_use]
    pub fn accepts(&self, pair: &Pair, now: SystemTime) -> bool {
        let trusts =
            |name: &String| chain_check::check(&pair.certificate, &pair.certificate, name, now).is_ok();
        pair.identity().is_ok() && self.names.iter().all(trusts)
    }

    /// The next step.
    ///
    /// # Errors
    /// When no certificate can be made for these names.
    pub fn step(&self, store: &Store, view: &View<'_>) -> Result<Step, rcgen::Error> {
        Ok(match self.wish(store, view)? {
            // What finds no room is not wished for again and again.
            Step::Write(wish, _) if wish == *store => Step::Rest(self.wait),
            step => step,
        })
    }

    fn wish(&self, store: &Store, view: &View<'_>) -> Result<Step, rcgen::Error> {
        let accepted = |pair: &Option<Pair>| pair.clone().filter(|pair| self.accepts(pair, view.now));
        let Some(current) = accepted(&store.current) else {
            return self.fill(accepted(&store.next), view);
        };
        if let Some(served) = view.served.filter(|served| self.accepts(served, view.now))
            && !chain_check::contains(&store.bundle(), &served.certificate)
        {
            let previous = keep([&*served.certificate, &store.previous], MAX_PREVIOUS);
            return Ok(Step::Write(
                Store { previous, ..store.clone() },
                "another certificate was put there: the one served so far stays trusted until every replica has followed",
            ));
        }
        let waited = view.trusted_for.is_some_and(|time| time >= self.wait);
        let rest = view.trusted_for.map(|time| self.wait.saturating_sub(time));
        if let Some(next) = &store.next {
            if !self.accepts(next, view.now) {
                return Ok(Step::Write(
                    Store { next: None, ..store.clone() },
                    "the next certificate cannot be used",
                ));
            }
            if waited {
                let previous = keep([&*current.certificate, &store.previous], MAX_PREVIOUS);
                return Ok(Step::Write(
                    Store { current: Some(next.clone()), next: None, previous },
                    "the next certificate is trusted everywhere: it is served from now on",
                ));
            }
            return Ok(Step::Rest(rest.unwrap_or(self.wait)));
        }
        if !store.previous.is_empty() {
            if waited && view.served == Some(&current) {
                return Ok(Step::Write(
                    Store { previous: Vec::new(), ..store.clone() },
                    "the certificate before this one is not served any more: it is not trusted any more",
                ));
            }
            return Ok(Step::Rest(rest.filter(|rest| !rest.is_zero()).unwrap_or(self.wait)));
        }
        let left = left(&current, view.now);
        if left <= self.life / 3 {
            let next = issue::self_signed(&self.names, view.now, self.life)?;
            return Ok(Step::Write(
                Store { next: Some(next), ..store.clone() },
                "a third of the certificate's life is left: the next one is made, and trusted before it is served",
            ));
        }
        Ok(Step::Rest(left.saturating_sub(self.life / 3)))
    }

    /// There is no current pair that can be used.
    fn fill(&self, next: Option<Pair>, view: &View<'_>) -> Result<Step, rcgen::Error> {
        let served = view.served.filter(|served| self.accepts(served, view.now));
        if let Some(served) = served {
            let store = Store { current: Some(served.clone()), next, previous: Vec::new() };
            return Ok(Step::Write(store, "it held no usable certificate: filled with the one being served"));
        }
        let current = match next {
            Some(next) => next,
            None => issue::self_signed(&self.names, view.now, self.life)?,
        };
        // Another replica may be serving what is trusted now.
        let store =
            Store { current: Some(current), next: None, previous: keep([view.trusted], MAX_PREVIOUS) };
        Ok(Step::Write(store, "it held no usable certificate: a new one was made"))
    }
}

/// Certificates alone, each once, as far as there is room.
fn keep<'t>(texts: impl IntoIterator<Item = &'t [u8]>, room: usize) -> Vec<u8> {
    let mut kept: Vec<u8> = Vec::new();
    for text in texts {
        for certificate in chain_check::certificates(text) {
            let pem = pem::Pem::new("CERTIFICATE", certificate.as_ref());
            let pem = pem::encode_config(&pem, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
            if kept.len() + pem.len() <= room && !chain_check::contains(&kept, pem.as_bytes()) {
                kept.extend_from_slice(pem.as_bytes());
            }
        }
    }
    kept
}

fn left(pair: &Pair, now: SystemTime) -> Duration {
    let not_after = pair.identity().map_or(0, |identity| identity.not_after);
    let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
    end.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_hours(90 * 24);
    const WAIT: Duration = Duration::from_mins(5);

    fn plan() -> Plan {
        Plan { names: vec!["hook.ns.svc".to_owned()], life: LIFE, wait: WAIT }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn made(at: SystemTime) -> Pair {
        issue::self_signed(&plan().names, at, LIFE).unwrap()
    }

    fn write(step: Step) -> Store {
        match step {
            Step::Write(store, _) => store,
            Step::Rest(_) => panic!("{step:?}"),
        }
    }

    fn view(now: SystemTime, served: Option<&Pair>, trusted_for: Option<Duration>) -> View<'_> {
        View { now, served, trusted: b"", trusted_for }
    }

    #[test]
    fn an_empty_or_rubbish_store_is_filled_with_what_is_served_or_else_anew() {
        let rubbish = Pair { certificate: b"x".to_vec(), key: b"y".to_vec() };
        for store in [Store::default(), Store { current: Some(rubbish), ..Store::default() }] {
            let served = made(now());
            let filled = write(plan().step(&store, &view(now(), Some(&served), None)).unwrap());
            assert_eq!(filled.current.as_ref(), Some(&served));
            let other = made(now());
            let seen = View { trusted: &other.certificate, ..view(now(), None, None) };
            let made = write(plan().step(&store, &seen).unwrap());
            assert!(plan().accepts(made.current.as_ref().unwrap(), now()));
            assert!(chain_check::contains(&made.bundle(), &other.certificate), "who serves it is trusted on");
        }
    }

    #[test]
    fn a_roll_makes_waits_serves_waits_and_drops() {
        let first = made(now());
        let store = Store { current: Some(first.clone()), ..Store::default() };
        assert_eq!(
            plan().step(&store, &view(now(), Some(&first), Some(WAIT))).unwrap(),
            Step::Rest(LIFE / 3 * 2),
            "until a third is left"
        );
        let late = now() + LIFE - LIFE / 3;
        let store = write(plan().step(&store, &view(late, Some(&first), None)).unwrap());
        let next = store.next.clone().unwrap();
        assert_eq!(store.current.as_ref(), Some(&first));
        assert!(chain_check::contains(&store.bundle(), &[&*first.certificate, &*next.certificate].concat()));
        assert_eq!(plan().step(&store, &view(late, Some(&first), None)).unwrap(), Step::Rest(WAIT));
        let almost = WAIT.saturating_sub(Duration::from_secs(1));
        assert_eq!(
            plan().step(&store, &view(late, Some(&first), Some(almost))).unwrap(),
            Step::Rest(Duration::from_secs(1))
        );
        let store = write(plan().step(&store, &view(late, Some(&first), Some(WAIT))).unwrap());
        assert_eq!((store.current.as_ref(), store.next.as_ref()), (Some(&next), None));
        assert!(chain_check::contains(&store.bundle(), &first.certificate));
        // Not while this replica still serves the old one.
        assert!(matches!(plan().step(&store, &view(late, Some(&first), Some(WAIT))).unwrap(), Step::Rest(_)));
        let store = write(plan().step(&store, &view(late, Some(&next), Some(WAIT))).unwrap());
        assert_eq!(store, Store { current: Some(next), ..Store::default() });
    }

    #[test]
    fn what_was_put_there_by_hand_is_followed_without_a_gap() {
        let (served, foreign) = (made(now()), made(now()));
        let store = Store { current: Some(foreign), ..Store::default() };
        let both = write(plan().step(&store, &view(now(), Some(&served), None)).unwrap());
        assert_eq!(both.current, store.current);
        assert!(chain_check::contains(&both.bundle(), &served.certificate));
        assert!(matches!(plan().step(&both, &view(now(), Some(&served), None)).unwrap(), Step::Rest(_)));
    }

    #[test]
    fn after_a_long_sleep_or_under_another_name_a_new_one_is_made_at_once() {
        let old = made(now());
        let store = Store { current: Some(old.clone()), ..Store::default() };
        let later = now() + 2 * LIFE;
        let filled = write(plan().step(&store, &view(later, Some(&old), None)).unwrap());
        assert!(plan().accepts(filled.current.as_ref().unwrap(), later));
        let renamed = Plan { names: vec!["other.ns.svc".to_owned()], ..plan() };
        let filled = write(renamed.step(&store, &view(now(), Some(&old), None)).unwrap());
        assert!(renamed.accepts(filled.current.as_ref().unwrap(), now()));
    }

    #[test]
    fn no_key_gets_into_the_bundle_and_every_certificate_is_whole() {
        let (mut one, two) = (made(now()), made(now()));
        // Key and certificate in one text, without a last line.
        one.certificate = [one.key.as_slice(), one.certificate.trim_ascii_end()].concat();
        let store = Store { current: Some(one), next: Some(two), ..Store::default() };
        let bundle = String::from_utf8(store.bundle()).unwrap();
        assert!(!bundle.contains("PRIVATE"));
        assert_eq!(bundle.matches("-----END CERTIFICATE-----\n").count(), 2);
    }

    #[test]
    fn what_is_kept_stays_small() {
        let many: Vec<u8> = (0..40).flat_map(|_| made(now()).certificate).collect();
        assert!(keep([&*many], MAX_PREVIOUS).len() <= MAX_PREVIOUS);
        assert!(!keep([&b"rubbish"[..], &many], MAX_PREVIOUS).is_empty());
    }
}
