//! What do the values of the runner's chart do?
//!
//! The chart stands alone or within GitLab's chart. Its manager caches in S3 and needs a role for that; the
//! Pods of jobs get theirs from `runners.config`, which is the runner's own config.toml.

use toml::Value as Toml;

use super::judge::{self, dead, of_component, source};
use super::mapping_text::scalar;
use super::role;
use super::rule::Match;
use super::values::Branch;
use super::version::{Version, version};
use super::{Draft, Fate, MOST_SAID, Suggestion};
use crate::engine::object::component::Component;
use crate::engine::object::dns_name::{is_dns_label, is_dns_name};
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE};

/// The longest config.toml that is read, in bytes. A ConfigMap holds no longer one.
const MAX_CONFIG: usize = 1 << 20;

/// What is known of the chart before its values are read.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// What `rbac.create` is where the values do not say it.
    creates: bool,
    /// Whether `serviceAccount` is read.
    has_accounts: bool,
    /// Whether the values say something of the Pods of jobs.
    has_job_values: bool,
}

impl Setting {
    /// The chart by itself.
    pub(super) fn standalone(version_: Version) -> Self {
        Self {
            creates: false,
            has_accounts: version_ >= version(0, 66),
            has_job_values: version_ < version(0, 53),
        }
    }

    /// The chart within GitLab's chart of this version, of which 7.0 has runner chart 0.53, and 8.1 has 0.66.
    pub(super) fn within_gitlab(version_: Version) -> Self {
        Self {
            creates: true,
            has_accounts: version_ >= version(8, 1),
            has_job_values: version_ < version(7, 0),
        }
    }
}

/// Reads the values.
pub(super) fn examine(top: &Branch<'_>, setting: Setting, draft: &mut Draft<'_>) {
    manager_account(top, setting, draft);
    if let Some(granted) = judge::granted(&[top.key("podAnnotations")], draft) {
        judge::add_granted(granted, of_component(Component::Runner), draft);
    }
    let runners = top.key("runners");
    if !setting.has_job_values {
        for key in ["podAnnotations", "serviceAccountName"] {
            let why = "chart 0.53.0 (runner 16.0) removed it: only runners.config is read";
            removed(&runners.key(key), why, draft);
        }
    }
    if let Some(text) = runners.key("config").filled_text() {
        config(text, &runners.key("config"), top, setting, draft);
    }
}

/// Says of a value and of the roles in it that they are dead.
fn removed(branch: &Branch<'_>, why: &str, draft: &mut Draft<'_>) {
    if !branch.has_value() {
        return;
    }
    let roles: Vec<Branch<'_>> =
        [POD_ROLE, IRSA_ROLE].map(|key| branch.key(key)).into_iter().filter(Branch::has_value).collect();
    if roles.is_empty() {
        dead(branch, why, "delete it, and write it into runners.config if it is wanted", None, draft);
    }
    for role in roles {
        dead(&role, why, "delete it, and write it into runners.config if it is wanted", None, draft);
    }
}

/// What the manager runs as.
struct Manager {
    /// Whether the chart makes the account.
    is_made: bool,
    /// The name of the account.
    name: String,
}

fn manager(top: &Branch<'_>, setting: Setting, draft: &Draft<'_>) -> Manager {
    let (account, rbac) = (top.key("serviceAccount"), top.key("rbac"));
    let release = draft.terms.release.as_deref().unwrap_or("gitlab");
    let fullname = match top.key("fullnameOverride").filled_text() {
        Some(name) => name.to_owned(),
        None if release.starts_with("gitlab-runner") => release.to_owned(),
        None => format!("{release}-gitlab-runner"),
    };
    let creates_roles = rbac.key("create").is_true_or(setting.creates);
    let creates = account.key("create");
    let name = |branch: Branch<'_>| branch.filled_text().map_or_else(|| fullname.clone(), str::to_owned);
    if setting.has_accounts && creates.is_true() {
        return Manager { is_made: true, name: name(account.key("name")) };
    }
    let is_made = creates_roles && (!setting.has_accounts || !creates.has_value());
    if creates_roles {
        return Manager { is_made, name: name(rbac.key("generatedServiceAccountName")) };
    }
    let given = rbac.key("serviceAccountName").filled_text().unwrap_or("default");
    Manager { is_made: false, name: given.to_owned() }
}

fn manager_account(top: &Branch<'_>, setting: Setting, draft: &mut Draft<'_>) {
    let manager = manager(top, setting, draft);
    let newer = top.at(&["serviceAccount", "annotations"]);
    let older = top.at(&["rbac", "serviceAccountAnnotations"]);
    let matching = of_component(Component::Runner);
    if !setting.has_accounts {
        let why = "the runner's chart reads it from 0.66.0 on";
        judge::dead_account(&newer, why, matching.clone(), draft);
    }
    if !manager.is_made {
        let why = "the chart makes no ServiceAccount for the manager, as neither `rbac.create` nor \
            `serviceAccount.create` asks for one";
        let wanted = if is_dns_label(&manager.name) && manager.name != "default" {
            Match { service_accounts: [manager.name.clone()].into(), ..Match::default() }
        } else {
            matching
        };
        judge::dead_account(&newer, why, wanted.clone(), draft);
        judge::dead_account(&older, why, wanted, draft);
        if manager.name != "default" {
            draft.remark(format!(
                "the runner's manager runs as the ServiceAccount {}, which the chart does not make: its role \
                 is not in the values; `gitlab-iam-webhook import -n NAMESPACE` reads it from the cluster",
                manager.name
            ));
        }
        return;
    }
    let named = top.at(&["rbac", "serviceAccountName"]);
    if named.filled_text().is_some() {
        let why = "the chart makes a ServiceAccount, and reads this name only where it makes none";
        dead(&named, why, "delete it, or set rbac.create=false", None, draft);
    }
    // The newer one counts, key by key.
    let layers = if setting.has_accounts { vec![newer, older] } else { vec![older] };
    judge::import_account(&layers, &matching, draft);
}

/// Reads config.toml. What it gives jobs becomes no rule: a rule about jobs needs to know whose they are.
fn config(text: &str, branch: &Branch<'_>, top: &Branch<'_>, setting: Setting, draft: &mut Draft<'_>) {
    let unread = |why: &str| {
        format!("{} could not be read ({why}): whether it gives jobs a role is not known", source(branch))
    };
    if text.len() > MAX_CONFIG {
        return draft.remark(unread("it is too long"));
    }
    // What the parser says would show the text, which may hold a runner's token.
    let Ok(config) = text.parse::<toml::Table>() else {
        let why = if text.contains("{{") { "it is made by a template" } else { "it is not TOML" };
        return draft.remark(unread(why));
    };
    let runners = config.get("runners").and_then(Toml::as_array).map(Vec::as_slice).unwrap_or_default();
    for kubernetes in runners.iter().filter_map(|runner| runner.get("kubernetes")) {
        let word = |key: &str| kubernetes.get(key).and_then(Toml::as_str).filter(|text| !text.is_empty());
        if let Some(name) = word("service_account") {
            draft.remark(format!(
                "jobs run as the ServiceAccount {name} ({}): a role of theirs is on that account; \
                 `gitlab-iam-webhook import -n NAMESPACE` reads it from the cluster",
                source(branch)
            ));
        }
        match kubernetes.get("pod_annotations") {
            Some(Toml::Table(annotations)) => {
                if let Some(role) = annotations.get(POD_ROLE).and_then(Toml::as_str) {
                    job_role(role, branch, &manager(top, setting, draft), draft);
                }
                if annotations.contains_key(IRSA_ROLE) {
                    draft.remark(format!(
                        "pod_annotations in {} names {IRSA_ROLE}, which nothing reads on Pods: delete it",
                        source(branch)
                    ));
                }
            }
            Some(Toml::String(_)) => draft.remark(format!(
                "pod_annotations in {} is text, and the runner takes a table only: it never did anything",
                source(branch)
            )),
            _ => {}
        }
    }
}

fn job_role(value: &str, branch: &Branch<'_>, manager: &Manager, draft: &mut Draft<'_>) {
    let role = match role::of_pods(value, draft.terms) {
        Ok(role) => role,
        Err(error) => {
            return draft.remark(format!("pod_annotations in {}: {error}", source(branch)));
        }
    };
    let why =
        "every job of this runner has the role, whoever wrote it, and goes on to have it from this value";
    draft.value(branch, Fate::Stays, why, Some("decide which projects may have it, and write that rule"));
    let namespace = draft.terms.namespaces.first().map_or("NAMESPACE", String::as_str);
    let is_name = is_dns_name(&manager.name);
    let account = if is_name { manager.name.as_str() } else { "THE-MANAGERS-ACCOUNT" };
    let mut rule = format!(
        "  - match: {{component: runner-job, runner: {namespace}/{account}, project: [PROJECT-ID]}}\n    \
         provider: {}\n    role: {}\n",
        draft.terms.pod_provider.name(),
        scalar(&role.text)
    );
    let mut why = format!(
        "{} gives every job of this runner a role; name the projects that may have it by their ids, and \
         delete pod_annotations",
        source(branch)
    );
    if !is_name {
        why.push_str(
            "; the name of the manager's ServiceAccount in the values is none that Kubernetes takes",
        );
    }
    if account == "default" {
        why.push_str("; first give the manager a ServiceAccount of its own, as `default` is every Pod's");
        rule = rule.replace("/default,", "/THE-MANAGERS-ACCOUNT,");
    }
    if draft.suggestions.len() < MOST_SAID {
        draft.suggestions.push(Suggestion { why, rule });
    }
}

#[cfg(test)]
mod tests {
    use crate::import::tests::import;

    #[test]
    fn a_token_in_the_configuration_is_never_shown() {
        let text = "runners:\n  config: |\n    [[runners]]\n      token = \"planted-token\"\n      broken\n";
        let made = import(text, &[]);
        assert!(!format!("{made:?}").contains("planted"));
        assert!(made.remarks[0].contains("it is not TOML"), "{made:?}");
    }

    #[test]
    fn a_name_of_the_manager_that_is_no_name_does_not_reach_the_rule() {
        let text = "rbac: {create: false, serviceAccountName: \"x}\\n  - match: {component: '*'}\"}\nrunners:\n  \
            config: |\n    [[runners]]\n      [runners.kubernetes.pod_annotations]\n        \
            \"iam.amazonaws.com/role\" = \"r\"\n";
        let made = import(text, &[]);
        let rule = &made.suggestions[0].rule;
        assert!(rule.contains("runner: gitlab/THE-MANAGERS-ACCOUNT,") && rule.lines().count() == 3, "{rule}");
    }
}
