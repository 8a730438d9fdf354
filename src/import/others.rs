//! What is said of a role in the values that no chart known here reads?

use super::values::{Branch, shown_path};
use super::{Draft, Fate, ROLE_KEYS};

/// The charts of other projects within GitLab's, whose accounts are no component.
const OTHERS: [&str; 12] = [
    "certmanager",
    "cert-manager",
    "certmanager-issuer",
    "gitlab-zoekt",
    "grafana",
    "haproxy",
    "nginx-ingress",
    "nginx-ingress-geo",
    "postgresql",
    "prometheus",
    "redis",
    "traefik",
];

/// Says something of every role that nothing was said of.
pub(super) fn examine(branch: &Branch<'_>, draft: &mut Draft<'_>) {
    for member in branch.members() {
        if member.text().is_some()
            && let Some((why, instead)) = torn_key(member.steps())
        {
            draft.value(&member, Fate::Dead, why, Some(&instead));
            continue;
        }
        if !ROLE_KEYS.contains(&member.last()) || member.text().is_none() {
            examine(&member, draft);
            continue;
        }
        let steps: Vec<&str> = member.steps().iter().map(String::as_str).collect();
        let (fate, why) = match steps.as_slice() {
            ["gitlab", "sidekiq", "pods", ..] => {
                (Fate::Dead, "the chart does not read annotations here: gitlab.sidekiq.annotations are read")
            }
            [.., "deployment", "annotations", _] => (
                Fate::Dead,
                "it stands on the Deployment itself, where nothing reads it, and not on its Pods",
            ),
            ["shared-secrets" | "upgradeCheck", ..] => {
                (Fate::Stays, "the Pods of Helm's hooks are no component; they need no role of AWS")
            }
            [chart, ..] if OTHERS.contains(chart) => (
                Fate::Stays,
                "this chart of another project is no component: leave the value, or match its account by \
                 name",
            ),
            _ => (
                Fate::Stays,
                "no chart that is known here reads it: see whether something in the cluster carries it",
            ),
        };
        draft.value(&member, fate, why, None);
    }
}

/// Says what a path means in which the dots of an annotation's key were taken for steps, or its steps for
/// one key. Helm reads neither as the annotation.
fn torn_key(steps: &[String]) -> Option<(&'static str, String)> {
    let last = steps.last()?;
    if ROLE_KEYS.contains(&last.as_str()) {
        return None;
    }
    let joined = steps.join(".");
    let (before, key) = ROLE_KEYS.iter().find_map(|key| Some((joined.strip_suffix(key)?, *key)))?;
    let mut meant: Vec<String> = before.strip_suffix('.')?.split('.').map(str::to_owned).collect();
    meant.push(key.to_owned());
    let meant = shown_path(&meant);
    if last.ends_with(key) {
        let why = "no chart reads it: in a file, dots do not divide a key into steps";
        Some((why, format!("write {meant}, with each step as a key of its own below the one before")))
    } else {
        let why = "no chart reads it: Helm takes each of its dots for another step";
        let escaped = meant.replace(key, &key.replace('.', "\\."));
        Some((why, format!("escape the dots of the key, as in --set '{escaped}=ROLE'; {meant} was meant")))
    }
}

#[cfg(test)]
mod tests {
    use crate::import::Fate;
    use crate::import::tests::import;

    #[test]
    fn an_annotation_whose_dots_went_wrong_is_told_with_what_was_meant() {
        let file = "registry.serviceAccount.annotations.eks.amazonaws.com/role-arn: r\n";
        let one = "registry.serviceAccount.annotations.\"eks.amazonaws.com/role-arn\"";
        let set = "registry.annotations.iam.amazonaws.com/role=r";
        let escaped = r#"--set 'registry.annotations."iam\.amazonaws\.com/role"=ROLE'"#;
        for (text, sets, said) in [(file, &[][..], one), ("", &[set], escaped)] {
            let made = import(text, sets);
            assert!(made.rules.is_empty() && made.values.len() == 1, "{made:?}");
            assert_eq!(made.values[0].fate, Fate::Dead);
            let instead = made.values[0].instead.as_deref().unwrap_or_default();
            assert!(instead.contains(said), "{instead}");
        }
        let right = import("", &[r"registry.annotations.iam\.amazonaws\.com/role=r"]);
        assert_eq!((right.rules.len(), right.values[0].fate), (1, Fate::Imported));
    }
}
