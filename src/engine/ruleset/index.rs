//! Which rules can match an object at all? Few of many, found by the values that it has.
//!
//! To ask every rule would cost as much as there are rules, so each is filed under its most selective criterion: the one
//! whose values the fewest rules share. `tests/it/properties.rs` holds the outcome against a naive scan.

use std::collections::HashMap;

use crate::engine::component::Component;
use crate::engine::glob::{Glob, Head};
use crate::engine::rule::{Criteria, Facts, Rule};
use crate::engine::subject::{Requester, Subject};

/// Rule numbers by what the rules look at.
#[derive(Debug, Default)]
pub(super) struct Index {
    service_accounts: Table,
    namespaces: Table,
    releases: Table,
    projects: Table,
    runners: Table,
    labels: HashMap<Box<str>, Table>,
    components: Table,
    /// Always candidates.
    pub(super) rest: Vec<u32>,
}

/// Rule numbers by value and by literal prefix of a value, each list ascending.
#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Box<str>, Vec<u32>>,
    prefixes: HashMap<Box<str>, Vec<u32>>,
    /// The lengths of `prefixes`, ascending, to try only those.
    prefix_lengths: Vec<usize>,
}

/// A place in the index: which table, and under what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Field<'r> {
    ServiceAccount,
    Namespace,
    Release,
    Project,
    Runner,
    Label(&'r str),
    Component,
}

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

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut sharing: HashMap<(Field<'_>, Head<'_>), usize> = HashMap::new();
        for rule in rules {
            for (field, heads) in filings(&rule.criteria) {
                for head in heads {
                    *sharing.entry((field.clone(), head)).or_default() += 1;
                }
            }
        }
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            let Ok(number) = u32::try_from(number) else { break };
            // The criterion whose worst value the fewest rules share; at par a whole value beats a prefix.
            let best = filings(&rule.criteria).into_iter().min_by_key(|(field, heads)| {
                let worst = heads.iter().map(|head| {
                    let shared = sharing.get(&(field.clone(), *head)).copied().unwrap_or_default();
                    (shared, matches!(head, Head::Prefix(_)))
                });
                worst.max()
            });
            match best {
                Some((field, heads)) => index.file(number, &field, &heads),
                None => index.rest.push(number),
            }
        }
        index.finish();
        index
    }

    fn file(&mut self, number: u32, field: &Field<'_>, heads: &[Head<'_>]) {
        let table = match field {
            Field::ServiceAccount => &mut self.service_accounts,
            Field::Namespace => &mut self.namespaces,
            Field::Release => &mut self.releases,
            Field::Project => &mut self.projects,
            Field::Runner => &mut self.runners,
            Field::Component => &mut self.components,
            Field::Label(key) => self.labels.entry((*key).into()).or_default(),
        };
        for head in heads {
            let list = match head {
                Head::Exact(value) => table.exact.entry((*value).into()).or_default(),
                Head::Prefix(prefix) => table.prefixes.entry((*prefix).into()).or_default(),
            };
            if list.last() != Some(&number) {
                list.push(number);
            }
        }
    }

    fn finish(&mut self) {
        let fixed = [
            &mut self.service_accounts,
            &mut self.namespaces,
            &mut self.releases,
            &mut self.projects,
            &mut self.runners,
            &mut self.components,
        ];
        for table in fixed.into_iter().chain(self.labels.values_mut()) {
            table.prefix_lengths = table.prefixes.keys().map(|prefix| prefix.len()).collect();
            table.prefix_lengths.sort_unstable();
            table.prefix_lengths.dedup();
            for list in table.exact.values_mut().chain(table.prefixes.values_mut()) {
                list.shrink_to_fit();
            }
        }
    }

    /// The rules that may match, ascending, each once.
    pub(super) fn candidates<'i>(&'i self, subject: &Subject<'_>, facts: &Facts<'_>) -> Merge<'i> {
        let mut merge = Merge::new(&self.rest);
        let mut look_up = |table: &'i Table, value: Option<&str>| {
            if let Some(value) = value {
                table.look_up(value, &mut merge);
            }
        };
        look_up(&self.service_accounts, Some(subject.service_account));
        look_up(&self.namespaces, Some(subject.namespace));
        look_up(&self.releases, facts.release);
        look_up(&self.components, facts.component.map(Component::name));
        look_up(&self.projects, facts.project);
        if let Requester::User(user) = subject.requester {
            look_up(&self.runners, Some(user));
        }
        if !self.labels.is_empty() {
            for (key, value) in subject.labels {
                if let Some(table) = self.labels.get(key.as_ref()) {
                    look_up(table, Some(value));
                }
            }
        }
        merge
    }

    /// The rules filed under what `criteria` begin with: each rule that covers them is among these.
    pub(super) fn filed_like<'i>(&'i self, criteria: &Criteria) -> Merge<'i> {
        let mut merge = Merge::new(&self.rest);
        // A covering rule holds for each alternative, so the first of each criterion finds it.
        let globs = [
            (&self.service_accounts, &criteria.service_accounts),
            (&self.namespaces, &criteria.namespaces),
            (&self.releases, &criteria.releases),
        ];
        let labels = criteria.labels.iter().filter_map(|(key, globs)| Some((self.labels.get(key)?, globs)));
        for (table, globs) in globs.into_iter().chain(labels) {
            match globs.first().and_then(|glob| glob.heads().next()) {
                Some(Head::Exact(value)) => table.look_up(value, &mut merge),
                // A glob can only be covered by itself or by a shorter prefix.
                Some(Head::Prefix(prefix)) => table.look_up(prefix, &mut merge),
                None => {}
            }
        }
        for (table, values) in [(&self.projects, &criteria.projects), (&self.runners, &criteria.runners)] {
            if let Some(value) = values.first() {
                table.look_up(value, &mut merge);
            }
        }
        if let Some(component) = criteria.components.iter().next() {
            self.components.look_up(component.name(), &mut merge);
        }
        merge
    }
}

impl Table {
    fn look_up<'i>(&'i self, value: &str, merge: &mut Merge<'i>) {
        if self.exact.is_empty() && self.prefixes.is_empty() {
            return;
        }
        if let Some(list) = self.exact.get(value) {
            merge.add(list);
        }
        for length in &self.prefix_lengths {
            // `get` is `None` beyond the value's end and inside a character.
            if let Some(list) = value.get(..*length).and_then(|prefix| self.prefixes.get(prefix)) {
                merge.add(list);
            }
        }
    }
}

/// Several ascending lists as one. There are few lists, so the smallest head is found by looking at each.
pub(super) struct Merge<'i> {
    lists: Vec<&'i [u32]>,
}

impl<'i> Merge<'i> {
    fn new(list: &'i [u32]) -> Self {
        let mut lists = Vec::with_capacity(12);
        lists.push(list);
        Self { lists }
    }

    fn add(&mut self, list: &'i [u32]) {
        self.lists.push(list);
    }
}

impl Iterator for Merge<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let smallest = self.lists.iter().filter_map(|list| list.first().copied()).min()?;
        for list in &mut self.lists {
            if let Some((first, rest)) = list.split_first()
                && *first == smallest
            {
                *list = rest;
            }
        }
        Some(smallest)
    }
}
