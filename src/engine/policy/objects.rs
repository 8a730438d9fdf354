//! Which objects are the policy, its binding and its parameter?
//!
//! They are written as YAML, so that the text of the policy keeps its comments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::text::{self, AllowedRoleError};
use crate::engine::object::subject::INJECT;
use crate::engine::rules::operator_policy::AllowedRole;
use crate::engine::yaml::{self, Node};

/// What the objects are called, and where they act.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// The name of all three.
    pub name: &'a str,
    /// The namespace of the parameter.
    pub namespace: &'a str,
    /// The namespaces in which the policy acts, where they have opted in. An empty list stands for all.
    pub acts_in: &'a [String],
}

/// The three objects, each as a document in YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    /// The `MutatingAdmissionPolicy`.
    pub policy: String,
    /// The `MutatingAdmissionPolicyBinding`.
    pub binding: String,
    /// The ConfigMap.
    pub parameter: String,
}

impl Objects {
    /// Writes the objects.
    ///
    /// # Errors
    /// Returns an error where the policy does not understand one of the allowed roles.
    pub fn new(
        placed: &Placed<'_>,
        allowed_roles: &[AllowedRole],
        data: &BTreeMap<String, String>,
    ) -> Result<Self, AllowedRoleError> {
        Ok(Self {
            policy: policy(placed, allowed_roles)?,
            binding: binding(placed),
            parameter: parameter(placed, data),
        })
    }
}

fn policy(placed: &Placed<'_>, allowed_roles: &[AllowedRole]) -> Result<String, AllowedRoleError> {
    let name = quoted(placed.name);
    let mut namespaces = String::new();
    if !placed.acts_in.is_empty() {
        let list: Vec<_> = placed.acts_in.iter().map(|namespace| quoted(namespace)).collect();
        let list = list.join(", ");
        let _ = writeln!(
            namespaces,
            "        - {{key: kubernetes.io/metadata.name, operator: In, values: [{list}]}}"
        );
    }
    let spec: String = text::spec(allowed_roles)?
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") })
        .collect();
    let never: Vec<_> = ["kube-system", placed.namespace].map(quoted).into();
    let never = never.join(", ");
    Ok(format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: {name}
spec:
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector:
      matchExpressions:
        - {{key: {INJECT}, operator: In, values: [enabled]}}
        - {{key: kubernetes.io/metadata.name, operator: NotIn, values: [{never}]}}
{namespaces}    resourceRules:
      - {{apiGroups: [\"\"], apiVersions: [v1], resources: [serviceaccounts], operations: [CREATE, UPDATE]}}
      - {{apiGroups: [\"\"], apiVersions: [v1], resources: [pods], operations: [CREATE]}}
{spec}"
    ))
}

fn binding(placed: &Placed<'_>) -> String {
    let (name, namespace) = (quoted(placed.name), quoted(placed.namespace));
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {name}
spec:
  policyName: {name}
  paramRef:
    name: {name}
    namespace: {namespace}
    parameterNotFoundAction: Allow
"
    )
}

fn parameter(placed: &Placed<'_>, data: &BTreeMap<String, String>) -> String {
    let (name, namespace) = (quoted(placed.name), quoted(placed.namespace));
    let mut text = format!(
        "apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: {namespace}
data:
"
    );
    for (key, value) in data {
        let _ = writeln!(text, "  {}: {}", quoted(key), quoted(value));
    }
    text
}

/// Whether JSON and YAML have a character escaped wherever we write them, beside those that JSON always
/// escapes: YAML takes it for none of a text, or it steers a terminal or is not seen there.
#[must_use]
pub fn is_escaped(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Writes a text in double quotes, which JSON and YAML read alike.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    for c in Value::from(text).to_string().chars() {
        if is_escaped(c) {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

/// Reads one of the objects. No scalar in them is anything but text.
#[must_use]
pub fn value(document: &str) -> Value {
    yaml::read(document).ok().and_then(|documents| documents.first().map(of)).unwrap_or_default()
}

fn of(node: &Node<'_>) -> Value {
    if let Some(members) = node.as_sequence() {
        return members.iter().map(of).collect();
    }
    match node.as_mapping() {
        Some(entries) => entries
            .iter()
            .map(|(key, value)| (key.as_text().unwrap_or_default().to_owned(), of(value)))
            .collect(),
        None => node.as_scalar().map(|scalar| scalar.text.as_ref()).unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Objects {
        let acts_in = ["gitlab".to_owned(), "ci".to_owned()];
        let placed = Placed { name: "roles", namespace: "ours", acts_in: &acts_in };
        let data = [("format", "1"), ("rule.0", "role\n\"x\"\u{7f}\u{2028}\t\\"), ("runner.a.b", "")];
        let data = data.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Objects::new(&placed, &["arn:aws:iam::*:role/x".parse().unwrap()], &data).unwrap()
    }

    #[test]
    fn the_policy_acts_where_the_webhook_acts() {
        let policy = value(&objects().policy);
        let spec = &policy["spec"];
        assert_eq!(
            spec["matchConstraints"]["namespaceSelector"]["matchExpressions"],
            serde_json::json!([
                {"key": INJECT, "operator": "In", "values": ["enabled"]},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "ours"]},
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["gitlab", "ci"]},
            ])
        );
        assert_eq!(spec["failurePolicy"], "Ignore");
        assert_eq!(spec["matchConstraints"]["resourceRules"][1]["resources"][0], "pods");
        let allowed = spec["variables"].as_array().unwrap().iter().find(|one| one["name"] == "allowed");
        assert!(
            allowed.unwrap()["expression"].as_str().unwrap().starts_with("[\"arn:aws:iam::*:role/x\"]\n")
        );
    }

    #[test]
    fn the_data_is_read_as_it_was() {
        let data = &value(&objects().parameter)["data"];
        assert_eq!(data["rule.0"], "role\n\"x\"\u{7f}\u{2028}\t\\");
        assert_eq!((&data["format"], &data["runner.a.b"]), (&"1".into(), &"".into()));
        assert_eq!(value(&objects().binding)["spec"]["paramRef"]["namespace"], "ours");
    }
}
