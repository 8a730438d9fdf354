//! Does the webhook run, and does the API server reach it?

use super::{Checkup, Told};
use crate::installation::{Reach, Replica, Seen};

const DOWN: &str = "docs/operating.md#when-something-is-down";
const REACH: &str = "docs/operating.md#whether-the-api-server-reaches-the-webhook";

/// The most Pods that are named in one finding.
const NAMED: usize = 5;

pub(super) fn check(checkup: &mut Checkup<'_>) {
    deployment(checkup);
    endpoints(checkup);
    versions(checkup);
    if let Seen::There(Reach { is_reached: false, text }) = &checkup.installation.reach {
        checkup.problem(Told {
            check: "reach",
            place: format!("webhook configurations {}", checkup.installation.name),
            what: text.clone(),
            fix: "where no replica is ready, mend that first; otherwise docs/eks.md has a row for what the \
                  API server says (Does the API server reach the webhook?); then ask again with doctor"
                .to_owned(),
            reference: REACH,
        });
    }
}

fn deployment(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let (namespace, service) = (&installation.namespace, &installation.service);
    let told = |checkup: &Checkup<'_>, what: String, fix: String| Told {
        check: "deployment",
        place: checkup.deployment(),
        what,
        fix,
        reference: DOWN,
    };
    let deployment = match &installation.deployment {
        Seen::Unread(_) => return,
        Seen::Missing => {
            let what =
                "it does not exist, although webhook configurations lead to its Service, so nobody answers";
            let fix = format!(
                "install the chart again, or, where it was uninstalled, delete what was left: kubectl delete \
                 mutatingwebhookconfiguration,validatingwebhookconfiguration {}",
                installation.name
            );
            return checkup.problem(told(checkup, what.to_owned(), fix));
        }
        Seen::There(deployment) => deployment,
    };
    if deployment.replicas == 0 {
        let fix = format!("kubectl -n {namespace} scale deployment {service} --replicas=2");
        return checkup.problem(told(
            checkup,
            "it asks for 0 replicas, so the webhook does not run".to_owned(),
            fix,
        ));
    }
    let Some(replicas) = installation.replicas.there() else { return };
    let asked = usize::try_from(deployment.replicas).unwrap_or(usize::MAX);
    let ready = replicas.iter().filter(|replica| replica.is_ready).count();
    if ready < asked {
        let unready = replicas.iter().filter(|replica| !replica.is_ready);
        let names: Vec<&str> = unready.map(|replica| replica.name.as_str()).take(NAMED).collect();
        let named = if names.is_empty() {
            "no Pod is there for the others".to_owned()
        } else {
            format!("not ready: {}", names.join(", "))
        };
        let what = format!("{ready} of {asked} replicas are ready ({named})");
        let fix = format!(
            "see why: kubectl -n {namespace} describe deployment,replicaset,pods -l {}, and kubectl -n \
             {namespace} logs deployment/{service}",
            deployment.selector
        );
        let told = told(checkup, what, fix);
        if ready == 0 { checkup.problem(told) } else { checkup.warning(told) }
    }
}

fn endpoints(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let what = match &installation.endpoints {
        Seen::There(0) | Seen::Missing => "no Pod behind it is ready, so the webhook answers nobody",
        Seen::There(_) | Seen::Unread(_) => return,
    };
    let fails = installation.mutating.there().is_some_and(|configuration| {
        configuration.webhooks.iter().any(|webhook| webhook.failure_policy == "Fail")
    });
    let then = if fails {
        "; new ServiceAccounts are refused in opted-in namespaces"
    } else {
        "; ServiceAccounts and Pods are admitted without their roles"
    };
    let (namespace, service) = (&installation.namespace, &installation.service);
    checkup.problem(Told {
        check: "endpoints",
        place: format!("Service {namespace}/{service}"),
        what: format!("{what}{then}"),
        fix: format!("see what the Pods lack: kubectl -n {namespace} get pods, and their log"),
        reference: DOWN,
    });
}

/// Whether all replicas run the same image. During a rollout they do not.
fn versions(checkup: &mut Checkup<'_>) {
    let Some(replicas) = checkup.installation.replicas.there() else { return };
    let mut images: Vec<&str> = replicas.iter().map(|Replica { image, .. }| image.as_str()).collect();
    images.sort_unstable();
    images.dedup();
    if images.len() < 2 {
        return;
    }
    let (namespace, service) = (&checkup.installation.namespace, &checkup.installation.service);
    let told = Told {
        check: "versions",
        place: checkup.deployment(),
        what: format!(
            "its replicas run different images, so they may decide differently: {}",
            images.join(", ")
        ),
        fix: format!(
            "wait until the rollout ends: kubectl -n {namespace} rollout status deployment/{service}"
        ),
        reference: DOWN,
    };
    checkup.warning(told);
}
