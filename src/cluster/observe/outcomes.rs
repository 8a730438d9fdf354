//! What would come of each observed ServiceAccount, and what of it is new and thus to be told?
//!
//! Everything here is pure: what was seen and the time are arguments, and what is to be done is returned. Of
//! each ServiceAccount a few bytes are kept, and no more than [`MOST`] are known.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::events::Importance;
use crate::cluster::service_account_watches::Seen;
use crate::cluster::watch::Event;
use crate::engine::decision::Outcome;

/// So many ServiceAccounts are known at once, each with 32 bytes. Where there are more, the namespaces with
/// the most are told of in part: whoever fills one namespace does not silence the others.
pub(super) const MOST: usize = 10_000;

/// So many ServiceAccounts of a namespace get an Event within [`WINDOW`]. The others are summed up in one.
const AT_ONCE: u32 = 100;

/// So many of all namespaces together get one, so that the writer of Events has room for all of them.
const ALL_AT_ONCE: u32 = 200;

/// See [`AT_ONCE`]. The writer of Events takes as many again after this time.
const WINDOW: Duration = Duration::from_mins(5);

/// How long a summary waits, so that it sums up all of a list.
const SETTLE: Duration = Duration::from_secs(5);

/// The shortest time between two summaries of a namespace.
const GAP: Duration = Duration::from_mins(1);

/// A ServiceAccount as a watch saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: Arc<str>,
    pub(super) uid: Option<Arc<str>>,
    /// `None` where it is being deleted.
    pub(super) forecast: Option<Forecast>,
}

/// What would come of a ServiceAccount if its namespace had opted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forecast {
    pub(super) outcome: Outcome,
    pub(super) sentence: String,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Tell, in the log, what would come of this ServiceAccount.
    Log(Told),
    /// Tell it in the log, and in an Event on the ServiceAccount.
    LogAndEvent(Told),
    /// Tell, in an Event on this namespace, how many of its ServiceAccounts have which outcome.
    Summarise(Arc<str>, BTreeMap<Outcome, usize>),
    /// Log that there are more ServiceAccounts than are known.
    SayTooMany,
}

/// A ServiceAccount, and what would come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) uid: Option<Arc<str>>,
    pub(super) forecast: Forecast,
}

/// What would come of every observed ServiceAccount that is known.
pub(super) struct Outcomes {
    generation: u64,
    namespaces: Arc<BTreeSet<String>>,
    /// The key is the hash of namespace and name. The hasher's own keys are secret, so that nobody can choose
    /// two names of one hash.
    known: HashMap<u64, Known>,
    /// How many ServiceAccounts of each namespace are known. The key is the hash of the namespace.
    sizes: HashMap<u64, usize>,
    hasher: RandomState,
    burst: Burst,
    summaries: HashMap<Arc<str>, Summary>,
    /// These summaries wait, in the order in which they are due.
    due: BTreeSet<(Instant, Arc<str>)>,
    said_too_many: bool,
}

/// What is known of a ServiceAccount.
struct Known {
    /// The hash of its namespace.
    namespace: u64,
    /// The hash of its sentence.
    sentence: u64,
    outcome: Outcome,
    /// Whether the list that is being read, or was read last, has shown it.
    is_listed: bool,
}

/// How many ServiceAccounts got an Event lately.
#[derive(Default)]
struct Burst {
    begun: Option<Instant>,
    told: u32,
}

/// What was told of a namespace lately.
#[derive(Default)]
struct Summary {
    burst: Burst,
    is_due: bool,
    /// When its ServiceAccounts were summed up last.
    last: Option<Instant>,
}

/// Returns why an Event tells of this outcome. Where nothing would be written, nobody wants to know.
pub(super) fn reason(outcome: Outcome) -> Option<(Importance, &'static str)> {
    match outcome {
        Outcome::Set => Some((Importance::Normal, "RoleWouldBeSet")),
        Outcome::Replaced => Some((Importance::Normal, "RoleWouldBeReplaced")),
        Outcome::Removed => Some((Importance::Normal, "RoleWouldBeRemoved")),
        // Somebody should mend the mapping, or the ServiceAccount.
        Outcome::Kept => Some((Importance::Warning, "OtherRoleWouldBeKept")),
        Outcome::Refused => Some((Importance::Warning, "RoleWouldBeRefused")),
        Outcome::Orphaned => Some((Importance::Warning, "RoleIsOrphaned")),
        Outcome::Undecided
        | Outcome::NoRule
        | Outcome::OnServiceAccount
        | Outcome::DefaultAccount
        | Outcome::Skipped
        | Outcome::OptedOut
        | Outcome::InStep => None,
    }
}

fn is_worth_telling(outcome: Outcome) -> bool {
    reason(outcome).is_some()
}

impl Outcomes {
    /// Nothing is observed yet.
    pub(super) fn new() -> Self {
        Self {
            generation: 0,
            namespaces: Arc::default(),
            known: HashMap::new(),
            sizes: HashMap::new(),
            hasher: RandomState::new(),
            burst: Burst::default(),
            summaries: HashMap::new(),
            due: BTreeSet::new(),
            said_too_many: false,
        }
    }

    /// No other namespaces than these are observed: what is known of others is forgotten.
    pub(super) fn only(&mut self, namespaces: Arc<BTreeSet<String>>) {
        let kept: BTreeSet<u64> = namespaces.iter().map(|name| self.hasher.hash_one(&**name)).collect();
        self.known.retain(|_, known| kept.contains(&known.namespace));
        self.sizes.retain(|namespace, _| kept.contains(namespace));
        self.summaries.retain(|name, _| namespaces.contains(&**name));
        self.due.retain(|(_, name)| namespaces.contains(&**name));
        self.namespaces = namespaces;
    }

    /// A watch saw something. Of two mappings the newer one counts, and before there is one nothing does.
    pub(super) fn see(&mut self, seen: Seen<Account>, now: Instant) -> Vec<Action> {
        let Seen { namespace, generation, event } = seen;
        let own = self.hasher.hash_one(&*namespace);
        if generation == 0 || !self.namespaces.contains(&*namespace) {
            return Vec::new();
        }
        match event {
            Event::Listing => {
                for known in self.known.values_mut().filter(|known| known.namespace == own) {
                    known.is_listed = false;
                }
            }
            Event::Listed => {
                self.known.retain(|_, known| known.namespace != own || known.is_listed);
                let left = self.known.values().filter(|known| known.namespace == own).count();
                self.sizes.insert(own, left);
            }
            Event::There(Account { name, uid, forecast: Some(forecast) }) => {
                let id = self.hasher.hash_one((&*namespace, &*name));
                if generation >= self.generation {
                    self.generation = generation;
                    return self.judged(id, own, Told { namespace, name, uid, forecast }, now);
                }
                // It is there, and how it stands to the newer mapping is seen soon.
                if let Some(known) = self.known.get_mut(&id) {
                    known.is_listed = true;
                }
            }
            Event::There(Account { name, .. }) | Event::Gone(Account { name, .. }) => {
                self.forget(self.hasher.hash_one((&*namespace, &*name)));
            }
        }
        Vec::new()
    }

    /// The summaries that are due by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while self.next_due().is_some_and(|at| at <= now)
            && let Some((_, namespace)) = self.due.pop_first()
        {
            if let Some(summary) = self.summaries.get_mut(&namespace) {
                summary.is_due = false;
                summary.last = Some(now);
            }
            let own = self.hasher.hash_one(&*namespace);
            let counts = count(self.known.values().filter(|known| known.namespace == own));
            actions.push(Action::Summarise(namespace, counts));
        }
        actions
    }

    /// When [`Self::due`] has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many ServiceAccounts have which outcome.
    pub(super) fn counts(&self) -> BTreeMap<Outcome, usize> {
        count(self.known.values())
    }

    /// It is there, and this would come of it.
    fn judged(&mut self, id: u64, own: u64, told: Told, now: Instant) -> Vec<Action> {
        let Forecast { outcome, sentence } = &told.forecast;
        let (outcome, sentence) = (*outcome, self.hasher.hash_one(sentence));
        let mut actions = Vec::new();
        if self.known.len() >= MOST && !self.known.contains_key(&id) {
            if !std::mem::replace(&mut self.said_too_many, true) {
                actions.push(Action::SayTooMany);
            }
            if !self.make_room(own) {
                return actions;
            }
        }
        let before = match self.known.entry(id) {
            Entry::Vacant(entry) => {
                *self.sizes.entry(own).or_default() += 1;
                entry.insert(Known { namespace: own, sentence, outcome, is_listed: true });
                None
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.is_listed = true;
                if known.sentence == sentence {
                    return actions;
                }
                known.sentence = sentence;
                Some(std::mem::replace(&mut known.outcome, outcome))
            }
        };
        // Where something was told before, that nothing would be written any more is news.
        if !is_worth_telling(outcome) && !before.is_some_and(is_worth_telling) {
            return actions;
        }
        let by_event = self.takes_event(&told.namespace, now);
        actions.push(if by_event { Action::LogAndEvent(told) } else { Action::Log(told) });
        actions
    }

    fn forget(&mut self, id: u64) {
        if let Some(known) = self.known.remove(&id)
            && let Some(size) = self.sizes.get_mut(&known.namespace)
        {
            *size = size.saturating_sub(1);
        }
    }

    /// Forgets one ServiceAccount of the namespace with the most. Returns whether there is one with more than
    /// this one would have then.
    fn make_room(&mut self, own: u64) -> bool {
        let size = self.sizes.get(&own).copied().unwrap_or_default();
        let largest = self.sizes.iter().max_by_key(|(_, size)| **size);
        let Some((&largest, _)) = largest.filter(|(_, most)| **most > size + 1) else { return false };
        let id = self.known.iter().find(|(_, known)| known.namespace == largest).map(|(id, _)| *id);
        id.inspect(|id| self.forget(*id)).is_some()
    }

    /// Whether one more ServiceAccount of this namespace gets an Event. Where it gets none, a summary will be
    /// due.
    fn takes_event(&mut self, namespace: &Arc<str>, now: Instant) -> bool {
        let summary = self.summaries.entry(Arc::clone(namespace)).or_default();
        if summary.burst.take(AT_ONCE, now) && self.burst.take(ALL_AT_ONCE, now) {
            return true;
        }
        if !std::mem::replace(&mut summary.is_due, true) {
            let at = (now + SETTLE).max(summary.last.map_or(now, |last| last + GAP));
            self.due.insert((at, Arc::clone(namespace)));
        }
        false
    }
}

impl Burst {
    /// Takes one of so many.
    fn take(&mut self, most: u32, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now.duration_since(begun) >= WINDOW) {
            *self = Self { begun: Some(now), told: 0 };
        }
        let is_left = self.told < most;
        self.told += u32::from(is_left);
        is_left
    }
}

fn count<'a>(known: impl Iterator<Item = &'a Known>) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for known in known {
        *counts.entry(known.outcome).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
