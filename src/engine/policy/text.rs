//! What is the text of the policy?

use crate::engine::rules::operator_policy::AllowedRole;

/// The `spec` of the `MutatingAdmissionPolicy` as YAML, without its `matchConstraints`. `ALLOWED_ROLES` in
/// it stands for the roles that may be given, as a list in JSON. The chart renders the same file.
pub const TEXT: &str = include_str!("../../../charts/gitlab-iam-webhook/files/mutating-policy.yaml");

/// What stands for the allowed roles.
const PLACEHOLDER: &str = "ALLOWED_ROLES\n";

/// The most roles that can be allowed, and the most bytes that they may have together. Each admission
/// compares its role with all of them, and the policy gives nothing where that costs too much.
const MAX_ROLES: usize = 100;
const MAX_ROLE_BYTES: usize = 8_000;

/// Why these roles cannot stand in the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedRoleError {
    /// The policy does not understand one of them.
    #[error(
        "the policy cannot say `{0}`: it understands `*`, `?` and braces without braces in them as in \
         `{{a,b}}`, and beside braces no comma and no `|`"
    )]
    Unknown(String),
    /// They are too many, or too long.
    #[error(
        "{0} allowed roles have {1} bytes, and a policy has at most {MAX_ROLES} with {MAX_ROLE_BYTES} bytes: \
         let one glob allow many roles"
    )]
    TooMany(usize, usize),
}

/// Returns the `spec` for these roles. An empty list allows no role.
///
/// # Errors
/// Returns an error where the policy does not understand one of them, or cannot have so many.
pub fn spec(allowed_roles: &[AllowedRole]) -> Result<String, AllowedRoleError> {
    let roles: Vec<String> = allowed_roles.iter().map(ToString::to_string).collect();
    if let Some(role) = roles.iter().find(|role| !is_understood(role)) {
        return Err(AllowedRoleError::Unknown(role.clone()));
    }
    let bytes = roles.iter().map(String::len).sum();
    if roles.len() > MAX_ROLES || bytes > MAX_ROLE_BYTES {
        return Err(AllowedRoleError::TooMany(roles.len(), bytes));
    }
    let list = serde_json::Value::from(roles).to_string();
    Ok(TEXT.replacen(PLACEHOLDER, &format!("{list}\n"), 1))
}

/// Whether the policy makes an expression of this glob that matches the same.
fn is_understood(glob: &str) -> bool {
    let (mut in_braces, mut has_braces, mut separates_outside) = (false, false, false);
    for c in glob.chars() {
        match c {
            '{' if !in_braces => (in_braces, has_braces) = (true, true),
            '}' if in_braces => in_braces = false,
            ',' => separates_outside |= !in_braces,
            '|' if !in_braces => separates_outside = true,
            '{' | '}' | '|' | '[' | ']' | '\\' => return false,
            c if c.is_control() => return false,
            _ => {}
        }
    }
    !(in_braces || has_braces && separates_outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(role: &str) -> Option<String> {
        spec(&[role.parse().unwrap()]).ok()
    }

    #[test]
    fn the_text_holds_the_allowed_roles() {
        let text = with("ci-*=arn:aws:iam::*:role/{a,b}-?").unwrap();
        assert!(text.contains("      [\"ci-*=arn:aws:iam::*:role/{a,b}-?\"]\n"), "{text}");
        assert!(!text.contains("ALLOWED_ROLES\n"));
        assert!(spec(&[]).unwrap().contains("      []\n"));
        assert_eq!(TEXT.matches(PLACEHOLDER).count(), 1);
    }

    #[test]
    fn a_glob_that_the_policy_does_not_understand_is_refused() {
        for role in ["arn:aws:iam::1:role/a,b", "arn:aws:iam::1:role/a|b", "{a,b}=arn:*:role/{c,d}", "*"] {
            assert!(with(role).is_some(), "{role}");
        }
        for role in
            ["arn:aws:iam::1:role/[ab]", "arn:*:role/{a,{b,c}}", "arn:*:role/{a,b},c", "arn:*:role/{a|b,c}"]
        {
            assert!(with(role).is_none(), "{role}");
        }
    }

    #[test]
    fn more_roles_than_an_admission_can_compare_are_refused() {
        let roles = |count: usize, length: usize| {
            let role = format!("arn:{}", "x".repeat(length - 4)).parse::<AllowedRole>().unwrap();
            spec(&vec![role; count]).err().map(|error| error.to_string())
        };
        assert_eq!(roles(100, 80), None);
        assert_eq!(roles(8, 1_000), None);
        for (count, length) in [(101, 10), (100, 81)] {
            let words = format!(
                "{count} allowed roles have {} bytes, and a policy has at most 100 with 8000 bytes: let one glob \
                 allow many roles",
                count * length
            );
            assert_eq!(roles(count, length), Some(words));
        }
    }
}
