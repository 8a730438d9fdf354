//! Which IAM trust policies does a mapping need?
//!
//! A role is given twice: the webhook names it on a ServiceAccount, and the role's trust policy must let that
//! ServiceAccount in. The policies made here let in exactly the accounts to which the mapping gives the role.
//! Where IAM's language cannot say that, nothing wider is made: what is missing is told.
//!
//! ```text
//! reach     which ServiceAccounts does a rule name by itself, and for which must they be looked at?
//! pattern   how does IAM write a glob of the mapping?
//! trusts    whom must each role trust? It is made of the mapping and an inventory.
//! policy    what is a trust policy, and how long is it?
//! terraform, cloudformation  how is it written there?
//! existing, evaluation, comparison  whom does a policy let in that exists already?
//! gitlab    what is the trust policy for GitLab's own id_tokens?
//! ```

mod cloudformation;
pub mod comparison;
pub mod evaluation;
pub mod existing;
pub mod gitlab;
mod issuer;
mod pattern;
mod pods;
pub mod policy;
mod reach;
mod terraform;
mod trusts;

pub use cloudformation::template as cloudformation;
pub use issuer::{Issuer, IssuerError};
pub use policy::{Policy, Statement};
pub use terraform::{
    associations as terraform_associations, document as terraform_document, names as terraform_names,
};
pub use trusts::{Account, GlobTrust, Lack, Sources, Trust, Trusts, WebTrust, make};

/// Returns the statement that lets the token of one ServiceAccount take a role: `verify` shows it where STS
/// refuses the token. It is `None` where the role is no ARN.
#[must_use]
pub fn statement_for(issuer: &Issuer, audience: &str, subject: &str, role: &str) -> Option<Statement> {
    policy::web_identity(issuer, role, audience, policy::Subjects::Exactly(vec![subject.to_owned()]))
}

/// Returns what IAM (`${`), Terraform (`&{`) or `CloudFormation` (`{{`) would not take as it stands.
fn read_as_variable(text: &str) -> Option<&'static str> {
    ["${", "&{", "{{"].into_iter().find(|sign| text.contains(sign))
}

/// Returns the `sub` of a ServiceAccount's token.
#[must_use]
pub fn subject(namespace: &str, service_account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{service_account}")
}
