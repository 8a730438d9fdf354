//! What does the operator of the webhook allow, whatever a mapping says?

use crate::engine::rules::glob::{Glob, Head};

/// What the operator fixes with flags. Whoever edits the mapping cannot go beyond it.
#[derive(Clone, Debug, Default)]
pub struct OperatorPolicy {
    /// The usernames that are believed as workload controllers, beside Kubernetes' own.
    pub workload_controllers: Vec<String>,
    /// The roles that may be given. Where the list is empty, any role may be given.
    pub allowed_roles: Vec<AllowedRole>,
}

/// Roles that may be given in some namespaces. The operator writes it as `[NAMESPACE-GLOB=]ARN-GLOB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRole {
    /// The namespaces in which the roles may be given; `None` for every namespace.
    pub namespace: Option<Glob>,
    /// The roles, by the whole value of the annotation.
    pub role: Glob,
}

impl OperatorPolicy {
    /// Whether `role` may be given in `namespace`.
    #[must_use]
    pub fn allows(&self, namespace: &str, role: &str) -> bool {
        self.allowed_roles.is_empty()
            || self.allowed_roles.iter().any(|allowed| {
                allowed.namespace.as_ref().is_none_or(|glob| glob.matches(namespace))
                    && allowed.role.matches(role)
            })
    }

    /// Whether `role` may be given in some namespace that these globs can match. No glob at all stands for
    /// every namespace.
    #[must_use]
    pub fn allows_somewhere(&self, namespaces: &[Glob], role: &str) -> bool {
        let reaches = |allowed: &Glob| {
            namespaces.is_empty()
                || namespaces.iter().any(|glob| {
                    // Whether two globs can match the same name is not looked into: only a literal is sure
                    // not to match.
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

impl std::fmt::Display for AllowedRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}=")?;
        }
        self.role.fmt(f)
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
        // The name of a role may hold `=`, too. What stands before the first `=` is a namespace only where it
        // has no `:` and no `/`: no namespace has these, and every ARN has.
        match text.split_once('=') {
            Some((namespace, arn)) if !namespace.contains([':', '/']) => {
                Ok(Self { namespace: Some(glob(namespace)?), role: role(arn)? })
            }
            _ => Ok(Self { namespace: None, role: role(text)? }),
        }
    }
}
