//! Whose token is it, and is it to be believed?

use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::wire::{Refusal, refuse};

/// What an issuer serves under a path, or nothing where it cannot be reached.
pub(crate) type Fetch = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// An OIDC provider of IAM: an account believes the tokens of this issuer for these client ids.
pub(crate) struct Provider {
    pub(crate) account: String,
    pub(crate) issuer: String,
    pub(crate) client_ids: Vec<String>,
    pub(crate) fetch: Fetch,
}

/// The claims of a token for which an account has a provider, and which holds at this time, in seconds since
/// 1970.
pub(super) fn believe<'a>(
    providers: &'a [Provider],
    account: &str,
    token: &str,
    now: u64,
) -> Result<(&'a Provider, Value), Refusal> {
    let invalid = |message: &str| refuse("InvalidIdentityToken", message);
    let not_a_token = || {
        invalid(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        )
    };
    let claimed: Value = insecure_decode(token).map_err(|_| not_a_token())?.claims;
    let issuer = claimed["iss"].as_str().unwrap_or_default();
    let of_account = |provider: &&Provider| provider.account == account && provider.issuer == issuer;
    let Some(provider) = providers.iter().find(of_account) else {
        let message = format!("No OpenIDConnect provider found in your account for {issuer}");
        return Err(invalid(&message));
    };
    if !audiences(&claimed).iter().any(|audience| provider.client_ids.contains(audience)) {
        return Err(invalid("Incorrect token audience"));
    }
    let no_key = || {
        invalid(
            "Couldn't retrieve verification key from your identity provider,  please reference \
                 AssumeRoleWithWebIdentity documentation for requirements",
        )
    };
    let header = decode_header(token).map_err(|_| not_a_token())?;
    let keys = provider.keys()?;
    let key = header.kid.and_then(|id| keys.find(&id).cloned()).ok_or_else(no_key)?;
    let key = DecodingKey::from_jwk(&key).map_err(|_| no_key())?;
    let mut validation = Validation::new(header.alg);
    if ![Algorithm::ES256, Algorithm::RS256].contains(&header.alg) {
        return Err(no_key());
    }
    // The time is looked at below, by this STS's own clock, and the audience was above.
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let claims: Value = decode(token, &key, &validation)
        .map_err(|_| invalid("The signature of the token is invalid"))?
        .claims;
    check_time(&claims, now)?;
    Ok((provider, claims))
}

fn check_time(claims: &Value, now: u64) -> Result<(), Refusal> {
    let Some(end) = claims["exp"].as_u64() else {
        return Err(refuse("InvalidIdentityToken", "Missing a required claim: exp"));
    };
    if end > now {
        return Ok(());
    }
    let message =
        format!("Token expired: current date/time {now} must be before the expiration date/time {end}");
    Err(refuse("ExpiredTokenException", message))
}

impl Provider {
    /// What IAM knows it by.
    pub(super) fn host(&self) -> &str {
        self.issuer.trim_start_matches("https://")
    }

    /// The keys that the issuer publishes, by its discovery document.
    fn keys(&self) -> Result<JwkSet, Refusal> {
        let silent = || {
            refuse(
                "IDPCommunicationError",
                "An error occurred while communicating with the identity provider",
            )
        };
        let document = (self.fetch)("/.well-known/openid-configuration").ok_or_else(silent)?;
        let document: Value = serde_json::from_str(&document).map_err(|_| silent())?;
        let keys = document["jwks_uri"].as_str().filter(|_| document["issuer"] == self.issuer);
        // https://HOST:PORT/PATH
        let path = keys.and_then(|url| url.splitn(4, '/').nth(3)).ok_or_else(silent)?;
        let keys = (self.fetch)(&format!("/{path}")).ok_or_else(silent)?;
        serde_json::from_str(&keys).map_err(|_| silent())
    }
}

/// Whom a token is for.
pub(super) fn audiences(claims: &Value) -> Vec<String> {
    let texts = |all: &Vec<Value>| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => texts(all),
        _ => Vec::new(),
    }
}
