//! Which role does the value of an annotation stand for?

use super::Terms;
use crate::engine::object::provider::Provider;
use crate::engine::rules::arn::{self, RoleError};
use crate::engine::rules::role_template::is_arn;

/// A role as a rule says it.
pub(super) struct Role {
    pub(super) text: String,
    pub(super) remark: Option<&'static str>,
}

/// Why the value of an annotation stands for no role.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRole {
    #[error("it is empty")]
    Empty,
    #[error("it is made by a template, which only Helm can fill")]
    Template,
    #[error("a brace would begin a placeholder in a mapping: write that rule by hand")]
    Brace,
    #[error("no rule can say it: {0}")]
    Problem(String),
    #[error(transparent)]
    Grammar(#[from] RoleError),
}

const BARE: &str = "a role without an ARN stays as it is: what kube2iam or kiam puts before it \
    (--base-role-arn) goes on to complete it";

/// Reads the value of `eks.amazonaws.com/role-arn`. A name without an ARN is none: the EKS webhook completes
/// it only with `--compose-role-arn`, which is off.
pub(super) fn irsa(value: &str) -> Result<Role, NoRole> {
    plain(value)?;
    arn::check_arn(value)?;
    Ok(Role { text: value.to_owned(), remark: None })
}

/// Reads the value of `iam.amazonaws.com/role`. Both kube2iam and kiam put their base before what does not
/// begin with `arn:`, and kiam takes a slash off first.
pub(super) fn of_pods(value: &str, terms: &Terms) -> Result<Role, NoRole> {
    plain(value)?;
    if is_arn(value) {
        arn::check_arn(value)?;
        return Ok(Role { text: value.to_owned(), remark: None });
    }
    let name = match terms.pod_provider {
        Provider::Kiam => value.strip_prefix('/').unwrap_or(value),
        Provider::Irsa | Provider::Kube2iam => value,
    };
    match &terms.base_role_arn {
        Some(base) => {
            let text = format!("{base}{name}");
            arn::check_arn(&text)?;
            Ok(Role { text, remark: None })
        }
        None => {
            arn::check_path_and_name(name)?;
            Ok(Role { text: name.to_owned(), remark: Some(BARE) })
        }
    }
}

fn plain(value: &str) -> Result<(), NoRole> {
    match value {
        "" => Err(NoRole::Empty),
        _ if value.contains("{{") => Err(NoRole::Template),
        _ if value.contains(['{', '}']) => Err(NoRole::Brace),
        _ => Ok(()),
    }
}
