//! What of an installation could not be read, so that nothing is said about it?

use crate::doctor::Gap;
use crate::installation::{Bundle, Installation, Replica, Seen};

/// Tells what of an installation could not be read.
#[must_use]
pub fn gaps(installation: &Installation) -> Vec<Gap> {
    let Installation { name, namespace, service, .. } = installation;
    let replicas = installation.replicas.there().map(Vec::as_slice).unwrap_or_default();
    let unread = [
        (format!("MutatingWebhookConfiguration {name}"), installation.mutating.unread()),
        (format!("ValidatingWebhookConfiguration {name}"), installation.validating.unread()),
        ("the webhook of EKS".to_owned(), installation.eks_webhook.unread()),
        (format!("Deployment {namespace}/{service}"), installation.deployment.unread()),
        (
            format!("which roles {namespace}/{service} allows (allowedRoles), so that all count as allowed"),
            installation.deployment.unread(),
        ),
        (format!("EndpointSlices of the Service {namespace}/{service}"), installation.endpoints.unread()),
        (format!("Pods of the webhook in the namespace {namespace}"), installation.replicas.unread()),
        (
            format!("the Secret of the certificate of {namespace}/{service}"),
            installation.certificate_secret.unread(),
        ),
        ("whether the API server reaches the webhook".to_owned(), installation.reach.unread()),
        (format!("the mapping of {namespace}/{service}"), installation.mapping.unread()),
        (format!("the last good mapping of {namespace}/{service}"), installation.last_good.unread()),
    ];
    let served = replicas.iter().map(|Replica { name, served, .. }| {
        (format!("the certificate that Pod {namespace}/{name} serves"), served.unread())
    });
    let configurations =
        [&installation.mutating, &installation.validating].into_iter().filter_map(Seen::there);
    let entries = configurations.flat_map(|configuration| &configuration.webhooks);
    let long = entries.filter(|webhook| *webhook.bundle() == Bundle::TooLong).map(|webhook| {
        (format!("the caBundle of the entry {}", webhook.name), Some("it is longer than 64 KiB"))
    });
    let unread = unread.into_iter().chain(served).chain(long);
    unread.filter_map(|(what, why)| Some(Gap { what, why: why?.to_owned() })).collect()
}
