//! What is a rule that was imported?

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::mapping::TOKEN_EXPIRATION;
use crate::engine::object::component::Component;
use crate::engine::object::provider::{Provider, RoleOption};

/// A rule of the mapping, with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it looks at.
    pub matching: Match,
    /// For which provider it decides.
    pub provider: Provider,
    /// What it does.
    pub action: Action,
    /// Where it comes from, one line each.
    pub from: BTreeSet<String>,
    /// What is worth knowing of it.
    pub remarks: BTreeSet<String>,
}

/// What a rule looks at. What is empty is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// The components.
    pub components: BTreeSet<Component>,
    /// The names of ServiceAccounts.
    pub service_accounts: BTreeSet<String>,
    /// The namespaces.
    pub namespaces: Vec<String>,
    /// The Helm release.
    pub release: Option<String>,
    /// Labels with their values.
    pub labels: BTreeMap<String, String>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It gives a role.
    Give {
        /// The role.
        role: String,
        /// What goes with it.
        options: Options,
    },
    /// It leaves alone what it matches, so that a later rule does not give it a role.
    Skip,
}

/// What goes with a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Options {
    /// The audience of the token.
    pub audience: Option<String>,
    /// Whether STS is asked in the Pod's own region.
    pub sts_regional_endpoints: Option<bool>,
    /// For how many seconds the token is valid.
    pub token_expiration: Option<u32>,
    /// The external id.
    pub external_id: Option<String>,
    /// The name of the session.
    pub session_name: Option<String>,
}

impl Options {
    /// Reads the options of irsa as the EKS webhook reads them: a value that it cannot read is as if it were
    /// absent, and a time that is too short becomes the shortest (`addSA` in pkg/cache/cache.go of
    /// aws/amazon-eks-pod-identity-webhook).
    pub(super) fn irsa<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let value = |option: RoleOption| value(option.key());
        Self {
            audience: value(RoleOption::IrsaAudience).map(str::to_owned),
            sts_regional_endpoints: value(RoleOption::IrsaStsRegionalEndpoints).and_then(go_boolean),
            token_expiration: value(RoleOption::IrsaTokenExpiration)
                .and_then(|text| text.parse().ok())
                .map(in_range),
            ..Self::default()
        }
    }

    /// Reads the options of kube2iam and kiam.
    pub(super) fn of_pods<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let value = |option: RoleOption| value(option.key()).filter(|text| !text.is_empty());
        Self {
            external_id: value(RoleOption::PodExternalId).map(str::to_owned),
            session_name: value(RoleOption::PodSessionName).map(str::to_owned),
            ..Self::default()
        }
    }
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
fn go_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Brings the seconds of a token into the range that the EKS webhook and STS take.
pub(super) fn in_range(seconds: i64) -> u32 {
    let (first, last) = (*TOKEN_EXPIRATION.start(), *TOKEN_EXPIRATION.end());
    u32::try_from(seconds.clamp(i64::from(first), i64::from(last))).unwrap_or(last)
}

impl Rule {
    /// Whether this rule gives what another one gives, to at least the same objects.
    pub(super) fn gives_as(&self, other: &Self) -> bool {
        let Match { components, service_accounts, namespaces, release, labels } = &self.matching;
        let theirs = &other.matching;
        self.provider == other.provider
            && self.action == other.action
            && *namespaces == theirs.namespaces
            && *release == theirs.release
            && *labels == theirs.labels
            && components.is_superset(&theirs.components)
            && service_accounts.is_superset(&theirs.service_accounts)
    }

    /// Returns the place in the order of rules. What is narrower comes first: the labels of one Deployment,
    /// then the registry's migrations, which `registry` covers as well, then components, then accounts.
    fn rank(&self) -> u8 {
        let Match { components, labels, .. } = &self.matching;
        match () {
            () if !labels.is_empty() => 0,
            () if components.contains(&Component::RegistryMigrations) => 1,
            () if !components.is_empty() => 2,
            // A rule for every namespace comes after those that name theirs.
            () if !self.matching.namespaces.is_empty() => 3,
            () => 4,
        }
    }

    /// What rules have in common that become one.
    fn key(&self) -> (u8, Provider, Action, Match) {
        let Match { namespaces, release, labels, .. } = &self.matching;
        let rest = Match {
            namespaces: namespaces.clone(),
            release: release.clone(),
            labels: labels.clone(),
            ..Match::default()
        };
        (self.rank(), self.provider, self.action.clone(), rest)
    }
}

/// Puts rules in order, and makes one of those that give the same.
pub(super) fn grouped(rules: Vec<Rule>) -> Vec<Rule> {
    grouped_by(rules.into_iter().map(|rule| ((), rule)).collect())
        .into_iter()
        .map(|((), rule)| rule)
        .collect()
}

/// Groups as [`grouped`] does, within what has the same word.
pub(super) fn grouped_by<W: Clone + Ord>(rules: Vec<(W, Rule)>) -> Vec<(W, Rule)> {
    let mut groups: BTreeMap<_, usize> = BTreeMap::new();
    let mut grouped: Vec<(W, Rule)> = Vec::new();
    for (word, rule) in rules {
        // Rules about labels stand alone, as one rule asks for all of its labels.
        let alone = if rule.matching.labels.is_empty() { Match::default() } else { rule.matching.clone() };
        let key = (word.clone(), rule.key(), alone);
        if let Some((_, first)) = groups.get(&key).and_then(|index| grouped.get_mut(*index)) {
            first.matching.components.extend(rule.matching.components);
            first.matching.service_accounts.extend(rule.matching.service_accounts);
            first.from.extend(rule.from);
            first.remarks.extend(rule.remarks);
        } else {
            groups.insert(key, grouped.len());
            grouped.push((word, rule));
        }
    }
    let mut joined: Vec<(W, Rule)> = Vec::new();
    let mut places: BTreeMap<_, usize> = BTreeMap::new();
    for (word, rule) in grouped {
        let elsewhere = Match { namespaces: Vec::new(), ..rule.matching.clone() };
        let key = (
            word.clone(),
            rule.provider,
            rule.action.clone(),
            elsewhere,
            rule.matching.namespaces.is_empty(),
        );
        if let Some((_, first)) = places.get(&key).and_then(|index| joined.get_mut(*index)) {
            first.matching.namespaces.extend(rule.matching.namespaces);
            first.matching.namespaces.sort();
            first.matching.namespaces.dedup();
            first.from.extend(rule.from);
            first.remarks.extend(rule.remarks);
        } else {
            places.insert(key, joined.len());
            joined.push((word, rule));
        }
    }
    joined.sort_by_key(|(_, rule)| rule.rank());
    joined
}
