//! Which roles do ServiceAccounts and Pods carry?
//!
//! A rule names the component where everything that is this component has the same role, so that nobody gets
//! more by it. Otherwise it names what tells the objects apart. What we have set ourselves comes from a
//! mapping already.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{give_to, of_component};
use super::mapping_text::scalar;
use super::role;
use super::rule::{Action, Match, Options, Rule};
use super::{Draft, Suggestion, problem_of};
use crate::engine::decision::is_ours;
use crate::engine::object::component::{self, Component};
use crate::engine::object::dns_name::{is_dns_label, is_dns_name};
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE, Provider, STS_AUDIENCE};
use crate::engine::object::subject::{Kind, Requester, Subject};
use crate::inventory::{Inventory, Listed, Pod, ServiceAccount};

/// The most rules about jobs that are suggested: a job's author may have written the role.
const MOST_JOBS: usize = 20;

/// The workloads that make Pods.
const WORKLOADS: [&str; 5] = ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"];

pub(super) fn examine(inventory: &Inventory, draft: &mut Draft<'_>) {
    // Pods that have ended count as well: a rule would reach the next ones like them.
    let pods: Vec<PodView<'_>> = inventory.pods.iter().filter_map(PodView::of).collect();
    let pods: Vec<PodView<'_>> = pods.into_iter().filter(|pod| is_wanted(pod.namespace, draft)).collect();
    let mut ours = 0;
    accounts(inventory, &pods, &mut ours, draft);
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace).collect();
    let is_partly_read = |namespace: &&str| {
        [Listed::Pods, Listed::CronJobs].iter().any(|kind| inventory.may_lack(*kind, namespace))
    };
    let partial: BTreeSet<&str> = namespaces.into_iter().filter(is_partly_read).collect();
    let (unsure, whole): (Vec<PodView<'_>>, Vec<PodView<'_>>) =
        pods.iter().cloned().partition(|pod| partial.contains(pod.namespace));
    for pod in unsure.iter().filter(|pod| pod.carried.is_some() && !pod.is_ours && !pod.is_job) {
        draft.remark(format!(
            "{} has a role, but not all Pods and CronJobs of its namespace could be read: no rule was made \
             of it, as it could reach those",
            pod.place()
        ));
    }
    roles_of_pods(&whole, &mut ours, draft);
    jobs(&pods, draft);
    if ours > 0 {
        draft.remark(format!("{ours} objects already have their role from a mapping, and were left out"));
    }
}

fn is_wanted(namespace: &str, draft: &Draft<'_>) -> bool {
    let wanted = &draft.terms.namespaces;
    is_dns_label(namespace) && (wanted.is_empty() || wanted.iter().any(|wanted| wanted == namespace))
}

/// A role as an object carries it, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Carried {
    role: String,
    options: Options,
}

/// What all objects of a group carry.
enum Uniform<'a> {
    /// They carry the same role, or all of them none.
    Same(Option<&'a Carried>),
    /// They do not all carry the same.
    Mixed,
}

fn uniform<'a>(all: impl IntoIterator<Item = &'a Option<Carried>>) -> Uniform<'a> {
    let mut all = all.into_iter();
    let Some(first) = all.next() else { return Uniform::Same(None) };
    if all.all(|other| other == first) { Uniform::Same(first.as_ref()) } else { Uniform::Mixed }
}

struct AccountView<'i> {
    account: &'i ServiceAccount,
    carried: Option<Carried>,
    is_ours: bool,
}

fn accounts(inventory: &Inventory, pods: &[PodView<'_>], ours: &mut usize, draft: &mut Draft<'_>) {
    let of_gitlab: BTreeSet<(&str, &str)> = pods
        .iter()
        .filter(|pod| pod.component.is_some() || pod.is_job)
        .map(|pod| (pod.namespace, pod.pod.service_account()))
        .collect();
    let mut groups: BTreeMap<(&str, Component), Vec<AccountView<'_>>> = BTreeMap::new();
    for account in &inventory.service_accounts {
        let metadata = &account.metadata;
        if !is_wanted(&metadata.namespace, draft) {
            continue;
        }
        let (component, is_ours) = account.with_subject(|subject| {
            let claims = component::recognise(subject.kind, subject.labels, subject.annotations);
            (claims.component, is_ours(subject.annotations, IRSA_ROLE))
        });
        *ours += usize::from(is_ours);
        let carried = metadata.annotation(IRSA_ROLE).map(|role| Carried {
            role: role.to_owned(),
            options: Options::irsa(|key| metadata.annotation(key)),
        });
        let view = AccountView { account, carried, is_ours };
        match component.filter(|_| metadata.name != "default") {
            Some(component) => {
                groups.entry((metadata.namespace.as_str(), component)).or_default().push(view);
            }
            None if draft.terms.only_gitlab
                && !of_gitlab.contains(&(metadata.namespace.as_str(), metadata.name.as_str())) => {}
            None => by_name(&view, draft),
        }
    }
    for ((namespace, component), group) in groups {
        // A rule could reach one of which nothing is known.
        let is_partial = inventory.may_lack(Listed::ServiceAccounts, namespace);
        match uniform(group.iter().map(|view| &view.carried)) {
            Uniform::Same(Some(_)) if !is_partial => {
                for view in group {
                    account_rule(&view, of_component(component), draft);
                }
            }
            Uniform::Same(None) => {}
            Uniform::Same(Some(_)) | Uniform::Mixed => {
                for view in &group {
                    by_name(view, draft);
                }
            }
        }
    }
}

fn by_name(view: &AccountView<'_>, draft: &mut Draft<'_>) {
    let name = &view.account.metadata.name;
    if is_dns_name(name) {
        let matching = Match { service_accounts: [name.clone()].into(), ..Match::default() };
        account_rule(view, matching, draft);
    }
}

fn account_rule(view: &AccountView<'_>, matching: Match, draft: &mut Draft<'_>) {
    let metadata = &view.account.metadata;
    let Some(carried) = view.carried.as_ref().filter(|_| !view.is_ours) else { return };
    let from = format!("ServiceAccount {}/{}", metadata.namespace, metadata.name);
    match role::irsa(&carried.role) {
        Ok(role) => {
            let matching = Match { namespaces: vec![metadata.namespace.clone()], ..matching };
            let mut rule = give_to(Provider::Irsa, role, carried.options.clone(), matching);
            if let Some(audience) = carried.options.audience.as_ref().filter(|text| *text != STS_AUDIENCE) {
                let words = format!(
                    "an annotation of the ServiceAccount asks for tokens for {audience}: whoever writes \
                     annotations chose it, so check that it is meant"
                );
                draft.remark(format!("{from}: {words}"));
                rule.remarks.insert(words);
            }
            draft.rules.push(Rule { from: [from].into(), ..rule });
        }
        Err(error) => draft.remark(format!("{from}: {IRSA_ROLE}: {error}")),
    }
}

/// What is looked at of a Pod.
#[derive(Clone)]
struct PodView<'i> {
    pod: &'i Pod,
    namespace: &'i str,
    component: Option<Component>,
    /// It has the labels of a chart before 4.9, which prove no component.
    is_old: bool,
    is_job: bool,
    carried: Option<Carried>,
    is_ours: bool,
}

impl<'i> PodView<'i> {
    /// Returns `None` for the Pods of tests.
    fn of(pod: &'i Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let is_test = metadata.annotation("helm.sh/hook").is_some_and(|hook| hook.contains("test"));
        if is_test {
            return None;
        }
        let see = |subject: &Subject<'_>| {
            let claims = component::recognise(Kind::Pod, subject.labels, subject.annotations);
            let is_ours = is_ours(subject.annotations, POD_ROLE);
            (claims.component, claims.resembles.is_some(), claims.runner_labels, is_ours)
        };
        let (component, is_old, has_runner_labels, is_ours) = pod.with_subject(Requester::Assumed, see);
        // Runners before 15.9 wrote nothing but the name.
        let is_named = metadata.name.starts_with("runner-") && metadata.name.contains("-concurrent-");
        let is_job = has_runner_labels || is_named;
        let is_made = pod.is_template()
            || metadata.owner_references.iter().any(|owner| WORKLOADS.contains(&owner.kind.as_str()));
        let carried = metadata.annotation(POD_ROLE).map(|role| Carried {
            role: role.to_owned(),
            options: Options::of_pods(|key| metadata.annotation(key)),
        });
        // A rule by component reaches only what a workload made.
        let component = component.filter(|_| is_made && !is_job);
        let is_ours = is_ours && !is_job;
        let namespace = metadata.namespace.as_str();
        Some(Self { pod, namespace, component, is_old: is_old && is_made, is_job, carried, is_ours })
    }

    fn place(&self) -> String {
        format!("{} {}/{}", self.pod.written_kind, self.namespace, self.pod.metadata.name)
    }

    fn label(&self, key: &str) -> Option<&'i str> {
        self.pod.metadata.labels.get(key).map(String::as_str).filter(|value| is_label_value(value))
    }
}

/// Whether it is a label's value that a rule can name: letters, digits and `-_.`, and so no glob.
fn is_label_value(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The label that tells the workloads of a component apart.
fn distinguishing(component: Component) -> Option<&'static str> {
    match component {
        Component::Webservice => Some("gitlab.com/webservice-name"),
        Component::Sidekiq => Some("queue-pod-name"),
        Component::Gitaly => Some("storage"),
        _ => None,
    }
}

type Group<'p, 'i> = Vec<&'p PodView<'i>>;

fn roles_of_pods(pods: &[PodView<'_>], ours: &mut usize, draft: &mut Draft<'_>) {
    *ours += pods.iter().filter(|pod| pod.is_ours).count();
    let mut groups: BTreeMap<(&str, Component), Group<'_, '_>> = BTreeMap::new();
    let mut rest: Group<'_, '_> = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.is_job) {
        match pod.component {
            Some(component) => groups.entry((pod.namespace, component)).or_default().push(pod),
            None => rest.push(pod),
        }
    }
    for ((namespace, component), group) in &groups {
        let other = match component {
            Component::Registry => Component::RegistryMigrations,
            Component::RegistryMigrations => Component::Registry,
            _ => *component,
        };
        let beside = groups.get(&(*namespace, other)).filter(|_| other != *component);
        let is_done = by_component(*component, group, beside, draft);
        // A rule by anything else must not reach those that have no role, either.
        // Nor must it reach those whose role became no rule.
        rest.extend(group.iter().filter(|pod| !is_done || !becomes_rule(pod, draft)));
    }
    by_other_things(pods, &rest, draft);
}

fn carried<'p>(group: &'p [&PodView<'_>]) -> impl Iterator<Item = &'p Option<Carried>> {
    group.iter().map(|pod| &pod.carried)
}

/// Makes rules that name the component. Returns whether that was possible. `beside` are the Pods that a rule
/// for this component covers as well.
fn by_component(
    component: Component,
    group: &[&PodView<'_>],
    beside: Option<&Group<'_, '_>>,
    draft: &mut Draft<'_>,
) -> bool {
    match uniform(carried(group)) {
        Uniform::Same(None) => return true,
        Uniform::Same(Some(_)) if component == Component::RegistryMigrations => {
            let own = uniform(carried(group));
            let is_covered = match (own, beside.map(|beside| uniform(carried(beside)))) {
                (Uniform::Same(own), Some(Uniform::Same(other))) => own == other,
                _ => false,
            };
            if !is_covered {
                for pod in group {
                    pod_rule(pod, of_component(component), draft);
                }
            }
            return true;
        }
        Uniform::Same(Some(_)) => {
            match beside.map(|beside| (beside, uniform(carried(beside)))) {
                // Migrations with a role of their own have a rule of their own, which comes first.
                None | Some((_, Uniform::Same(Some(_)))) => {}
                Some((beside, Uniform::Same(None))) => {
                    let matching = of_component(Component::RegistryMigrations);
                    if let Some(pod) = beside.first() {
                        draft.rules.push(Rule {
                            matching: Match { namespaces: vec![pod.namespace.to_owned()], ..matching },
                            provider: draft.terms.pod_provider,
                            action: Action::Skip,
                            from: [pod.place()].into(),
                            remarks: ["these Pods have no role, though the registry has".to_owned()].into(),
                        });
                    }
                }
                Some((_, Uniform::Mixed)) => return false,
            }
            for pod in group {
                pod_rule(pod, of_component(component), draft);
            }
            return true;
        }
        Uniform::Mixed => {}
    }
    let Some(key) = distinguishing(component) else { return false };
    let mut parts: BTreeMap<&str, Group<'_, '_>> = BTreeMap::new();
    for pod in group {
        let Some(value) = pod.label(key) else { return false };
        parts.entry(value).or_default().push(pod);
    }
    if parts.values().any(|part| matches!(uniform(carried(part)), Uniform::Mixed)) {
        return false;
    }
    for (value, pod) in parts.iter().flat_map(|(value, part)| part.iter().map(move |pod| (value, pod))) {
        let labels = [(key.to_owned(), (*value).to_owned())].into();
        pod_rule(pod, Match { labels, ..of_component(component) }, draft);
    }
    true
}

/// Makes rules that name the labels of old charts, or the ServiceAccount.
fn by_other_things(pods: &[PodView<'_>], rest: &[&PodView<'_>], draft: &mut Draft<'_>) {
    let mut labelled: BTreeMap<(&str, &str, &str), Group<'_, '_>> = BTreeMap::new();
    let mut by_account: BTreeMap<(&str, &str), Group<'_, '_>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.is_job) {
        if let (Some(app), Some(release)) = (pod.label("app"), pod.label("release")) {
            labelled.entry((pod.namespace, app, release)).or_default().push(pod);
        }
    }
    for pod in rest {
        let is_labelled = pod.is_old && pod.label("app").is_some() && pod.label("release").is_some();
        if !is_labelled || pod.carried.is_none() {
            by_account.entry((pod.namespace, pod.pod.service_account())).or_default().push(pod);
        }
    }
    // A rule that names labels reaches everything that has them, of whatever chart.
    labelled.retain(|_, group| group.iter().any(|pod| pod.is_old));
    for ((_, app, release), group) in labelled {
        match uniform(carried(&group)) {
            Uniform::Same(Some(_)) => {
                let labels = [("app", app), ("release", release)];
                let labels: BTreeMap<String, String> =
                    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
                let matching = Match { labels, ..Match::default() };
                for pod in group {
                    pod_rule(pod, matching.clone(), draft);
                }
            }
            Uniform::Same(None) => {}
            Uniform::Mixed => mixed(&group, draft),
        }
    }
    for ((_, account), group) in by_account {
        let is_gitlab = group.iter().any(|pod| pod.component.is_some());
        if draft.terms.only_gitlab && !is_gitlab {
            continue;
        }
        match uniform(carried(&group)) {
            Uniform::Same(Some(_)) if is_dns_name(account) && account != "default" => {
                let matching = Match { service_accounts: [account.to_owned()].into(), ..Match::default() };
                for pod in group {
                    pod_rule(pod, matching.clone(), draft);
                }
            }
            Uniform::Same(None) => {}
            Uniform::Same(Some(_)) | Uniform::Mixed => mixed(&group, draft),
        }
    }
}

fn mixed(group: &[&PodView<'_>], draft: &mut Draft<'_>) {
    for pod in group.iter().filter(|pod| pod.carried.is_some() && !pod.is_ours) {
        draft.remark(format!(
            "{} has a role, but nothing tells it apart from Pods that do not have this role: no rule was \
             made of it",
            pod.place()
        ));
    }
}

/// Whether the role of a Pod can stand in a rule.
fn becomes_rule(pod: &PodView<'_>, draft: &Draft<'_>) -> bool {
    let Some(carried) = pod.carried.as_ref().filter(|_| !pod.is_ours) else { return false };
    let provider = draft.terms.pod_provider;
    let rule = role::of_pods(&carried.role, draft.terms)
        .map(|role| give_to(provider, role, carried.options.clone(), Match::default()));
    rule.is_ok_and(|rule| problem_of(&rule).is_none())
}

fn pod_rule(pod: &PodView<'_>, matching: Match, draft: &mut Draft<'_>) {
    let Some(carried) = pod.carried.as_ref().filter(|_| !pod.is_ours) else { return };
    match role::of_pods(&carried.role, draft.terms) {
        Ok(role) => {
            let matching = Match { namespaces: vec![pod.namespace.to_owned()], ..matching };
            let rule = give_to(draft.terms.pod_provider, role, carried.options.clone(), matching);
            draft.rules.push(Rule { from: [pod.place()].into(), ..rule });
        }
        Err(error) => draft.remark(format!("{}: {POD_ROLE}: {error}", pod.place())),
    }
}

/// Suggests a rule for each project whose jobs have a role. The job's author may have written it.
fn jobs(pods: &[PodView<'_>], draft: &mut Draft<'_>) {
    let mut found = BTreeSet::new();
    for pod in pods.iter().filter(|pod| pod.is_job) {
        let Some(Ok(role)) = pod.carried.as_ref().map(|carried| role::of_pods(&carried.role, draft.terms))
        else {
            continue;
        };
        let project = pod.label("project.runner.gitlab.com/id").unwrap_or("PROJECT-ID");
        found.insert((pod.namespace, project, role.text));
    }
    let (provider, more) = (draft.terms.pod_provider.name(), found.len().saturating_sub(MOST_JOBS));
    for (namespace, project, role) in found.into_iter().take(MOST_JOBS) {
        draft.suggestions.push(Suggestion {
            why: format!(
                "a job of project {project} in {namespace} has this role, and its author may have chosen it; \
                 if the project is to have it, name the runner's manager by its ServiceAccount"
            ),
            rule: format!(
                "  - match: {{component: runner-job, runner: {namespace}/THE-MANAGERS-ACCOUNT, project: \
                 [{project}]}}\n    provider: {provider}\n    role: {}\n",
                scalar(&role)
            ),
        });
    }
    if more > 0 {
        draft.remark(format!("{more} more roles of jobs are not told"));
    }
}

#[cfg(test)]
mod tests {
    use crate::import::from_objects;
    use crate::import::tests::terms;
    use crate::inventory::{self, Inventory, Listed, Unread};

    const OBJECTS: &str = "kind: List
items:
- kind: ServiceAccount
  metadata:
    name: r
    namespace: gitlab
    labels: {app: registry, chart: registry-9.10.0, release: gitlab}
    annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/r'}
- kind: Pod
  metadata:
    name: p
    namespace: gitlab
    labels: {app: registry, chart: registry-9.10.0, release: gitlab}
    annotations: {iam.amazonaws.com/role: p}
    ownerReferences: [{kind: ReplicaSet, name: r}]
";

    #[test]
    fn what_was_read_in_part_becomes_no_rule_that_could_reach_the_rest() {
        let made = |unread: &[(Listed, Option<&str>)]| {
            let read = inventory::read(OBJECTS, "gitlab").unwrap().inventory;
            let unread = unread.iter().map(|(kind, namespace)| Unread {
                kind: *kind,
                namespace: namespace.map(str::to_owned),
                is_partial: true,
                why: String::new(),
            });
            from_objects(&Inventory { unread: unread.collect(), ..read }, &terms()).rules
        };
        let whole = made(&[]);
        assert!(whole.len() == 2 && whole.iter().all(|rule| !rule.matching.components.is_empty()));
        let accounts = made(&[(Listed::ServiceAccounts, None)]);
        assert!(accounts.iter().any(|rule| rule.matching.service_accounts.contains("r")), "{accounts:?}");
        assert_eq!(made(&[(Listed::CronJobs, Some("gitlab"))]).len(), 1);
        assert_eq!(made(&[(Listed::Pods, Some("gitlab"))]).len(), 1);
    }
}
