//! What does a rule's `match` say?

use super::keys::{Key, Takes, key, names};
use super::reader::{Allowed, Path, Reader};
use crate::engine::object::component::{Component, ComponentSet};
use crate::engine::object::dns_name::{is_dns_label, is_dns_name};
use crate::engine::rules::facts::is_controller;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::rule::Criteria;
use crate::engine::yaml::{Node, ScalarKind};

pub(super) const KEYS: [Key; 7] = [
    key("component", Takes::Components, "The part of GitLab that the object belongs to."),
    key("namespace", Takes::Globs, "Globs, one of which matches the namespace."),
    key("serviceAccount", Takes::Globs, "Globs, one of which matches the name of the ServiceAccount."),
    key("release", Takes::Globs, "Globs, one of which matches the name of the Helm release."),
    key("labels", Takes::Labels, "Labels of the object, each with globs for its value."),
    key("project", Takes::Projects, "Ids of GitLab projects, whose jobs' Pods match; this needs `runner`."),
    key("runner", Takes::Runners, "NAMESPACE/NAME of the ServiceAccount of the runner's manager."),
];

/// How many labels one rule may ask for. It bounds what one rule costs, and is far more than anyone needs.
pub(super) const MAX_LABELS: usize = 64;

pub(super) fn read(
    node: &Node<'_>,
    path: Path<'_>,
    operator_policy: &OperatorPolicy,
    reader: &mut Reader<'_>,
) -> Option<Criteria> {
    let fields = reader.fields(node, path, Allowed::Only(&KEYS))?;
    let mut criteria = Criteria::default();
    for (key, value) in fields.iter() {
        let path = path.key(key);
        match key {
            "component" => criteria.components = components(value, path, reader),
            "namespace" => criteria.namespaces = reader.globs(value, path),
            "serviceAccount" => criteria.service_accounts = reader.globs(value, path),
            "release" => criteria.releases = reader.globs(value, path),
            "project" => criteria.projects = projects(value, path, reader),
            "runner" => criteria.runners = runners(value, path, operator_policy, reader),
            _ => {
                if let Some(labels) = reader.fields(value, path, Allowed::Any) {
                    if labels.is_empty() {
                        reader.report(value.at, path, "an empty mapping matches nothing; leave the key out");
                    }
                    if labels.iter().count() > MAX_LABELS {
                        reader.report(
                            value.at,
                            path,
                            format!("at most {MAX_LABELS} labels can be asked for"),
                        );
                        continue;
                    }
                    criteria.labels = labels
                        .iter()
                        .map(|(label, globs)| (label.into(), reader.globs(globs, path.key(label))))
                        .collect();
                }
            }
        }
    }
    if node.as_mapping().is_some_and(<[_]>::is_empty) {
        reader.report(node.at, path, format!("needs at least one criterion of {}", names(&KEYS).join(", ")));
    }
    if fields.get("project").is_some() && fields.get("runner").is_none() {
        let at = fields.get("project").map_or(node.at, |project| project.at);
        reader.report(
            at,
            path.key("project"),
            "needs `runner` beside it: anyone who may create Pods can write a project's id on one",
        );
    }
    let about_jobs = fields.get("project").is_some() || fields.get("runner").is_some();
    if about_jobs && !criteria.components.is_empty() && !criteria.components.contains(Component::RunnerJob) {
        reader.report(
            node.at,
            path,
            "matches nothing: `project` and `runner` hold for the Pods of jobs, whose component is \
             runner-job",
        );
    }
    Some(criteria)
}

fn components(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> ComponentSet {
    let mut set = ComponentSet::default();
    reader.each(node, path, |reader, item, path| {
        let Some(name) = reader.text(item, path) else {
            return;
        };
        if name == "*" {
            set = set.union(ComponentSet::gitlab());
        } else if let Some(component) = Component::from_name(name) {
            set = set.with(component);
        } else {
            let known: Vec<&str> = Component::all().map(Component::name).collect();
            if name.contains(['*', '?', '[', '{']) {
                let message = format!("components are named, not matched: list them instead of `{name}`");
                reader.report(item.at, path, message);
            } else {
                reader.report_unknown(item.at, path, "component", name, &known);
            }
        }
    });
    set
}

fn projects(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Box<[Box<str>]> {
    let mut projects = Vec::new();
    reader.each(node, path, |reader, item, path| {
        let id = item
            .as_scalar()
            .filter(|scalar| matches!(scalar.kind, ScalarKind::Number | ScalarKind::Text))
            .map(|scalar| scalar.text.as_ref())
            .filter(|id| {
                (1..=19).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0')
            });
        match id {
            Some(id) => projects.push(id.into()),
            None => reader.report(item.at, path, "must be the id of a GitLab project, a whole number"),
        }
    });
    projects.into()
}

fn runners(
    node: &Node<'_>,
    path: Path<'_>,
    operator_policy: &OperatorPolicy,
    reader: &mut Reader<'_>,
) -> Box<[Box<str>]> {
    let mut runners = Vec::new();
    reader.each(node, path, |reader, item, path| {
        let Some(text) = reader.text(item, path) else { return };
        match text.split_once('/') {
            Some((namespace, "default")) if is_dns_label(namespace) => reader.report(
                item.at,
                path,
                "the account `default` is every Pod's that names none, so it cannot stand for the runner: \
                 give the runner's manager an account of its own",
            ),
            Some((namespace, name)) if is_dns_label(namespace) && is_dns_name(name) => {
                let user = format!("system:serviceaccount:{namespace}:{name}");
                if is_controller(&user, operator_policy) {
                    let message = format!(
                        "`{text}` is a controller, and every Pod that it makes would be taken for a job: \
                         name the account of the runner's manager"
                    );
                    reader.report(item.at, path, message);
                    return;
                }
                runners.push(user.into());
            }
            _ => reader.report(
                item.at,
                path,
                "must be NAMESPACE/NAME of the runner manager's ServiceAccount, without wildcards",
            ),
        }
    });
    runners.into()
}
