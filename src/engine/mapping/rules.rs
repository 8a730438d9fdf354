//! What does a rule say, and does it make sense?

use super::keys::{Key, Takes, key};
use super::match_block;
use super::names::{MAX_NAME, NameOrigin, Names, made_name};
use super::options;
use super::reader::{Fields, Path, Reader};
use super::top::{BAD_ACCOUNT, ON_CONFLICT, Top, account, partition, providers};
use crate::engine::object::provider::{Provider, ProviderSet};
use crate::engine::rules::facts::is_written_by_runner;
use crate::engine::rules::glob::Glob;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::role_template::{self, Placeholder, Role};
use crate::engine::rules::rule::{Action, Criteria, Grant, IrsaOptions, PodOptions, Rule};
use crate::engine::yaml::{Node, Position, ScalarKind};

pub(super) const RULE_KEYS: [Key; 13] = [
    key("name", Takes::Name, "The name of the rule; without it, one is made of what the rule matches."),
    key("match", Takes::Match, "What the rule looks at: all criteria must hold."),
    key("role", Takes::Role, "The role that the rule gives: a name, a path and name, or a full ARN."),
    key("account", Takes::Account, "The AWS account of this rule's role: 12 digits, in quotes."),
    key("partition", Takes::Partition, "The partition of AWS that this rule's role is in."),
    key("provider", Takes::Providers, "Whose annotations this rule writes, leaves alone or removes."),
    key(
        "onConflict",
        Takes::OnConflict,
        "What happens to a role that somebody else set: `keep` leaves it, `replace` puts ours in its place.",
    ),
    key("skip", Takes::Boolean, "Whether the rule leaves the objects alone that it matches."),
    key("remove", Takes::Boolean, "Whether the rule removes the provider's annotations, whoever set them."),
    key("unsafe", Takes::Boolean, "Whether a rule for jobs may look at what a job's author can choose."),
    key("irsa", Takes::Irsa, "Options of irsa for this rule."),
    key("kube2iam", Takes::Pod, "Options of kube2iam for this rule."),
    key("kiam", Takes::Pod, "Options of kiam for this rule."),
];

/// The keys that say how a role is given, and have no effect beside `skip` and `remove`.
pub(super) const GRANT_KEYS: [&str; 6] = ["account", "partition", "onConflict", "irsa", "kube2iam", "kiam"];

/// One rule while it is read.
pub(super) struct RuleReading<'a, 'n, 't> {
    pub(super) fields: &'a Fields<'n, 't>,
    pub(super) node: &'n Node<'t>,
    pub(super) path: Path<'a>,
    pub(super) top: &'a Top,
    pub(super) operator_policy: &'a OperatorPolicy,
}

impl<'n, 't> RuleReading<'_, 'n, 't> {
    fn field(&self, key: &'static str) -> Option<(&'n Node<'t>, Path<'_>)> {
        self.fields.get(key).map(|node| (node, self.path.key(key)))
    }

    fn flag(&self, key: &'static str, reader: &mut Reader<'_>) -> bool {
        self.field(key).and_then(|(node, path)| reader.boolean(node, path)).unwrap_or(false)
    }

    /// Whether `skip` or `remove` says neither true nor false, which has been reported.
    fn has_bad_flag(&self) -> bool {
        let is_boolean = |node: &Node<'_>| {
            node.as_scalar().is_some_and(|scalar| matches!(scalar.kind, ScalarKind::Boolean(_)))
        };
        ["skip", "remove"].iter().any(|key| self.fields.get(key).is_some_and(|node| !is_boolean(node)))
    }

    pub(super) fn read(&self, reader: &mut Reader<'_>, names: &mut Names) -> Option<(Rule, NameOrigin)> {
        let criteria = match self.field("match") {
            Some((node, path)) => match_block::read(node, path, self.operator_policy, reader),
            // The criteria may stand in the rule itself, which has been reported.
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
        let is_unsafe = self.flag("unsafe", reader);
        let role = self.field("role");
        let named = self.field("provider").and_then(|(node, path)| providers(node, path, reader));
        let providers = named.unwrap_or(if skip { ProviderSet::ALL } else { self.top.providers });
        let (name, origin) = self.name(reader, names);

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
            for key in GRANT_KEYS {
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
        if criteria.names_runner_job() {
            self.check_job_rule(&criteria, grant.as_ref(), remove, is_unsafe, reader);
        }
        let action = match (skip, remove, grant) {
            (true, ..) => Action::Skip,
            (_, true, _) => Action::Remove,
            (.., Some(grant)) => Action::Role(Box::new(grant)),
            _ => return None,
        };
        Some((Rule { name, at: self.node.at, criteria, providers, action }, origin))
    }

    /// Reads the role with its options.
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
        if role_template::is_arn(text) {
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
        if prefix.is_none() && !role_template::is_arn(text) && providers.contains(Provider::Irsa) {
            let message =
                format!("`{text}` needs an `account`, here or at the top, to become an ARN for irsa");
            reader.report(node.at, path, message);
        }
        if let Some(criteria) = criteria {
            if let Some(fixed) = role.fixed()
                && !self.operator_policy.allows_somewhere(&criteria.namespaces, fixed)
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
                    && criteria
                        .components
                        .iter()
                        .all(crate::engine::object::component::Component::is_pods_only));
            if pods_only && providers == ProviderSet::default().with(Provider::Irsa) {
                reader.report(
                    node.at,
                    path,
                    "irsa reads ServiceAccounts, and this rule matches only Pods: use provider kube2iam or \
                     kiam, or match the ServiceAccount by its name",
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

    /// Reports what a rule about jobs must not look at, because the author of a job can set it.
    fn check_job_rule(
        &self,
        criteria: &Criteria,
        grant: Option<&Grant>,
        remove: bool,
        is_unsafe: bool,
        reader: &mut Reader<'_>,
    ) {
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
                "a role for runner-job must name its `runner` (NAMESPACE/NAME of the manager's \
                 ServiceAccount): anyone who may create Pods can write a job's labels",
            );
        }
        if is_unsafe {
            return;
        }
        let mut steered = |at: Position, path: Path<'_>, what: &str| {
            let message = format!(
                "{what} can be steered by the author of a job: leave it out, or write `unsafe: true` on \
                 the rule"
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
        for (label, _) in criteria.labels.iter().filter(|(label, _)| !is_written_by_runner(label)) {
            steered(at(&["labels", label]), labels_path.key(label), "this label");
        }
        // A rule that only removes annotations may use a glob: whoever chooses the namespace only loses by
        // it.
        if !remove && !criteria.namespaces.iter().all(Glob::is_literal) {
            let what = "a namespace by a glob (KUBERNETES_NAMESPACE_OVERWRITE)";
            steered(at(&["namespace"]), match_path.key("namespace"), what);
        }
        let (Some(grant), Some((node, path))) = (grant, self.field("role")) else {
            return;
        };
        for placeholder in grant.role.placeholders() {
            if matches!(
                placeholder,
                Placeholder::Namespace | Placeholder::Release | Placeholder::ServiceAccount
            ) {
                steered(node.at, path, &format!("`{placeholder}`"));
            }
        }
    }

    fn name(&self, reader: &mut Reader<'_>, names: &mut Names) -> (Box<str>, NameOrigin) {
        let Some((node, path)) = self.field("name") else {
            return (made_name(self.fields.get("match")).into(), NameOrigin::Made);
        };
        let Some(name) = reader.text(node, path) else {
            return (Box::default(), NameOrigin::Given);
        };
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            reader.report(node.at, path, format!("must be 1 to {MAX_NAME} characters"));
        }
        if let Some(line) = names.given(name, node.at.line) {
            reader.report(node.at, path, format!("the name `{name}` is taken by the rule on line {line}"));
        }
        (name.into(), NameOrigin::Given)
    }
}
