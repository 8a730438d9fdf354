//! Which rules can match which class of objects?

use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::rule::Rule;

/// A class of objects that has a part of the data for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// ServiceAccounts but `default`.
    Account,
    /// The ServiceAccount `default`.
    Default,
    /// Pods but those of CI jobs.
    Pod,
    /// The Pods of CI jobs.
    Job,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Account, Self::Default, Self::Pod, Self::Job];

    /// Returns what the class's keys begin with.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Default => "default",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }

    /// Returns the word for people.
    pub(super) fn object(self) -> &'static str {
        match self {
            Self::Account => "ServiceAccount",
            Self::Default => "ServiceAccount `default`",
            Self::Pod => "Pod",
            Self::Job => "Pod of a CI job",
        }
    }

    /// Returns for which providers a rule can decide on objects of the class, as the data says it. `None`
    /// says that the rule can match none of them.
    pub(super) fn providers(self, rule: &Rule, pod_provider: Provider) -> Option<&'static str> {
        let criteria = &rule.criteria;
        let of_job = !criteria.projects.is_empty() || !criteria.runners.is_empty();
        let some =
            |is: fn(Component) -> bool| criteria.components.is_empty() || criteria.components.iter().any(is);
        let reaches = match self {
            Self::Account => !of_job && some(|component| !component.is_pods_only()),
            Self::Default => !of_job && criteria.components.is_empty() && criteria.names_default_account(),
            Self::Pod => !of_job && some(|component| component != Component::RunnerJob),
            Self::Job => criteria.reaches_jobs && some(|component| component == Component::RunnerJob),
        };
        // The API server refuses an object whose label has such a key.
        let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let reaches = reaches && criteria.labels.iter().all(|(key, _)| key.chars().all(is_key));
        let irsa = rule.providers.contains(Provider::Irsa);
        let pod = rule.providers.contains(pod_provider) && matches!(self, Self::Pod | Self::Job);
        match (irsa, pod) {
            _ if !reaches => None,
            (true, true) => Some("irsa pod"),
            (true, false) => Some("irsa"),
            (false, true) => Some("pod"),
            (false, false) => None,
        }
    }
}
