//! Which role does a Pod run with, and who gave it that?

use super::{Container, Pod};

/// The variables with which the EKS webhook hands a role to the SDKs.
pub const ROLE_VARIABLE: &str = "AWS_ROLE_ARN";
/// The file with the token that goes with the role.
pub const TOKEN_VARIABLE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

impl Container {
    /// Whether it has this variable with a value, wherever that stands.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.env(name).is_some_and(|variable| variable.is_set)
    }
}

impl Pod {
    /// Whether EKS Pod Identity gives this Pod its credentials.
    #[must_use]
    pub fn has_pod_identity(&self) -> bool {
        self.metadata.label("eks.amazonaws.com/pod-identity").is_some()
            || self.containers().any(|container| container.is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
            || self.audiences().any(|audience| audience == "pods.eks.amazonaws.com")
    }

    /// Whether it has a token for somebody else than the API server.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.audiences().any(|audience| !audience.is_empty())
    }

    /// Returns the containers whose template sets a variable that the EKS webhook would add: it then adds
    /// neither the other one nor the token.
    pub fn containers_with_role_by_hand(&self) -> impl Iterator<Item = &Container> {
        let has_token = self.has_token();
        self.containers().filter(move |container| {
            let (role, token) = (container.is_set(ROLE_VARIABLE), container.is_set(TOKEN_VARIABLE));
            (role || token) && !(role && token && has_token)
        })
    }

    /// Returns the containers that have a role, each with the role, where that stands there.
    pub fn roles(&self) -> impl Iterator<Item = (&Container, &str)> {
        self.containers().filter_map(|container| {
            let role = container.env(ROLE_VARIABLE)?.value.as_deref()?;
            Some((container, role))
        })
    }

    fn audiences(&self) -> impl Iterator<Item = &str> {
        let sources = self.spec.volumes.iter().flat_map(|volume| &volume.projected.sources);
        let tokens = sources.filter_map(|source| source.service_account_token.as_ref());
        tokens.map(|token| token.audience.as_str())
    }
}
