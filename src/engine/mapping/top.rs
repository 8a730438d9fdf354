//! What does a mapping say beside its rules?

use super::keys::{Key, Takes, key};
use super::options;
use super::reader::{Allowed, Path, Reader, brief};
use crate::engine::object::provider::{Provider, ProviderSet};
use crate::engine::rules::arn::{self, PARTITIONS};
use crate::engine::rules::rule::{IrsaOptions, OnConflict, OnNoRule, PodOptions};
use crate::engine::rules::ruleset::Defaults;
use crate::engine::yaml::{Node, ScalarKind};

pub(super) const TOP_KEYS: [Key; 9] = [
    key("account", Takes::Account, "The AWS account of roles that are not full ARNs: 12 digits, in quotes."),
    key("partition", Takes::Partition, "The partition of AWS that the roles are in; without it, `aws`."),
    key("provider", Takes::Providers, "Whose annotations the rules write; without it, irsa's."),
    key(
        "onConflict",
        Takes::OnConflict,
        "What happens to a role that somebody else set: `keep` leaves it, `replace` puts ours in its place.",
    ),
    key(
        "onNoRule",
        Takes::OnNoRule,
        "What happens to the values that we set when no rule matches any more: `keep` leaves them, `remove` \
         removes them.",
    ),
    key("irsa", Takes::Irsa, "Options of irsa for all rules that do not say otherwise."),
    key("kube2iam", Takes::Pod, "Options of kube2iam for all rules that do not say otherwise."),
    key("kiam", Takes::Pod, "Options of kiam for all rules that do not say otherwise."),
    key(
        "rules",
        Takes::Rules,
        "The rules. For each provider, the first rule that matches an object decides.",
    ),
];
pub(super) const ON_CONFLICT: [(&str, OnConflict); 2] =
    [("keep", OnConflict::Keep), ("replace", OnConflict::Replace)];
pub(super) const ON_NO_RULE: [(&str, OnNoRule); 2] = [("keep", OnNoRule::Keep), ("remove", OnNoRule::Remove)];
/// This account stands in for one that has been reported as bad, so that roles are still checked.
pub(super) const BAD_ACCOUNT: &str = "000000000000";

/// The defaults of a mapping, which hold where a rule says nothing.
pub(super) struct Top {
    pub(super) defaults: Defaults,
    /// The account of roles without one. It is [`BAD_ACCOUNT`] where the mapping has a bad one.
    pub(super) account: Option<Box<str>>,
    pub(super) partition: &'static str,
    pub(super) providers: ProviderSet,
    pub(super) irsa: IrsaOptions,
    pub(super) kube2iam: PodOptions,
    pub(super) kiam: PodOptions,
}

impl Top {
    /// Reads what stands beside the rules. Returns the list of rules with it.
    pub(super) fn read<'n, 't>(node: &'n Node<'t>, reader: &mut Reader<'_>) -> Option<(Self, &'n Node<'t>)> {
        let path = Path::Root;
        let fields = reader.fields(node, path, Allowed::Only(&TOP_KEYS))?;
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

/// Reads an account of 12 digits. An unquoted number is taken where YAML cannot have changed it.
pub(super) fn account<'n>(node: &'n Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<&'n str> {
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
            "the account {text} must be written in quotes, with all of its 12 digits: an unquoted number \
             loses its leading zero"
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

pub(super) fn partition(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<&'static str> {
    let words = PARTITIONS.map(|partition| (partition, partition));
    reader.word(node, path, "partition", &words)
}

pub(super) fn providers(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<ProviderSet> {
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
