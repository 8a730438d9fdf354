//! What does an error of STS mean, and on whose side is it mended?
//!
//! The errors are those that the service model of STS documents for `AssumeRoleWithWebIdentity`, and the
//! messages those that AWS sends with them.

use serde_json::Value;

use super::{Claims, Refused, Region, RoleArn};
use crate::shell;
use crate::telemetry::unix_time_in_words;
use crate::trust_policy::{self, Issuer};

/// The side on which an error is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The role, its trust policy, or the account's OIDC provider.
    Iam,
    /// The cluster: its issuer, its keys, its clocks.
    Cluster,
    /// Somewhere between AWS and the issuer.
    Network,
    /// STS itself, or the account's settings of it.
    Sts,
    /// Nobody can say.
    Unknown,
}

/// What the call was about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The role that was asked for.
    pub role: &'a RoleArn,
    /// What the token says.
    pub claims: &'a Claims,
    /// The region whose STS was asked.
    pub region: Option<&'a Region>,
}

/// What an error means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The side on which it is mended.
    pub side: Side,
    /// What may be wrong and how it is mended: one sentence for each cause, without a full stop. One of them
    /// is so.
    pub causes: Vec<String>,
    /// The statement of the role's trust policy that would allow the call, where that may be missing.
    pub statement: Option<Value>,
}

impl Side {
    /// Returns the word for it in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Cluster => "cluster",
            Self::Network => "network",
            Self::Sts => "sts",
            Self::Unknown => "unknown",
        }
    }

    /// Says where to mend it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Iam => "to be mended in IAM",
            Self::Cluster => "to be mended in the cluster",
            Self::Network => "to be mended between AWS and the cluster's issuer",
            Self::Sts => "to be mended at STS",
            Self::Unknown => "not known where to be mended",
        }
    }
}

/// Explains an error.
#[must_use]
pub fn explain(refused: &Refused, about: &About<'_>) -> Explanation {
    let only = |side, cause: String| Explanation { side, causes: vec![cause], statement: None };
    let issuer = &about.claims.issuer;
    match refused.code.as_str() {
        _ if refused.is_throttling() => only(
            Side::Sts,
            "STS takes no more calls just now, not after a pause either: wait a minute and ask again"
                .to_owned(),
        ),
        "AccessDenied" | "AccessDeniedException" => access_denied(about),
        "InvalidIdentityToken" | "InvalidIdentityTokenException" => invalid_token(&refused.message, about),
        "ExpiredTokenException" | "ExpiredToken" => only(Side::Cluster, expired(about.claims)),
        "IDPRejectedClaim" | "IDPRejectedClaimException" => only(
            Side::Cluster,
            format!(
                "the issuer's keys or claims are not those that AWS expects, or the token has expired or was \
                 revoked: compare the issuer of the token, {issuer}, with the one that IAM's OIDC provider \
                 and {} name",
                discovery(issuer)
            ),
        ),
        "IDPCommunicationError" | "IDPCommunicationErrorException" => {
            only(Side::Network, unreachable_issuer(issuer))
        }
        "RegionDisabledException" | "RegionDisabled" => only(Side::Sts, disabled(about)),
        "ValidationError" => {
            only(Side::Unknown, "STS does not take the request as such: its words name the field".to_owned())
        }
        _ if refused.status >= 500 => {
            only(Side::Sts, "STS could not do its work, not after a pause either: ask again later".to_owned())
        }
        _ => only(
            Side::Unknown,
            "AWS documents no such error for this call: its words are all there is to go by".to_owned(),
        ),
    }
}

/// STS says no more than that, so that every cause is listed.
fn access_denied(about: &About<'_>) -> Explanation {
    let About { role, claims, .. } = about;
    let audience = claims.audiences.first().map_or("", String::as_str);
    let causes = vec![
        format!(
            "the trust policy of the role does not allow the sub {} with the aud {audience}, or names \
             another OIDC provider: add the statement below to it",
            claims.subject
        ),
        format!(
            "there is no such role, of which STS says the same: look with `aws iam get-role --role-name {}` \
             in the account {}",
            role.name(),
            role.account()
        ),
        "something denies it explicitly: a statement with Deny in the trust policy, a service or resource \
         control policy of the organization, or the policy of a VPC endpoint"
            .to_owned(),
        "the trust policy has one more condition that this call does not meet, as sts:RoleSessionName or \
         aws:SourceIp"
            .to_owned(),
    ];
    Explanation { side: Side::Iam, causes, statement: statement(about) }
}

fn invalid_token(message: &str, about: &About<'_>) -> Explanation {
    let About { role, claims, .. } = about;
    let (issuer, account) = (&claims.issuer, role.account());
    let audience = claims.audiences.first().map_or("", String::as_str);
    let says = |words: &str| message.to_ascii_lowercase().contains(words);
    let (side, cause) = if says("no openidconnect provider") {
        (
            Side::Iam,
            format!(
                "the account {account} has no OIDC provider for the issuer {issuer}: register it with `aws \
                 iam create-open-id-connect-provider --url {} --client-id-list {}`, or on EKS with `eksctl \
                 utils associate-iam-oidc-provider --cluster CLUSTER --approve`",
                shell::word(issuer),
                shell::word(audience)
            ),
        )
    } else if says("incorrect token audience") {
        (
            Side::Iam,
            format!(
                "the OIDC provider of the account {account} does not list the audience {audience} among its \
                 client ids: add it with `aws iam add-client-id-to-open-id-connect-provider \
                 --open-id-connect-provider-arn {} --client-id {}`",
                shell::word(&provider_arn(about)),
                shell::word(audience)
            ),
        )
    } else if says("thumbprint") {
        (
            Side::Iam,
            format!(
                "the certificate of the issuer {issuer} is not the one that IAM's OIDC provider knows: renew \
                 it with `aws iam update-open-id-connect-provider-thumbprint --open-id-connect-provider-arn \
                 {} --thumbprint-list THUMBPRINT`",
                shell::word(&provider_arn(about))
            ),
        )
    } else if says("retrieve verification key") {
        (
            Side::Cluster,
            format!(
                "STS found no key for the token's signature: {}, and its jwks_uri must list the key that the \
                 API server signs with, as `kubectl get --raw /openid/v1/jwks` prints it",
                unreachable_issuer(issuer)
            ),
        )
    } else {
        (
            Side::Cluster,
            format!(
                "STS cannot validate the token: its issuer must be, letter by letter, the one of {}, and its \
                 signature one of a key that is published there",
                discovery(issuer)
            ),
        )
    };
    Explanation { side, causes: vec![cause], statement: None }
}

fn expired(claims: &Claims) -> String {
    let time =
        |seconds: Option<i64>| seconds.map_or_else(|| "an unknown time".to_owned(), unix_time_in_words);
    format!(
        "by AWS's clock the token has ended: it was issued at {} and ends at {}; set the clocks of the \
         control plane's nodes (NTP), and in a Pod look whether the kubelet still renews the token's file",
        time(claims.issued_at),
        time(claims.ends_at)
    )
}

fn unreachable_issuer(issuer: &str) -> String {
    format!(
        "AWS must be able to read {} from the internet, without credentials and with a certificate of a \
         public CA",
        discovery(issuer)
    )
}

fn disabled(about: &About<'_>) -> String {
    let account = about.role.account();
    let region = about.region.map_or_else(|| "this region".to_owned(), ToString::to_string);
    format!(
        "STS is switched off in {region} for the account {account}: switch it on in IAM's console under \
         Account settings, or name another region with --region and in AWS_REGION of the Pods"
    )
}

fn discovery(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// The name by which IAM knows an issuer.
fn provider_name(issuer: &str) -> &str {
    issuer.strip_prefix("https://").unwrap_or(issuer)
}

fn provider_arn(about: &About<'_>) -> String {
    let (partition, account) = (about.role.partition(), about.role.account());
    format!("arn:{partition}:iam::{account}:oidc-provider/{}", provider_name(&about.claims.issuer))
}

/// The statement of a trust policy that allows this token to take the role, as `trust-policy` makes it. There
/// is none for an issuer that IAM does not take.
fn statement(about: &About<'_>) -> Option<Value> {
    let Claims { issuer, subject, audiences, .. } = about.claims;
    let issuer: Issuer = issuer.parse().ok()?;
    let statement = trust_policy::statement_for(&issuer, audiences.first()?, subject, about.role.as_str())?;
    Some(statement.to_json())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC";

    fn explained(code: &str, message: &str, issuer: &str) -> Explanation {
        let refused = Refused { status: 400, code: code.to_owned(), message: message.to_owned() };
        let role = RoleArn::new("arn:aws:iam::123456789012:role/path/registry").unwrap();
        let claims = Claims {
            issuer: issuer.to_owned(),
            subject: "system:serviceaccount:gitlab:gitlab-registry".to_owned(),
            audiences: vec!["sts.amazonaws.com".to_owned()],
            issued_at: Some(0),
            ends_at: Some(600),
        };
        explain(
            &refused,
            &About { role: &role, claims: &claims, region: Some(&"eu-west-1".parse().unwrap()) },
        )
    }

    #[test]
    fn each_documented_error_is_explained_on_the_side_where_it_is_mended() {
        for (code, message, side, words) in [
            (
                "AccessDenied",
                "Not authorized to perform sts:AssumeRoleWithWebIdentity",
                Side::Iam,
                "get-role --role-name registry`",
            ),
            (
                "InvalidIdentityToken",
                "No OpenIDConnect provider found in your account for https://x",
                Side::Iam,
                "--url https://oidc.eks.eu-west-1.amazonaws.com/id/ABC --client-id-list sts.amazonaws.com`",
            ),
            (
                "InvalidIdentityToken",
                "Incorrect token audience",
                Side::Iam,
                "oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC --client-id sts.amazonaws.com`",
            ),
            (
                "InvalidIdentityToken",
                "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint",
                Side::Iam,
                "update-open-id-connect-provider-thumbprint",
            ),
            (
                "InvalidIdentityToken",
                "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements",
                Side::Cluster,
                "/id/ABC/.well-known/openid-configuration",
            ),
            ("InvalidIdentityToken", "Provided Token is not valid", Side::Cluster, "letter by letter"),
            ("IDPRejectedClaim", "", Side::Cluster, ISSUER),
            ("IDPCommunicationError", "", Side::Network, "from the internet"),
            (
                "ExpiredTokenException",
                "Token expired: current date/time 1 must be before the expiration date/time 0",
                Side::Cluster,
                "ends at 1970-01-01T00:10:00Z",
            ),
            (
                "RegionDisabledException",
                "STS is not activated in this region",
                Side::Sts,
                "switched off in eu-west-1 for the account 123456789012",
            ),
            ("Throttling", "Rate exceeded", Side::Sts, "wait a minute"),
            ("ValidationError", "Request ARN is invalid", Side::Unknown, "names"),
            ("Surprise", "", Side::Unknown, "no such error"),
        ] {
            let Explanation { side: found, causes, statement } = explained(code, message, ISSUER);
            assert_eq!(found, side, "{code}");
            assert!(
                causes.iter().any(|cause| cause.contains(words) || words == "names"),
                "{code}: {causes:#?}"
            );
            assert_eq!(statement.is_some(), code == "AccessDenied", "{code}");
            assert!(causes.iter().all(|cause| !cause.ends_with('.')), "{causes:#?}");
        }
    }

    #[test]
    fn the_statement_names_provider_subject_and_audience() {
        let want = json!({
            "Effect": "Allow",
            "Principal": {
                "Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
            },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                "oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub": "system:serviceaccount:gitlab:gitlab-registry",
                "oidc.eks.eu-west-1.amazonaws.com/id/ABC:aud": "sts.amazonaws.com",
            }},
        });
        assert_eq!(explained("AccessDenied", "", ISSUER).statement, Some(want));
    }

    #[test]
    fn a_command_that_is_pasted_runs_nothing_that_an_issuer_says() {
        let causes =
            explained("InvalidIdentityToken", "no openidconnect provider", "https://a;'$(id)").causes;
        assert!(causes[0].contains(r"--url 'https://a;'\''$(id)' --client"), "{causes:?}");
    }
}
