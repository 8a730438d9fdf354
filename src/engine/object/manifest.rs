//! Which ServiceAccounts and Pods does a manifest make?
//!
//! A manifest is YAML or JSON. It may hold several documents, lists, and workloads with Pod templates.

use std::borrow::Cow;

use crate::engine::object::subject::{Kind, Pair, Requester, Subject};
use crate::engine::yaml::{self, Node, Position, SyntaxError};

/// A ServiceAccount, a Pod, or the Pod that a workload's template makes.
#[derive(Clone, Debug)]
pub struct Object<'t> {
    /// The place where it begins in the text.
    pub at: Position,
    /// The kind of the object that is made.
    pub kind: Kind,
    /// The kind that stands in the manifest. For the Pod of a Deployment's template it is `Deployment`.
    pub written_kind: Cow<'t, str>,
    /// The name that stands in the manifest, or the generateName where there is no name.
    pub name: Cow<'t, str>,
    /// `metadata.namespace`, where the manifest says it.
    pub namespace: Option<Cow<'t, str>>,
    /// Whether it comes from a cluster, where each object has a uid.
    pub is_stored: bool,
    service_account: Cow<'t, str>,
    labels: Vec<Pair<'t>>,
    annotations: Vec<Pair<'t>>,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A label or an annotation has a value that is no text, which the API server refuses.
    #[error("{at}: {map}.{key} must be text, but YAML reads {text} as {found}: write it in quotes")]
    NotText {
        /// The place of the value.
        at: Position,
        /// The map that it stands in, which is `labels` or `annotations`.
        map: &'static str,
        /// The key of the value.
        key: String,
        /// The value as it is written.
        text: String,
        /// The type that YAML gives it.
        found: &'static str,
    },
}

/// The path from each kind of workload to its Pod template.
pub const TEMPLATES: [(&str, &[&str]); 8] = [
    ("Deployment", &["spec", "template"]),
    ("StatefulSet", &["spec", "template"]),
    ("DaemonSet", &["spec", "template"]),
    ("ReplicaSet", &["spec", "template"]),
    ("ReplicationController", &["spec", "template"]),
    ("Job", &["spec", "template"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template"]),
    ("PodTemplate", &["template"]),
];

impl<'t> Object<'t> {
    /// Returns its annotations, or those of the template.
    #[must_use]
    pub fn annotations(&self) -> &[Pair<'t>] {
        &self.annotations
    }

    /// Whether it is the Pod that a workload makes, and not an object that stands in the manifest itself.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.written_kind != self.kind.name()
    }

    /// Returns the object as a decision sees it. It is in `default_namespace` where the manifest names none.
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

/// Reads every object that a decision can be made on, and skips those of other kinds.
///
/// # Errors
/// Returns the first thing that kubectl or the API server would refuse.
pub fn read(text: &str) -> Result<Vec<Object<'_>>, ManifestError> {
    let mut objects = Vec::new();
    for document in yaml::read(text)? {
        each(&document, &mut |object, _| {
            objects.push(object);
            Ok::<_, ManifestError>(())
        })?;
    }
    Ok(objects)
}

/// Gives `visit` every object of a document that a decision can be made on, with the node that holds its
/// `metadata`: for the Pod of a template, that is the template.
///
/// # Errors
/// Returns an error as [`read`] does, or the first one of `visit`.
pub fn each<'n, 't, E: From<ManifestError>>(
    node: &'n Node<'t>,
    visit: &mut impl FnMut(Object<'t>, &'n Node<'t>) -> Result<(), E>,
) -> Result<(), E> {
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or_default();
    if kind.ends_with("List")
        && let Some(items) = node.get("items").and_then(Node::as_sequence)
    {
        return items.iter().try_for_each(|item| each(item, visit));
    }
    if !is_of_kubernetes(node) {
        return Ok(());
    }
    match kind {
        "ServiceAccount" => visit(object(node, node, Kind::ServiceAccount)?, node)?,
        "Pod" => visit(object(node, node, Kind::Pod)?, node)?,
        _ => {
            let path = TEMPLATES.iter().find(|(workload, _)| *workload == kind).map(|(_, path)| *path);
            if let Some(template) = path.and_then(|path| node.at_path(path)) {
                let mut pod = object(node, template, Kind::Pod)?;
                if matches!(kind, "Job" | "CronJob") {
                    // The Job controller writes it on every Pod, and the registry's migrations are known by
                    // it.
                    pod.labels.push(("job-name".into(), pod.name.clone()));
                }
                visit(pod, template)?;
            }
        }
    }
    Ok(())
}

/// Whether an object is of one of the API groups that these kinds are of. Others use the same words for kinds
/// of their own. An object that names no group is taken for Kubernetes' own.
fn is_of_kubernetes(node: &Node<'_>) -> bool {
    let version = node.get("apiVersion").and_then(Node::as_text);
    let group = version.and_then(|version| version.split_once('/')).map(|(group, _)| group);
    group.is_none_or(|group| matches!(group, "apps" | "batch" | "extensions"))
}

/// Reads an object. `outer` has the name and the namespace, and `inner` has the labels, the annotations and
/// the Pod's spec.
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
        is_stored: text(outer, &["metadata", "uid"]).is_some(),
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
            // The API server takes null as if the key were absent.
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
