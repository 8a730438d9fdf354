//! Which rules can match an object at all? Few of many, found by the values that it has.
//!
//! To ask every rule would cost as much as there are rules, so each is filed under its most selective criterion: the one
//! whose values the fewest rules share. `tests/it/properties.rs` holds the outcome against a naive scan.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::object::component::Component;
use crate::engine::object::subject::{Requester, Subject};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::glob::{Glob, Head};
use crate::engine::rules::rule::{Criteria, Rule};

/// Rule numbers by what the rules look at.
///
/// What a rule is filed under is kept as a hash only: 20 bytes for a rule. Where two are the same, rules are tried that do not match.
#[derive(Debug)]
pub(super) struct Index {
    /// Ascending by hash, then by rule.
    entries: Box<[Entry]>,
    /// For each beginning of a hash the first entry with it; and where the last ones end.
    starts: Box<[u32]>,
    /// In the order of [`Field`].
    fixed: [Filed; 6],
    /// Ascending by key.
    labels: Box<[(Box<str>, Filed)]>,
}

/// A rule filed under a hash, which is in halves so that nothing is lost to alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    high: u32,
    low: u32,
    rule: u32,
}

/// What is filed for one field.
#[derive(Debug, Default)]
struct Filed {
    /// There are whole values.
    exact: bool,
    /// The lengths of literal prefixes, ascending, to try only those.
    prefixes: Box<[usize]>,
}

/// What a rule is filed for.
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

/// Rules that are always candidates are filed under this hash, which is as good as any.
const REST: u64 = 0;

type Filing<'r> = (Field<'r>, Vec<Head<'r>>);

/// Every criterion under which a rule can be filed: all its alternatives have a literal beginning.
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

/// Of a hash that begins with `high`, the bucket among so many.
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
        // Reserved exactly: of a large mapping it is megabytes.
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
            // The criterion whose worst value the fewest rules share; at par a whole value beats a prefix.
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

    /// Every rule filed under this hash, ascending.
    fn find(&self, hash: u64) -> &[Entry] {
        let wanted = Entry::new(hash, 0);
        let bucket = bucket(wanted.high, self.starts.len() - 1);
        let Some([start, end]) = self.starts.get(bucket..).and_then(<[u32]>::first_chunk) else { return &[] };
        let entries = self.entries.get(*start as usize..*end as usize).unwrap_or_default();
        let first = entries.partition_point(|entry| entry.is_before(&wanted));
        let entries = entries.get(first..).unwrap_or_default();
        entries.get(..entries.partition_point(|entry| !wanted.is_before(entry))).unwrap_or_default()
    }

    /// Rules that are always candidates.
    pub(super) fn rest(&self) -> impl Iterator<Item = u32> {
        self.find(REST).iter().map(|entry| entry.rule)
    }

    /// The rules that may match, ascending, each once.
    pub(super) fn candidates<'i>(&'i self, subject: &Subject<'_>, facts: &Facts<'_>) -> Candidates<'i> {
        let mut candidates = Candidates::new(self.find(REST));
        let user = match subject.requester {
            Requester::User(user) => Some(user),
            Requester::Assumed => None,
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

    /// The rules filed under what `criteria` begin with: each rule that covers them is among these.
    pub(super) fn filed_like<'i>(&'i self, criteria: &Criteria) -> Candidates<'i> {
        let mut candidates = Candidates::new(self.find(REST));
        // A covering rule holds for each alternative, so the first of each criterion finds it.
        let globs = [
            (Field::ServiceAccount, &criteria.service_accounts),
            (Field::Namespace, &criteria.namespaces),
            (Field::Release, &criteria.releases),
        ];
        let labels = criteria.labels.iter().map(|(key, globs)| (Field::Label(key), globs));
        for (field, globs) in globs.into_iter().chain(labels) {
            // A glob can only be covered by itself or by a shorter prefix.
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
            // `get` is `None` beyond the value's end and inside a character.
            if let Some(prefix) = value.get(..*length) {
                candidates.add(self.find(hash(field, Head::Prefix(prefix))));
            }
        }
    }
}

/// More lists than these are put in order at once; an object can be made to have hundreds.
const FEW: usize = 16;

/// Several ascending lists as one.
pub(super) struct Candidates<'i> {
    /// Few, so the smallest head is found by looking at each.
    lists: Vec<&'i [Entry]>,
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
