//! What is said of a role in the values that no chart known here reads?

use super::values::Branch;
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
                "this chart of another project is no component: leave the value, or match its account by name",
            ),
            _ => (
                Fate::Stays,
                "no chart that is known here reads it: see whether something in the cluster carries it",
            ),
        };
        draft.value(&member, fate, why, None);
    }
}
