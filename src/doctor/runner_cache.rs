//! Does the cache of GitLab Runner use the role of its manager?
//!
//! The manager signs the URLs of the cache. The rules are those of `cache/cacheconfig` in its source.

use toml::{Table, Value};

use super::Severity;
use super::findings::{Check, Findings, Place, shown};
use super::secrets;
use super::view::{PodView, View};
use crate::inventory::Pod;

const CACHE: &str =
    "https://docs.gitlab.com/runner/configuration/advanced-configuration/#the-runnerscaches3-section";

/// The cache has static keys, and uses them.
pub(super) const KEYS: Check =
    Check { id: "runner-cache-keys", severity: Severity::Problem, reference: CACHE };

/// The way in which the cache signs is none that the runner knows.
pub(super) const AUTHENTICATION_TYPE: Check =
    Check { id: "runner-cache-authentication-type", severity: Severity::Problem, reference: CACHE };

/// The manager assumes a further role for the cache.
pub(super) const ASSUMES_ROLE: Check = Check {
    id: "runner-cache-role-arn",
    severity: Severity::Warning,
    reference: "https://gitlab.com/gitlab-org/gitlab-runner/-/issues/28845",
};

/// The runner's old adapter for S3 cannot ask the STS that it has to ask.
pub(super) const LEGACY_ADAPTER: Check = Check {
    id: "runner-cache-legacy-adapter",
    severity: Severity::Problem,
    reference: "https://gitlab.com/gitlab-org/gitlab-runner/-/issues/37795",
};

/// The longest configuration that is read, in bytes: a ConfigMap holds no more.
const MAX_BYTES: usize = 1 << 20;

const FLAG: &str = "FF_USE_LEGACY_S3_CACHE_ADAPTER";

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let mounting = view.mounting(Pod::mounted_config_maps);
    for map in &view.scene.inventory.config_maps {
        let metadata = &map.metadata;
        let managers = mounting.get(&(metadata.namespace.as_str(), metadata.name.as_str()));
        let managers = managers.map(Vec::as_slice).unwrap_or_default();
        // A manager without a role is nobody's concern here.
        if !managers.is_empty() && !managers.iter().any(|pod| pod.expects_role) {
            continue;
        }
        for (key, text) in &map.data {
            if !key.ends_with("config.template.toml") && key != "config.toml" {
                continue;
            }
            let place = Place::of("ConfigMap", metadata).at(&format!("key {key}"));
            match read(text.expose()) {
                Ok(config) => judge(view, &config, &place, key, managers, findings),
                Err(why) => findings.unread(
                    format!(
                        "ConfigMap {}/{} key {}",
                        shown(&metadata.namespace),
                        shown(&metadata.name),
                        shown(key)
                    ),
                    why,
                ),
            }
        }
    }
}

/// Reads a configuration. The error says why it cannot be read, and nothing of what it holds.
fn read(text: &str) -> Result<Table, &'static str> {
    if text.len() > MAX_BYTES {
        return Err("it is larger than any ConfigMap");
    }
    text.parse().map_err(|_| {
        if text.contains("{{") { "it is a template of Go, and no TOML yet" } else { "it is no TOML" }
    })
}

/// Returns the value under a key. The runner takes keys in whatever case.
fn get<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    table.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

fn text<'t>(table: &'t Table, key: &str) -> &'t str {
    get(table, key).and_then(Value::as_str).unwrap_or_default()
}

fn judge(
    view: &View<'_>,
    config: &Table,
    place: &Place,
    key: &str,
    managers: &[&PodView<'_>],
    findings: &mut Findings,
) {
    let runners = get(config, "runners").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, runner) in runners.iter().enumerate() {
        let Some(runner) = runner.as_table() else { continue };
        let Some(cache) = get(runner, "cache").and_then(Value::as_table) else { continue };
        if !text(cache, "Type").eq_ignore_ascii_case("s3") {
            continue;
        }
        let nothing = Table::new();
        let s3 = get(cache, "s3").and_then(Value::as_table).unwrap_or(&nothing);
        let place = place.clone().at(&format!("key {key}, runners[{index}].cache.s3"));
        signs_with_the_role(view, s3, &place, managers, findings);
        assumes_no_other_role(s3, &place, findings);
        has_the_new_adapter(runner, &place, managers, findings);
    }
}

/// Whether the managers' environment sets a variable.
fn in_env(managers: &[&PodView<'_>], name: &str) -> bool {
    let mut containers = managers.iter().flat_map(|pod| pod.pod.containers());
    containers.any(|container| container.env(name).is_some_and(|variable| variable.is_set))
}

fn signs_with_the_role(
    view: &View<'_>,
    s3: &Table,
    place: &Place,
    managers: &[&PodView<'_>],
    findings: &mut Findings,
) {
    const FIX: &str = "take ServerAddress, AccessKey and SecretKey out of [runners.cache.s3], or write \
                       `AuthenticationType = \"iam\"` into it";
    let authentication = text(s3, "AuthenticationType").to_ascii_lowercase();
    match authentication.as_str() {
        "iam" => return,
        "access-key" => {
            let what = "its AuthenticationType is access-key, which takes static keys instead of the role";
            findings.add(&KEYS, place.clone(), what, "write `AuthenticationType = \"iam\"`");
            return;
        }
        "" => {}
        _ => {
            let what = "its AuthenticationType is neither iam nor access-key: the runner has no cache at all";
            findings.add(&AUTHENTICATION_TYPE, place.clone(), what, "write `AuthenticationType = \"iam\"`");
            return;
        }
    }
    let has = |key: &str, variable: &str| !text(s3, key).is_empty() || in_env(managers, variable);
    if !has("ServerAddress", "CACHE_S3_SERVER_ADDRESS") {
        return;
    }
    if has("AccessKey", "CACHE_S3_ACCESS_KEY") && has("SecretKey", "CACHE_S3_SECRET_KEY") {
        let what =
            "it has ServerAddress, AccessKey and SecretKey, with which the runner signs instead of the role";
        findings.add(&KEYS, place.clone(), what, FIX);
        return;
    }
    // The chart exports the keys of the Secret in `runners.cache.secretName`.
    let with_keys = managers.iter().find_map(|pod| {
        pod.pod.mounted_secrets().into_iter().find(|name| {
            let secret = view.secret(&pod.pod.metadata.namespace, name);
            secret.is_some_and(|secret| {
                ["accesskey", "secretkey"].iter().all(|key| secrets::has_value(secret, key))
            })
        })
    });
    if let Some(name) = with_keys {
        let what = format!(
            "it has ServerAddress, and the Secret {} gives the runner accesskey and secretkey, with which it \
             signs instead of the role",
            shown(name)
        );
        let fix = "take `runners.cache.secretName` out of the values of the runner's chart, and \
             ServerAddress out \
                   of [runners.cache.s3]";
        findings.add(&KEYS, place.clone(), what, fix);
    }
}

fn assumes_no_other_role(s3: &Table, place: &Place, findings: &mut Findings) {
    let Some(key) = ["RoleARN", "UploadRoleARN"].into_iter().find(|key| !text(s3, key).is_empty()) else {
        return;
    };
    findings.add(
        &ASSUMES_ROLE,
        place.clone(),
        format!("it has {key}: the manager's role has to be allowed to assume that role as well"),
        format!(
            "allow the manager's role sts:AssumeRole on it, and let its trust policy name the manager's \
             role; \
             or take {key} out, where no file of the cache is larger than 5 GB"
        ),
    );
}

fn has_the_new_adapter(runner: &Table, place: &Place, managers: &[&PodView<'_>], findings: &mut Findings) {
    let flags = get(runner, "feature_flags").and_then(Value::as_table);
    let is_flagged = flags.and_then(|flags| get(flags, FLAG)).and_then(Value::as_bool).unwrap_or_default();
    let environment = get(runner, "environment").and_then(Value::as_array).map(Vec::as_slice);
    let is_in_environment = environment.unwrap_or_default().iter().filter_map(Value::as_str).any(|line| {
        line.split_once('=').is_some_and(|(name, value)| name == FLAG && matches!(value, "true" | "1"))
    });
    if !is_flagged && !is_in_environment && !in_env(managers, FLAG) {
        return;
    }
    let reason = if managers.iter().any(|pod| pod.pod.has_pod_identity()) {
        "and its manager has EKS Pod Identity, which that adapter refuses (uri host is not a loopback \
         address)"
    } else if in_env(managers, "AWS_ENDPOINT_URL_STS") || in_env(managers, "AWS_ENDPOINT_URL") {
        "and its manager asks an STS of its own, which that adapter does not"
    } else {
        return;
    };
    findings.add(
        &LEGACY_ADAPTER,
        place.clone(),
        format!("{FLAG} is on, {reason}"),
        format!("take {FLAG} out of the feature flags and the environment"),
    );
}
