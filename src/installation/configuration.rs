//! What is judged of a webhook configuration, mutating or validating?

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use crate::inventory::{Metadata, nullable};

/// The longest caBundle that is looked at, in base64.
const LONGEST: usize = 64 << 10;

/// The end of the names of all entries that the chart makes.
const OURS: &str = ".gitlab-iam-webhook";

/// The names of the EKS webhook's entries: on managed EKS, and where it was installed by hand.
const EKS: [&str; 2] = ["iam-for-pods.amazonaws.com", "pod-identity-webhook.amazonaws.com"];

/// The label that Kubernetes gives each namespace, with its name.
pub const NAME: &str = "kubernetes.io/metadata.name";

/// A webhook configuration of either kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// What is read of its metadata.
    pub metadata: Metadata,
    /// Its entries.
    #[serde(deserialize_with = "nullable")]
    pub webhooks: Vec<Webhook>,
}

/// An entry of a webhook configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Webhook {
    /// The name.
    pub name: String,
    client_config: ClientConfig,
    /// What the API server does where it cannot reach the webhook: `Fail` or `Ignore`.
    pub failure_policy: String,
    /// For how many seconds the API server waits.
    pub timeout_seconds: u16,
    /// The namespaces whose objects are sent.
    pub namespace_selector: Selector,
    /// The labels of the objects that are sent.
    pub object_selector: Selector,
    /// Which requests are sent.
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<Requests>,
    /// What must hold of a request beside this.
    #[serde(deserialize_with = "nullable")]
    pub match_conditions: Vec<Condition>,
}

/// The requests of a rule of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Requests {
    #[serde(deserialize_with = "nullable")]
    operations: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
}

/// A match condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// The name.
    pub name: String,
    /// The expression in CEL.
    pub expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientConfig {
    url: Option<String>,
    service: Option<Service>,
    #[serde(deserialize_with = "bundle")]
    ca_bundle: Bundle,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
    namespace: String,
}

/// The certificates that the API server trusts when it calls an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bundle {
    /// There are none, so that it trusts what its own machine trusts.
    #[default]
    Empty,
    /// There are more than this looks at.
    TooLong,
    /// These, in PEM where it is right.
    Pem(Vec<u8>),
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Selector {
    /// The labels that must have these values.
    #[serde(deserialize_with = "nullable")]
    pub match_labels: BTreeMap<String, String>,
    /// What must hold beside these.
    #[serde(deserialize_with = "nullable")]
    pub match_expressions: Vec<Requirement>,
}

/// What a selector requires of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// The key of the label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values.
    #[serde(deserialize_with = "nullable")]
    pub values: Vec<String>,
}

/// What is no base64 cannot be stored, and is no PEM either.
fn bundle<'de, D: Deserializer<'de>>(from: D) -> Result<Bundle, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    Ok(match text.len() {
        0 => Bundle::Empty,
        length if length > LONGEST => Bundle::TooLong,
        _ => Bundle::Pem(STANDARD.decode(text).unwrap_or_default()),
    })
}

impl Configuration {
    /// Whether it is one of ours: by the label that the chart writes, or by the names of its entries.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.metadata.label("app.kubernetes.io/name") == Some("gitlab-iam-webhook")
            || self.webhooks.iter().any(|webhook| webhook.name.ends_with(OURS))
    }

    /// Whether it is that of the EKS webhook.
    #[must_use]
    pub fn is_of_eks(&self) -> bool {
        self.metadata.name.contains("pod-identity-webhook")
            || self.webhooks.iter().any(|webhook| EKS.contains(&webhook.name.as_str()))
    }

    /// Returns the namespace and the name of the Service that is called; none where it is called by URLs.
    #[must_use]
    pub fn service(&self) -> Option<(&str, &str)> {
        let service = self.webhooks.iter().find_map(|webhook| webhook.client_config.service.as_ref())?;
        Some((&service.namespace, &service.name))
    }
}

/// Returns the only namespaces whose objects these send to a webhook; none where some send those of all
/// namespaces that are opted in.
#[must_use]
pub fn served(all: &[Configuration]) -> Option<Vec<String>> {
    let mut names = BTreeSet::new();
    for webhook in all.iter().flat_map(|configuration| &configuration.webhooks) {
        let only = webhook.namespace_selector.only_namespaces();
        if only.is_empty() {
            return None;
        }
        names.extend(only);
    }
    (!names.is_empty()).then(|| names.into_iter().collect())
}

impl Selector {
    /// Returns the only namespaces that it selects by their names; none where it does not select by names.
    #[must_use]
    pub fn only_namespaces(&self) -> Vec<String> {
        let by_name = self.match_expressions.iter();
        let by_name = by_name.filter(|requirement| requirement.key == NAME && requirement.operator == "In");
        let names = by_name.flat_map(|requirement| requirement.values.clone());
        names.chain(self.match_labels.get(NAME).cloned()).collect()
    }
}

impl Webhook {
    /// Whether its rules name this operation on these objects.
    #[must_use]
    pub fn is_sent(&self, operation: &str, resource: &str) -> bool {
        let names =
            |all: &[String], one: &str| all.iter().any(|name| name == "*" || name == "*/*" || name == one);
        self.rules.iter().any(|rule| names(&rule.operations, operation) && names(&rule.resources, resource))
    }

    /// Returns the name that the API server expects in the certificate; none where it is called by a URL.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let Service { name, namespace } = self.client_config.service.as_ref()?;
        Some(format!("{name}.{namespace}.svc"))
    }

    /// Returns where the API server calls it, for comparing.
    #[must_use]
    pub fn target(&self) -> String {
        self.host().or_else(|| self.client_config.url.clone()).unwrap_or_default()
    }

    /// Lends what the API server trusts.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.client_config.ca_bundle
    }
}
