//! Why does a Pod not get the role of its ServiceAccount, however often it starts?

use super::state::State;
use crate::inventory::Pod;

/// The label of a Pod that keeps the EKS webhook away.
const SKIP: &str = "eks.amazonaws.com/skip-pod-identity-webhook";
/// The annotation with the containers of a Pod that the EKS webhook leaves alone.
const SKIPPED_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";
/// What is told of such a Pod.
const SKIP_WHY: &str = "its label eks.amazonaws.com/skip-pod-identity-webhook keeps the EKS webhook away";
const SKIPPED_CONTAINERS_WHY: &str = "its annotation eks.amazonaws.com/skip-containers names its containers";

/// What is to be done about a Pod that a restart does not mend.
const BY_HAND: &str =
    "take AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE out of the environment of the workload";
const POD_IDENTITY: &str = "delete the association of EKS Pod Identity, or leave the ServiceAccount to it \
                            with a rule that says `skip: true`";

/// Why a Pod does not get the role of its ServiceAccount, however often it starts.
pub(super) struct Apart {
    /// How it stands.
    pub(super) state: State,
    /// Why, in words.
    pub(super) why: &'static str,
    /// What brings the two together, where they are not apart on purpose.
    pub(super) remedy: Option<&'static str>,
}

/// Why a Pod does not get the role of its ServiceAccount, however often it starts. `None` where it gets it.
#[must_use]
pub fn kept_apart(pod: &Pod) -> Option<(State, &'static str)> {
    apart(pod).map(|apart| (apart.state, apart.why))
}

/// The same, with what is to be done.
pub(super) fn apart(pod: &Pod) -> Option<Apart> {
    let has_none = pod.roles().next().is_none();
    let conflict = |why, remedy| Some(Apart { state: State::Conflict, why, remedy: Some(remedy) });
    let skipped = |why| Some(Apart { state: State::Skipped, why, remedy: None });
    if pod.containers_with_role_by_hand().next().is_some() {
        conflict("its template sets the variables of a role by hand", BY_HAND)
    } else if pod.has_pod_identity() {
        conflict("EKS Pod Identity gives it its credentials", POD_IDENTITY)
    } else if has_none && pod.metadata.label(SKIP).is_some() {
        skipped(SKIP_WHY)
    } else if has_none && pod.metadata.annotation(SKIPPED_CONTAINERS).is_some() {
        skipped(SKIPPED_CONTAINERS_WHY)
    } else {
        None
    }
}
