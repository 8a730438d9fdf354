//! Who is believed for what?
//!
//! Labels and annotations are what the author of an object wrote, and whoever may create an object is its
//! author. What an object claims is therefore taken as a fact only where somebody vouches for it:
//!
//! * The namespace, and who requests the object: the API server is believed, which says both in the review.
//! * The component of a ServiceAccount: its own labels are believed. `default` is no component, whatever its
//!   labels say.
//! * The component of a Pod: its labels are believed where a workload controller requests the Pod. A
//!   controller copies a template, and somebody who may create workloads in the namespace wrote that.
//! * Whether a Pod runs a CI job: anybody is believed. A Pod is a job where a requester asks for it that some
//!   rule names as `runner`, or where it carries labels that GitLab Runner writes. Being a job never gives
//!   more than the rules about jobs give.
//! * The project of a job: the label is believed, unless the name that the runner gave the Pod says another
//!   project.
//! * The release and other labels: whoever wrote them is believed. A rule about jobs may look at those
//!   that [`is_written_by_runner`] names, and at others only where it says `unsafe: true`.
//! * Opting out, and the record of what we applied: the author of the object is believed, but never the
//!   author of a job ([`Facts::is_job`]).
//!
//! In a file nobody requests anything: a Pod is taken to come from a workload controller. What the operator
//! adds to this with flags is in [`OperatorPolicy`].

use crate::engine::object::component::{self, Component};
use crate::engine::object::subject::{Kind, Requester, Subject};
use crate::engine::rules::operator_policy::OperatorPolicy;

/// What is known of an object once its labels have been read and believed or not.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The component that is believed.
    pub component: Option<Component>,
    /// The component that the labels claim, where it is not believed of this requester.
    pub disbelieved: Option<Component>,
    /// The component that a Pod of a chart before 4.9 looks like, which its labels do not prove.
    pub resembles: Option<Component>,
    /// The object is the Pod of a CI job. Its author is a user of GitLab: neither the opt-out nor the record
    /// of what we applied is honoured on it, and a role that is there gives way by default.
    pub is_job: bool,
    /// The Helm release.
    pub release: Option<&'a str>,
    /// The GitLab project of a job.
    pub project: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// Tells the facts of an object. `runners` are the usernames that some rule names as `runner`, sorted.
    #[must_use]
    pub fn of(subject: &Subject<'a>, runners: &[Box<str>], operator_policy: &OperatorPolicy) -> Self {
        let claims = component::recognise(subject.kind, subject.labels, subject.annotations);
        let mut facts = Self {
            component: claims.component,
            disbelieved: None,
            resembles: None,
            is_job: false,
            release: claims.release,
            project: None,
        };
        if subject.kind == Kind::ServiceAccount {
            // The namespace's own account is no part of GitLab, whatever somebody labelled it.
            if subject.service_account == "default" {
                facts.component = None;
            }
            return facts;
        }
        let (from_runner, from_controller) = match subject.requester {
            Requester::User(user) => (
                runners.binary_search_by(|runner| (**runner).cmp(user)).is_ok(),
                is_workload_controller(user, operator_policy),
            ),
            Requester::Assumed => (false, true),
            Requester::Unbelieved => (false, false),
        };
        if from_runner || claims.runner_labels {
            facts.component = Some(Component::RunnerJob);
            facts.is_job = true;
            facts.project = claims.project.filter(|project| is_named_for(subject.name, project));
        } else if from_controller {
            facts.resembles = claims.resembles;
        } else {
            facts.disbelieved = facts.component.take();
        }
        facts
    }
}

/// Kubernetes' own workload controllers: with `--use-service-account-credentials` (EKS, kubeadm) and without.
const WORKLOAD_CONTROLLERS: [&str; 5] = [
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:serviceaccount:kube-system:job-controller",
    "system:kube-controller-manager",
];

/// The kinds that Kubernetes' own workload controllers make Pods for, and the usernames of these.
const MAKERS: [(&str, &str, &str); 4] = [
    ("apps/v1", "ReplicaSet", "system:serviceaccount:kube-system:replicaset-controller"),
    ("apps/v1", "StatefulSet", "system:serviceaccount:kube-system:statefulset-controller"),
    ("apps/v1", "DaemonSet", "system:serviceaccount:kube-system:daemon-set-controller"),
    ("batch/v1", "Job", "system:serviceaccount:kube-system:job-controller"),
];

/// Returns the username of the workload controller that makes the Pods of this kind of owner; none where
/// it is not one that is believed.
///
/// Whoever creates a Pod writes its owner. So this serves to report on Pods that are there, and never to
/// give a role.
#[must_use]
pub fn controller_of(api_version: &str, kind: &str) -> Option<&'static str> {
    MAKERS.iter().find(|maker| (maker.0, maker.1) == (api_version, kind)).map(|maker| maker.2)
}

/// Whether this username is a workload controller, by Kubernetes' own names or by what the operator says.
fn is_workload_controller(user: &str, operator_policy: &OperatorPolicy) -> bool {
    WORKLOAD_CONTROLLERS.contains(&user)
        || operator_policy.workload_controllers.iter().any(|known| known == user)
}

/// Whether this username is a controller. Were one named as `runner`, every Pod that it makes would be taken
/// for a job.
#[must_use]
pub fn is_controller(user: &str, operator_policy: &OperatorPolicy) -> bool {
    // Kubernetes' other controllers, too, make Pods or what Pods are made of.
    let of_kubernetes = user.strip_prefix("system:serviceaccount:kube-system:");
    of_kubernetes.is_some_and(|name| name.ends_with("-controller"))
        || is_workload_controller(user, operator_policy)
}

/// Whether the author of a job cannot set this label on its Pod: the runner takes the value from GitLab's
/// server or from its own settings.
#[must_use]
pub fn is_written_by_runner(label: &str) -> bool {
    label == "project.runner.gitlab.com/root-namespace-id" || label.starts_with("manager.runner.gitlab.com/")
}

/// Whether the name of a job's Pod allows this project. Runners before 17.9 let a job's author write the
/// label, but not the name, which is `runner-TOKEN-project-ID-concurrent-N-SUFFIX`. A name of another form
/// allows every project.
fn is_named_for(name: &str, project: &str) -> bool {
    let named = name.starts_with("runner-").then(|| {
        let (before, _) = name.rsplit_once("-concurrent-")?;
        before.rsplit_once("-project-").map(|(_, id)| id)
    });
    named.flatten().is_none_or(|id| id == project)
}
