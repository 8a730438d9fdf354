//! Which rule wins? The rules of one mapping, and an index over them.
//!
//! Rules are read top to bottom, for each provider apart: the first that matches decides. To ask them all would cost
//! as much as there are rules, so each rule is filed under its most selective criterion: the one whose values the
//! fewest rules share. A decision looks its object's values up, and verifies only the rules found, in rule order.
//! `tests/it/properties.rs` holds the outcome against a naive scan.

use std::collections::HashMap;

use super::component::{self, Component};
use super::glob::{Glob, Head};
use super::provider::Provider;
use super::rule::{Criteria, Facts, IrsaOptions, OnConflict, OnNoRule, PodOptions, Rule};
use super::subject::{Kind, Requester, Subject};

/// What the operator fixes with flags, and no mapping can exceed.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Usernames that are believed as workload controllers beside Kubernetes' own.
    pub workload_controllers: Vec<String>,
    /// Roles that may be handed out; empty means any.
    pub allowed_roles: Vec<AllowedRole>,
}

/// `[NAMESPACE-GLOB=]ARN-GLOB`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRole {
    /// In which namespaces; `None` means any.
    pub namespace: Option<Glob>,
    /// Which roles, by the whole value of the annotation.
    pub role: Glob,
}

/// Kubernetes' own workload controllers: with `--use-service-account-credentials` (EKS, kubeadm) and without.
const WORKLOAD_CONTROLLERS: [&str; 5] = [
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:serviceaccount:kube-system:job-controller",
    "system:kube-controller-manager",
];

impl Bounds {
    /// Whether this username is a workload controller.
    #[must_use]
    pub fn is_workload_controller(&self, user: &str) -> bool {
        WORKLOAD_CONTROLLERS.contains(&user) || self.workload_controllers.iter().any(|known| known == user)
    }

    /// Whether `role` may be handed out in `namespace`.
    #[must_use]
    pub fn allows(&self, namespace: &str, role: &str) -> bool {
        self.allowed_roles.is_empty()
            || self.allowed_roles.iter().any(|allowed| {
                allowed.namespace.as_ref().is_none_or(|glob| glob.matches(namespace))
                    && allowed.role.matches(role)
            })
    }

    /// Whether `role` may be handed out anywhere that these namespace globs (none means all) can reach.
    #[must_use]
    pub fn allows_somewhere(&self, namespaces: &[Glob], role: &str) -> bool {
        let reaches = |allowed: &Glob| {
            namespaces.is_empty()
                || namespaces.iter().any(|glob| {
                    // Only a literal namespace is known for certain not to match.
                    let mut heads = glob.heads();
                    heads.any(|head| match head {
                        Head::Exact(name) => allowed.matches(name),
                        Head::Prefix(_) => true,
                    })
                })
        };
        self.allowed_roles.is_empty()
            || self
                .allowed_roles
                .iter()
                .any(|allowed| allowed.role.matches(role) && allowed.namespace.as_ref().is_none_or(reaches))
    }
}

impl std::str::FromStr for AllowedRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let glob = |text: &str| Glob::new(text).map_err(|error| error.to_string());
        // A role name may hold `=`, a namespace may not hold `:` or `/`: the first `=` parts them only where it can.
        match text.split_once('=') {
            Some((namespace, role)) if !namespace.contains([':', '/']) => {
                Ok(Self { namespace: Some(glob(namespace)?), role: glob(role)? })
            }
            _ => Ok(Self { namespace: None, role: glob(text)? }),
        }
    }
}

/// Defaults of a mapping that a decision needs.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// For rules that say nothing, but for job Pods.
    pub on_conflict: OnConflict,
    /// For our own values without a rule.
    pub on_no_rule: OnNoRule,
    /// For the rules' option blocks, merged key by key when the mapping is read.
    pub irsa: IrsaOptions,
    /// The same for kube2iam and kiam.
    pub pod: PodOptions,
}

/// Every rule of one mapping, immutable.
#[derive(Debug)]
pub struct Ruleset {
    rules: Vec<Rule>,
    defaults: Defaults,
    bounds: Bounds,
    /// kube2iam or kiam, whichever the mapping names; they share their annotations.
    pod_provider: Provider,
    /// Usernames that some rule names as `runner`.
    runners: Vec<Box<str>>,
    index: Index,
}

/// The rules that decide, one for each provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct Winners<'r> {
    /// For irsa.
    pub irsa: Option<&'r Rule>,
    /// For kube2iam or kiam.
    pub pod: Option<&'r Rule>,
}

impl Ruleset {
    /// Files the rules.
    #[must_use]
    pub fn new(rules: Vec<Rule>, defaults: Defaults, bounds: Bounds) -> Self {
        let uses_kiam = rules.iter().any(|rule| {
            rule.providers.contains(Provider::Kiam) && !rule.providers.contains(Provider::Kube2iam)
        });
        let pod_provider = if uses_kiam { Provider::Kiam } else { Provider::Kube2iam };
        let mut runners: Vec<Box<str>> =
            rules.iter().flat_map(|rule| rule.criteria.runners.iter().cloned()).collect();
        runners.sort_unstable();
        runners.dedup();
        let index = Index::new(&rules);
        Self { rules, defaults, bounds, pod_provider, runners, index }
    }

    /// In their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The mapping's defaults.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The operator's bounds.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// kube2iam or kiam.
    #[must_use]
    pub fn pod_provider(&self) -> Provider {
        self.pod_provider
    }

    /// What is believed of an object.
    ///
    /// Labels are their author's word. On a Pod a component is believed only of a workload controller, which copies a
    /// template that the namespace's owner applied; and what comes from a runner is a job, whatever it says.
    #[must_use]
    pub fn facts<'a>(&self, subject: &Subject<'a>) -> Facts<'a> {
        let labelled = component::recognise(subject.kind, subject.labels, subject.annotations);
        let mut facts = Facts {
            component: labelled.component,
            disbelieved: None,
            is_job: false,
            release: labelled.release,
            project: None,
        };
        if subject.kind == Kind::ServiceAccount {
            // The namespace's own account is no part of GitLab, whatever somebody labelled it.
            if subject.service_account == "default" {
                facts.component = None;
            }
            return facts;
        }
        let (from_runner, from_controller) = match subject.requester {
            Requester::User(user) => (
                self.runners.binary_search_by(|runner| (**runner).cmp(user)).is_ok(),
                self.bounds.is_workload_controller(user),
            ),
            Requester::Assumed => (false, true),
        };
        if from_runner || labelled.runner_labels {
            facts.component = Some(Component::RunnerJob);
            facts.is_job = true;
            facts.project = labelled.project.filter(|project| is_named_for(subject.name, project));
        } else if !from_controller {
            facts.disbelieved = facts.component.take();
        }
        facts
    }

    /// The first matching rule of each provider.
    #[must_use]
    pub fn winners(&self, subject: &Subject<'_>, facts: &Facts<'_>) -> Winners<'_> {
        let mut winners = Winners::default();
        let wants_pod = subject.kind == Kind::Pod;
        for index in self.index.candidates(subject, facts) {
            let Some(rule) = self.rules.get(index as usize) else {
                continue;
            };
            let irsa = winners.irsa.is_none() && rule.providers.contains(Provider::Irsa);
            let pod = wants_pod && winners.pod.is_none() && rule.providers.contains(self.pod_provider);
            if (irsa || pod) && rule.criteria.mismatch(subject, facts).is_none() {
                if irsa {
                    winners.irsa = Some(rule);
                }
                if pod {
                    winners.pod = Some(rule);
                }
                if winners.irsa.is_some() && (winners.pod.is_some() || !wants_pod) {
                    break;
                }
            }
        }
        winners
    }

    /// Rules that can only be tried one by one: no literal and no literal prefix in any criterion.
    pub fn unindexed(&self) -> impl Iterator<Item = &Rule> {
        self.index.rest.iter().filter_map(|index| self.rules.get(*index as usize))
    }

    /// Rules before `rule` in the mapping that may hold for everything it holds for.
    pub(crate) fn possibly_covering(&self, rule: &Rule) -> impl Iterator<Item = &Rule> {
        self.index.filed_like(&rule.criteria).filter_map(|index| self.rules.get(index as usize))
    }
}

/// Whether a job's Pod, named as runners name them, is of this project. Runners before 17.9 let a job's author write
/// the label, but not the name: `runner-TOKEN-project-ID-concurrent-N-SUFFIX`. Another name says nothing.
fn is_named_for(name: &str, project: &str) -> bool {
    let named = name.starts_with("runner-").then(|| {
        let (before, _) = name.rsplit_once("-concurrent-")?;
        before.rsplit_once("-project-").map(|(_, id)| id)
    });
    named.flatten().is_none_or(|id| id == project)
}

/// Rule numbers by what the rules look at.
#[derive(Debug, Default)]
struct Index {
    service_accounts: Table,
    namespaces: Table,
    releases: Table,
    projects: Table,
    runners: Table,
    labels: HashMap<Box<str>, Table>,
    components: Table,
    /// Always candidates.
    rest: Vec<u32>,
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
    fn new(rules: &[Rule]) -> Self {
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
    fn candidates<'i>(&'i self, subject: &Subject<'_>, facts: &Facts<'_>) -> Merge<'i> {
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
    fn filed_like<'i>(&'i self, criteria: &Criteria) -> Merge<'i> {
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
struct Merge<'i> {
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
