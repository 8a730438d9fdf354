//! Does an API server answer, and where none does, why not, in one sentence?

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;
use serde::Deserialize;
use tokio::time::timeout;

use super::ApiServer;
use super::failure::Failure;
use crate::telemetry::{causes, duration_in_words};

/// How long the first answer may take. A person waits for it, and for nothing else.
const TIME: Duration = Duration::from_secs(4);

/// The longest first answer, in bytes.
const LONGEST: usize = 64 << 10;

/// Why a cluster cannot be asked, and what to do. It has no sources: they are in the sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(String);

/// What is read of the first answer: every API server says its version, and hardly anybody else does.
#[derive(Deserialize)]
struct Version {
    #[serde(rename = "gitVersion")]
    _git: String,
}

/// Asks for the version, which everybody may know, before anything is asked that may take long.
///
/// # Errors
/// When nobody answers, something that is no API server does, or the API server does not know who asks.
pub async fn greet(api: &ApiServer) -> Result<(), Unanswered> {
    let asked = async {
        let request = http::Request::get("/version").body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        api.ask(request, TIME, LONGEST).await?.json::<Version>()
    };
    let failure = match timeout(TIME, asked).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::TooLate(TIME),
    };
    let there = api.address().to_string();
    in_words(&failure, if there.is_empty() { "the API server" } else { there.trim_start_matches(" at ") })
        .map_or(Ok(()), |words| Err(Unanswered(words)))
}

/// Says why nobody can be asked there; nothing where an API server has answered all the same.
fn in_words(failure: &Failure, there: &str) -> Option<String> {
    const OTHER: &str = "name another cluster with --context";
    Some(match failure {
        Failure::Refused(refusal) if refusal.code == 401 => format!(
            "{there} does not take these credentials ({refusal}): log in again, or name another kubeconfig"
        ),
        Failure::Refused(refusal) if refusal.code == 403 && is_about_acting_as(&refusal.to_string()) => {
            format!("{there} lets nobody act as somebody else with these credentials: {refusal}")
        }
        // It has answered. What else is wrong is told of what is asked for.
        Failure::Conflict | Failure::NoRoom(_) => return None,
        Failure::Refused(refusal) if failure.is_not_there() || matches!(refusal.code, 403 | 429) => {
            return None;
        }
        Failure::Refused(refusal) if refusal.code >= 500 => {
            format!("{there} cannot answer now ({refusal}): try again, or {OTHER}")
        }
        Failure::Refused(refusal) => format!(
            "what answers at {there} is no API server ({refusal}): correct `server` in the kubeconfig, or \
             {OTHER}"
        ),
        Failure::Json(_) | Failure::TooLong(_) | Failure::Endless => format!(
            "what answers at {there} is no API server, as it does not say its version: correct `server` in \
             the kubeconfig, or {OTHER}"
        ),
        Failure::TooLate(_) => format!(
            "{there} does not answer within {}: look whether a VPN or a proxy is needed, or {OTHER}",
            duration_in_words(TIME)
        ),
        Failure::Call(_, error) => of_connection(&**error, there, OTHER),
    })
}

fn is_about_acting_as(message: &str) -> bool {
    message.contains("cannot impersonate")
}

/// Says why there is no connection, or none that can be used.
fn of_connection(error: &(dyn Error + 'static), there: &str, other: &str) -> String {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(fault) = this.downcast_ref::<io::Error>() {
            if let Some(words) = tls_fault(fault).and_then(|fault| of_tls(fault, there)) {
                return words;
            }
            match fault.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return format!("{there} refuses connections: start the cluster, or {other}");
                }
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    return format!("no way leads to {there}: look whether a VPN is needed, or {other}");
                }
                _ => {}
            }
        }
        if this.to_string() == "dns error" {
            return format!("no name server knows the host of {there}: correct `server` in the kubeconfig");
        }
        cause = this.source();
    }
    let why = causes(error);
    let why = why.rsplit(": ").next().unwrap_or_default();
    format!("calling {there}: {why}")
}

/// The fault of TLS that an error of a connection stands for. It may be in another one of that type.
fn tls_fault(mut error: &io::Error) -> Option<&rustls::Error> {
    loop {
        let inner = error.get_ref()?;
        match inner.downcast_ref() {
            Some(fault) => return Some(fault),
            None => error = inner.downcast_ref()?,
        }
    }
}

/// Says why TLS fails.
fn of_tls(fault: &rustls::Error, there: &str) -> Option<String> {
    let why = match fault {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            return Some(format!(
                "what answers at {there} does not speak TLS: correct `server` in the kubeconfig"
            ));
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no CA that the kubeconfig trusts has signed it".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "it is for another name".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "it has expired".to_owned(),
        rustls::Error::InvalidCertificate(why) => why.to_string(),
        _ => return None,
    };
    Some(format!(
        "the certificate of {there} is not trusted, as {why}: correct `certificate-authority-data` in the \
         kubeconfig"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::read::tests::{answering, nobody};

    #[tokio::test]
    async fn an_api_server_that_refuses_to_say_its_version_has_answered_all_the_same() {
        for (code, body) in [
            (200, r#"{"gitVersion": "v1.36.0"}"#),
            (403, r#"{"kind": "Status", "code": 403, "message": "forbidden"}"#),
            (404, r#"{"kind": "Status", "code": 404, "message": "not found"}"#),
            (429, ""),
        ] {
            assert!(greet(&answering(code, body)).await.is_ok(), "{code} {body}");
        }
    }

    #[tokio::test]
    async fn what_is_no_api_server_or_takes_no_credentials_is_told() {
        for (code, body, want) in [
            (200, "<html>", "is no API server, as it does not say its version"),
            (200, "{}", "is no API server, as it does not say its version"),
            (302, "", "is no API server (status 302)"),
            (404, "<html>", "is no API server (status 404)"),
            (401, r#"{"message": "Unauthorized"}"#, "does not take these credentials (Unauthorized): log in"),
            (503, "", "cannot answer now (status 503)"),
            (403, r#"{"message": "User x cannot impersonate users"}"#, "lets nobody act as somebody else"),
        ] {
            let told = greet(&answering(code, body)).await.unwrap_err().to_string();
            assert!(told.contains(want), "{code} {body}: {told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_never_answers_is_not_waited_for() {
        let begun = tokio::time::Instant::now();
        let told = greet(&nobody()).await.unwrap_err().to_string();
        assert!(told.starts_with("the API server does not answer within 4s"), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
