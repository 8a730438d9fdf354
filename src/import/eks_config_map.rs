//! Which roles does the ConfigMap of the EKS webhook give?
//!
//! Started with `--watch-config-map`, it reads the key `config` of a ConfigMap `pod-identity-webhook`: JSON
//! with an entry for each `NAMESPACE/NAME` of a ServiceAccount, where the namespace may be `*`. An annotation
//! of the ServiceAccount counts before an entry, and an entry with a namespace before one with `*` (`Get` and
//! `populateCacheFromCM` in pkg/cache/cache.go of aws/amazon-eks-pod-identity-webhook, 3bf80a34).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Draft;
use super::judge::give_to;
use super::role;
use super::rule::{Action, Match, Options, Rule, in_range};
use crate::engine::object::dns_name::{is_dns_label, is_dns_name};
use crate::engine::object::provider::{IRSA_ROLE, Provider, STS_AUDIENCE};
use crate::inventory::{ConfigMap, Inventory};

const KEY: &str = "config";

pub(super) fn examine(inventory: &Inventory, draft: &mut Draft<'_>) {
    let annotated: BTreeSet<(&str, &str)> = inventory
        .service_accounts
        .iter()
        .map(|account| &account.metadata)
        .filter(|metadata| metadata.annotation(IRSA_ROLE).is_some_and(|role| !role.is_empty()))
        .map(|metadata| (metadata.namespace.as_str(), metadata.name.as_str()))
        .collect();
    for config_map in &inventory.config_maps {
        let place = format!("ConfigMap {}/{}", config_map.metadata.namespace, config_map.metadata.name);
        match entries(config_map) {
            Ok(entries) => {
                for (key, entry) in entries {
                    take(&key, &entry, &place, &annotated, draft);
                }
            }
            // The text is not shown, although it should hold no secret.
            Err(why) => {
                draft.remark(format!("{place} could not be read: {why}"));
                draft.unread.push(format!("{place} ({why})"));
            }
        }
    }
}

/// One entry, as Go reads it.
#[derive(Default)]
struct Entry {
    role: String,
    options: Options,
    has_audience: bool,
}

fn entries(config_map: &ConfigMap) -> Result<BTreeMap<String, Entry>, &'static str> {
    let text = config_map.data.get(KEY).ok_or("it has no key `config`")?.expose();
    let all: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| "`config` is no JSON object of entries")?;
    all.into_iter().map(|(key, value)| Ok((key, entry(&value)?))).collect()
}

fn entry(value: &Value) -> Result<Entry, &'static str> {
    let fields = value.as_object().ok_or("an entry of `config` is no object")?;
    let mut entry = Entry::default();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        const WRONG: &str = "an entry of `config` has a field of a wrong type";
        // Go takes the names of fields in capitals and in small letters.
        match name.to_ascii_lowercase().as_str() {
            "rolearn" => value.as_str().ok_or(WRONG)?.clone_into(&mut entry.role),
            "audience" => {
                let audience = value.as_str().ok_or(WRONG)?;
                entry.has_audience = !audience.is_empty();
                if entry.has_audience && audience != STS_AUDIENCE {
                    entry.options.audience = Some(audience.to_owned());
                }
            }
            "useregionalsts" => {
                let is_regional = value.as_bool().ok_or(WRONG)?;
                entry.options.sts_regional_endpoints = is_regional.then_some(true);
            }
            "tokenexpiration" => {
                let seconds = value.as_i64().ok_or(WRONG)?;
                entry.options.token_expiration = (seconds != 0).then(|| in_range(seconds));
            }
            _ => {}
        }
    }
    Ok(entry)
}

fn take(key: &str, entry: &Entry, place: &str, annotated: &BTreeSet<(&str, &str)>, draft: &mut Draft<'_>) {
    let from = format!("{place}, entry {key}");
    // What follows a second slash is not read.
    let mut parts = key.split('/');
    let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else {
        return draft.remark(format!("{from} names no NAMESPACE/NAME, and gives nobody a role"));
    };
    let is_everywhere = namespace == "*";
    let wanted = &draft.terms.namespaces;
    let is_wanted = is_everywhere || wanted.is_empty() || wanted.iter().any(|wanted| wanted == namespace);
    if !is_wanted || annotated.contains(&(namespace, name)) {
        return;
    }
    if !is_dns_name(name) || !(is_everywhere || is_dns_label(namespace)) {
        return draft.remark(format!(
            "{from} matches no ServiceAccount: the EKS webhook compares names as they are, but for `*/NAME`"
        ));
    }
    let namespaces = if is_everywhere { wanted.clone() } else { vec![namespace.to_owned()] };
    let matching = Match { service_accounts: [name.to_owned()].into(), namespaces, ..Match::default() };
    let rule = if entry.role.is_empty() {
        // It keeps an entry for `*` away.
        Rule {
            matching,
            provider: Provider::Irsa,
            action: Action::Skip,
            from: BTreeSet::new(),
            remarks: BTreeSet::new(),
        }
    } else {
        match role::irsa(&entry.role) {
            Ok(role) => give_to(Provider::Irsa, role, entry.options.clone(), matching),
            Err(error) => return draft.remark(format!("{from} became no rule: {error}")),
        }
    };
    let mut remarks = rule.remarks;
    if !entry.role.is_empty() && !entry.has_audience {
        remarks.insert(format!("the entry names no audience; with the rule it is {STS_AUDIENCE}"));
    }
    draft.rules.push(Rule { from: [from].into(), remarks, ..rule });
}
