//! Does STS give the role of the Pod's web identity?

use std::io::ErrorKind;
use std::path::Path;

use super::profile::bounded;
use super::sources::Variable;
use crate::sts::{About, Ask, AskError, Claims, Explanation, Refused, RoleArn, Sts, Token, explain};
use crate::telemetry::causes;

/// The name of the session, which `CloudTrail` shows.
const SESSION: &str = "gitlab-iam-webhook-whoami";

/// The most bytes of a token's file that are read: more than STS takes.
const LONGEST_FILE: u64 = 32 << 10;

/// What the web identity is, and what came of it.
#[derive(Debug)]
pub(super) struct WebIdentity {
    /// `AWS_ROLE_ARN`
    pub(super) role: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`
    pub(super) token_file: Option<String>,
    /// What the token says, where it can be read.
    pub(super) claims: Option<Claims>,
    /// Who was asked.
    pub(super) endpoint: Option<String>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// There is no web identity.
    Absent,
    /// There is one that no SDK could use.
    Unusable(String),
    /// STS gives the role, in a session of this ARN.
    Given(String),
    /// STS refuses it.
    Refused { refused: Refused, explanation: Explanation },
    /// Nobody knows, for this reason.
    Unknown(String),
}

impl WebIdentity {
    /// Asks STS with what the environment names.
    pub(super) async fn ask(sts: &Sts, variable: Variable<'_>, audience: &str) -> Self {
        let mut identity = Self {
            role: variable("AWS_ROLE_ARN"),
            token_file: variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
            claims: None,
            endpoint: None,
            outcome: Outcome::Absent,
        };
        if identity.token_file.as_deref().is_some_and(is_token) {
            identity.token_file = Some("a token itself, which is not shown".to_owned());
            identity.outcome = Outcome::Unusable(
                "AWS_WEB_IDENTITY_TOKEN_FILE holds a token in place of the name of its file".to_owned(),
            );
        } else if let (Some(role), Some(file)) = (identity.role.clone(), identity.token_file.clone()) {
            let done = identity.outcome(sts, &role, &file, audience).await;
            identity.outcome = done.unwrap_or_else(|outcome| outcome);
        }
        identity
    }

    /// An error is the outcome as well.
    async fn outcome(
        &mut self,
        sts: &Sts,
        role: &str,
        file: &str,
        audience: &str,
    ) -> Result<Outcome, Outcome> {
        let token = bounded(Path::new(file), LONGEST_FILE)
            .map_err(|error| Outcome::Unusable(unread(file, &error)))?;
        let unusable = |error| Outcome::Unusable(format!("{file}: {error}"));
        let token = Token::new(&token).map_err(unusable)?;
        let claims = &*self.claims.insert(token.claims().map_err(unusable)?);
        let role = RoleArn::new(role).map_err(|error| Outcome::Unusable(format!("AWS_ROLE_ARN: {error}")))?;
        if is_for_api_server(claims) {
            return Err(Outcome::Unusable(format!(
                "{file}: the token is one for the API server, and is not sent to anybody: the EKS webhook \
                 mounts another one with the audience sts.amazonaws.com"
            )));
        }
        // Nobody outside knows which audiences an API server takes itself.
        if claims.audiences.as_slice() != [audience] {
            return Err(Outcome::Unusable(format!(
                "{file}: the token is for {}, and only one for {audience} alone is sent to STS: name another \
                 audience with --audience, but never one that the API server takes",
                claims.audiences.join(", ")
            )));
        }
        let endpoint = sts.endpoint(&role).map_err(|error| Outcome::Unknown(error.to_string()))?;
        self.endpoint = Some(endpoint.to_string());
        let ask = Ask { role: &role, token: &token, session: SESSION };
        Ok(match sts.assume(&endpoint, &ask).await {
            Ok(arn) => Outcome::Given(arn),
            Err(AskError::Refused(refused)) => {
                let explanation = explain(&refused, &About { role: &role, claims, region: sts.region() });
                if refused.is_no_verdict() {
                    let why = explanation.causes.join(", or ");
                    return Err(Outcome::Unknown(format!("STS says {refused}: {why}")));
                }
                Outcome::Refused { refused, explanation }
            }
            Err(error) => Outcome::Unknown(causes(&error)),
        })
    }
}

/// Whether a text has a token in it. The header of each begins with `{"`, in base64.
fn is_token(text: &str) -> bool {
    text.contains("eyJ") || Token::new(text).and_then(|token| token.claims()).is_ok()
}

/// Says why the token's file cannot be read, and what to do.
fn unread(file: &str, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("reading {file}: its user cannot read the token: set securityContext.fsGroup of the Pod")
        }
        ErrorKind::NotFound => format!(
            "reading {file}: {error}: the EKS webhook mounts it in a Pod that is made after its \
             ServiceAccount has the role, so restart the Pod"
        ),
        _ => format!("reading {file}: {error}"),
    }
}

/// Whether this is a token that a Pod has for the API server. Its audience is then the issuer, or a name of
/// the API server within the cluster.
fn is_for_api_server(claims: &Claims) -> bool {
    let is_its_own = |audience: &String| {
        let host = audience.strip_prefix("https://").unwrap_or(audience);
        *audience == claims.issuer || host.starts_with("kubernetes.default") || host == "kubernetes"
    };
    claims.audiences.iter().any(is_its_own)
}
