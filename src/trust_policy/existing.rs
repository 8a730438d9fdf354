//! What does a file say of the trust policy that a role has?
//!
//! It is what `aws iam get-role` prints, or the policy alone.

use serde_json::Value;

/// The longest file that is read, in bytes. IAM takes policies of 8,192 characters.
pub const MAX_BYTES: usize = 1 << 20;

/// A trust policy that a role has.
#[derive(Clone, Debug, PartialEq)]
pub struct Existing {
    /// The ARN of the role, where the file says it.
    pub role: Option<String>,
    /// Its policy.
    pub policy: Value,
}

/// Why a text is no trust policy.
#[derive(Debug, thiserror::Error)]
pub enum ExistingError {
    /// It is too long.
    #[error("it has more than {MAX_BYTES} bytes, and no trust policy is that long")]
    TooLong,
    /// It is not JSON.
    #[error("it is not JSON")]
    Json(#[source] serde_json::Error),
    /// It is JSON, but no policy.
    #[error(
        "it holds no trust policy: give what `aws iam get-role --role-name NAME` prints, or the policy alone"
    )]
    NoPolicy,
}

/// Reads the text of a file.
///
/// # Errors
/// When there is no policy in it.
pub fn read(text: &str) -> Result<Existing, ExistingError> {
    if text.len() > MAX_BYTES {
        return Err(ExistingError::TooLong);
    }
    let whole: Value = serde_json::from_str(text).map_err(ExistingError::Json)?;
    let role = whole.get("Role").unwrap_or(&whole);
    let arn = role.get("Arn").and_then(Value::as_str).map(str::to_owned);
    let policy = match role.get("AssumeRolePolicyDocument").unwrap_or(role) {
        // IAM's API answers with the policy in URL encoding, which `aws` takes off.
        Value::String(encoded) => {
            let text = percent_decoded(encoded).ok_or(ExistingError::NoPolicy)?;
            serde_json::from_str(&text).map_err(ExistingError::Json)?
        }
        policy => policy.clone(),
    };
    if matches!(policy.get("Statement"), Some(Value::Array(_) | Value::Object(_))) {
        Ok(Existing { role: arn, policy })
    } else {
        Err(ExistingError::NoPolicy)
    }
}

/// Takes the URL encoding of RFC 3986 off, in which `+` is a plus.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_found_in_each_of_its_wrappings() {
        let bare = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D";
        for (text, role) in [
            (bare.to_owned(), None),
            (format!(r#"{{"Role":{{"Arn":"a","AssumeRolePolicyDocument":{bare}}}}}"#), Some("a")),
            (format!(r#"{{"Role":{{"Arn":"a","AssumeRolePolicyDocument":"{encoded}"}}}}"#), Some("a")),
            (format!(r#"{{"AssumeRolePolicyDocument":{bare}}}"#), None),
            (format!("\"{encoded}\""), None),
        ] {
            let read = read(&text).unwrap();
            assert_eq!(read.role.as_deref(), role, "{text}");
            assert_eq!(read.policy, serde_json::from_str::<Value>(bare).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error() {
        let deep = "[".repeat(100_000);
        let long = " ".repeat(MAX_BYTES + 1);
        for text in [
            "",
            "x",
            "1",
            "[]",
            "{}",
            "{\"Statement\":1}",
            "\"%\"",
            "\"%7\"",
            "\"%ff\"",
            "\"a\"",
            &deep,
            &long,
        ] {
            assert!(read(text).is_err(), "{text:.20}");
        }
    }
}
