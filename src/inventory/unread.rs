//! What could not be read, so that nothing can be said about it?

use std::fmt;

/// The objects that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Namespaces.
    Namespaces,
    /// ServiceAccounts.
    ServiceAccounts,
    /// Pods.
    Pods,
    /// CronJobs, for the Pods that they will make.
    CronJobs,
    /// ConfigMaps.
    ConfigMaps,
    /// Secrets.
    Secrets,
}

/// Objects that could not be read, or not all of them. They are never taken for objects that are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What they are.
    pub kind: Listed,
    /// The namespace where they are, or for [`Listed::Namespaces`] the only one; `None` for all of them.
    pub namespace: Option<String>,
    /// Whether the others of the kind were read.
    pub is_partial: bool,
    /// Why, in words.
    pub why: String,
}

impl Unread {
    /// Whether objects of this kind in this namespace may be missing. In doubt they are.
    #[must_use]
    pub fn is_about(&self, kind: Listed, namespace: &str) -> bool {
        self.kind == kind && self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

impl Listed {
    /// The kind in the plural, as `Pods`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespaces",
            Self::ServiceAccounts => "ServiceAccounts",
            Self::Pods => "Pods",
            Self::CronJobs => "CronJobs",
            Self::ConfigMaps => "ConfigMaps",
            Self::Secrets => "Secrets",
        }
    }

    /// Says which objects are meant: those of one namespace, or of all of them.
    #[must_use]
    pub fn within(self, namespace: Option<&str>) -> String {
        match (self, namespace) {
            (Self::Namespaces, None) => self.name().to_owned(),
            (Self::Namespaces, Some(name)) => format!("Namespace {name}"),
            (_, None) => format!("{} of all namespaces", self.name()),
            (_, Some(namespace)) => format!("{} of the namespace {namespace}", self.name()),
        }
    }
}

/// Says what it is, without the reason.
impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = if self.is_partial { "some " } else { "" };
        write!(f, "{some}{}", self.kind.within(self.namespace.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_of_one_namespace_is_about_that_one_and_of_all_about_each() {
        let unread = |kind, namespace: Option<&str>, is_partial| Unread {
            kind,
            namespace: namespace.map(str::to_owned),
            is_partial,
            why: "forbidden".to_owned(),
        };
        for (one, words, here) in [
            (unread(Listed::Pods, Some("gitlab"), false), "Pods of the namespace gitlab", true),
            (unread(Listed::Pods, Some("ci"), true), "some Pods of the namespace ci", false),
            (unread(Listed::Pods, None, true), "some Pods of all namespaces", true),
            (unread(Listed::CronJobs, None, false), "CronJobs of all namespaces", false),
            (unread(Listed::Namespaces, None, false), "Namespaces", false),
            (unread(Listed::Namespaces, Some("gitlab"), false), "Namespace gitlab", false),
        ] {
            assert_eq!((one.to_string().as_str(), one.is_about(Listed::Pods, "gitlab")), (words, here));
        }
    }
}
