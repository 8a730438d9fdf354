//! How do objects become rows, one after the other, in bounded memory?

use std::collections::{BTreeMap, BTreeSet};

use super::account::AccountRole;
use super::mending::Mending;
use super::row::Row;
use super::state::State;
use crate::engine::decision::impact::Impact;
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Inventory, Pod, ServiceAccount};

/// The most rows that are kept. Objects beyond are counted.
const MOST_ROWS: usize = 100_000;

/// The most bytes of text in them. Of ordinary objects so many rows have less.
const MOST_BYTES: usize = 32 << 20;

/// By what objects are judged.
#[derive(Clone, Copy, Debug)]
pub enum Rules<'r> {
    /// By the mapping in force, or by the one that was given for manifests.
    InForce(&'r Ruleset),
    /// By a mapping that is not in force yet. What is in force is known or not.
    Candidate(&'r Ruleset, Option<&'r Ruleset>),
}

/// What the webhook does in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It gives the roles.
    Enabled,
    /// It tells what it would do, and writes nothing.
    Observed,
}

/// A namespace, and what is known of it before its objects.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// What the webhook does there.
    pub effect: Effect,
    /// Its ServiceAccounts whose roles are changed back again and again, as our Events say.
    pub contested: BTreeSet<String>,
}

/// Takes objects and keeps rows.
#[derive(Debug)]
pub struct Survey<'r> {
    pub(super) rules: Rules<'r>,
    /// Whether the objects are those of a cluster, where Pods run.
    pub(super) is_live: bool,
    /// Whether the EKS webhook is there, where that is known: it puts roles into Pods.
    pub(super) has_eks_webhook: Option<bool>,
    /// Whether some rule asks who requests a Pod.
    pub(super) names_runners: bool,
    pub(super) place: Place,
    /// The ServiceAccounts of the place.
    pub(super) accounts: BTreeMap<String, AccountRole>,
    /// Whether all ServiceAccounts of the place were shown.
    pub(super) knows_accounts: bool,
    /// The same by the mapping in force, where a candidate is looked at: what differs is its doing.
    pub(super) before: Option<Box<Self>>,
    /// How many bytes of text the rows have.
    kept_bytes: usize,
    status: Status,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Status {
    /// The rows, by namespace, ServiceAccounts before Pods, and by name.
    pub rows: Vec<Row>,
    /// How many rows there are beyond those that are kept.
    pub more: usize,
    /// How many of each.
    pub counts: Counts,
    /// Whether a candidate was looked at.
    pub is_candidate: bool,
    /// What the mapping does to ServiceAccounts that are written, counted as for an edit of the mapping.
    pub impact: Impact,
    /// The same of those that are observed. `None` where no namespace is.
    pub observed_impact: Option<Impact>,
}

/// How many rows there are of each kind and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many ServiceAccounts there are.
    pub service_accounts: usize,
    /// How many Pods there are.
    pub pods: usize,
    /// How many Pod templates of workloads there are.
    pub templates: usize,
    /// How many rows have each state that some row has.
    pub states: BTreeMap<State, usize>,
    /// How many of them the candidate touches; all, where no candidate is looked at.
    pub touched: BTreeMap<State, usize>,
    /// How many ServiceAccounts the candidate covers and the mapping in force does not.
    pub newly_covered: usize,
}

impl<'r> Survey<'r> {
    /// Begins a survey. Objects are shown to it after their namespace.
    #[must_use]
    pub fn new(rules: Rules<'r>, is_live: bool, has_eks_webhook: Option<bool>) -> Self {
        let (Rules::InForce(ruleset) | Rules::Candidate(ruleset, _)) = rules;
        let place = Place { name: String::new(), effect: Effect::Enabled, contested: BTreeSet::new() };
        let is_candidate = matches!(rules, Rules::Candidate(..));
        let before = match rules {
            Rules::Candidate(_, Some(in_force)) => {
                Some(Box::new(Self::new(Rules::InForce(in_force), is_live, has_eks_webhook)))
            }
            Rules::Candidate(_, None) | Rules::InForce(_) => None,
        };
        Self {
            rules,
            is_live,
            has_eks_webhook,
            names_runners: ruleset.rules().iter().any(|rule| !rule.criteria.runners.is_empty()),
            place,
            accounts: BTreeMap::new(),
            knows_accounts: true,
            before,
            kept_bytes: 0,
            status: Status { is_candidate, ..Status::default() },
        }
    }

    /// Goes on with another namespace. What is shown from now on is in it.
    pub fn enter(&mut self, place: Place) {
        if place.effect == Effect::Observed {
            self.status.observed_impact.get_or_insert_default();
        }
        if let Some(before) = &mut self.before {
            before.enter(place.clone());
        }
        self.place = place;
        self.accounts.clear();
        self.knows_accounts = true;
    }

    /// Looks at all objects of manifests, namespace by namespace. Returns the namespaces: naming the
    /// manifests opts them in.
    pub fn manifests(&mut self, all: &Inventory) -> BTreeSet<String> {
        let mut places: BTreeMap<&str, (Vec<&ServiceAccount>, Vec<&Pod>)> = BTreeMap::new();
        for account in &all.service_accounts {
            places.entry(&account.metadata.namespace).or_default().0.push(account);
        }
        for pod in &all.pods {
            places.entry(&pod.metadata.namespace).or_default().1.push(pod);
        }
        for (name, (accounts, pods)) in &places {
            let name = (*name).to_owned();
            self.enter(Place { name, effect: Effect::Enabled, contested: BTreeSet::new() });
            for account in accounts {
                self.account(account);
            }
            for pod in pods {
                self.pod(pod);
            }
        }
        places.into_keys().map(str::to_owned).collect()
    }

    /// Says that not all ServiceAccounts of the namespace could be shown.
    pub fn accounts_are_incomplete(&mut self) {
        self.knows_accounts = false;
        if let Some(before) = &mut self.before {
            before.accounts_are_incomplete();
        }
    }

    /// The rules by which is judged.
    pub(super) fn ruleset(&self) -> &'r Ruleset {
        let (Rules::InForce(ruleset) | Rules::Candidate(ruleset, _)) = self.rules;
        ruleset
    }

    /// The state of what is not as decided yet.
    pub(super) fn pending(&self) -> State {
        if self.is_candidate() { State::Changes } else { State::Drift }
    }

    pub(super) fn is_candidate(&self) -> bool {
        self.status.is_candidate
    }

    /// The counts of this namespace's effect.
    pub(super) fn impact(&mut self) -> &mut Impact {
        match self.place.effect {
            Effect::Enabled => &mut self.status.impact,
            Effect::Observed => self.status.observed_impact.get_or_insert_default(),
        }
    }

    /// Counts a Pod or the template of one, which may have several rows.
    pub(super) fn count_pod(&mut self, pod: &Pod) {
        let counts = &mut self.status.counts;
        *(if pod.is_template() { &mut counts.templates } else { &mut counts.pods }) += 1;
    }

    /// Keeps a row. Where the namespace is observed, its state is that of a rehearsal.
    pub(super) fn keep(&mut self, mut row: Row) {
        if self.place.effect == Effect::Observed && !matches!(row.state, State::NoRule) {
            row.would_be = Some(row.state);
            row.state = State::Observed;
            row.mend = None;
        }
        let counts = &mut self.status.counts;
        *counts.states.entry(row.state).or_default() += 1;
        if row.is_touched {
            *counts.touched.entry(row.state).or_default() += 1;
        } else {
            row.mend = None;
        }
        if row.kind == "ServiceAccount" {
            counts.service_accounts += 1;
            counts.newly_covered += usize::from(row.is_newly_covered == Some(true));
        }
        let bytes = self.kept_bytes + row.bytes();
        if self.status.rows.len() < MOST_ROWS && bytes <= MOST_BYTES {
            self.kept_bytes = bytes;
            self.status.rows.push(row);
        } else {
            self.status.more += 1;
        }
    }

    /// Ends the survey.
    #[must_use]
    pub fn finish(self) -> Status {
        let mut status = self.status;
        let is_pod = |row: &Row| row.kind != "ServiceAccount";
        status.rows.sort_by(|a, b| {
            let object = (&a.namespace, is_pod(a), &a.kind, &a.name);
            object.cmp(&(&b.namespace, is_pod(b), &b.kind, &b.name)).then(a.provider.cmp(&b.provider))
        });
        status
    }
}

impl Status {
    /// How many rows have this state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.counts.states.get(&state).copied().unwrap_or_default()
    }

    /// Whether something is not as decided and could be; for a candidate, whether it would change or orphan
    /// something that is written, or would give a Pod a role that does not reach it. What is observed, and
    /// what a candidate does not touch, does not count.
    #[must_use]
    pub fn has_drift(&self) -> bool {
        let is_found = |state: &State| {
            state.is_drift() || *state == State::Changes || self.is_candidate && *state == State::Orphaned
        };
        self.counts.touched.keys().any(is_found)
    }

    /// Returns what brings the objects in step.
    #[must_use]
    pub fn mending(&self) -> Mending<'_> {
        Mending::of(&self.rows)
    }
}
