//! What does the operator fix with flags, and no mapping can exceed?

use crate::engine::rules::glob::{Glob, Head};

/// What the operator fixes with flags, and no mapping can exceed.
#[derive(Clone, Debug, Default)]
pub struct OperatorPolicy {
    /// Usernames that are believed as workload controllers beside Kubernetes' own.
    pub workload_controllers: Vec<String>,
    /// Roles that may be handed out; empty means any.
    pub allowed_roles: Vec<AllowedRole>,
}

/// `[NAMESPACE-GLOB=]ARN-GLOB`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRole {
    /// In which namespaces; `None` means any.
    pub namespace: Option<Glob>,
    /// Which roles, by the whole value of the annotation.
    pub role: Glob,
}

impl OperatorPolicy {
    /// Whether `role` may be handed out in `namespace`.
    #[must_use]
    pub fn allows(&self, namespace: &str, role: &str) -> bool {
        self.allowed_roles.is_empty()
            || self.allowed_roles.iter().any(|allowed| {
                allowed.namespace.as_ref().is_none_or(|glob| glob.matches(namespace))
                    && allowed.role.matches(role)
            })
    }

    /// Whether `role` may be handed out anywhere that these namespace globs (none means all) can reach.
    #[must_use]
    pub fn allows_somewhere(&self, namespaces: &[Glob], role: &str) -> bool {
        let reaches = |allowed: &Glob| {
            namespaces.is_empty()
                || namespaces.iter().any(|glob| {
                    // Only a literal namespace is known for certain not to match.
                    let mut heads = glob.heads();
                    heads.any(|head| match head {
                        Head::Exact(name) => allowed.matches(name),
                        Head::Prefix(_) => true,
                    })
                })
        };
        self.allowed_roles.is_empty()
            || self
                .allowed_roles
                .iter()
                .any(|allowed| allowed.role.matches(role) && allowed.namespace.as_ref().is_none_or(reaches))
    }
}

impl std::str::FromStr for AllowedRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let glob = |text: &str| Glob::new(text).map_err(|error| error.to_string());
        let role = |text: &str| {
            if !text.starts_with("arn:") && !text.starts_with(['*', '?', '[', '{']) {
                return Err(format!("the glob is over whole ARNs: write arn:aws:iam::*:role/{text}"));
            }
            glob(text)
        };
        // A role name may hold `=`, a namespace may not hold `:` or `/`: the first `=` parts them only where it can.
        match text.split_once('=') {
            Some((namespace, arn)) if !namespace.contains([':', '/']) => {
                Ok(Self { namespace: Some(glob(namespace)?), role: role(arn)? })
            }
            _ => Ok(Self { namespace: None, role: role(text)? }),
        }
    }
}
