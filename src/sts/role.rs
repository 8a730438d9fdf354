//! What does the ARN of a role say?

use crate::engine::rules::arn::{RoleError, check_arn};

/// The ARN of a role that IAM could hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArn(String);

impl RoleArn {
    /// Takes an ARN.
    ///
    /// # Errors
    /// When it is not the ARN of a role.
    pub fn new(arn: &str) -> Result<Self, RoleError> {
        check_arn(arn)?;
        Ok(Self(arn.to_owned()))
    }

    /// Returns the whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the partition, as `aws`.
    #[must_use]
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// Returns the account, which has 12 digits.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// Returns the name without its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    fn part(&self, index: usize) -> &str {
        self.0.split(':').nth(index).unwrap_or_default()
    }

    /// Whether this is the ARN of a session of this role. AWS leaves the role's path out of it.
    pub(super) fn is_assumed_as(&self, arn: &str, session: &str) -> bool {
        let (partition, account, name) = (self.partition(), self.account(), self.name());
        arn == format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_of_a_role_is_known_by_everything_but_the_path() {
        let role = RoleArn::new("arn:aws-cn:iam::123456789012:role/a/b/Registry").unwrap();
        assert_eq!((role.partition(), role.account(), role.name()), ("aws-cn", "123456789012", "Registry"));
        assert!(role.is_assumed_as("arn:aws-cn:sts::123456789012:assumed-role/Registry/me", "me"));
        for other in [
            "arn:aws:sts::123456789012:assumed-role/Registry/me",
            "arn:aws-cn:sts::210987654321:assumed-role/Registry/me",
            "arn:aws-cn:sts::123456789012:assumed-role/Other/me",
            "arn:aws-cn:sts::123456789012:assumed-role/Registry/you",
            "",
        ] {
            assert!(!role.is_assumed_as(other, "me"), "{other}");
        }
    }
}
