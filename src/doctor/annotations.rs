//! Are the annotations about roles spelt right, and on the objects where they are read?

use super::Severity;
use super::findings::{Check, Findings, Place, shown, word};
use super::view::{PodView, View};
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE};
use crate::inventory::Metadata;

/// The key of an annotation is a typo away from a real one.
pub(super) const TYPO: Check = Check {
    id: "annotation-typo",
    severity: Severity::Problem,
    reference: "https://github.com/aws/amazon-eks-pod-identity-webhook/issues/200",
};

/// An annotation about roles is on an object on which nobody reads it.
pub(super) const WRONG_OBJECT: Check = Check {
    id: "annotation-on-wrong-object",
    severity: Severity::Problem,
    reference: "https://gitlab.com/gitlab-org/charts/gitlab/-/issues/2710",
};

/// An annotation about roles is on a Pod, on which nobody reads it, and its ServiceAccount has a role.
pub(super) const WITHOUT_EFFECT: Check = Check {
    id: "annotation-without-effect",
    severity: Severity::Warning,
    reference: "https://gitlab.com/gitlab-org/charts/gitlab/-/issues/2710",
};

/// What comes before the slash of a key, and what may come after it.
const KEYS: [(&str, &[&str]); 3] = [
    (
        "eks.amazonaws.com",
        &[
            "role-arn",
            "audience",
            "sts-regional-endpoints",
            "token-expiration",
            "skip-containers",
            "skip-pod-identity-webhook",
            "pod-identity",
        ],
    ),
    ("iam.amazonaws.com", &["role", "external-id", "session-name", "permitted", "allowed-roles"]),
    ("gitlab-iam-webhook", &["inject", "applied", "was"]),
];

/// The longest key that is compared: comparing takes the product of both lengths.
const MAX_KEY: usize = 80;

/// How many letters may differ.
const MAX_DISTANCE: usize = 3;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for account in view.accounts.values() {
        let metadata = &account.account.metadata;
        let command = |change: &str| {
            let (namespace, name) = (word(&metadata.namespace), word(&metadata.name));
            format!("kubectl -n {namespace} annotate serviceaccount {name} {change}")
        };
        are_spelt_right(metadata, &Place::of("ServiceAccount", metadata), command, findings);
        if metadata.annotation(POD_ROLE).is_some() {
            findings.add(
                &WRONG_OBJECT,
                Place::of("ServiceAccount", metadata),
                format!("its annotation {POD_ROLE} is read by nobody: kube2iam and kiam read it on Pods"),
                format!(
                    "kubectl -n {} annotate serviceaccount {} {POD_ROLE}-, and map it with `provider: irsa` \
                     (for {IRSA_ROLE}) or its Pods with kube2iam",
                    word(&metadata.namespace),
                    word(&metadata.name)
                ),
            );
        }
    }
    for namespace in &view.scene.inventory.namespaces {
        let metadata = &namespace.metadata;
        let command = |change: &str| format!("kubectl annotate namespace {} {change}", word(&metadata.name));
        are_spelt_right(metadata, &Place::of("Namespace", metadata), command, findings);
    }
    for pod in &view.pods {
        let metadata = &pod.pod.metadata;
        // A Pod keeps no annotation beyond its end: its workload's template must have it.
        let command = |change: &str| format!("write it so in the template of its workload: {change}");
        are_spelt_right(metadata, &Place::of_pod(pod.pod), command, findings);
        has_no_role_of_an_account(view, pod, findings);
    }
}

/// EKS reads the role of irsa on ServiceAccounts only.
fn has_no_role_of_an_account(view: &View<'_>, pod: &PodView<'_>, findings: &mut Findings) {
    let metadata = &pod.pod.metadata;
    let Some(value) = metadata.annotation(IRSA_ROLE) else { return };
    if metadata.is_ours(IRSA_ROLE) {
        return;
    }
    let account = shown(pod.pod.service_account());
    let what = format!("its annotation {IRSA_ROLE} is read by nobody: EKS reads it on the ServiceAccount");
    let Some(role) = &pod.irsa else {
        let fix = format!(
            "take it out of the chart's values, and map the ServiceAccount {account} with `provider: irsa`"
        );
        return findings.add(&WRONG_OBJECT, Place::of_pod(pod.pod), what, fix);
    };
    // Whoever wrote the same role in both places misses nothing.
    if view.account_of(pod).is_some_and(|account| account.present == Some(value)) {
        return;
    }
    let what = format!("{what}, and its ServiceAccount {account} has {} by the mapping", shown(role));
    findings.add(
        &WITHOUT_EFFECT,
        Place::of_pod(pod.pod),
        what,
        format!("take it ({}) out of the chart's values", shown(value)),
    );
}

fn are_spelt_right(
    metadata: &Metadata,
    place: &Place,
    command: impl Fn(&str) -> String,
    findings: &mut Findings,
) {
    for (key, value) in &metadata.annotations {
        let Some(meant) = meant(key) else { continue };
        let old = word(&format!("{key}-"));
        // What the right key has already is not written over.
        let change = match metadata.annotation(&meant) {
            Some(_) => old,
            None => format!("{old} {}", word(&format!("{meant}={value}"))),
        };
        findings.add(
            &TYPO,
            place.clone(),
            format!("its annotation {} is read by nobody: {meant} is meant", shown(key)),
            command(&change),
        );
    }
}

/// Returns the key that is meant by one that nobody reads; `None` where the key is right, or something else.
fn meant(key: &str) -> Option<String> {
    if key.len() > MAX_KEY {
        return None;
    }
    let (domain, name) = key.split_once('/')?;
    let lower = domain.to_ascii_lowercase();
    let (right, names) = KEYS
        .iter()
        .map(|(known, names)| (strsim::damerau_levenshtein(&lower, known), known, names))
        .min_by_key(|(distance, ..)| *distance)
        .filter(|(distance, ..)| *distance <= MAX_DISTANCE)
        .map(|(_, known, names)| (*known, *names))?;
    if names.contains(&name) {
        return (domain != right).then(|| format!("{right}/{name}"));
    }
    let lower = name.to_ascii_lowercase();
    let near = names
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= MAX_DISTANCE.min(known.len() / 2))
        .map(|(_, known)| known);
    // A key of another domain that is only similar, and of another name, is somebody else's.
    let of_role = names.iter().copied().find(|known| known.starts_with("role") && lower.contains("role"));
    let name = near.or(of_role)?;
    Some(format!("{right}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_a_typo_away_is_told_and_one_that_is_right_or_of_others_is_not() {
        for (key, want) in [
            ("eks.amazon.com/role-arn", Some("eks.amazonaws.com/role-arn")),
            ("eks.amazonaws.com/role", Some("eks.amazonaws.com/role-arn")),
            ("eks.amazonaws.com/role_arn", Some("eks.amazonaws.com/role-arn")),
            ("eks.amazonaws.com/roleArn", Some("eks.amazonaws.com/role-arn")),
            ("eks.amazonaws.com/iam-role", Some("eks.amazonaws.com/role-arn")),
            ("eks.amazonaws.com/sts-regional-endpoint", Some("eks.amazonaws.com/sts-regional-endpoints")),
            ("eks.amazonaw.com/rolearn", Some("eks.amazonaws.com/role-arn")),
            ("iam.amazonaws.com/role-arn", Some("iam.amazonaws.com/role")),
            ("iam.amazonaws.com/permited", Some("iam.amazonaws.com/permitted")),
            ("iam.amazon.com/role", Some("iam.amazonaws.com/role")),
            ("gitlab-iam-webhook/injekt", Some("gitlab-iam-webhook/inject")),
            ("eks.amazonaws.com/role-arn", None),
            ("iam.amazonaws.com/role", None),
            ("iam.amazonaws.com/allowed-roles", None),
            ("gitlab-iam-webhook/was", None),
            ("eks.amazonaws.com/compute-type", None),
            ("meta.helm.sh/release-name", None),
            ("ecs.example.com/role-arn", None),
            ("role-arn", None),
        ] {
            assert_eq!(meant(key).as_deref(), want, "{key}");
        }
        assert_eq!(meant(&format!("eks.amazonaws.com/{}", "r".repeat(100_000))), None);
    }
}
