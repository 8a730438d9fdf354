//! Does the API server send an object to a webhook?

use std::collections::BTreeMap;

use super::configuration::{Configuration, NAME, Requirement, Selector, Webhook};

/// The labels of an object or a namespace.
pub type Labels = BTreeMap<String, String>;

/// What a webhook configuration does with an object that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is sent to the webhook.
    Sent,
    /// No entry asks for objects of its kind.
    Kind,
    /// No entry for its kind selects its namespace.
    Namespace,
    /// No entry for its kind and its namespace selects its labels.
    Object,
}

impl Configuration {
    /// Says whether objects of a resource are sent as they are created. Match conditions are not looked at.
    #[must_use]
    pub fn sends(&self, resource: &str, namespace: &Labels, object: &Labels) -> Sent {
        let of_kind: Vec<&Webhook> =
            self.webhooks.iter().filter(|webhook| webhook.is_sent("CREATE", resource)).collect();
        let selects_namespace = |webhook: &&&Webhook| webhook.namespace_selector.selects(namespace);
        let of_namespace: Vec<&&Webhook> = of_kind.iter().filter(selects_namespace).collect();
        if of_kind.is_empty() {
            Sent::Kind
        } else if of_namespace.is_empty() {
            Sent::Namespace
        } else if of_namespace.iter().any(|webhook| webhook.object_selector.selects(object)) {
            Sent::Sent
        } else {
            Sent::Object
        }
    }
}

impl Selector {
    /// Whether it selects what has these labels, as
    /// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors> says.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let is_in = || value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => is_in(),
            "NotIn" => !is_in(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // The API server stores no other operator.
            _ => false,
        }
    }
}

/// Returns the labels of a namespace as selectors see them: with its name, also where that was not read.
#[must_use]
pub fn labels_of_namespace(name: &str, labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.insert(NAME.to_owned(), name.to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_selector_selects_as_the_api_server_does() {
        let has = labels(&[("a", "1"), ("b", "2")]);
        let expression = |operator: &str, key: &str, values: &[&str]| {
            let requirement = json!({"key": key, "operator": operator, "values": values});
            json!({"matchExpressions": [requirement]})
        };
        for (selector, selects) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "2"}}), false),
            (json!({"matchLabels": {"a": "1", "c": "1"}}), false),
            (expression("In", "a", &["0", "1"]), true),
            (expression("In", "c", &["0"]), false),
            (expression("NotIn", "a", &["1"]), false),
            (expression("NotIn", "c", &["1"]), true),
            (expression("Exists", "a", &[]), true),
            (expression("Exists", "c", &[]), false),
            (expression("DoesNotExist", "a", &[]), false),
            (expression("DoesNotExist", "c", &[]), true),
            (expression("Gt", "a", &["0"]), false),
        ] {
            let read: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(read.selects(&has), selects, "{selector}");
        }
    }

    #[test]
    fn an_object_is_sent_by_an_entry_that_asks_for_all_of_it() {
        let entry = |resource: &str, more: Value| {
            let mut entry = json!({
                "name": "x.gitlab-iam-webhook",
                "rules": [{"operations": ["CREATE"], "resources": [resource]}],
                "namespaceSelector": {"matchLabels": {"gitlab-iam-webhook/inject": "enabled", NAME: "gitlab"}},
            });
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        let configuration: Configuration = serde_json::from_value(json!({"webhooks": [
            entry("serviceaccounts", json!({"objectSelector": {"matchLabels": {"app": "registry"}}})),
        ]}))
        .unwrap();
        let enabled = labels_of_namespace("gitlab", &labels(&[("gitlab-iam-webhook/inject", "enabled")]));
        let registry = labels(&[("app", "registry")]);
        let sends = |resource: &str, namespace: &Labels, object: &Labels| {
            configuration.sends(resource, namespace, object)
        };
        assert_eq!(sends("serviceaccounts", &enabled, &registry), Sent::Sent);
        assert_eq!(sends("serviceaccounts", &enabled, &Labels::new()), Sent::Object);
        let other = labels_of_namespace("gitlab", &Labels::new());
        assert_eq!(sends("serviceaccounts", &other, &registry), Sent::Namespace);
        assert_eq!(sends("pods", &enabled, &registry), Sent::Kind);
    }
}
