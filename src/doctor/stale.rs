//! Do the Pods that run have the role that their ServiceAccount or the mapping gives them?

use super::findings::{Check, Findings, Place, shown, word};
use super::view::{PodView, View};
use super::{REFERENCE, Severity};
use crate::engine::object::provider::POD_ROLE;
use crate::inventory::{Container, Pod};

/// A Pod that runs has not the role that its ServiceAccount or the mapping gives it.
pub(super) const WITHOUT_ROLE: Check = Check {
    id: "pod-without-role",
    severity: Severity::Problem,
    reference: "https://github.com/aws/amazon-eks-pod-identity-webhook/issues/174",
};

/// A Pod that runs has another role than its ServiceAccount.
pub(super) const OTHER_ROLE: Check = Check {
    id: "pod-with-other-role",
    severity: Severity::Problem,
    reference: "https://github.com/aws/amazon-eks-pod-identity-webhook/issues/28",
};

/// Somebody wrote the variables that the EKS webhook adds, which then adds none.
pub(super) const ROLE_BY_HAND: Check =
    Check { id: "role-by-hand", severity: Severity::Problem, reference: REFERENCE.irsa };

const ROLE: &str = "AWS_ROLE_ARN";
const TOKEN: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const SKIP: &str = "eks.amazonaws.com/skip-pod-identity-webhook";
const SKIPPED_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for pod in view.expecting() {
        let by_hand = writes_the_variables_by_hand(pod, findings);
        if !view.scene.inventory.is_live || pod.pod.is_template() {
            continue;
        }
        if !by_hand && !has_pod_identity(pod.pod) {
            has_the_role_of_its_account(view, pod, findings);
        }
        has_the_pod_role(view, pod, findings);
    }
}

/// Whether EKS Pod Identity gives this Pod its credentials.
pub(super) fn has_pod_identity(pod: &Pod) -> bool {
    pod.metadata.label("eks.amazonaws.com/pod-identity").is_some()
        || pod.containers().any(|container| is_set(container, "AWS_CONTAINER_CREDENTIALS_FULL_URI"))
        || audiences(pod).any(|audience| audience == "pods.eks.amazonaws.com")
}

fn is_set(container: &Container, name: &str) -> bool {
    container.env(name).is_some_and(|variable| variable.is_set)
}

fn audiences(pod: &Pod) -> impl Iterator<Item = &str> {
    let sources = pod.spec.volumes.iter().flat_map(|volume| &volume.projected.sources);
    sources.filter_map(|source| source.service_account_token.as_ref()).map(|token| token.audience.as_str())
}

/// Whether the Pod has a token for somebody else than the API server.
fn has_token(pod: &Pod) -> bool {
    audiences(pod).any(|audience| !audience.is_empty())
}

fn writes_the_variables_by_hand(view: &PodView<'_>, findings: &mut Findings) -> bool {
    let pod = view.pod;
    let Some(role) = &view.irsa else { return false };
    let names: Vec<&str> = pod
        .containers()
        .filter(|container| {
            let both = is_set(container, ROLE) && is_set(container, TOKEN);
            let one = is_set(container, ROLE) || is_set(container, TOKEN);
            one && !(both && has_token(pod))
        })
        .map(|container| container.name.as_str())
        .collect();
    if names.is_empty() {
        return false;
    }
    findings.add(
        &ROLE_BY_HAND,
        Place::of_pod(pod).containers(&names),
        format!(
            "its template sets {ROLE} or {TOKEN}, so that the EKS webhook adds neither, nor the \
             token, for {}",
            shown(role)
        ),
        format!("take {ROLE} and {TOKEN} out of the environment of its workload"),
    );
    true
}

fn has_the_role_of_its_account(view: &View<'_>, pod: &PodView<'_>, findings: &mut Findings) {
    let account = view.account_of(pod);
    let Some(role) = account.and_then(|account| account.present).filter(|role| !role.is_empty()) else {
        return;
    };
    let others: Vec<(&str, &str)> = pod
        .pod
        .containers()
        .filter_map(|container| {
            let found = container.env(ROLE)?.value.as_deref()?;
            (found != role).then_some((container.name.as_str(), found))
        })
        .collect();
    let account = shown(pod.pod.service_account());
    if let Some((_, other)) = others.first() {
        let names: Vec<_> = others.iter().map(|(name, _)| *name).collect();
        findings.add(
            &OTHER_ROLE,
            Place::of_pod(pod.pod).containers(&names),
            format!(
                "it has the role {}, and its ServiceAccount {account} has {} by now",
                shown(other),
                shown(role)
            ),
            restart(pod.pod),
        );
    } else if !pod.pod.containers().any(|container| is_set(container, ROLE)) {
        let place = Place::of_pod(pod.pod);
        if pod.pod.metadata.label(SKIP).is_some() {
            let fix = format!("take the label {SKIP} off the Pods of its workload");
            findings.add(&WITHOUT_ROLE, place, format!("its label {SKIP} keeps the EKS webhook away"), fix);
            return;
        }
        if pod.pod.metadata.annotation(SKIPPED_CONTAINERS).is_some() {
            let fix = format!("take the annotation {SKIPPED_CONTAINERS} off the Pods of its workload");
            findings.add(
                &WITHOUT_ROLE,
                place,
                format!("its annotation {SKIPPED_CONTAINERS} names all of its containers"),
                fix,
            );
            return;
        }
        findings.add(
            &WITHOUT_ROLE,
            place,
            format!(
                "the EKS webhook added no role to it: it is older than the role {} of its ServiceAccount \
                 {account}, or that webhook did not see it; until then it uses the role of its node, if any",
                shown(role)
            ),
            restart(pod.pod),
        );
    }
}

fn has_the_pod_role(view: &View<'_>, pod: &PodView<'_>, findings: &mut Findings) {
    let Some(role) = &pod.pod_role else { return };
    let present = pod.pod.metadata.annotation(POD_ROLE);
    if present == Some(role) || view.our_label(&pod.pod.metadata.namespace) != Some("enabled") {
        return;
    }
    let place = Place::of_pod(pod.pod);
    let what = match present {
        None => format!(
            "it has no annotation {POD_ROLE}: it is older than the rule that gives it {}; until then it uses \
             the role of its node, if any",
            shown(role)
        ),
        Some(present) => {
            format!("it has the role {}, and the mapping gives it {}", shown(present), shown(role))
        }
    };
    let check = if present.is_none() { &WITHOUT_ROLE } else { &OTHER_ROLE };
    findings.add(check, place, what, restart(pod.pod));
}

/// Returns the command that makes a Pod anew.
pub(super) fn restart(pod: &Pod) -> String {
    let namespace = word(&pod.metadata.namespace);
    match pod.workload() {
        Some((kind @ ("Deployment" | "StatefulSet" | "DaemonSet"), name)) => {
            let resource = format!("{}/{}", kind.to_ascii_lowercase(), name);
            format!("kubectl -n {namespace} rollout restart {}", word(&resource))
        }
        Some(("Job", name)) => {
            format!("kubectl -n {namespace} delete job {}, and have it made again (helm upgrade)", word(name))
        }
        Some((_, name)) => {
            format!("kubectl -n {namespace} delete pod {} ({})", word(&pod.metadata.name), shown(name))
        }
        None => {
            format!("kubectl -n {namespace} delete pod {}, and have it made again", word(&pod.metadata.name))
        }
    }
}
