//! What do the values of GitLab's chart do for ServiceAccounts?
//!
//! This is what its templates make of `enabled`, `create`, `name` and `annotations`, the chart's own ones and
//! those for all charts (`global.serviceAccount`).

use std::collections::BTreeSet;

use super::chart::{SUBCHARTS, Subchart, TASK_RUNNER, TASK_RUNNER_UNTIL, own_components};
use super::judge::{self, dead, dead_account, give, give_to, import_account, of_component};
use super::role;
use super::rule::{Match, Options};
use super::values::Branch;
use super::version::{Version, version};
use super::{Draft, Fate, pods, runner};
use crate::engine::object::component::Component;
use crate::engine::object::dns_name::is_dns_name;
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE, Provider};

/// The values of GitLab's chart.
pub(super) struct Gitlab<'v> {
    top: &'v Branch<'v>,
    version: Version,
    /// `global.serviceAccount`
    shared: Branch<'v>,
}

/// What becomes of a chart's ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Account {
    /// There is none, and its Pods run as `default`.
    Disabled,
    /// The chart makes it, under this name.
    Made(String),
    /// Its Pods run as an account that somebody else makes.
    Elsewhere(String),
}

impl<'v> Gitlab<'v> {
    pub(super) fn new(top: &'v Branch<'v>, version: Version) -> Self {
        Self { top, version, shared: top.at(&["global", "serviceAccount"]) }
    }

    /// Reads all of them.
    pub(super) fn examine(&self, draft: &mut Draft<'_>) {
        let (mut accounts, mut is_shared_used) = (Vec::new(), false);
        for chart in self.charts(draft) {
            let account = self.account(chart, draft);
            is_shared_used |= matches!(account, Account::Made(_));
            self.service_account(chart, &account, draft);
            pods::examine(&self.top.at(chart.path), chart, self.version, draft);
            accounts.push(account);
        }
        self.shared_account(&accounts, is_shared_used, draft);
        self.vendored(draft);
        self.eks_role_arn(&accounts, draft);
        let runner = self.top.key("gitlab-runner");
        if runner.is_there() {
            runner::examine(&runner, runner::Setting::within_gitlab(self.version), draft);
        }
    }

    /// Returns the charts of this version, and says of those that it does not have that they are dead.
    fn charts(&self, draft: &mut Draft<'_>) -> Vec<&'static Subchart> {
        let is_old = self.version < TASK_RUNNER_UNTIL;
        let mut charts: Vec<&Subchart> = SUBCHARTS.iter().collect();
        if is_old {
            charts.push(&TASK_RUNNER);
            return charts;
        }
        let old = self.top.at(TASK_RUNNER.path);
        for branch in [
            old.at(&["annotations", POD_ROLE]),
            old.at(&["annotations", IRSA_ROLE]),
            old.at(&["serviceAccount", "annotations", IRSA_ROLE]),
        ] {
            let Some(text) = branch.text() else { continue };
            let (provider, role) = match branch.last() {
                POD_ROLE => (draft.terms.pod_provider, role::of_pods(text, draft.terms)),
                _ => (Provider::Irsa, role::irsa(text)),
            };
            let rule = role.ok().map(|role| give(provider, role, Options::default(), Component::Toolbox));
            let why = "chart 5.5.0 renamed task-runner to toolbox, and nothing reads its values any more";
            let instead = branch.path().replace("task-runner", "toolbox");
            dead(&branch, why, &format!("delete it; the newer name is {instead}"), rule, draft);
        }
        charts
    }

    /// Tells what the templates make of `enabled`, `create` and `name`.
    fn account(&self, chart: &Subchart, draft: &mut Draft<'_>) -> Account {
        let own = self.top.at(chart.path).key("serviceAccount");
        let is_enabled = own.key("enabled").is_true() || self.shared.key("enabled").is_true();
        let is_shared_made = self.shared.key("create").is_true_or(true);
        if !is_enabled {
            if own.key("name").has_value() || own.key("create").is_false() {
                let named = if own.key("name").has_value() { own.key("name") } else { own.key("create") };
                draft.value(
                    &named,
                    Fate::Dead,
                    "the Pods run as `default`, because no `serviceAccount.enabled` is true",
                    Some("set global.serviceAccount.enabled=true"),
                );
            }
            return Account::Disabled;
        }
        let name = [own.key("name"), self.shared.key("name")].iter().find_map(Branch::filled_text);
        let name = name.map_or_else(|| self.fullname(chart, draft), str::to_owned);
        if own.key("create").is_true() || is_shared_made {
            if own.key("create").is_false() {
                draft.value(
                    &own.key("create"),
                    Fate::Dead,
                    "the chart makes the ServiceAccount all the same, as long as \
                     global.serviceAccount.create is true",
                    Some("set global.serviceAccount.create=false"),
                );
            }
            return Account::Made(name);
        }
        Account::Elsewhere(name)
    }

    fn fullname(&self, chart: &Subchart, draft: &Draft<'_>) -> String {
        let branch = self.top.at(chart.path);
        let name = branch.key("nameOverride").filled_text().or_else(|| chart.path.last().copied());
        let release = draft.terms.release.as_deref().unwrap_or("gitlab");
        let full: String = format!("{release}-{}", name.unwrap_or_default()).chars().take(63).collect();
        full.trim_end_matches('-').to_owned()
    }

    fn service_account(&self, chart: &Subchart, account: &Account, draft: &mut Draft<'_>) {
        let shared = self.shared.key("annotations");
        let own = self.top.at(chart.path).at(&["serviceAccount", "annotations"]);
        let component = of_component(chart.component);
        let why = match account {
            _ if self.version < chart.accounts_since => {
                &format!("the chart reads it from version {} on", chart.accounts_since)
            }
            Account::Disabled => judge::NOT_ENABLED,
            Account::Elsewhere(_) => {
                "the chart makes no ServiceAccount, because `serviceAccount.create` is false"
            }
            Account::Made(_) if shared.is_filled_map() => {
                "global.serviceAccount.annotations is not empty, and takes the place of every chart's own"
            }
            Account::Made(_) => return import_account(&[own], &component, draft),
        };
        if matches!(account, Account::Made(_))
            && shared.is_filled_map()
            && self.version >= chart.accounts_since
        {
            import_account(&[shared], &component, draft);
        }
        let wanted = Match { service_accounts: named([account]), ..component };
        let wanted = if wanted.service_accounts.is_empty() {
            wanted
        } else {
            Match { components: BTreeSet::new(), ..wanted }
        };
        dead_account(&own, why, wanted, draft);
    }

    /// Says what becomes of the annotations for all accounts, and of their name.
    fn shared_account(&self, accounts: &[Account], is_used: bool, draft: &mut Draft<'_>) {
        let annotations = self.shared.key("annotations");
        if !is_used {
            let is_enabled = accounts.iter().any(|account| *account != Account::Disabled);
            let why = if is_enabled {
                "the chart makes no ServiceAccount, because `serviceAccount.create` is false"
            } else {
                judge::NOT_ENABLED
            };
            let all: BTreeSet<String> = named(accounts);
            let components = if all.is_empty() { own_components() } else { BTreeSet::new() };
            let wanted = Match { components, service_accounts: all, ..Match::default() };
            dead_account(&annotations, why, wanted, draft);
        }
        let name = self.shared.key("name");
        if name.has_value() && accounts.iter().all(|account| *account == Account::Disabled) {
            draft.value(
                &name,
                Fate::Dead,
                "the Pods run as `default`, because no `serviceAccount.enabled` is true",
                Some("set global.serviceAccount.enabled=true"),
            );
        }
        let made = accounts.iter().filter(|account| matches!(account, Account::Made(_))).count();
        if name.has_value() && made > 1 {
            draft.remark(format!(
                "{} with `create` makes {made} ServiceAccounts of one name, and Helm fails with \"already \
                 exists\": set global.serviceAccount.create=false, or delete the name",
                name.path()
            ));
        }
        let names: BTreeSet<String> = named(accounts);
        if !names.is_empty() {
            let names: Vec<String> = names.into_iter().collect();
            draft.remark(format!(
                "Pods run as ServiceAccounts that the chart does not make ({}): their roles are not in the \
                 values; `gitlab-iam-webhook import -n NAMESPACE` reads them from the cluster",
                names.join(", ")
            ));
        }
    }

    /// `global.platform.eksRoleArn` has put an annotation on Pods in charts 4.11 and 4.12, where nothing
    /// reads it. The rule that it suggests is about the account that is made elsewhere, as the document that
    /// taught the value has it, or else about the components that the document names.
    fn eks_role_arn(&self, accounts: &[Account], draft: &mut Draft<'_>) {
        let branch = self.top.at(&["global", "platform", "eksRoleArn"]);
        let Some(text) = branch.text() else { return };
        let why = if (version(4, 11)..version(5, 0)).contains(&self.version) {
            "the chart puts it on Pods, where nothing reads it: the EKS webhook reads ServiceAccounts"
        } else {
            "the chart has read it in 4.11 and 4.12 only, and put it on Pods, where nothing reads it"
        };
        let names: BTreeSet<String> = named(accounts);
        let components = if names.is_empty() {
            [Component::Webservice, Component::Sidekiq, Component::Toolbox].into()
        } else {
            BTreeSet::new()
        };
        let matching = Match { components, service_accounts: names, ..Match::default() };
        // The value gave nobody a role, so that no rule in force may.
        let rule =
            role::irsa(text).ok().map(|role| give_to(Provider::Irsa, role, Options::default(), matching));
        let instead = match &rule {
            None => "delete it",
            Some(_) if accounts.iter().all(|account| *account == Account::Disabled) => {
                judge::rule_instead(judge::NOT_ENABLED)
            }
            Some(_) => "delete it, and give the role with a rule",
        };
        dead(&branch, why, instead, rule, draft);
    }

    /// Charts with values of their own names, which no global annotation reaches.
    fn vendored(&self, draft: &mut Draft<'_>) {
        for (key, component) in [("minio", Component::Minio), ("gitlab-zoekt", Component::Zoekt)] {
            let layers = [self.top.at(&[key, "podAnnotations"])];
            if let Some(granted) = judge::granted(&layers, draft) {
                judge::add_granted(granted, of_component(component), draft);
            }
        }
        for (key, component) in [("gitlab-zoekt", Component::Zoekt), ("openbao", Component::Openbao)] {
            let account = self.top.at(&[key, "serviceAccount"]);
            let annotations = account.key("annotations");
            if account.key("create").is_true_or(true) {
                import_account(&[annotations], &of_component(component), draft);
            } else {
                let why = "the chart makes no ServiceAccount, because `serviceAccount.create` is false";
                dead_account(&annotations, why, of_component(component), draft);
            }
        }
    }
}

/// Returns the names of the accounts that somebody else makes, and that no chart makes as well.
fn named<'a>(accounts: impl IntoIterator<Item = &'a Account> + Clone) -> BTreeSet<String> {
    let made: BTreeSet<&String> = accounts
        .clone()
        .into_iter()
        .filter_map(|account| match account {
            Account::Made(name) => Some(name),
            Account::Disabled | Account::Elsewhere(_) => None,
        })
        .collect();
    let elsewhere = accounts.into_iter().filter_map(|account| match account {
        // A rule for `default` would reach every Pod that names no account.
        Account::Elsewhere(name) if is_dns_name(name) && name != "default" => Some(name),
        _ => None,
    });
    elsewhere.filter(|name| !made.contains(name)).cloned().collect()
}
