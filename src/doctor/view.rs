//! Which role should each Pod and each ServiceAccount have, and what is known of the objects around it?

use std::collections::{BTreeMap, BTreeSet};

use super::Scene;
use super::findings::shown;
use crate::engine::decision::{Decision, Outcome, decide};
use crate::engine::object::component::Component;
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE, Provider, RoleOption};
use crate::engine::object::subject::{INJECT, Requester};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::{Defaults, Ruleset};
use crate::inventory::{ConfigMap, Listed, Metadata, Namespace, Pod, Secret, ServiceAccount};

/// A namespace and a name in it.
type Key<'a> = (&'a str, &'a str);

/// Everything that the checks look at, by name, with what the mapping says of it.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// What was handed in.
    pub(super) scene: &'a Scene<'a>,
    /// The ServiceAccounts.
    pub(super) accounts: BTreeMap<Key<'a>, AccountView<'a>>,
    /// The Pods that have not ended.
    pub(super) pods: Vec<PodView<'a>>,
    namespaces: BTreeMap<&'a str, &'a Namespace>,
    config_maps: BTreeMap<Key<'a>, &'a ConfigMap>,
    secrets: BTreeMap<Key<'a>, &'a Secret>,
}

/// A ServiceAccount with the role that it should have.
#[derive(Debug)]
pub(super) struct AccountView<'a> {
    /// The ServiceAccount.
    pub(super) account: &'a ServiceAccount,
    /// The component that its labels say.
    pub(super) component: Option<Component>,
    /// The role that it carries now.
    pub(super) present: Option<&'a str>,
    /// The role that it carries once it is as decided.
    pub(super) role: Option<String>,
    /// Whether some rule decides on it.
    pub(super) has_rule: bool,
    /// What comes of admitting it again.
    pub(super) outcome: Outcome,
    /// What is told of that, in a sentence.
    pub(super) told: String,
    /// The rule for irsa, and the role that it gives, whether or not that is set.
    pub(super) rule: Option<(String, String)>,
    /// Whether it asks for regional endpoints of STS once it is as decided.
    pub(super) has_regional_sts: bool,
}

/// A Pod with the roles that it should have.
#[derive(Debug)]
pub(super) struct PodView<'a> {
    /// The Pod.
    pub(super) pod: &'a Pod,
    /// The component that it is, or looks like.
    pub(super) component: Option<Component>,
    /// The rule that gives its component a role for irsa, and the role.
    pub(super) irsa_rule: Option<(String, String)>,
    /// Whether that rule cannot reach it, because it runs as `default`.
    pub(super) is_unreached: bool,
    /// The role that its ServiceAccount has once it is as decided.
    pub(super) irsa: Option<String>,
    /// The role for kube2iam or kiam that it has once it is as decided.
    pub(super) pod_role: Option<String>,
    /// Why its role for kube2iam or kiam cannot be given.
    pub(super) refused: Option<String>,
    /// Whether some rule decides on it.
    pub(super) has_rule: bool,
    /// Whether a role may be expected for it.
    pub(super) expects_role: bool,
}

/// The components that work with AWS.
const USERS: [Component; 10] = [
    Component::Webservice,
    Component::Sidekiq,
    Component::Toolbox,
    Component::Registry,
    Component::RegistryMigrations,
    Component::Migrations,
    Component::GitlabPages,
    Component::Gitaly,
    Component::Runner,
    Component::RunnerJob,
];

impl<'a> View<'a> {
    /// Looks at a scene.
    #[must_use]
    pub(super) fn of(scene: &'a Scene<'a>) -> Self {
        let inventory = scene.inventory;
        let nothing = Ruleset::new(Vec::new(), Defaults::default(), OperatorPolicy::default());
        let ruleset = scene.ruleset.unwrap_or(&nothing);
        let accounts: BTreeMap<_, _> = inventory
            .service_accounts
            .iter()
            .map(|account| (key(&account.metadata), AccountView::of(account, ruleset)))
            .collect();
        let pods = inventory
            .pods
            .iter()
            .filter(|pod| !pod.has_ended())
            .map(|pod| PodView::of(pod, ruleset, &accounts, scene.ruleset.is_some()))
            .collect();
        let secrets: &[Secret] = if scene.reads_secrets { &inventory.secrets } else { &[] };
        Self {
            scene,
            accounts,
            pods,
            namespaces: inventory.namespaces.iter().map(|one| (one.metadata.name.as_str(), one)).collect(),
            config_maps: inventory.config_maps.iter().map(|one| (key(&one.metadata), one)).collect(),
            secrets: secrets.iter().map(|one| (key(&one.metadata), one)).collect(),
        }
    }

    /// Returns the Namespace of this name, where it was read.
    #[must_use]
    pub(super) fn namespace(&self, name: &str) -> Option<&'a Namespace> {
        self.namespaces.get(name).copied()
    }

    /// Returns the ServiceAccount that a Pod runs as, where it was read.
    #[must_use]
    pub(super) fn account_of(&self, pod: &PodView<'a>) -> Option<&AccountView<'a>> {
        self.accounts.get(&(pod.pod.metadata.namespace.as_str(), pod.pod.service_account()))
    }

    /// Returns a ConfigMap, where it was read.
    #[must_use]
    pub(super) fn config_map(&self, namespace: &str, name: &str) -> Option<&'a ConfigMap> {
        self.config_maps.get(&(namespace, name)).copied()
    }

    /// Returns a Secret, where it was read.
    #[must_use]
    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<&'a Secret> {
        self.secrets.get(&(namespace, name)).copied()
    }

    /// Returns all Secrets that may be looked at.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &'a Secret> {
        self.secrets.values().copied()
    }

    /// Returns the Pods by the namespace and the name of what they mount.
    pub(super) fn mounting(
        &self,
        mounted: impl Fn(&'a Pod) -> BTreeSet<&'a str>,
    ) -> BTreeMap<(&'a str, &'a str), Vec<&PodView<'a>>> {
        let mut mounting: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for view in &self.pods {
            for name in mounted(view.pod) {
                mounting.entry((view.pod.metadata.namespace.as_str(), name)).or_default().push(view);
            }
        }
        mounting
    }

    /// Returns the Pods that expect a role.
    pub(super) fn expecting(&self) -> impl Iterator<Item = &PodView<'a>> {
        self.pods.iter().filter(|view| view.expects_role)
    }

    /// Whether all ServiceAccounts of a namespace were read. Each namespace of a cluster has one: where none
    /// is known, they were not read.
    pub(super) fn knows_accounts(&self, namespace: &str) -> bool {
        self.accounts.range((namespace, "")..).next().is_some_and(|((of, _), _)| *of == namespace)
            && !self.scene.inventory.may_lack(Listed::ServiceAccounts, namespace)
    }

    /// Returns the value of our label on a Namespace. `None` where the Namespace was not read.
    #[must_use]
    pub(super) fn our_label(&self, namespace: &str) -> Option<&'a str> {
        self.namespace(namespace).map(|one| one.metadata.label(INJECT).unwrap_or_default())
    }
}

fn key(metadata: &Metadata) -> Key<'_> {
    (&metadata.namespace, &metadata.name)
}

/// Returns the rule that decides for irsa, and the role that it gives.
fn irsa_rule(decision: &Decision<'_>) -> Option<(String, String)> {
    let verdict = decision.verdicts.iter().find(|verdict| verdict.provider == Provider::Irsa)?;
    Some((verdict.rule?.name.to_string(), verdict.role.as_deref()?.to_owned()))
}

/// Returns what a decision tells a person, in one line.
fn told(decision: &Decision<'_>) -> String {
    let warning = decision.warnings.first().map(String::as_str).unwrap_or_default();
    shown(warning.strip_prefix("gitlab-iam-webhook: ").unwrap_or(warning))
}

impl<'a> AccountView<'a> {
    fn of(account: &'a ServiceAccount, ruleset: &Ruleset) -> Self {
        const REGIONAL: &str = RoleOption::IrsaStsRegionalEndpoints.key();
        let present = account.metadata.annotation(IRSA_ROLE);
        account.with_subject(|subject| {
            let decision = decide(ruleset, subject);
            let regional = decision.after(REGIONAL, account.metadata.annotation(REGIONAL));
            Self {
                account,
                component: decision.component,
                present,
                role: decision.after(IRSA_ROLE, present).map(str::to_owned),
                outcome: decision.outcome(),
                told: told(&decision),
                rule: irsa_rule(&decision),
                has_rule: decision.verdicts.iter().any(|verdict| verdict.rule.is_some()),
                has_regional_sts: regional == Some("true"),
            }
        })
    }
}

impl<'a> PodView<'a> {
    fn of(
        pod: &'a Pod,
        ruleset: &Ruleset,
        accounts: &BTreeMap<Key<'_>, AccountView<'_>>,
        has_mapping: bool,
    ) -> Self {
        let account = accounts.get(&(pod.metadata.namespace.as_str(), pod.service_account()));
        let irsa = account.and_then(|account| account.role.clone());
        pod.with_subject(Requester::Assumed, |subject| {
            let decision = decide(ruleset, subject);
            let of_irsa = decision.verdicts.iter().find(|verdict| verdict.provider == Provider::Irsa);
            let irsa_rule = irsa_rule(&decision);
            let pod_role = decision.after(POD_ROLE, pod.metadata.annotation(POD_ROLE)).map(str::to_owned);
            let component = decision.component.or_else(|| ruleset.facts(subject).resembles);
            let is_mapped = irsa.is_some() || pod_role.is_some() || irsa_rule.is_some();
            let is_user = component.is_some_and(|component| USERS.contains(&component));
            Self {
                pod,
                component,
                is_unreached: of_irsa.is_some_and(|verdict| verdict.outcome == Outcome::DefaultAccount),
                has_rule: decision.verdicts.iter().any(|verdict| verdict.rule.is_some()),
                refused: (decision.outcome() == Outcome::Refused).then(|| told(&decision)),
                irsa_rule,
                irsa,
                pod_role,
                expects_role: is_mapped || !has_mapping && is_user,
            }
        })
    }
}
