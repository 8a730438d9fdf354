//! Which rules can match an object at all?
//!
//! Trying every rule would take longer the more rules there are. So each rule is filed under its most
//! selective criterion, which is the one whose values the fewest rules share, and the values of an object
//! find the rules to try. The property tests compare the outcome with that of trying every rule.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::object::component::Component;
use crate::engine::object::subject::{Requester, Subject};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::glob::{Glob, Head};
use crate::engine::rules::rule::{Criteria, Rule};

/// The numbers of the rules by what they look at.
///
/// Only the hash of what a rule is filed under is kept, which takes 20 bytes for a rule. Where two hashes are
/// the same by chance, a rule is tried that does not match.
#[derive(Debug)]
pub(super) struct Index {
    /// The entries, ascending by hash and then by rule.
    entries: Box<[Entry]>,
    /// The first entry of each bucket, and at last the end of all entries. A bucket is of hashes that begin
    /// alike.
    starts: Box<[u32]>,
    /// What is filed for each field but labels, in the order of [`Field::place`].
    fixed: [Filed; 6],
    /// What is filed for each label, ascending by the label's key.
    labels: Box<[(Box<str>, Filed)]>,
}

/// A rule that is filed under a hash. The hash is kept in halves, so that alignment takes no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    high: u32,
    low: u32,
    rule: u32,
}

/// What is filed for one field.
#[derive(Debug, Default)]
struct Filed {
    /// Whether rules are filed under whole values.
    exact: bool,
    /// The lengths of the prefixes under which rules are filed, ascending. Only these are tried.
    prefixes: Box<[usize]>,
}

/// A field of an object that a criterion looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Field<'r> {
    ServiceAccount,
    Namespace,
    Release,
    Project,
    Runner,
    Component,
    Label(&'r str),
}

/// The hash under which rules are filed that are always tried, because no criterion has a literal beginning.
/// Any number would do.
const REST: u64 = 0;

type Filing<'r> = (Field<'r>, Vec<Head<'r>>);

/// Returns every criterion under which a rule can be filed, because all its alternatives have a literal
/// beginning.
fn filings(criteria: &Criteria) -> Vec<Filing<'_>> {
    fn globs<'r>(field: Field<'r>, globs: &'r [Glob]) -> Option<Filing<'r>> {
        let heads: Vec<Head<'r>> = globs.iter().flat_map(Glob::heads).collect();
        let useful = !heads.is_empty()
            && heads.iter().all(|head| !matches!(head, Head::Prefix(prefix) if prefix.is_empty()));
        useful.then_some((field, heads))
    }
    fn values<'r>(field: Field<'r>, values: &'r [Box<str>]) -> Option<Filing<'r>> {
        (!values.is_empty()).then(|| (field, values.iter().map(|value| Head::Exact(value)).collect()))
    }
    let components: Vec<Head<'_>> =
        criteria.components.iter().map(|component| Head::Exact(component.name())).collect();
    let fixed = [
        values(Field::Project, &criteria.projects),
        globs(Field::ServiceAccount, &criteria.service_accounts),
        globs(Field::Namespace, &criteria.namespaces),
        globs(Field::Release, &criteria.releases),
        values(Field::Runner, &criteria.runners),
        (!components.is_empty()).then_some((Field::Component, components)),
    ];
    let labels = criteria.labels.iter().filter_map(|(key, patterns)| globs(Field::Label(key), patterns));
    fixed.into_iter().flatten().chain(labels).collect()
}

impl Field<'_> {
    /// The place in [`Index::fixed`]; a label has none.
    fn place(self) -> Option<usize> {
        match self {
            Self::ServiceAccount => Some(0),
            Self::Namespace => Some(1),
            Self::Release => Some(2),
            Self::Project => Some(3),
            Self::Runner => Some(4),
            Self::Component => Some(5),
            Self::Label(_) => None,
        }
    }
}

impl Entry {
    fn new(hash: u64, rule: u32) -> Self {
        let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).unwrap_or_default();
        Self { high: half(hash >> 32), low: half(hash), rule }
    }

    fn is_before(&self, other: &Self) -> bool {
        (self.high, self.low) < (other.high, other.low)
    }
}

fn hash(field: Field<'_>, head: Head<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (field, head).hash(&mut hasher);
    hasher.finish()
}

/// Returns the bucket of a hash whose first half is `high`, where there are so many buckets.
fn bucket(high: u32, buckets: usize) -> usize {
    let scaled = (u64::from(high) * buckets as u64) >> 32;
    usize::try_from(scaled).unwrap_or_default()
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let all = || rules.iter().flat_map(|rule| filings(&rule.criteria));
        // The room is reserved exactly, because a large mapping takes megabytes.
        let mut sharing = Vec::with_capacity(all().map(|(_, heads)| heads.len()).sum());
        sharing.extend(all().flat_map(|(field, heads)| heads.into_iter().map(move |head| hash(field, head))));
        sharing.sort_unstable();
        let shared = |hash: u64| {
            let first = sharing.partition_point(|other| *other < hash);
            sharing.get(first..).unwrap_or_default().partition_point(|other| *other == hash)
        };
        let mut entries = Vec::with_capacity(sharing.len().max(rules.len()));
        let mut filed: BTreeMap<Field<'_>, (bool, BTreeSet<usize>)> = BTreeMap::new();
        for (rule, number) in rules.iter().zip(0..) {
            // This is the criterion whose most frequent value the fewest rules share. Among equals a whole
            // value is better than a prefix.
            let best = filings(&rule.criteria).into_iter().min_by_key(|(field, heads)| {
                heads.iter().map(|head| (shared(hash(*field, *head)), matches!(head, Head::Prefix(_)))).max()
            });
            let Some((field, heads)) = best else {
                entries.push(Entry::new(REST, number));
                continue;
            };
            let (exact, prefixes) = filed.entry(field).or_default();
            for head in heads {
                match head {
                    Head::Exact(_) => *exact = true,
                    Head::Prefix(prefix) => drop(prefixes.insert(prefix.len())),
                }
                entries.push(Entry::new(hash(field, head), number));
            }
        }
        drop(sharing);
        entries.sort_unstable();
        entries.dedup();
        let buckets = (entries.len() + 1).next_power_of_two();
        let first = |wanted| entries.partition_point(|entry| bucket(entry.high, buckets) < wanted);
        let starts = (0..=buckets).map(|bucket| narrow(first(bucket))).collect();
        let (mut fixed, mut labels) = (<[Filed; 6]>::default(), Vec::new());
        for (field, (exact, prefixes)) in filed {
            let filed = Filed { exact, prefixes: prefixes.into_iter().collect() };
            match (field, field.place().and_then(|place| fixed.get_mut(place))) {
                (Field::Label(key), _) => labels.push((key.into(), filed)),
                (_, Some(place)) => *place = filed,
                (_, None) => {}
            }
        }
        Self { entries: entries.into(), starts, fixed, labels: labels.into() }
    }

    /// Returns the entries of this hash, ascending by rule.
    fn find(&self, hash: u64) -> &[Entry] {
        let wanted = Entry::new(hash, 0);
        let bucket = bucket(wanted.high, self.starts.len() - 1);
        let Some([start, end]) = self.starts.get(bucket..).and_then(<[u32]>::first_chunk) else { return &[] };
        let entries = self.entries.get(*start as usize..*end as usize).unwrap_or_default();
        let first = entries.partition_point(|entry| entry.is_before(&wanted));
        let entries = entries.get(first..).unwrap_or_default();
        entries.get(..entries.partition_point(|entry| !wanted.is_before(entry))).unwrap_or_default()
    }

    /// Returns the rules that are always tried.
    pub(super) fn rest(&self) -> impl Iterator<Item = u32> {
        self.find(REST).iter().map(|entry| entry.rule)
    }

    /// Returns the rules that may match an object, ascending, each once.
    pub(super) fn candidates<'i>(&'i self, subject: &Subject<'_>, facts: &Facts<'_>) -> Candidates<'i> {
        let mut candidates = Candidates::new(self.find(REST));
        let user = match subject.requester {
            Requester::User(user) => Some(user),
            Requester::Assumed | Requester::Unbelieved => None,
        };
        let values = [
            (Field::ServiceAccount, Some(subject.service_account)),
            (Field::Namespace, Some(subject.namespace)),
            (Field::Release, facts.release),
            (Field::Project, facts.project),
            (Field::Runner, user),
            (Field::Component, facts.component.map(Component::name)),
        ];
        for (field, value) in values {
            if let Some(value) = value {
                self.look_up(field, value, &mut candidates);
            }
        }
        if !self.labels.is_empty() {
            for (key, value) in subject.labels {
                self.look_up(Field::Label(key), value, &mut candidates);
            }
        }
        candidates.ready()
    }

    /// Returns the rules that are filed under what `criteria` begin with. Every rule that covers them is
    /// among these.
    pub(super) fn filed_like<'i>(&'i self, criteria: &Criteria) -> Candidates<'i> {
        let mut candidates = Candidates::new(self.find(REST));
        // A rule that covers these criteria covers each alternative, so that the first of each criterion
        // finds it.
        let globs = [
            (Field::ServiceAccount, &criteria.service_accounts),
            (Field::Namespace, &criteria.namespaces),
            (Field::Release, &criteria.releases),
        ];
        let labels = criteria.labels.iter().map(|(key, globs)| (Field::Label(key), globs));
        for (field, globs) in globs.into_iter().chain(labels) {
            // A glob is covered only by itself or by a shorter prefix.
            if let Some(Head::Exact(text) | Head::Prefix(text)) =
                globs.first().and_then(|glob| glob.heads().next())
            {
                self.look_up(field, text, &mut candidates);
            }
        }
        let component = criteria.components.iter().next();
        let values = [
            (Field::Project, criteria.projects.first().map(|project| &**project)),
            (Field::Runner, criteria.runners.first().map(|runner| &**runner)),
            (Field::Component, component.map(Component::name)),
        ];
        for (field, value) in values {
            if let Some(value) = value {
                self.look_up(field, value, &mut candidates);
            }
        }
        candidates.ready()
    }

    fn look_up<'i>(&'i self, field: Field<'_>, value: &str, candidates: &mut Candidates<'i>) {
        let filed = match field {
            Field::Label(key) => {
                let place = self.labels.binary_search_by(|(known, _)| (**known).cmp(key));
                place.ok().and_then(|place| self.labels.get(place)).map(|(_, filed)| filed)
            }
            _ => field.place().and_then(|place| self.fixed.get(place)),
        };
        let Some(filed) = filed else { return };
        if filed.exact {
            candidates.add(self.find(hash(field, Head::Exact(value))));
        }
        for length in &filed.prefixes {
            // `get` returns `None` beyond the value's end and inside a character.
            if let Some(prefix) = value.get(..*length) {
                candidates.add(self.find(hash(field, Head::Prefix(prefix))));
            }
        }
    }
}

/// How many lists are merged step by step. More of them are sorted at once: an object can be made to have
/// hundreds.
const FEW: usize = 16;

/// Several ascending lists of rules, merged into one.
pub(super) struct Candidates<'i> {
    /// The rest of each list. There are few, so that the smallest first entry is found by looking at each
    /// list.
    lists: Vec<&'i [Entry]>,
    /// The rules where there were too many lists.
    ordered: std::vec::IntoIter<u32>,
}

impl<'i> Candidates<'i> {
    fn new(list: &'i [Entry]) -> Self {
        let mut lists = Vec::with_capacity(FEW);
        lists.push(list);
        Self { lists, ordered: Vec::new().into_iter() }
    }

    fn add(&mut self, list: &'i [Entry]) {
        if !list.is_empty() {
            self.lists.push(list);
        }
    }

    fn ready(mut self) -> Self {
        if self.lists.len() > FEW {
            let mut rules: Vec<u32> = self.lists.drain(..).flatten().map(|entry| entry.rule).collect();
            rules.sort_unstable();
            rules.dedup();
            self.ordered = rules.into_iter();
        }
        self
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.lists.is_empty() {
            return self.ordered.next();
        }
        let smallest = self.lists.iter().filter_map(|list| list.first()).map(|entry| entry.rule).min()?;
        for list in &mut self.lists {
            if let Some((first, rest)) = list.split_first()
                && first.rule == smallest
            {
                *list = rest;
            }
        }
        Some(smallest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_finds_its_own_entries_among_those_of_its_bucket() {
        let entries = [(1, 5), (2, 3), (2, 7), (1 << 32, 1), (u64::MAX, 4)];
        for buckets in [1_usize, 2, 4, 8] {
            let entries = entries.map(|(hash, rule)| Entry::new(hash, rule));
            let first = |wanted| entries.partition_point(|entry| bucket(entry.high, buckets) < wanted);
            let index = Index {
                starts: (0..=buckets).map(|bucket| narrow(first(bucket))).collect(),
                entries: entries.into(),
                fixed: Default::default(),
                labels: Box::default(),
            };
            let found = |hash| index.find(hash).iter().map(|entry| entry.rule).collect::<Vec<_>>();
            assert_eq!(found(1), [5], "{buckets} buckets");
            assert_eq!(found(2), [3, 7]);
            assert_eq!(found(1 << 32), [1]);
            assert_eq!(found(u64::MAX), [4]);
            for none in [0, 3, (1 << 32) + 1, u64::MAX - 1] {
                assert_eq!(found(none), [0; 0], "{none}");
            }
        }
    }

    #[test]
    fn lists_are_merged_alike_however_many_there_are() {
        for lists in [1, 2, FEW - 1, FEW, FEW + 1, 3 * FEW] {
            let entries: Vec<Vec<Entry>> =
                (0..lists).map(|n| [n, n + 1, 100].map(|rule| Entry::new(7, narrow(rule))).into()).collect();
            let mut candidates = Candidates::new(&[]);
            for list in &entries {
                candidates.add(list);
            }
            let want: Vec<u32> = (0..=narrow(lists)).chain([100]).collect();
            assert_eq!(candidates.ready().collect::<Vec<_>>(), want, "{lists} lists");
        }
    }
}
