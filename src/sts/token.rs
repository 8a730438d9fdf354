//! What does a token say about itself?
//!
//! A token is a JSON Web Token. Its claims are read without verifying the signature, which is what STS does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

use crate::inventory::Hidden;

/// The longest token that STS takes, in bytes.
const LONGEST_TOKEN: usize = 20_000;

/// The shortest piece of a token that is hidden where others repeat it.
const TELLING: usize = 16;

/// The token of a ServiceAccount. It is a credential, and has no words of its own.
#[derive(Debug)]
pub struct Token(Hidden);

/// Why a text is no token. The text is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// STS takes no token that is so long.
    #[error("the token is longer than {LONGEST_TOKEN} bytes, which STS does not take")]
    TooLong,
    /// It is not three pieces of base64url with dots between them.
    #[error("this is no JSON Web Token")]
    Shape,
    /// There are no claims in its second piece.
    #[error("the claims of the token cannot be read")]
    Claims,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// Who issued it, as `https://oidc.eks.eu-west-1.amazonaws.com/id/ABC`.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// Whom it is about, as `system:serviceaccount:gitlab:gitlab-registry`.
    #[serde(rename = "sub")]
    pub subject: String,
    /// Whom it is for.
    #[serde(rename = "aud", deserialize_with = "one_or_many")]
    pub audiences: Vec<String>,
    /// When it was issued, in seconds since 1970.
    #[serde(default, rename = "iat", deserialize_with = "seconds")]
    pub issued_at: Option<i64>,
    /// When it ends, in seconds since 1970.
    #[serde(default, rename = "exp", deserialize_with = "seconds")]
    pub ends_at: Option<i64>,
}

impl Token {
    /// Takes a text as a token.
    ///
    /// # Errors
    /// When it has not the form of one.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > LONGEST_TOKEN {
            return Err(TokenError::TooLong);
        }
        let is_piece = |piece: &str| !piece.is_empty() && piece.chars().all(is_base64url);
        if text.split('.').count() != 3 || !text.split('.').all(is_piece) {
            return Err(TokenError::Shape);
        }
        Ok(Self(Hidden::new(text.to_owned())))
    }

    /// Lends the text to whoever sends it to STS.
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Reads what it says.
    ///
    /// # Errors
    /// When there are no claims in it.
    pub fn claims(&self) -> Result<Claims, TokenError> {
        let piece = self.expose().split('.').nth(1).ok_or(TokenError::Shape)?;
        let json = URL_SAFE_NO_PAD.decode(piece).map_err(|_| TokenError::Claims)?;
        // serde's error would show what it stumbled on.
        serde_json::from_slice(&json).map_err(|_| TokenError::Claims)
    }

    /// Hides pieces of the token in the words of others: AWS repeats a value that it cannot take.
    pub(super) fn scrub(&self, words: &str) -> String {
        let mut scrubbed = String::with_capacity(words.len());
        let mut rest = words;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_base64url(c)).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            scrubbed.push_str(if self.holds_a_piece_of(run) { "(hidden)" } else { run });
            let next = after.find(is_base64url).unwrap_or(after.len());
            let (between, after) = after.split_at(next);
            scrubbed.push_str(between);
            rest = after;
        }
        scrubbed
    }

    /// Whether some telling part of this run of base64url stands in the token.
    fn holds_a_piece_of(&self, run: &str) -> bool {
        // All of it is ASCII.
        run.as_bytes()
            .windows(TELLING)
            .any(|piece| std::str::from_utf8(piece).is_ok_and(|piece| self.expose().contains(piece)))
    }
}

fn is_base64url(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(from)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// Reads a number of seconds. What is none counts as not said.
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(serde_json::Value::deserialize(from)?.as_i64())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::sts) fn token(claims: &Value) -> Token {
        let piece = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = piece(&json!({"alg": "RS256", "kid": "a"}));
        Token::new(&format!("{header}.{}.{}", piece(claims), "planted-signature_0123456789")).unwrap()
    }

    #[test]
    fn the_claims_of_a_token_are_read_with_one_audience_or_many() {
        let claims =
            token(&json!({"iss": "https://i", "sub": "s", "aud": "a", "exp": 2, "iat": "no"})).claims();
        let claims = claims.unwrap();
        assert_eq!((claims.audiences.as_slice(), claims.ends_at), (&["a".to_owned()][..], Some(2)));
        assert_eq!(claims.issued_at, None);
        let claims = token(&json!({"iss": "https://i", "sub": "s", "aud": ["a", "b"]})).claims().unwrap();
        assert_eq!(claims.audiences, ["a", "b"]);
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        for text in ["", "a", "a.b", "a.b.c.d", "a..c", "planted planted.b.c", "a.b.c\nd"] {
            assert_eq!(Token::new(text).unwrap_err(), TokenError::Shape, "{text}");
        }
        assert_eq!(Token::new(&"a.b.c".repeat(5_000)).unwrap_err(), TokenError::TooLong);
        for claims in [json!([]), json!({"iss": "i", "sub": "s"}), json!({"iss": 1, "sub": "s", "aud": "a"})]
        {
            assert_eq!(token(&claims).claims().unwrap_err(), TokenError::Claims, "{claims}");
        }
        assert_eq!(Token::new("a.b.c").unwrap().claims().unwrap_err(), TokenError::Claims);
    }

    #[test]
    fn pieces_of_a_token_are_hidden_wherever_others_repeat_them() {
        let token = token(&json!({"iss": "https://i", "sub": "s", "aud": "a"}));
        let whole = token.expose().to_owned();
        let message = format!("Value '{whole}' at 'webIdentityToken' failed");
        let want = "Value '(hidden).(hidden).(hidden)' at 'webIdentityToken' failed";
        assert_eq!(token.scrub(&message), want);
        assert_eq!(token.scrub(whole.get(..20).unwrap()), "(hidden)");
        assert_eq!(token.scrub("xxplanted-signature_0123456789yy"), "(hidden)");
        let harmless = "Not authorized to perform sts:AssumeRoleWithWebIdentity – no";
        assert_eq!(token.scrub(harmless), harmless);
        assert!(!format!("{token:?}").contains("ey"));
    }
}
