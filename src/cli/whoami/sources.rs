//! Which sources of credentials are there, and which of them would an SDK use?
//!
//! The order is that of AWS's SDKs, as their reference guide has it under "Standardized credential
//! providers". Where some of them differ, a note says so.

use super::metadata::NodeRole;
use super::profile::Profile;

/// A source of credentials, in the order in which SDKs look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    StaticKeys,
    WebIdentity,
    Profile,
    Container,
    Metadata,
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) kind: Kind,
    /// Whether it would give credentials, or fail to.
    pub(super) is_there: bool,
    /// What is there, or why there is nothing.
    pub(super) words: String,
}

/// All sources in their order, and what is to be known beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) all: Vec<Source>,
    pub(super) notes: Vec<&'static str>,
}

/// Reads a variable of the environment, of which an empty one counts as not set.
pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::StaticKeys => "staticKeys",
            Self::WebIdentity => "webIdentity",
            Self::Profile => "profile",
            Self::Container => "container",
            Self::Metadata => "metadata",
        }
    }

    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::StaticKeys => "static keys in the environment",
            Self::WebIdentity => "web identity (IRSA)",
            Self::Profile => "shared files of credentials and configuration",
            Self::Container => "container credentials (EKS Pod Identity, ECS)",
            Self::Metadata => "metadata service (the node's role; the Pod's with kube2iam or kiam)",
        }
    }
}

impl Sources {
    /// Returns the source that an SDK would use.
    pub(super) fn winner(&self) -> Option<Kind> {
        self.all.iter().find(|source| source.is_there).map(|source| source.kind)
    }
}

/// Finds out which sources there are.
pub(super) fn sources(variable: Variable<'_>, profile: &Profile, node: &NodeRole) -> Sources {
    let has_node = matches!(node, NodeRole::Role { .. });
    let all = vec![
        pair(variable, Kind::StaticKeys, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
        pair(variable, Kind::WebIdentity, ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"]),
        Source { kind: Kind::Profile, is_there: profile.is_there, words: profile.words.clone() },
        container(variable),
        Source { kind: Kind::Metadata, is_there: has_node, words: node.in_words() },
    ];
    let is = |kind| all.iter().any(|source: &Source| source.kind == kind && source.is_there);
    let mut notes = Vec::new();
    if profile.missing.is_some() {
        notes.push(
            "AWS_PROFILE names a profile that no file has: the AWS CLI and boto3 fail before they look \
             at the role: take AWS_PROFILE out of the Pod's env and envFrom",
        );
    }
    if is(Kind::Profile) && variable("AWS_PROFILE").is_some() {
        notes
            .push("AWS_PROFILE is set: the SDKs for Go and JavaScript look at its profile before all others");
    } else if is(Kind::Profile) && is(Kind::WebIdentity) {
        notes.push("the SDK for JavaScript looks at the shared files before the web identity");
    }
    if is(Kind::Container) && is(Kind::WebIdentity) {
        notes.push("GitLab's fog looks at the container credentials before the web identity");
    }
    if is(Kind::StaticKeys) && is(Kind::WebIdentity) {
        notes.push("static keys come before the role: take them out of the Pod's env and envFrom");
    }
    Sources { all, notes }
}

/// A source of which both variables are needed.
fn pair(variable: Variable<'_>, kind: Kind, names: [&str; 2]) -> Source {
    let (set, unset): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| variable(name).is_some());
    let words = match (set.as_slice(), unset.as_slice()) {
        ([], _) => "none".to_owned(),
        (_, []) => format!("{} are set", set.join(" and ")),
        _ => format!("{} is set without {}, so it does not count", set.join(""), unset.join("")),
    };
    Source { kind, is_there: unset.is_empty(), words }
}

fn container(variable: Variable<'_>) -> Source {
    let names = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    let set = names.into_iter().find(|name| variable(name).is_some());
    let words = set.map_or_else(|| "none".to_owned(), |name| format!("{name} is set"));
    Source { kind: Kind::Container, is_there: set.is_some(), words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(set: &[&str], is_profile: bool, node: &NodeRole) -> Sources {
        let variable = |name: &str| set.contains(&name).then(|| "planted".to_owned());
        let profile = Profile { is_there: is_profile, words: "p".to_owned(), missing: None };
        sources(&variable, &profile, node)
    }

    const STATIC: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    const WEB: [&str; 2] = ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"];
    const URI: [&str; 1] = ["AWS_CONTAINER_CREDENTIALS_FULL_URI"];

    #[test]
    fn the_first_source_that_is_complete_wins() {
        let role = NodeRole::Role { name: "node".to_owned(), version: 2 };
        let none = NodeRole::Disabled;
        for (set, is_profile, node, want) in [
            (vec![], false, &none, None),
            (vec![], false, &role, Some(Kind::Metadata)),
            (URI.to_vec(), false, &role, Some(Kind::Container)),
            (URI.to_vec(), true, &role, Some(Kind::Profile)),
            ([&WEB[..], &URI[..]].concat(), true, &role, Some(Kind::WebIdentity)),
            ([&STATIC[..], &WEB[..]].concat(), true, &role, Some(Kind::StaticKeys)),
            (vec![STATIC[0], WEB[1]], false, &none, None),
        ] {
            let sources = found(&set, is_profile, node);
            assert_eq!(sources.winner(), want, "{set:?}");
            assert!(!format!("{sources:?}").contains("planted"), "{sources:?}");
        }
    }

    #[test]
    fn where_sdks_differ_a_note_says_so() {
        let none = NodeRole::Disabled;
        assert!(found(&WEB, false, &none).notes.is_empty());
        let notes = |set: &[&[&str]], is_profile| found(&set.concat(), is_profile, &none).notes.join("\n");
        assert!(notes(&[&WEB, &URI], false).contains("fog"));
        assert!(notes(&[&WEB], true).contains("JavaScript"));
        assert!(notes(&[&WEB, &["AWS_PROFILE"]], true).contains("Go and JavaScript"));
        assert!(notes(&[&WEB, &STATIC], false).contains("take them out"));
    }
}
