//! Is this text the name or the ARN of a role that IAM could hold?
//!
//! The grammar is that of `roleNameType`, `pathType` and `arnType` in the service models of IAM and STS
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).

/// The partitions in which IAM roles live, as ARNs spell them.
pub const PARTITIONS: [&str; 8] =
    ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"];

/// What a role's name may hold beside letters and digits.
pub const NAME_SIGNS: &str = "_+=,.@-";

const MAX_NAME: usize = 64;
const MAX_PATH: usize = 512;
/// The longest ARN that IAM takes.
pub const MAX_ARN: usize = 2048;

/// Why a text is no role. Each message is for whoever wrote the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// It does not look like `arn:partition:iam::account:role/...`.
    #[error("`{0}` is not a role ARN: it must look like arn:aws:iam::123456789012:role/NAME")]
    Shape(String),
    /// It is a session of a role, which cannot be assumed again.
    #[error(
        "`{0}` is the session of a role, not a role: it must look like arn:aws:iam::123456789012:role/NAME"
    )]
    Session(String),
    /// It is a user, an instance profile or another resource of IAM.
    #[error("`{0}` is not a role: after the account must come role/NAME")]
    Resource(String),
    /// It names a region, although IAM has none.
    #[error(
        "`{0}` names a region, but IAM roles have none: leave it empty, as in \
         arn:aws:iam::123456789012:role/NAME"
    )]
    Region(String),
    /// It names a partition that AWS does not have.
    #[error("unknown partition `{0}`: known are {known}", known = PARTITIONS.join(", "))]
    Partition(String),
    /// The account has not 12 digits.
    #[error("the account `{0}` must be 12 digits")]
    Account(String),
    /// It is empty.
    #[error("the role is empty")]
    Empty,
    /// Nothing follows the last slash.
    #[error("the role `{0}` has no name after its last `/`")]
    NoName(String),
    /// The name is too long.
    #[error("the role name `{0}` has {1} characters, IAM allows {MAX_NAME}")]
    NameLength(String, usize),
    /// The name holds a character that IAM does not take.
    #[error("the role name `{0}` holds `{1}`: IAM allows letters, digits and {NAME_SIGNS}")]
    NameCharacter(String, char),
    /// A role without an ARN begins with a slash.
    #[error("the role `{0}` must not begin with `/`: write the path without it, as in backup/NAME")]
    LeadingSlash(String),
    /// The path is too long, has an empty part, or holds a character that IAM does not take.
    #[error(
        "the role path `{0}` must be at most {MAX_PATH} characters from `!` to `~`, without an empty part"
    )]
    Path(String),
    /// The ARN as a whole is too long.
    #[error("the role ARN has {0} characters, IAM allows {MAX_ARN}")]
    Length(usize),
}

/// Checks that an AWS account id has 12 digits.
///
/// # Errors
/// Returns [`RoleError::Account`] where it has not.
pub fn check_account(account: &str) -> Result<(), RoleError> {
    if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(RoleError::Account(account.to_owned()))
    }
}

/// Checks a full role ARN.
///
/// # Errors
/// Returns the first thing that is wrong with it.
pub fn check_arn(arn: &str) -> Result<(), RoleError> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    let (Some("arn"), Some(partition), Some(service), Some(region), Some(account), Some(resource)) =
        (next(), next(), next(), next(), next(), next())
    else {
        return Err(RoleError::Shape(arn.to_owned()));
    };
    if resource.starts_with("assumed-role/") {
        return Err(RoleError::Session(arn.to_owned()));
    }
    if service != "iam" {
        return Err(RoleError::Shape(arn.to_owned()));
    }
    if !PARTITIONS.contains(&partition) {
        return Err(RoleError::Partition(partition.to_owned()));
    }
    if !region.is_empty() {
        return Err(RoleError::Region(arn.to_owned()));
    }
    check_account(account)?;
    let Some(role) = resource.strip_prefix("role/") else {
        return Err(RoleError::Resource(arn.to_owned()));
    };
    check_path_and_name(role)?;
    if arn.len() > MAX_ARN {
        return Err(RoleError::Length(arn.len()));
    }
    Ok(())
}

/// Checks a role without its ARN: `NAME` or `path/NAME`.
///
/// # Errors
/// Returns the first thing that is wrong with it.
pub fn check_path_and_name(role: &str) -> Result<(), RoleError> {
    let (path, name) = role.rsplit_once('/').map_or((None, role), |(path, name)| (Some(path), name));
    if role.starts_with('/') {
        return Err(RoleError::LeadingSlash(role.to_owned()));
    }
    if role.is_empty() {
        return Err(RoleError::Empty);
    }
    if name.is_empty() {
        return Err(RoleError::NoName(role.to_owned()));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || NAME_SIGNS.contains(c);
    if let Some(c) = name.chars().find(|c| !is_name(*c)) {
        return Err(RoleError::NameCharacter(name.to_owned(), c));
    }
    if name.len() > MAX_NAME {
        return Err(RoleError::NameLength(name.to_owned(), name.len()));
    }
    if let Some(path) = path {
        let printable = path.bytes().all(|b| (b'!'..=b'~').contains(&b));
        // IAM counts the slashes at both ends of a path.
        if !printable || path.len() + 2 > MAX_PATH || path.split('/').any(str::is_empty) {
            return Err(RoleError::Path(path.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_arns_of_every_partition_are_accepted() {
        for partition in PARTITIONS {
            check_arn(&format!("arn:{partition}:iam::123456789012:role/backup/git_lab+=,.@-")).unwrap();
        }
        check_arn(&format!("arn:aws:iam::123456789012:role/{}", "n".repeat(64))).unwrap();
    }

    #[test]
    fn what_is_no_role_is_refused_with_its_reason() {
        let cases = [
            ("gitlab", RoleError::Shape("gitlab".into())),
            ("arn:aws:s3::123456789012:role/x", RoleError::Shape("arn:aws:s3::123456789012:role/x".into())),
            (
                "arn:aws:sts::123456789012:assumed-role/x/y",
                RoleError::Session("arn:aws:sts::123456789012:assumed-role/x/y".into()),
            ),
            (
                "arn:aws:iam::123456789012:user/x",
                RoleError::Resource("arn:aws:iam::123456789012:user/x".into()),
            ),
            (
                "arn:aws:iam:eu-west-1:123456789012:role/x",
                RoleError::Region("arn:aws:iam:eu-west-1:123456789012:role/x".into()),
            ),
            ("arn:aws-mars:iam::123456789012:role/x", RoleError::Partition("aws-mars".into())),
            ("arn:aws:iam::12345678901:role/x", RoleError::Account("12345678901".into())),
            ("arn:aws:iam::12345678901x:role/x", RoleError::Account("12345678901x".into())),
            ("arn:aws:iam::123456789012:role/", RoleError::Empty),
            ("arn:aws:iam::123456789012:role/a/", RoleError::NoName("a/".into())),
            ("arn:aws:iam::123456789012:role/a b", RoleError::NameCharacter("a b".into(), ' ')),
            ("arn:aws:iam::123456789012:role/a//b", RoleError::Path("a/".into())),
            ("arn:aws:iam::123456789012:role//b", RoleError::LeadingSlash("/b".into())),
        ];
        for (arn, want) in cases {
            assert_eq!(check_arn(arn).unwrap_err(), want, "{arn}");
        }
        let long = "n".repeat(65);
        assert_eq!(check_path_and_name(&long), Err(RoleError::NameLength(long.clone(), 65)));
        assert!(matches!(check_path_and_name(&format!("{}/x", "p".repeat(511))), Err(RoleError::Path(_))));
    }

    #[test]
    fn names_and_paths_have_the_lengths_of_iam() {
        let of = |path: usize, name: usize| {
            let path = if path > 0 { format!("{}/", "p".repeat(path - 2)) } else { String::new() };
            format!("{path}{}", "n".repeat(name))
        };
        for (role, is_role) in [
            (of(0, 1), true),
            (of(0, 64), true),
            (of(0, 65), false),
            // Of a path's 512 characters two are the slashes at its ends.
            (of(3, 1), true),
            (of(512, 64), true),
            (of(513, 64), false),
            ("!/n".to_owned(), true),
            ("~/n".to_owned(), true),
            (" /n".to_owned(), false),
            ("\u{7f}/n".to_owned(), false),
            ("a/b/n".to_owned(), true),
            ("a//n".to_owned(), false),
        ] {
            assert_eq!(check_path_and_name(&role).is_ok(), is_role, "{role}");
            assert_eq!(
                check_arn(&format!("arn:aws:iam::123456789012:role/{role}")).is_ok(),
                is_role,
                "{role}"
            );
        }
    }

    #[test]
    fn an_account_has_12_digits() {
        check_account("012345678901").unwrap();
        for account in ["", "12345678901", "1234567890123", "12345678901x", "１２３４"] {
            assert!(check_account(account).is_err(), "{account}");
        }
    }
}
