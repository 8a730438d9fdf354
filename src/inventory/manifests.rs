//! How is the text of a manifest read into an inventory?

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value, json};

use super::{ConfigMap, Inventory, Metadata, Pod, Secret};
use crate::engine::object::manifest::TEMPLATES;
use crate::engine::yaml::{self, Node, Position, ScalarKind, SyntaxError};

/// What manifests state.
#[derive(Debug, Default)]
pub struct Stated {
    /// What is looked at.
    pub inventory: Inventory,
    /// Whether some object names no namespace.
    pub without_namespace: bool,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A field has a value of another type than Kubernetes takes. Its value is not shown: it may be a
    /// credential.
    #[error("{at}: the {kind} has a field of a type that the API server refuses")]
    Field {
        /// The place where the object begins.
        at: Position,
        /// The kind of the object.
        kind: String,
    },
}

/// Reads the objects of manifests in YAML or JSON, also in lists. Those that name no namespace are put into
/// this one.
///
/// # Errors
/// When it is not YAML, or an object has a field of a wrong type.
pub fn read(text: &str, namespace: &str) -> Result<Stated, ReadError> {
    let mut stated = Stated::default();
    for document in yaml::read(text)? {
        collect(&document, namespace, &mut stated)?;
    }
    Ok(stated)
}

/// What is read of a workload beside its template.
#[derive(Deserialize)]
struct Workload {
    #[serde(default)]
    metadata: Metadata,
}

fn collect(node: &Node<'_>, namespace: &str, stated: &mut Stated) -> Result<(), ReadError> {
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or_default();
    if kind.ends_with("List")
        && let Some(items) = node.get("items").and_then(Node::as_sequence)
    {
        return items.iter().try_for_each(|item| collect(item, namespace, stated));
    }
    let mut place = |mut metadata: Metadata| {
        if metadata.name.is_empty() {
            metadata.name.clone_from(&metadata.generate_name);
        }
        if metadata.namespace.is_empty() {
            stated.without_namespace = true;
            namespace.clone_into(&mut metadata.namespace);
        }
        metadata
    };
    let found = &mut stated.inventory;
    match kind {
        "Namespace" => found.namespaces.push(typed(node, node, kind)?),
        "ServiceAccount" => {
            let mut account: super::ServiceAccount = typed(node, node, kind)?;
            account.metadata = place(account.metadata);
            found.service_accounts.push(account);
        }
        "ConfigMap" => {
            let mut map: ConfigMap = typed(node, node, kind)?;
            map.metadata = place(map.metadata);
            found.config_maps.push(map);
        }
        "Secret" => {
            let mut secret: Secret = typed(node, node, kind)?;
            secret.metadata = place(secret.metadata);
            found.secrets.push(secret);
        }
        "Pod" => {
            let mut pod: Pod = typed(node, node, kind)?;
            kind.clone_into(&mut pod.written_kind);
            pod.metadata = place(pod.metadata);
            found.pods.push(pod);
        }
        _ => {
            let path = TEMPLATES.iter().find(|(workload, _)| *workload == kind).map(|(_, path)| *path);
            if let Some(template) = path.and_then(|path| node.at_path(path)) {
                let mut pod: Pod = typed(node, template, kind)?;
                let outer = place(typed::<Workload>(node, node, kind)?.metadata);
                kind.clone_into(&mut pod.written_kind);
                if matches!(kind, "Job" | "CronJob") {
                    // The Job controller writes it on every Pod.
                    pod.metadata.labels.insert("job-name".to_owned(), outer.name.clone());
                }
                pod.metadata.name = outer.name;
                pod.metadata.namespace = outer.namespace;
                found.pods.push(pod);
            }
        }
    }
    Ok(())
}

/// Reads a node as an object. `whole` is where it stands, for an error.
fn typed<T: DeserializeOwned>(whole: &Node<'_>, node: &Node<'_>, kind: &str) -> Result<T, ReadError> {
    serde_json::from_value(json_of(node))
        .map_err(|_| ReadError::Field { at: whole.at, kind: kind.to_owned() })
}

/// Makes JSON of a node. Where a key stands twice the last one counts, as for kubectl.
fn json_of(node: &Node<'_>) -> Value {
    match &node.value {
        yaml::Value::Mapping(entries) => {
            let entry = |(key, value): &(Node<'_>, Node<'_>)| {
                Some((key.as_scalar()?.text.to_string(), json_of(value)))
            };
            Value::Object(entries.iter().filter_map(entry).collect::<Map<_, _>>())
        }
        yaml::Value::Sequence(items) => items.iter().map(json_of).collect(),
        yaml::Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Text => json!(scalar.text),
            ScalarKind::Boolean(value) => json!(value),
            ScalarKind::Null => Value::Null,
            ScalarKind::Number => match scalar.text.parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => json!(scalar.text),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_read_with_the_pods_that_its_workloads_make() {
        let text = "\
apiVersion: v1
kind: List
items:
- {kind: ServiceAccount, metadata: {name: gitlab-registry, annotations: {a: b}}}
- kind: CronJob
  metadata: {name: backup, namespace: other}
  spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: toolbox}}, spec: {
    containers: [{name: a, env: [{name: AWS_REGION, value: eu-west-1}, {name: AWS_SECRET_ACCESS_KEY, value: planted}]}]}}}}}
- kind: Secret
  metadata: {name: s}
  stringData: {key: planted}
";
        let stated = read(text, "gitlab").unwrap();
        assert!(stated.without_namespace);
        let Inventory { service_accounts, pods, secrets, .. } = &stated.inventory;
        assert_eq!(service_accounts[0].metadata.namespace, "gitlab");
        assert_eq!(
            (pods[0].metadata.name.as_str(), pods[0].metadata.namespace.as_str()),
            ("backup", "other")
        );
        assert_eq!(pods[0].metadata.label("job-name"), Some("backup"));
        assert_eq!(pods[0].service_account(), "default");
        let container = &pods[0].spec.containers[0];
        assert_eq!(container.env("AWS_REGION").unwrap().value.as_deref(), Some("eu-west-1"));
        assert!(container.env("AWS_SECRET_ACCESS_KEY").is_some_and(|key| key.is_set && key.value.is_none()));
        assert_eq!(secrets[0].string_data["key"].expose(), "planted");
        assert!(!format!("{stated:?}").contains("planted"));
    }

    #[test]
    fn a_field_of_a_wrong_type_is_an_error_that_does_not_show_it() {
        let error = read("kind: Secret\nmetadata: {name: s}\ndata: [planted]\n", "gitlab").unwrap_err();
        assert_eq!(error.to_string(), "1:1: the Secret has a field of a type that the API server refuses");
    }
}
