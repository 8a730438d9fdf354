//! Whom must each role trust?

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::pattern::{covers, overlap};
use super::policy::{self, Policy, Subjects};
use super::reach::{self, Reach};
use super::{Issuer, pods, subject};
use crate::engine::decision::{Decision, Outcome, Verdict, decide};
use crate::engine::object::provider::{Provider, STS_AUDIENCE};
use crate::engine::object::subject::INJECT;
use crate::engine::rules::cost::Steps;
use crate::engine::rules::rule::{Action, Grant, Rule};
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Inventory, Listed, Metadata, ServiceAccount};

/// How much is compared to find what earlier rules take from globs.
const MAX_STEPS: usize = 1_000_000;

/// The most ServiceAccounts that rules may name literally, all together.
const MAX_NAMED: usize = 100_000;

/// The namespace in which the webhook changes nothing, whatever its label says.
const UNTOUCHED: &str = "kube-system";

/// What is known beside the mapping.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The ServiceAccounts and Pods, where they were looked at.
    pub inventory: Option<&'a Inventory>,
    /// The namespaces that count, even where they have not opted in.
    pub namespaces: &'a [String],
    /// Whether the roles are to be given by EKS Pod Identity.
    pub by_pod_identity: bool,
}

/// One ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service_account: String,
}

/// The ServiceAccounts that globs of a rule stand for, by the `sub` of their tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobTrust {
    /// The patterns of IAM.
    pub patterns: Vec<String>,
    /// The patterns of those that an earlier rule decides on.
    pub except: Vec<String>,
}

/// Whose tokens of one audience a role must trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebTrust {
    /// The ServiceAccounts by name.
    pub accounts: BTreeSet<Account>,
    /// Those by pattern.
    pub globs: Vec<GlobTrust>,
}

/// Whom one role must trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The role. It is an ARN, but for a bare name that kube2iam completes.
    pub role: String,
    /// The names of the rules that give it.
    pub rules: BTreeSet<String>,
    /// The ServiceAccounts, by the audience of their tokens.
    pub web: BTreeMap<String, WebTrust>,
    /// The external ids with which the nodes take the role for Pods; `None` is without one.
    pub nodes: BTreeSet<Option<String>>,
}

/// What a mapping needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusts {
    /// The roles that somebody gets.
    pub roles: Vec<Trust>,
    /// What cannot be told with what is known, and what to give.
    pub missing: Vec<Lack>,
    /// The roles that nobody gets.
    pub unmatched: Vec<Lack>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Something that a role lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The role; `None` where it may be any.
    pub role: Option<String>,
    /// What it lacks, in words.
    pub text: String,
}

impl Trusts {
    /// Drops what is not about this role.
    pub fn retain(&mut self, role: &str) {
        let is_about = |lack: &Lack| lack.role.as_deref().is_none_or(|other| other == role);
        self.roles.retain(|trust| trust.role == role);
        self.missing.retain(is_about);
        self.unmatched.retain(is_about);
    }
}

/// Tells whom each role of a mapping must trust.
#[must_use]
pub fn make(ruleset: &Ruleset, sources: Sources<'_>) -> Trusts {
    let mut making = Making::new(ruleset, sources);
    for rule in ruleset.rules() {
        let Action::Role(grant) = &rule.action else { continue };
        if rule.providers.contains(Provider::Irsa) {
            making.irsa(rule, grant);
        }
        if rule.providers.contains(ruleset.pod_provider()) {
            making.pods(rule, grant);
        }
    }
    making.look_at_accounts();
    making.finish()
}

struct Making<'a> {
    ruleset: &'a Ruleset,
    sources: Sources<'a>,
    known: HashMap<(&'a str, &'a str), &'a ServiceAccount>,
    /// The namespaces that are known, and have not opted in.
    closed: BTreeSet<&'a str>,
    roles: BTreeMap<String, Trust>,
    /// The rules whose ServiceAccounts must be looked at.
    unnamed: BTreeSet<&'a str>,
    /// The rules that were told to be missing.
    untold: BTreeSet<&'a str>,
    left_out: BTreeMap<&'a str, usize>,
    steps: Steps,
    named: Steps,
    made: Trusts,
}

impl<'a> Making<'a> {
    fn new(ruleset: &'a Ruleset, sources: Sources<'a>) -> Self {
        let accounts = sources.inventory.map(|inventory| inventory.service_accounts.as_slice());
        let known = accounts.unwrap_or_default().iter().map(|account| {
            let Metadata { namespace, name, .. } = &account.metadata;
            ((namespace.as_str(), name.as_str()), account)
        });
        let namespaces = sources.inventory.map(|inventory| inventory.namespaces.as_slice());
        let closed =
            namespaces.unwrap_or_default().iter().map(|namespace| &namespace.metadata).filter(|meta| {
                !matches!(meta.label(INJECT), Some("enabled" | "observe"))
                    && !sources.namespaces.contains(&meta.name)
            });
        Self {
            ruleset,
            sources,
            known: known.collect(),
            closed: closed.map(|meta| meta.name.as_str()).collect(),
            roles: BTreeMap::new(),
            unnamed: BTreeSet::new(),
            untold: BTreeSet::new(),
            left_out: BTreeMap::new(),
            steps: Steps::new(MAX_STEPS),
            named: Steps::new(MAX_NAMED),
            made: Trusts::default(),
        }
    }

    fn irsa(&mut self, rule: &'a Rule, grant: &'a Grant) {
        let audience = audience(grant);
        if let Some(sign) = super::read_as_variable(audience) {
            let why =
                format!("IAM or a template would read `{sign}` in its audience {audience} as a variable");
            self.miss(rule, &why, "");
            return;
        }
        let takes_globs = !self.sources.by_pod_identity;
        let (accounts, globs) = match reach::reach(self.ruleset, rule, grant, takes_globs, &mut self.steps) {
            Reach::Named { accounts, globs } => (accounts, globs),
            Reach::Unnamed(_) if self.sources.inventory.is_some() => {
                self.unnamed.insert(&rule.name);
                return;
            }
            Reach::Unnamed(why) => {
                self.miss(rule, &why, "the ServiceAccounts are needed");
                return;
            }
        };
        if !self.named.take(accounts.len()) {
            self.miss(rule, "the mapping names too many ServiceAccounts", "");
            return;
        }
        let mut assumed = Vec::new();
        for account in accounts {
            let known = self.known.get(&(account.namespace.as_str(), account.service_account.as_str()));
            match known.copied() {
                Some(known) => self.account(known, |winner| winner == &*rule.name),
                None => {
                    if reach::may_be_taken_by_labels(self.ruleset, rule, &account) {
                        assumed.push(format!("{}/{}", account.namespace, account.service_account));
                    }
                    let Account { namespace, service_account: name } = account;
                    let metadata = Metadata { name, namespace, ..Metadata::default() };
                    self.account(&ServiceAccount { metadata }, |winner| winner == &*rule.name);
                }
            }
        }
        if let [first, rest @ ..] = assumed.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            self.made.warnings.push(format!(
                "rule `{}`: {first}{more} is not among the objects, and is taken to carry no labels; if an \
                 earlier rule knows it by labels, it gets another role",
                rule.name
            ));
        }
        if let (false, Some(role)) = (globs.is_empty(), grant.role.fixed()) {
            if globs.iter().flat_map(|glob| &glob.patterns).any(|pattern| pattern.contains("count:*:")) {
                self.made.warnings.push(format!(
                    "rule `{}` gives its role in every namespace: IAM does not know which have opted in",
                    rule.name
                ));
            }
            self.trust(role, rule).web.entry(audience.to_owned()).or_default().globs.extend(globs);
        }
    }

    fn pods(&mut self, rule: &'a Rule, grant: &'a Grant) {
        if self.sources.by_pod_identity {
            if !rule.providers.contains(Provider::Irsa) {
                let text = format!(
                    "rule `{}` gives its role to Pods, and EKS Pod Identity gives roles to ServiceAccounts: \
                     write a rule with `provider: irsa` for them",
                    rule.name
                );
                self.made.unmatched.push(Lack { role: grant.role.fixed().map(str::to_owned), text });
                self.untold.insert(&rule.name);
            }
            return;
        }
        match pods::roles(self.ruleset, rule, grant, self.sources.inventory) {
            Ok(roles) => {
                let external_id = grant.pod.external_id.as_deref().map(str::to_owned);
                for role in roles {
                    self.trust(&role, rule).nodes.insert(external_id.clone());
                }
            }
            Err(why) => self.miss(rule, &why, "the Pods are needed"),
        }
    }

    /// Decides on every ServiceAccount that is known, for the rules that do not name theirs.
    fn look_at_accounts(&mut self) {
        let accounts = self.sources.inventory.map(|inventory| inventory.service_accounts.as_slice());
        let unnamed = std::mem::take(&mut self.unnamed);
        for account in accounts.unwrap_or_default() {
            self.account(account, |winner| unnamed.contains(winner));
        }
    }

    /// Decides on one ServiceAccount, and trusts it where such a rule wins.
    fn account(&mut self, account: &ServiceAccount, is_wanted: impl Fn(&str) -> bool) {
        let ruleset = self.ruleset;
        let decision = account.with_subject(|subject| decide(ruleset, subject));
        let Metadata { namespace, name, .. } = &account.metadata;
        let Decision { verdicts, warnings, .. } = decision;
        let irsa = verdicts.into_iter().find(|verdict| verdict.provider == Provider::Irsa);
        let Some(Verdict { rule: Some(rule), role, outcome, .. }) = irsa else { return };
        if !is_wanted(&rule.name) {
            return;
        }
        if let Some(closed) = self.closed.get(namespace.as_str()).copied() {
            *self.left_out.entry(closed).or_default() += 1;
            return;
        }
        if namespace == UNTOUCHED {
            self.made.warnings.push(format!(
                "{namespace}/{name}: the webhook changes nothing in this namespace, so the account gets no \
                 role"
            ));
            return;
        }
        match (role, &rule.action) {
            (Some(role), Action::Role(grant)) => {
                let audience = audience(grant).to_owned();
                let account = Account { namespace: namespace.clone(), service_account: name.clone() };
                self.trust(&role, rule).web.entry(audience).or_default().accounts.insert(account);
            }
            _ if outcome == Outcome::Refused => {
                let why = warnings.first().map_or("no role can be given", String::as_str);
                self.made.warnings.push(format!("{namespace}/{name}: {why}"));
            }
            _ => {}
        }
    }

    fn trust(&mut self, role: &str, rule: &Rule) -> &mut Trust {
        let trust = self.roles.entry(role.to_owned()).or_default();
        role.clone_into(&mut trust.role);
        trust.rules.insert(rule.name.to_string());
        trust
    }

    fn miss(&mut self, rule: &'a Rule, why: &str, needed: &str) {
        let needed = if needed.is_empty() { String::new() } else { format!(", so {needed}") };
        self.untold.insert(&rule.name);
        let role = match &rule.action {
            Action::Role(grant) => grant.role.fixed().map(str::to_owned),
            Action::Skip | Action::Remove => None,
        };
        let text = format!("rule `{}` (line {}): {why}{needed}", rule.name, rule.at.line);
        self.made.missing.push(Lack { role, text });
    }

    fn finish(mut self) -> Trusts {
        for (namespace, count) in &self.left_out {
            self.made.warnings.push(format!(
                "the namespace {namespace} has not opted in, so its ServiceAccounts ({count}) get no role: \
                 label it {INJECT}=enabled, or name it with -n {namespace} to count them"
            ));
        }
        let giving: BTreeSet<&str> =
            self.roles.values().flat_map(|trust| &trust.rules).map(String::as_str).collect();
        for rule in self.ruleset.rules() {
            let Action::Role(grant) = &rule.action else { continue };
            if giving.contains(&*rule.name) || self.untold.contains(&*rule.name) {
                continue;
            }
            if self.may_give_unread(rule) {
                let role = grant.role.fixed().map(str::to_owned);
                let text = format!(
                    "rule `{}` (line {}): whom it gives its role is not known, as not everything could be \
                     read",
                    rule.name, rule.at.line
                );
                self.made.missing.push(Lack { role, text });
                continue;
            }
            let says = format!("rule `{}` (line {}) gives its role to nobody", rule.name, rule.at.line);
            match grant.role.fixed() {
                Some(role) if self.roles.contains_key(role) => self.made.warnings.push(says),
                Some(role) => {
                    let text = format!("{says}: there is no policy for {role}");
                    self.made.unmatched.push(Lack { role: Some(role.to_owned()), text });
                }
                None => self.made.unmatched.push(Lack { role: None, text: says }),
            }
        }
        self.made.roles = self.roles.into_values().collect();
        self.made
    }
}

impl Making<'_> {
    /// Whether a rule may give its role to something that could not be read.
    fn may_give_unread(&self, rule: &Rule) -> bool {
        let unread = self.sources.inventory.map(|inventory| inventory.unread.as_slice()).unwrap_or_default();
        let is_unread = |kind| unread.iter().any(|unread| unread.kind == kind);
        let by_pods = !self.sources.by_pod_identity && rule.providers.contains(self.ruleset.pod_provider());
        rule.providers.contains(Provider::Irsa) && is_unread(Listed::ServiceAccounts)
            || by_pods && (is_unread(Listed::Pods) || is_unread(Listed::CronJobs))
    }
}

fn audience(grant: &Grant) -> &str {
    grant.irsa.audience.as_deref().unwrap_or(STS_AUDIENCE)
}

impl GlobTrust {
    /// Whether it stands for all that this `sub` or pattern stands for.
    pub(super) fn takes(&self, subject: &str) -> bool {
        self.patterns.iter().any(|pattern| covers(pattern, subject))
            && !self.except.iter().any(|except| overlap(except, subject))
    }
}

impl Trust {
    /// Makes the policy for irsa, kube2iam and kiam. What has no issuer or no role of a node is left out.
    #[must_use]
    pub fn policy(&self, issuers: &[Issuer], node_role: Option<&str>) -> Policy {
        let mut statements = Vec::new();
        for issuer in issuers {
            for (audience, WebTrust { accounts, globs }) in &self.web {
                let subjects =
                    accounts.iter().map(|account| subject(&account.namespace, &account.service_account));
                let is_liked = |name: &String| globs.iter().any(|glob| glob.takes(name));
                let exactly: Vec<String> = subjects.filter(|name| !is_liked(name)).collect();
                let exactly = (!exactly.is_empty()).then_some(Subjects::Exactly(exactly));
                let like = globs
                    .iter()
                    .cloned()
                    .map(|GlobTrust { patterns, except }| Subjects::Like { patterns, except });
                let all = exactly.into_iter().chain(like);
                statements.extend(
                    all.filter_map(|subjects| policy::web_identity(issuer, &self.role, audience, subjects)),
                );
            }
        }
        if let Some(node_role) = node_role {
            statements.extend(self.nodes.iter().map(|id| policy::node(node_role, id.as_deref())));
        }
        Policy { statements }
    }

    /// Makes the policy for EKS Pod Identity in this cluster.
    #[must_use]
    pub fn pod_identity_policy(&self, cluster: &str) -> Policy {
        let mut namespaces: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for account in self.accounts() {
            namespaces.entry(&account.namespace).or_default().push(account.service_account.clone());
        }
        let statements =
            namespaces.into_iter().map(|(namespace, names)| policy::pod_identity(cluster, namespace, names));
        Policy { statements: statements.collect() }
    }

    /// Returns the ServiceAccounts that are known by name.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.web.values().flat_map(|web| &web.accounts)
    }
}
