//! What is watched and written in the cluster, and by which task?
//!
//! Each task runs until it is stopped; `cli/serve.rs` starts those that the options ask for.
//!
//! ```text
//! task                watches                       writes                       tells
//! ─────────────────────────────────────────────────────────────────────────────────────────────────────
//! MappingWatch        the mapping's ConfigMap NAME  NAME-last-good; NAME, where  MappingLoader: the text;
//!                     and, every 5 seconds, which   there is none and a starter  MappingFreshness: its
//!                     version of it is the newest   is asked for                 version; Readiness
//! PolicyParameter     which mapping decides; the    NAME-policy                  nobody; the log and the
//!                     ConfigMap NAME-policy                                      metrics
//! Certificates        the certificate's Secret      that Secret                  CertResolver: what to serve
//!                                                                                CaBundle: what to trust
//! CaBundle            both webhook configurations;  their caBundle, where        Certificates: what each
//!                     which certificate is served   Certificates runs            entry trusts; Readiness
//! namespaces::follow  Namespaces with our label,    nothing                      Repair, Observe and
//!                     their metadata alone                                       ImpactPreview: which have
//!                                                                                opted in or are observed;
//!                                                                                EventWriter
//! Repair              ServiceAccounts in those      an empty patch to each that  EventWriter: what somebody
//!                     namespaces, their metadata    is not as decided            must settle
//!                     alone; which mapping decides
//! Observe             ServiceAccounts in observed   nothing                      EventWriter
//!                     namespaces, likewise
//! EventWriter         what it is told by the other  Events                       nobody
//!                     tasks, and by reviews
//! Probe               nothing: every 5 minutes it   a broken NAME-last-good, as  nobody; the log and the
//!                     asks the API server           a dry run: it is refused     metrics say what came of it
//! ```
//!
//! Two more are no tasks: [`mapping_freshness`] reads the mapping's version for `Repair` and `MappingWatch`,
//! and [`impact_preview`] reads the ServiceAccounts when `/validate` asks. [`default_account`] tells
//! `EventWriter` what a review found. Commands use [`inventory`], [`installation`] and [`gitlab_namespaces`],
//! which collect once what they look at, [`survey`], which shows one object after the other,
//! [`named_object`], which reads what a person names, [`tokens`], which gets a token of a ServiceAccount, and
//! [`issuer`], which asks who issues them; before that, [`greeting`] asks whether anybody answers.

mod bundle_exchange;
pub mod ca_bundle;
pub mod certificates;
mod configurations;
mod connect;
mod credential_fault;
mod credential_plugin;
pub mod default_account;
pub mod events;
mod failure;
pub mod gitlab_namespaces;
pub mod greeting;
pub mod impact_preview;
pub mod installation;
pub mod inventory;
pub mod issuer;
pub mod mapping_freshness;
pub mod mapping_watch;
pub mod named_object;
pub mod namespaces;
pub mod observe;
pub mod observed;
mod pages;
pub mod policy_parameter;
pub mod probe;
mod read;
pub mod repair;
mod retry;
mod served_certificate;
mod service_account_watches;
mod service_accounts;
pub mod survey;
pub mod tokens;
mod watch;
mod write_throttle;

use kube::api::PatchParams;

pub use connect::{Access, ConnectError, connect, connect_with};
pub use read::ApiServer;

/// The field manager of everything that we write.
const MANAGER: &str = "gitlab-iam-webhook";

/// One object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME, as in gitlab-iam-webhook/role-mapping".to_owned()),
        }
    }
}

/// The parameters of a patch that is written in our name.
fn in_our_name() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Tells a value to whoever follows it, where it is another one than before.
fn tell<T: PartialEq>(told: &tokio::sync::watch::Sender<T>, value: T) {
    told.send_if_modified(|last| {
        let differs = *last != value;
        *last = value;
        differs
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaced_name_is_a_namespace_and_a_name() {
        assert_eq!("a/b".parse::<NamespacedName>().unwrap().to_string(), "a/b");
        for bad in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(bad.parse::<NamespacedName>().is_err(), "{bad}");
        }
    }
}
