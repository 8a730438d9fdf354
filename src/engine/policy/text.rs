//! What is the text of the policy?

use crate::engine::rules::operator_policy::AllowedRole;

/// The `spec` of the `MutatingAdmissionPolicy` as YAML, without its `matchConstraints`. `ALLOWED_ROLES` in
/// it stands for the roles that may be given, as a list in JSON. The chart renders the same file.
pub const TEXT: &str = include_str!("../../../charts/gitlab-iam-webhook/files/mutating-policy.yaml");

/// What stands for the allowed roles.
const PLACEHOLDER: &str = "ALLOWED_ROLES\n";

/// Why an allowed role cannot stand in the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy cannot say `{0}`: it understands `*`, `?` and braces without braces in them as in `{{a,b}}`, \
     and beside braces no comma and no `|`"
)]
pub struct AllowedRoleError(String);

/// Returns the `spec` for these roles. An empty list allows no role.
///
/// # Errors
/// Returns an error where the policy does not understand one of them.
pub fn spec(allowed_roles: &[AllowedRole]) -> Result<String, AllowedRoleError> {
    let roles: Vec<String> = allowed_roles.iter().map(ToString::to_string).collect();
    if let Some(role) = roles.iter().find(|role| !is_understood(role)) {
        return Err(AllowedRoleError(role.clone()));
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
}
