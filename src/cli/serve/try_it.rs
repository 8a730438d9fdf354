//! How does somebody try the webhook on their own machine? With a certificate made for one run, and a request
//! to type.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tempfile::NamedTempFile;

use crate::cli::output;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::issue;

/// How long a certificate that is made for one run is valid.
const LIFE: Duration = Duration::from_hours(365 * 24);

/// Makes a certificate for this run alone, and serves it. The file holds it for clients, and is removed when
/// it is dropped.
pub(super) fn make_certificate(listening: IpAddr, resolver: &CertResolver) -> anyhow::Result<NamedTempFile> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listening.is_unspecified() && !listening.is_loopback() {
        names.push(listening.to_string());
    }
    let pair = issue::self_signed(&names, SystemTime::now(), LIFE)?;
    resolver.serve(&pair)?;
    let mut file = tempfile::Builder::new().prefix("gitlab-iam-webhook-").suffix(".crt").tempfile()?;
    file.write_all(&pair.certificate).context("writing it for clients")?;
    Ok(file)
}

/// Prints where the certificate is, and what to type.
pub(super) fn introduce(
    certificate: &NamedTempFile,
    address: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<()> {
    let url = |scheme: &str, address: SocketAddr| {
        let host =
            if address.ip().is_unspecified() { "localhost".to_owned() } else { bracketed(address.ip()) };
        format!("{scheme}://{host}:{}", address.port())
    };
    output::print(&format!(
        "gitlab-iam-webhook gives GitLab's ServiceAccounts and Pods their AWS roles. It answers at \
         {webhook}, as it would in a cluster.
No certificate was given, so one was made for this run. Clients trust it by this file, which is \
         removed when the server stops:
  {certificate}
Try it: what does the webhook patch into the registry's ServiceAccount? (`patch` is base64)
  curl --cacert {certificate} -H 'Content-Type: application/json' {webhook}/mutate -d '{EXAMPLE_REVIEW}'; echo
See how it is:
  curl {admin}/readyz
  curl {admin}/metrics
",
        certificate = certificate.path().display(),
        webhook = url("https", address),
        admin = url("http", admin),
    ))
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The registry's ServiceAccount, as Helm creates it.
const EXAMPLE_REVIEW: &str = concat!(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"try-it","#,
    r#""kind":{"group":"","version":"v1","kind":"ServiceAccount"},"operation":"CREATE","#,
    r#""namespace":"gitlab","name":"gitlab-registry","userInfo":{"username":"admin"},"#,
    r#""object":{"metadata":{"name":"gitlab-registry","#,
    r#""labels":{"app":"registry","chart":"registry-0.7.0","release":"gitlab","heritage":"Helm"}}}}}"#,
);
