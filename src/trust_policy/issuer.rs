//! Is this URL the issuer of tokens, and what does IAM call its provider?

use std::fmt;
use std::str::FromStr;

/// The longest URL that IAM takes for a provider, in bytes (`OpenIDConnectProviderUrlType` in the service
/// model of IAM).
const MAX_URL: usize = 255;

/// The issuer of a cluster's or of GitLab's tokens, exactly as the claim `iss` says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issuer(Box<str>);

/// Why a text is no issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// It does not begin with `https://`.
    #[error("an issuer begins with https://, as https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE")]
    Scheme,
    /// It is too long.
    #[error("the issuer has {0} characters, IAM allows {MAX_URL}")]
    Length(usize),
    /// It holds something that the URL of a provider cannot have.
    #[error(
        "the issuer must be a host and a path of letters, digits and . - _ ~ / alone, without a user, a \
         query or a fragment"
    )]
    Form,
}

impl Issuer {
    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0
    }

    /// Returns the URL without `https://`, as it stands in the provider's ARN and in the keys of conditions.
    #[must_use]
    pub fn provider(&self) -> &str {
        self.0.strip_prefix("https://").unwrap_or(&self.0)
    }

    /// Returns the ARN of the provider in this partition and account.
    #[must_use]
    pub fn provider_arn(&self, partition: &str, account: &str) -> String {
        format!("arn:{partition}:iam::{account}:oidc-provider/{}", self.provider())
    }
}

impl FromStr for Issuer {
    type Err = IssuerError;

    fn from_str(text: &str) -> Result<Self, IssuerError> {
        let rest = text.strip_prefix("https://").ok_or(IssuerError::Scheme)?;
        if text.len() > MAX_URL {
            return Err(IssuerError::Length(text.len()));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        // Neither a wildcard of IAM nor a policy variable can be written with these.
        let is_path = |c: char| c.is_ascii_alphanumeric() || "._~/-".contains(c);
        let is_good = !host.is_empty()
            && host.chars().all(is_host)
            && port.parse::<u16>().is_ok()
            && path.chars().all(is_path);
        if is_good { Ok(Self(text.into())) } else { Err(IssuerError::Form) }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_the_issuer_without_its_scheme() {
        let issuer: Issuer = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC".parse().unwrap();
        assert_eq!(
            issuer.provider_arn("aws-cn", "123456789012"),
            "arn:aws-cn:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
        );
        assert!("https://kubernetes.default.svc".parse::<Issuer>().is_ok());
        assert!("https://127.0.0.1:6443/a".parse::<Issuer>().is_ok());
    }

    #[test]
    fn what_is_no_issuer_is_refused() {
        let long = format!("https://{}", "a".repeat(255));
        for bad in [
            "oidc.eks.eu-west-1.amazonaws.com/id/ABC",
            "http://a",
            "https://",
            "https:///a",
            "https://user@a",
            "https://a?x=y",
            "https://a#x",
            "https://a:x",
            "https://a:99999",
            "https://*",
            "https://a/*",
            "https://a/${aws:username}",
            "https://a/\"",
            "https://a/b c",
            "https://a/\n",
            &long,
        ] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }
}
