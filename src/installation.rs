//! What is known of one installation of this webhook?
//!
//! It was read before, so that everything that judges it is pure. What could not be read is kept as such: it
//! is never taken for something that is not there.

pub mod configuration;
mod deployment;
mod in_force;

pub use configuration::{Bundle, Condition, Configuration, Requests, Requirement, Selector, Webhook, served};
pub use deployment::{Deployment, ServeOptions};

pub use in_force::InForce;

use crate::engine::mapping::{self, CONFIG_MAP_KEY, Problems};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;

/// What came of looking for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is there.
    There(T),
    /// It is definitely not there.
    Missing,
    /// It could not be read, for this reason.
    Unread(String),
}

/// One installation of the chart, or of the same by other means.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The name of both webhook configurations.
    pub name: String,
    /// The namespace of its Service. The webhook changes nothing there.
    pub namespace: String,
    /// The name of its Service and its Deployment.
    pub service: String,
    /// The configuration by which ServiceAccounts and Pods are sent to the webhook.
    pub mutating: Seen<Configuration>,
    /// The configuration by which edits of the mapping are sent to the webhook.
    pub validating: Seen<Configuration>,
    /// The only namespaces whose objects this installation, or another one, is sent; `None` where all that
    /// are opted in are sent, or it is not known.
    pub served_namespaces: Option<Vec<String>>,
    /// The configuration of the EKS webhook, by its name; it is what makes a Pod of an annotation.
    pub eks_webhook: Seen<String>,
    /// The Deployment.
    pub deployment: Seen<Deployment>,
    /// How many ready addresses the Service has.
    pub endpoints: Seen<usize>,
    /// Its Pods that have not ended.
    pub replicas: Seen<Vec<Replica>>,
    /// Whether the Secret of the certificate is there. Its values are never read.
    pub certificate_secret: Seen<()>,
    /// What the API server said when it was asked to write a broken mapping, as a dry run.
    pub reach: Seen<Reach>,
    /// The text of the mapping.
    pub mapping: Seen<MappingText>,
    /// The text of the last good mapping, which decides while the mapping is broken or gone.
    pub last_good: Seen<MappingText>,
}

/// A Pod of the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The name of the Pod.
    pub name: String,
    /// The image that it was started with.
    pub image: String,
    /// Whether it is ready.
    pub is_ready: bool,
    /// The certificate chain that it serves, in PEM.
    pub served: Seen<Vec<u8>>,
}

/// Whether the API server reaches the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Whether it does, by all entries.
    pub is_reached: bool,
    /// The same in a sentence, which says what to do.
    pub text: String,
}

/// What a ConfigMap holds under the key of the mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingText {
    /// The ConfigMap, as `NAMESPACE/NAME`.
    pub config_map: String,
    /// The text; none where the ConfigMap has no such key.
    pub text: Option<String>,
}

impl<T> Seen<T> {
    /// Makes something else of it where it is there.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::There(value) => Seen::There(make(value)),
            Self::Missing => Seen::Missing,
            Self::Unread(why) => Seen::Unread(why),
        }
    }

    /// Lends it where it is there.
    pub fn there(&self) -> Option<&T> {
        match self {
            Self::There(value) => Some(value),
            Self::Missing | Self::Unread(_) => None,
        }
    }

    /// Returns why it could not be read.
    pub fn unread(&self) -> Option<&str> {
        match self {
            Self::Unread(why) => Some(why),
            Self::There(_) | Self::Missing => None,
        }
    }
}

impl Installation {
    /// Returns the options of `serve`; the defaults where the Deployment is not known.
    #[must_use]
    pub fn options(&self) -> ServeOptions {
        self.deployment.there().map(|deployment| deployment.options.clone()).unwrap_or_default()
    }

    /// Returns what the operator allows.
    ///
    /// # Errors
    /// When an option of the Deployment is no such thing.
    pub fn operator_policy(&self) -> Result<OperatorPolicy, String> {
        let ServeOptions { allowed_roles, workload_controllers, .. } = self.options();
        let allowed_roles = allowed_roles.iter().map(|role| role.parse()).collect::<Result<_, _>>()?;
        Ok(OperatorPolicy { workload_controllers, allowed_roles })
    }
}

impl MappingText {
    /// Reads the mapping; none where there is no text.
    #[must_use]
    pub fn compile(&self, policy: &OperatorPolicy) -> Option<Result<Ruleset, Problems>> {
        Some(mapping::compile(self.text.as_deref()?, policy))
    }

    /// Where the text stands.
    #[must_use]
    pub fn place(&self) -> String {
        format!("ConfigMap {} key {CONFIG_MAP_KEY}", self.config_map)
    }
}
