//! Does the API server accept the certificate that the webhook serves?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use super::{Checkup, Told, together};
use crate::doctor::Severity;
use crate::installation::{Bundle, Configuration, Replica, Seen, Webhook};
use crate::telemetry::unix_time_in_words;
use crate::tls::chain_check;

/// A certificate is renewed when a third of its life is left. Less than this part is late.
const LATE: u32 = 6;

const CERTIFICATES: &str = "docs/operating.md#certificates-that-look-after-themselves";

pub(super) fn check(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    for (kind, seen, severity) in [
        ("MutatingWebhookConfiguration", &installation.mutating, Severity::Problem),
        // Without it everything but the judgement of edits goes on.
        ("ValidatingWebhookConfiguration", &installation.validating, Severity::Warning),
    ] {
        let Some(configuration) = seen.there() else { continue };
        let place = format!("{kind} {}", installation.name);
        bundles(checkup, &place, configuration, severity);
        served(checkup, &place, configuration, severity);
    }
    same_bundle(checkup);
    ages(checkup);
    secret(checkup);
}

/// Says where the caBundle comes from, as what to do about it.
fn origin(checkup: &Checkup<'_>) -> String {
    let injected = "cert-manager.io/inject-ca-from";
    let installation = checkup.installation;
    let is_injected =
        installation.mutating.there().is_some_and(|held| held.metadata.annotation(injected).is_some());
    let is_own = installation.options().certificate_secret.is_some();
    if is_injected {
        "see why cert-manager's cainjector does not write it, and that the issuer puts its CA into ca.crt"
            .to_owned()
    } else if is_own {
        let (namespace, service) = (&installation.namespace, &installation.service);
        format!(
            "the replicas write it: see what they say in kubectl -n {namespace} logs deployment/{service}, \
             and that nothing else, such as GitOps, writes it back"
        )
    } else {
        "set the value certificates.caBundle to the base64 of the PEM of the CA, and upgrade the release"
            .to_owned()
    }
}

/// Whether each entry trusts anything. Entries with the same fault are told together.
fn bundles(checkup: &mut Checkup<'_>, place: &str, configuration: &Configuration, severity: Severity) {
    let now = checkup.now;
    let fault = |webhook: &Webhook| match webhook.bundle() {
        Bundle::Empty => Some("have no caBundle".to_owned()),
        // That it was not looked at is told apart.
        Bundle::TooLong => None,
        Bundle::Pem(pem) => match ends(&chain_check::certificates(pem)).max() {
            None => Some("have a caBundle without a certificate in PEM".to_owned()),
            Some(end) if end < seconds(now) => {
                Some(format!("have a caBundle that ended at {}", unix_time_in_words(end)))
            }
            Some(_) => None,
        },
    };
    for (what, entries) in together(&configuration.webhooks, fault) {
        let told = Told {
            check: "ca-bundle",
            place: place.to_owned(),
            what: format!("the entries {entries} {what}, so the API server does not trust the webhook"),
            fix: origin(checkup),
            reference: CERTIFICATES,
        };
        checkup.find(severity, told);
    }
}

/// Whether all entries that lead to the same place trust the same.
fn same_bundle(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let configurations = [&installation.mutating, &installation.validating];
    let entries = configurations.into_iter().filter_map(Seen::there).flat_map(|held| &held.webhooks);
    let mut known: Vec<(String, Vec<CertificateDer<'_>>, &str)> = Vec::new();
    let mut others = Vec::new();
    for webhook in entries {
        let Bundle::Pem(pem) = webhook.bundle() else { continue };
        let mut held = chain_check::certificates(pem);
        // That there is none is told apart.
        if held.is_empty() {
            continue;
        }
        held.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
        match known.iter().find(|(target, ..)| *target == webhook.target()) {
            None => known.push((webhook.target(), held, &webhook.name)),
            Some((_, first, name)) if *first != held => others.push((webhook.name.as_str(), *name)),
            Some(_) => {}
        }
    }
    let Some((_, first)) = others.first().copied() else { return };
    let names: Vec<&str> = others.into_iter().map(|(name, _)| name).collect();
    let told = Told {
        check: "ca-bundle",
        place: format!("webhook configurations {}", installation.name),
        what: format!("the entries {} have another caBundle than the entry {first}", names.join(", ")),
        fix: format!(
            "find out who wrote it: kubectl get mutatingwebhookconfiguration {} -o yaml \
             --show-managed-fields; {}",
            installation.name,
            origin(checkup)
        ),
        reference: CERTIFICATES,
    };
    checkup.warning(told);
}

/// Whether the API server accepts what each replica serves.
fn served(checkup: &mut Checkup<'_>, place: &str, configuration: &Configuration, severity: Severity) {
    let installation = checkup.installation;
    let replicas = installation.replicas.there().map(Vec::as_slice).unwrap_or_default();
    for Replica { name, served, .. } in replicas {
        let Some(chain) = served.there() else { continue };
        let fault = |webhook: &Webhook| {
            // What is called by a URL is not called in this Pod. That there is no bundle is told apart.
            let (host, Bundle::Pem(bundle)) = (webhook.host()?, webhook.bundle()) else { return None };
            if chain_check::certificates(bundle).is_empty() {
                return None;
            }
            let why = chain_check::check(bundle, chain, &host, checkup.now).err()?;
            Some(format!("the API server calls {host}: {why}"))
        };
        for (why, entries) in together(&configuration.webhooks, fault) {
            let told = Told {
                check: "certificate",
                place: format!("Pod {}/{name}", installation.namespace),
                what: format!(
                    "the certificate that it serves is refused by the entries {entries} of {place}: {why}"
                ),
                fix: origin(checkup),
                reference: CERTIFICATES,
            };
            checkup.find(severity, told);
        }
    }
}

/// Whether a certificate should have been renewed by now: the ones that are served, or, where none was seen,
/// the newest one that is trusted.
fn ages(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let replicas = installation.replicas.there().map(Vec::as_slice).unwrap_or_default();
    let mut looked: Vec<(String, Vec<CertificateDer<'_>>)> = Vec::new();
    for Replica { name, served, .. } in replicas {
        if let Some(chain) = served.there() {
            let leaf = chain_check::certificates(chain).into_iter().take(1).collect();
            looked.push((format!("Pod {}/{name}", installation.namespace), leaf));
        }
    }
    // A certificate of its own is its own trust anchor.
    if looked.is_empty() && installation.options().certificate_secret.is_some() {
        let entry = installation.mutating.there().and_then(|configuration| configuration.webhooks.first());
        if let Some(Bundle::Pem(pem)) = entry.map(Webhook::bundle) {
            let place = format!("MutatingWebhookConfiguration {}", installation.name);
            looked.push((place, chain_check::certificates(pem)));
        }
    }
    for (place, certificates) in looked {
        let newest = certificates.iter().filter_map(validity).max_by_key(|(_, end)| *end);
        let Some((begin, end)) = newest else { continue };
        let left = end - seconds(checkup.now);
        // What has ended is told by other checks.
        if left >= 0 && left < (end - begin) / i64::from(LATE) {
            let told = Told {
                check: "certificate",
                place,
                what: format!(
                    "the certificate ends at {} and should have been renewed before",
                    unix_time_in_words(end)
                ),
                fix: renewal(checkup),
                reference: CERTIFICATES,
            };
            checkup.warning(told);
        }
    }
}

fn renewal(checkup: &Checkup<'_>) -> String {
    let installation = checkup.installation;
    if installation.options().certificate_secret.is_some() {
        let (namespace, service) = (&installation.namespace, &installation.service);
        format!("see why the replicas do not renew it: kubectl -n {namespace} logs deployment/{service}")
    } else {
        "renew it where it comes from (with cert-manager: kubectl describe certificate); replicas read it \
         again within 2 seconds"
            .to_owned()
    }
}

/// Whether the Secret that is mounted is there: without it no Pod starts.
fn secret(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let mounted = installation.deployment.there().and_then(|deployment| deployment.mounted_secret.clone());
    let (Some(name), Seen::Missing) = (mounted, &installation.certificate_secret) else { return };
    let told = Told {
        check: "certificate",
        place: format!("Secret {}/{name}", installation.namespace),
        what: "it does not exist, and the Pods of the webhook mount it, so they do not start".to_owned(),
        fix: "create it with tls.crt and tls.key, or see why cert-manager does not: kubectl describe \
              certificate"
            .to_owned(),
        reference: CERTIFICATES,
    };
    checkup.problem(told);
}

fn ends<'a>(certificates: &'a [CertificateDer<'_>]) -> impl Iterator<Item = i64> + 'a {
    certificates.iter().filter_map(validity).map(|(_, end)| end)
}

/// When a certificate begins and ends, in seconds since 1970.
fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
