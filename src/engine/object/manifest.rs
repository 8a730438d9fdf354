//! Which ServiceAccounts and Pods does a manifest make? YAML or JSON, one or many, lists, workloads with Pod templates.

use std::borrow::Cow;

use crate::engine::object::subject::{Kind, Pair, Requester, Subject};
use crate::engine::yaml::{self, Node, Position, SyntaxError};

/// A ServiceAccount, a Pod, or the Pod that a workload's template makes.
#[derive(Clone, Debug)]
pub struct Object<'t> {
    /// Where it begins in the text.
    pub at: Position,
    /// What it will be.
    pub kind: Kind,
    /// The kind that stands in the manifest: `Deployment` for the template in one.
    pub written_kind: Cow<'t, str>,
    /// The name that stands in the manifest; a generateName where there is none.
    pub name: Cow<'t, str>,
    /// `metadata.namespace`, where it is there.
    pub namespace: Option<Cow<'t, str>>,
    service_account: Cow<'t, str>,
    labels: Vec<Pair<'t>>,
    annotations: Vec<Pair<'t>>,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A label or annotation that is no text, which the API server refuses.
    #[error("{at}: {map}.{key} must be text, but YAML reads {text} as {found}: write it in quotes")]
    NotText {
        /// Where it stands.
        at: Position,
        /// `labels` or `annotations`.
        map: &'static str,
        /// Its key.
        key: String,
        /// Its value as written.
        text: String,
        /// What YAML takes it for.
        found: &'static str,
    },
}

/// Where a workload keeps its Pod template.
const TEMPLATES: [(&str, &[&str]); 8] = [
    ("Deployment", &["spec", "template"]),
    ("StatefulSet", &["spec", "template"]),
    ("DaemonSet", &["spec", "template"]),
    ("ReplicaSet", &["spec", "template"]),
    ("ReplicationController", &["spec", "template"]),
    ("Job", &["spec", "template"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template"]),
    ("PodTemplate", &["template"]),
];

impl Object<'_> {
    /// The Pod that a workload makes, and not an object that stands in the manifest itself.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.written_kind != self.kind.name()
    }

    /// As a decision sees it, in this namespace where the manifest names none.
    #[must_use]
    pub fn subject<'s>(&'s self, default_namespace: &'s str, requester: Requester<'s>) -> Subject<'s> {
        Subject {
            kind: self.kind,
            namespace: self.namespace.as_deref().unwrap_or(default_namespace),
            name: &self.name,
            service_account: &self.service_account,
            labels: &self.labels,
            annotations: &self.annotations,
            requester,
        }
    }
}

/// Reads every object that a decision can be made on; other kinds are passed over.
///
/// # Errors
/// The first thing that kubectl or the API server would refuse.
pub fn read(text: &str) -> Result<Vec<Object<'_>>, ManifestError> {
    let mut objects = Vec::new();
    for document in yaml::read(text)? {
        collect(&document, &mut objects)?;
    }
    Ok(objects)
}

fn collect<'t>(node: &Node<'t>, objects: &mut Vec<Object<'t>>) -> Result<(), ManifestError> {
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or_default();
    if kind.ends_with("List")
        && let Some(items) = node.get("items").and_then(Node::as_sequence)
    {
        return items.iter().try_for_each(|item| collect(item, objects));
    }
    match kind {
        "ServiceAccount" => objects.push(object(node, node, Kind::ServiceAccount)?),
        "Pod" => objects.push(object(node, node, Kind::Pod)?),
        _ => {
            let path = TEMPLATES.iter().find(|(workload, _)| *workload == kind).map(|(_, path)| *path);
            if let Some(template) = path.and_then(|path| node.at_path(path)) {
                let mut pod = object(node, template, Kind::Pod)?;
                if matches!(kind, "Job" | "CronJob") {
                    // The Job controller writes it on every Pod, and the registry's migrations are known by it.
                    pod.labels.push(("job-name".into(), pod.name.clone()));
                }
                objects.push(pod);
            }
        }
    }
    Ok(())
}

/// `outer` has the name and the namespace, `inner` the labels, the annotations and the Pod's spec.
fn object<'t>(outer: &Node<'t>, inner: &Node<'t>, kind: Kind) -> Result<Object<'t>, ManifestError> {
    let text = |node: &Node<'t>, path: &[&str]| -> Option<Cow<'t, str>> {
        node.at_path(path)?.as_scalar().map(|scalar| scalar.text.clone()).filter(|text| !text.is_empty())
    };
    let name = text(outer, &["metadata", "name"])
        .or_else(|| text(outer, &["metadata", "generateName"]))
        .unwrap_or_default();
    let service_account = match kind {
        Kind::ServiceAccount => text(outer, &["metadata", "name"]).unwrap_or_default(),
        Kind::Pod => text(inner, &["spec", "serviceAccountName"])
            .or_else(|| text(inner, &["spec", "serviceAccount"]))
            .unwrap_or(Cow::Borrowed("default")),
    };
    Ok(Object {
        at: outer.at,
        kind,
        written_kind: text(outer, &["kind"]).unwrap_or_default(),
        name,
        namespace: text(outer, &["metadata", "namespace"]),
        service_account,
        labels: pairs(inner, "labels")?,
        annotations: pairs(inner, "annotations")?,
    })
}

fn pairs<'t>(node: &Node<'t>, map: &'static str) -> Result<Vec<Pair<'t>>, ManifestError> {
    let entries = node.at_path(&["metadata", map]).and_then(Node::as_mapping).unwrap_or_default();
    let mut pairs = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(key) = key.as_scalar() else { continue };
        match (value.as_text(), value.as_scalar()) {
            (Some(_), Some(scalar)) => pairs.push((key.text.clone(), scalar.text.clone())),
            // The API server takes null for absent.
            _ if value.is_null() => {}
            (_, scalar) => {
                return Err(ManifestError::NotText {
                    at: value.at,
                    map,
                    key: key.text.to_string(),
                    text: scalar.map_or_else(|| "it".to_owned(), |scalar| scalar.text.to_string()),
                    found: value.describe(),
                });
            }
        }
    }
    Ok(pairs)
}
