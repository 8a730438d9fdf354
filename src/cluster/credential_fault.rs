//! Why can credentials of the cluster not be used, in words that repeat none of them?
//!
//! kube's own errors quote the kubeconfig, and what a credential plugin got and printed: tokens, passwords.

use std::error::Error;

use kube::client::AuthError;
use kube::config::{KubeconfigError, LoadDataError};
use tower::BoxError;

/// Why credentials cannot be used. It holds no credential.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub(super) String);

/// Why this kubeconfig cannot be used.
pub(super) fn of_kubeconfig(place: &str, error: &KubeconfigError) -> Unusable {
    let place = place.replace(char::is_control, "?");
    let why = match error {
        KubeconfigError::ReadConfig(why, path) => return Unusable(format!("{}: {why}", path.display())),
        KubeconfigError::Parse(fault) => {
            let line = fault.location().map(|at| format!(" at line {} column {}", at.line(), at.column()));
            format!("it is no valid kubeconfig{}", line.unwrap_or_default())
        }
        KubeconfigError::LoadCertificateAuthority(why) => format!("its certificate authority {}", load(why)),
        KubeconfigError::LoadClientCertificate(why) => format!("its client certificate {}", load(why)),
        KubeconfigError::LoadClientKey(why) => format!("its client key {}", load(why)),
        KubeconfigError::ParseCertificates(_) => "its certificates are not PEM".to_owned(),
        KubeconfigError::CurrentContextNotSet => {
            "it sets no current context: name one with --context".to_owned()
        }
        KubeconfigError::LoadContext(name) => format!("it has no context {name}"),
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("it has no cluster {name}, which its context names")
        }
        KubeconfigError::FindPath => "there is none".to_owned(),
        KubeconfigError::MissingClusterUrl => "its cluster has no server".to_owned(),
        KubeconfigError::ParseClusterUrl(_) => "its cluster's server is no URL".to_owned(),
        KubeconfigError::ParseProxyUrl(_) => "its proxy-url is no URL".to_owned(),
        _ => "it cannot be used".to_owned(),
    };
    Unusable(format!("{place}: {why}"))
}

/// A path is not shown: somebody may have written the key itself where its path belongs.
fn load(why: &LoadDataError) -> String {
    match why {
        LoadDataError::DecodeBase64(_) => "is not base64".to_owned(),
        LoadDataError::ReadFile(why, _) => format!("cannot be read: {why}"),
        LoadDataError::NoBase64DataOrFile => "is missing".to_owned(),
    }
}

/// Why no client can be made.
pub(super) fn of_client(error: &kube::Error) -> Unusable {
    match error {
        kube::Error::Auth(why) => of_user(why),
        kube::Error::InferKubeconfig(why) => of_kubeconfig("the kubeconfig", why),
        other => Unusable(other.to_string()),
    }
}

fn of_user(error: &AuthError) -> Unusable {
    Unusable(match error {
        AuthError::AuthExecRun { out, .. } => format!("the credential plugin ended with {}", out.status),
        AuthError::AuthExecStart(why) => format!("the credential plugin cannot be run: {why}"),
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            "what the credential plugin printed cannot be read".to_owned()
        }
        AuthError::ExecPluginFailed => "the credential plugin printed no credentials".to_owned(),
        AuthError::ReadTokenFile(why, path) => format!("reading the token {}: {why}", path.display()),
        AuthError::InvalidBearerToken(_) | AuthError::InvalidBasicAuth(_) => UNSENDABLE.to_owned(),
        AuthError::MalformedTokenExpirationDate(_) => "the token's time of expiry is no time".to_owned(),
        AuthError::MissingCommand => "the credential plugin has no command".to_owned(),
        _ => "the credentials of the kubeconfig's user cannot be used".to_owned(),
    })
}

/// What is said of a token with a line break or another control character.
pub(super) const UNSENDABLE: &str = "the token has characters that cannot be sent, as a line break";

/// The error of a call, without what a credential plugin printed.
pub(super) fn hidden(error: kube::Error) -> BoxError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(why) = this.downcast_ref::<AuthError>() {
            return of_user(why).into();
        }
        cause = this.source();
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::causes;

    #[test]
    fn a_call_that_fails_for_its_credentials_tells_none_of_them() {
        let mut plugin = std::process::Command::new("sh");
        let out = plugin.args(["-c", "echo PLANTED; echo PLANTED >&2; exit 3"]).output().unwrap();
        let why = AuthError::AuthExecRun { cmd: "aws PLANTED".to_owned(), out: Box::new(out) };
        let error = hidden(kube::Error::Service(Box::new(why)));
        assert_eq!(causes(&*error), "the credential plugin ended with exit status: 3");
        assert!(!format!("{error:?}").contains("PLANTED"));
    }
}
