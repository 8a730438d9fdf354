//! What do the mapping's defaults and rules say, and do they make sense together?

use std::collections::HashSet;

use super::match_block;
use super::names::{MAX_NAME, Names, made_name};
use super::options;
use super::reader::{Fields, Path, Reader, brief};
use crate::engine::arn::{self, PARTITIONS};
use crate::engine::bounds::Bounds;
use crate::engine::glob::Glob;
use crate::engine::provider::{Provider, ProviderSet};
use crate::engine::role::{self, Placeholder, Role};
use crate::engine::rule::{Action, Criteria, Grant, IrsaOptions, OnConflict, OnNoRule, PodOptions, Rule};
use crate::engine::ruleset::{Defaults, Ruleset};
use crate::engine::yaml::{Node, Position, ScalarKind};

const TOP_KEYS: [&str; 9] =
    ["account", "partition", "provider", "onConflict", "onNoRule", "irsa", "kube2iam", "kiam", "rules"];
const RULE_KEYS: [&str; 13] = [
    "name",
    "match",
    "role",
    "account",
    "partition",
    "provider",
    "onConflict",
    "skip",
    "remove",
    "unsafe",
    "irsa",
    "kube2iam",
    "kiam",
];
const ON_CONFLICT: [(&str, OnConflict); 2] = [("keep", OnConflict::Keep), ("replace", OnConflict::Replace)];
const ON_NO_RULE: [(&str, OnNoRule); 2] = [("keep", OnNoRule::Keep), ("remove", OnNoRule::Remove)];
/// Stands in for an account that is none.
const BAD_ACCOUNT: &str = "000000000000";

/// More cannot be written out within a ConfigMap, only by aliases.
const MAX_RULES: usize = 20_000;

/// How many steps all globs of a mapping may take on one object, at the worst: some milliseconds.
const MAX_STEPS: usize = 1_000_000;

/// Labels of a job's Pod that its author cannot set: the runner takes them from the server or from its own settings.
fn is_trusted_label(label: &str) -> bool {
    label == "project.runner.gitlab.com/root-namespace-id" || label.starts_with("manager.runner.gitlab.com/")
}

/// How many different labels the rules may look at: a decision looks for each on the object.
const MAX_LABEL_KEYS: usize = 256;

/// What rules fall back on.
pub(super) struct Top {
    defaults: Defaults,
    /// Twelve zeros where it is there and bad: that has been reported, and roles are checked as if it were good.
    account: Option<Box<str>>,
    partition: &'static str,
    providers: ProviderSet,
    irsa: IrsaOptions,
    kube2iam: PodOptions,
    kiam: PodOptions,
}

impl Top {
    /// Reads what stands beside the rules. The list of rules comes with it.
    pub(super) fn read<'n, 't>(node: &'n Node<'t>, reader: &mut Reader<'_>) -> Option<(Self, &'n Node<'t>)> {
        let path = Path::Root;
        let fields = reader.fields(node, path, &TOP_KEYS)?;
        let mut defaults = Defaults::default();
        let field = |key: &'static str| fields.get(key).map(|node| (node, path.key(key)));
        if let Some((node, path)) = field("onConflict") {
            defaults.on_conflict = reader.word(node, path, "value", &ON_CONFLICT).unwrap_or_default();
        }
        if let Some((node, path)) = field("onNoRule") {
            defaults.on_no_rule = reader.word(node, path, "value", &ON_NO_RULE).unwrap_or_default();
        }
        let top = Self {
            defaults,
            account: field("account")
                .map(|(node, path)| account(node, path, reader).unwrap_or(BAD_ACCOUNT).into()),
            partition: field("partition")
                .and_then(|(node, path)| partition(node, path, reader))
                .unwrap_or("aws"),
            providers: field("provider")
                .and_then(|(node, path)| providers(node, path, reader))
                .unwrap_or_else(|| ProviderSet::default().with(Provider::Irsa)),
            irsa: field("irsa").map(|(node, path)| options::irsa(node, path, reader)).unwrap_or_default(),
            kube2iam: field("kube2iam")
                .map(|(node, path)| options::pod(node, path, reader))
                .unwrap_or_default(),
            kiam: field("kiam").map(|(node, path)| options::pod(node, path, reader)).unwrap_or_default(),
        };
        let Some(rules) = fields.get("rules") else {
            reader.report(node.at, path, "`rules` is missing: write `rules: []` for a mapping without rules");
            return None;
        };
        if rules.as_sequence().is_none() {
            let found = rules.describe();
            reader.report(rules.at, path.key("rules"), format!("must be a list of rules, found {found}"));
            return None;
        }
        Some((top, rules))
    }
}

/// The rules as they come, one after the other.
pub(super) struct RulesReading<'a> {
    top: &'a Top,
    bounds: &'a Bounds,
    /// The most bytes that they may come to.
    max_weight: usize,
    /// How many have come.
    count: usize,
    /// Only while there is no problem: with one there will be no ruleset.
    rules: Vec<Rule>,
    weight: usize,
    steps: usize,
    label_keys: HashSet<Box<str>>,
    names: Names,
    pod_provider: Option<(Provider, Position)>,
}

impl<'a> RulesReading<'a> {
    pub(super) fn new(top: &'a Top, bounds: &'a Bounds, max_weight: usize) -> Self {
        Self {
            top,
            bounds,
            max_weight,
            count: 0,
            rules: Vec::new(),
            weight: 0,
            steps: 0,
            label_keys: HashSet::new(),
            names: Names::default(),
            pod_provider: None,
        }
    }

    /// Is told how many there will be. `None` where they are too many.
    pub(super) fn expect(&mut self, count: usize, at: Position, reader: &mut Reader<'_>) -> Option<()> {
        if count > MAX_RULES {
            let message = format!("has {count} rules, at most {MAX_RULES} are served");
            reader.report(at, Path::Root.key("rules"), message);
            return None;
        }
        self.rules.reserve_exact(count);
        Some(())
    }

    /// Reads the next rule.
    pub(super) fn take(&mut self, item: &Node<'_>, reader: &mut Reader<'_>) {
        let list = Path::Root.key("rules");
        let path = list.index(self.count);
        self.count += 1;
        let Some(fields) = reader.fields(item, path, &RULE_KEYS) else {
            return;
        };
        let reading = RuleReading { fields: &fields, node: item, path, top: self.top, bounds: self.bounds };
        let Some(rule) = reading.read(reader, &mut self.names) else { return };
        // `skip` without a provider stands for all, and claims neither; a rule that names both has been reported.
        let both = ProviderSet::default().with(Provider::Kube2iam).with(Provider::Kiam);
        if !rule.providers.covers(both) {
            for provider in rule.providers.iter().filter(|provider| *provider != Provider::Irsa) {
                let (first, at) = *self.pod_provider.get_or_insert((provider, rule.at));
                if first != provider {
                    let at_node = fields.get("provider").map_or(item.at, |node| node.at);
                    let message = format!(
                        "{} and {} in one mapping would write the same annotation: line {} uses {}",
                        provider.name(),
                        first.name(),
                        at.line,
                        first.name()
                    );
                    reader.report(at_node, path.key("provider"), message);
                }
            }
        }
        self.weigh(&rule, path, reader);
        if reader.is_content() {
            self.rules.push(rule);
        } else {
            self.rules = Vec::new();
        }
    }

    /// What all rules together come to is bounded; the rule with which they go over is told.
    fn weigh(&mut self, rule: &Rule, path: Path<'_>, reader: &mut Reader<'_>) {
        let (weight, steps) = (rule.weight(), rule.steps());
        if goes_over(&mut self.weight, weight, self.max_weight) {
            let message = format!(
                "with this rule, which comes to {weight} bytes in memory, the rules come to more than the {} that a mapping of this length may take: lists, braces and aliases make much of little text",
                self.max_weight
            );
            reader.report(rule.at, path, message);
        }
        if goes_over(&mut self.steps, steps, MAX_STEPS) {
            let message = format!(
                "with this rule, whose globs may take {steps} steps, one decision may take more than {MAX_STEPS}: globs with several `*` take many, above all with `?` or `[` between them"
            );
            reader.report(rule.at, path, message);
        }
        let mut keys = self.label_keys.len();
        if keys <= MAX_LABEL_KEYS {
            self.label_keys.extend(rule.criteria.labels.iter().map(|(key, _)| key.clone()));
            let new = self.label_keys.len() - keys;
            if goes_over(&mut keys, new, MAX_LABEL_KEYS) {
                let message =
                    format!("with this rule the rules look at more than {MAX_LABEL_KEYS} different labels");
                reader.report(rule.at, path, message);
            }
        }
    }

    /// The ruleset, where there is no problem.
    pub(super) fn finish(mut self, reader: &Reader<'_>) -> Option<Ruleset> {
        if !reader.is_content() {
            return None;
        }
        self.names.settle(&mut self.rules);
        Some(Ruleset::new(self.rules, self.top.defaults.clone(), self.bounds.clone()))
    }
}

/// Adds to a sum. Whether that took it over the most that it may be; what comes after that did not.
fn goes_over(sum: &mut usize, more: usize, most: usize) -> bool {
    let before = *sum;
    *sum += more;
    before <= most && *sum > most
}

/// One rule while it is read.
struct RuleReading<'a, 'n, 't> {
    fields: &'a Fields<'n, 't>,
    node: &'n Node<'t>,
    path: Path<'a>,
    top: &'a Top,
    bounds: &'a Bounds,
}

impl<'n, 't> RuleReading<'_, 'n, 't> {
    fn field(&self, key: &'static str) -> Option<(&'n Node<'t>, Path<'_>)> {
        self.fields.get(key).map(|node| (node, self.path.key(key)))
    }

    fn flag(&self, key: &'static str, reader: &mut Reader<'_>) -> bool {
        self.field(key).and_then(|(node, path)| reader.boolean(node, path)).unwrap_or(false)
    }

    /// `skip` or `remove` is there and says neither true nor false, which has been reported.
    fn has_bad_flag(&self) -> bool {
        let is_boolean = |node: &Node<'_>| {
            node.as_scalar().is_some_and(|scalar| matches!(scalar.kind, ScalarKind::Boolean(_)))
        };
        ["skip", "remove"].iter().any(|key| self.fields.get(key).is_some_and(|node| !is_boolean(node)))
    }

    fn read(&self, reader: &mut Reader<'_>, names: &mut Names) -> Option<Rule> {
        let criteria = match self.field("match") {
            Some((node, path)) => match_block::read(node, path, self.bounds, reader),
            // Its criteria may stand beside where it should be, which has been reported.
            None if !self.fields.whole => None,
            None => {
                reader.report(
                    self.node.at,
                    self.path,
                    "`match` is missing: a rule needs at least one criterion",
                );
                None
            }
        };
        let skip = self.flag("skip", reader);
        let remove = self.flag("remove", reader);
        let role = self.field("role");
        let named = self.field("provider").and_then(|(node, path)| providers(node, path, reader));
        let providers = named.unwrap_or(if skip { ProviderSet::ALL } else { self.top.providers });
        let name = self.name(reader, names);

        if skip && remove {
            let at = self.fields.get("remove").map_or(self.node.at, |node| node.at);
            reader.report(
                at,
                self.path.key("remove"),
                "cannot stand beside `skip`: one leaves, the other takes",
            );
        }
        if remove && self.field("provider").is_none() {
            let at = self.fields.get("remove").map_or(self.node.at, |node| node.at);
            reader.report(
                at,
                self.path.key("remove"),
                "must name its `provider`: whose annotations come off?",
            );
        }
        if skip || remove {
            let action = if skip { "skip" } else { "remove" };
            if let Some((node, path)) = role {
                reader.report(node.at, path, format!("cannot stand beside `{action}: true`"));
            }
            for key in ["account", "partition", "onConflict", "irsa", "kube2iam", "kiam"] {
                if let Some((node, path)) = self.field(key) {
                    reader.report(
                        node.at,
                        path,
                        format!("has no effect beside `{action}: true`; leave it out"),
                    );
                }
            }
        } else if role.is_none() && self.fields.whole && !self.has_bad_flag() {
            reader.report(
                self.node.at,
                self.path,
                "does nothing: give it a `role`, or `skip: true`, or `remove: true`",
            );
        }
        let grant = if skip || remove { None } else { self.grant(providers, criteria.as_ref(), reader) };
        let mut criteria = criteria?;
        criteria.reaches_jobs = criteria.names_runner_job() || remove;
        self.check_job_rule(&criteria, grant.as_ref(), reader);
        let action = match (skip, remove, grant) {
            (true, ..) => Action::Skip,
            (_, true, _) => Action::Remove,
            (.., Some(grant)) => Action::Role(Box::new(grant)),
            _ => return None,
        };
        Some(Rule { name, at: self.node.at, criteria, providers, action })
    }

    /// The role with its options.
    fn grant(
        &self,
        providers: ProviderSet,
        criteria: Option<&Criteria>,
        reader: &mut Reader<'_>,
    ) -> Option<Grant> {
        let on_conflict =
            self.field("onConflict").and_then(|(node, path)| reader.word(node, path, "value", &ON_CONFLICT));
        let (irsa, pod) = self.options(providers, reader);
        let own_account =
            self.field("account").map(|(node, path)| account(node, path, reader).unwrap_or(BAD_ACCOUNT));
        let own_partition = self.field("partition").map(|(node, path)| partition(node, path, reader));
        let (node, path) = self.field("role")?;
        let text = reader.text(node, path)?;
        if role::is_arn(text) {
            for key in ["account", "partition"] {
                if let Some((node, path)) = self.field(key) {
                    reader.report(node.at, path, "has no effect beside a full ARN; leave it out");
                }
            }
        }
        let account = own_account.or(self.top.account.as_deref());
        let partition = own_partition.flatten().unwrap_or(self.top.partition);
        let prefix = account.map(|account| format!("arn:{partition}:iam::{account}:role/"));
        let role = match Role::new(text, prefix.as_deref()) {
            Ok(role) => role,
            Err(error) => {
                reader.report(node.at, path, error.to_string());
                return None;
            }
        };
        if prefix.is_none() && !role::is_arn(text) && providers.contains(Provider::Irsa) {
            let message =
                format!("`{text}` needs an `account`, here or at the top, to become an ARN for irsa");
            reader.report(node.at, path, message);
        }
        if let Some(criteria) = criteria {
            if let Some(fixed) = role.fixed()
                && !self.bounds.allows_somewhere(&criteria.namespaces, fixed)
            {
                let message = format!("`{fixed}` is outside what the operator allows (--allowed-role)");
                reader.report(node.at, path, message);
            }
            let unknown_project = role.placeholders().any(|placeholder| placeholder == Placeholder::Project)
                && !criteria.names_runner_job();
            if unknown_project {
                reader.report(
                    node.at,
                    path,
                    "`{project}` is known of job Pods only: match component runner-job and its `runner`",
                );
            }
            let pods_only = criteria.runners.len() + criteria.projects.len() > 0
                || (!criteria.components.is_empty()
                    && criteria.components.iter().all(super::super::component::Component::is_pods_only));
            if pods_only && providers == ProviderSet::default().with(Provider::Irsa) {
                reader.report(
                    node.at,
                    path,
                    "irsa reads ServiceAccounts, and this rule matches only Pods: use provider kube2iam or kiam, or match the ServiceAccount by its name",
                );
            }
        }
        Some(Grant { role, on_conflict, irsa: irsa.into(), pod: pod.into() })
    }

    fn options(&self, providers: ProviderSet, reader: &mut Reader<'_>) -> (IrsaOptions, PodOptions) {
        let mut irsa = IrsaOptions::default();
        let mut pod = PodOptions::default();
        for provider in Provider::ALL {
            let defaults = match provider {
                Provider::Kube2iam => &self.top.kube2iam,
                Provider::Kiam => &self.top.kiam,
                Provider::Irsa => &PodOptions::default(),
            };
            let block = self.field(provider.name());
            if !providers.contains(provider) {
                if let Some((node, path)) = block {
                    let used: Vec<&str> = providers.iter().map(Provider::name).collect();
                    let message =
                        format!("options of another provider: this rule's is {}", used.join(" and "));
                    reader.report(node.at, path, message);
                }
                continue;
            }
            if provider == Provider::Irsa {
                let own = block.map(|(node, path)| options::irsa(node, path, reader));
                irsa = own.unwrap_or_default().or(&self.top.irsa);
            } else {
                let own = block.map(|(node, path)| options::pod(node, path, reader));
                pod = own.unwrap_or_default().or(defaults);
            }
        }
        (irsa, pod)
    }

    /// A rule about jobs must not look at what a job's author can set.
    fn check_job_rule(&self, criteria: &Criteria, grant: Option<&Grant>, reader: &mut Reader<'_>) {
        if !criteria.names_runner_job() {
            return;
        }
        let match_path = self.path.key("match");
        let at = |keys: &[&str]| {
            let node = self.fields.get("match").and_then(|node| node.at_path(keys));
            node.map_or(self.node.at, |node| node.at)
        };
        // A `project` without a runner has been reported.
        let lacks_runner = |node: &Node<'_>| node.get("runner").is_none() && node.get("project").is_none();
        if grant.is_some() && self.fields.get("match").is_some_and(lacks_runner) {
            reader.report(
                at(&[]),
                match_path,
                "a role for runner-job must name its `runner` (NAMESPACE/NAME of the manager's ServiceAccount): anyone who may create Pods can write a job's labels",
            );
        }
        if self.flag("unsafe", reader) {
            return;
        }
        let mut steered = |at: Position, path: Path<'_>, what: &str| {
            let message = format!(
                "{what} can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"
            );
            reader.report(at, path, message);
        };
        if !criteria.service_accounts.is_empty() {
            steered(at(&["serviceAccount"]), match_path.key("serviceAccount"), "the ServiceAccount");
        }
        if !criteria.releases.is_empty() {
            steered(at(&["release"]), match_path.key("release"), "the release");
        }
        let labels_path = match_path.key("labels");
        for (label, _) in criteria.labels.iter().filter(|(label, _)| !is_trusted_label(label)) {
            steered(at(&["labels", label]), labels_path.key(label), "this label");
        }
        let (Some(grant), Some((node, path))) = (grant, self.field("role")) else {
            return;
        };
        if !criteria.namespaces.iter().all(Glob::is_literal) {
            let what = "a namespace by a glob (KUBERNETES_NAMESPACE_OVERWRITE)";
            steered(at(&["namespace"]), match_path.key("namespace"), what);
        }
        for placeholder in grant.role.placeholders() {
            if matches!(
                placeholder,
                Placeholder::Namespace | Placeholder::Release | Placeholder::ServiceAccount
            ) {
                steered(node.at, path, &format!("`{placeholder}`"));
            }
        }
    }

    fn name(&self, reader: &mut Reader<'_>, names: &mut Names) -> Box<str> {
        let Some((node, path)) = self.field("name") else {
            return Names::made(made_name(self.fields.get("match")));
        };
        let Some(name) = reader.text(node, path) else {
            return Box::default();
        };
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            reader.report(node.at, path, format!("must be 1 to {MAX_NAME} characters"));
        }
        if let Some(line) = names.given(name, node.at.line) {
            reader.report(node.at, path, format!("the name `{name}` is taken by the rule on line {line}"));
        }
        name.into()
    }
}

/// 12 digits. An unquoted number is taken where YAML cannot have changed it.
fn account<'n>(node: &'n Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<&'n str> {
    let Some(scalar) = node.as_scalar().filter(|s| matches!(s.kind, ScalarKind::Text | ScalarKind::Number))
    else {
        reader.report(node.at, path, format!("must be an account of 12 digits, found {}", node.describe()));
        return None;
    };
    let text = scalar.text.as_ref();
    let unquoted = scalar.kind == ScalarKind::Number;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if unquoted && digits && (text.starts_with('0') || text.len() < 12) {
        let text = brief(text);
        let message = format!(
            "the account {text} must be written in quotes, with all of its 12 digits: an unquoted number loses its leading zero"
        );
        reader.report(node.at, path, message);
        return None;
    }
    match arn::check_account(brief(text)) {
        Ok(()) => Some(text),
        Err(error) => {
            reader.report(node.at, path, error.to_string());
            None
        }
    }
}

fn partition(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<&'static str> {
    let words = PARTITIONS.map(|partition| (partition, partition));
    reader.word(node, path, "partition", &words)
}

fn providers(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<ProviderSet> {
    let words = Provider::ALL.map(|provider| (provider.name(), provider));
    let mut set = ProviderSet::default();
    reader.each(node, path, |reader, item, path| {
        if let Some(provider) = reader.word(item, path, "provider", &words) {
            set = set.with(provider);
        }
    });
    if set.contains(Provider::Kube2iam) && set.contains(Provider::Kiam) {
        reader.report(node.at, path, "kube2iam and kiam in one mapping would write the same annotation");
    }
    (set != ProviderSet::default()).then_some(set)
}
