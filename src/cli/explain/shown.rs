//! What is told of one object?

use crate::engine::decision::explain::{self, Explanation, ThroughAccount};
use crate::engine::decision::{Outcome, Verdict};
use crate::engine::object::manifest::Object;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Kind, Subject};
use crate::engine::rules::ruleset::Ruleset;

/// What the heading of an explanation says of its object.
pub(super) struct Heading<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    /// The line of the file; `None` for an object of the cluster.
    pub(super) line: Option<u32>,
}

/// One object, and what is decided on it.
pub(super) struct Shown<'a> {
    pub(super) heading: Heading<'a>,
    pub(super) subject: &'a Subject<'a>,
    pub(super) explanation: Explanation<'a>,
    /// For a Pod, its ServiceAccount.
    pub(super) account: Account<'a>,
    /// What only a cluster tells.
    pub(super) live: Option<Live>,
}

/// What is known of a Pod's ServiceAccount.
pub(super) enum Account<'a> {
    /// Nothing, for this reason.
    Unknown(String),
    /// What the Pod gets through it.
    Known { place: Place, gets: ThroughAccount<'a> },
}

/// Where a ServiceAccount stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file, on this line. `is_stored` says that the file was got from a cluster.
    Line { line: u32, is_stored: bool },
    /// It is the account `default`, and taken to have no labels and annotations.
    Taken,
    /// In the cluster.
    Cluster,
}

/// What only a cluster tells of an object.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Why the webhook is not asked about it, where it is not.
    pub(super) not_sent: Option<String>,
    /// What is told of who asked for a Pod.
    pub(super) requester: Option<String>,
    /// What a Pod runs with.
    pub(super) runs: Option<Runs>,
}

/// The role that a Pod runs with, by the variable `AWS_ROLE_ARN` of its containers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Runs {
    /// The role; `None` where no container has one that stands there as text.
    pub(super) role: Option<String>,
    /// Whether it is another one than that which its ServiceAccount carries now, and a restart mends it;
    /// `None` where that is not known.
    pub(super) is_stale: Option<bool>,
    /// Why it does not get the one of its ServiceAccount however often it starts, where it has another.
    pub(super) apart: Option<&'static str>,
}

impl Shown<'_> {
    /// What a Pod gets through its ServiceAccount, where that is known.
    pub(super) fn through_account(&self) -> Option<(Place, &ThroughAccount<'_>)> {
        match &self.account {
            Account::Known { place, gets } => Some((*place, gets)),
            Account::Unknown(_) => None,
        }
    }

    pub(super) fn is_pod(&self) -> bool {
        self.subject.kind == Kind::Pod
    }

    /// The name of the object, as headings have it.
    pub(super) fn name(&self) -> String {
        format!("{} {}/{}", self.heading.kind, self.subject.namespace, self.heading.name)
    }

    /// Whether the verdict of a provider is worth a line. A provider that no rule names is left out, and so
    /// is what irsa's rules do with a Pod itself, where the role is on its ServiceAccount.
    pub(super) fn is_told(&self, verdict: &Verdict<'_>, named: &[Provider]) -> bool {
        let is_named = named.contains(&verdict.provider);
        let kind = self.subject.kind;
        match verdict.outcome {
            Outcome::NoRule => {
                is_named && (kind == Kind::ServiceAccount || verdict.provider != Provider::Irsa)
            }
            Outcome::OnServiceAccount => self.through_account().is_none(),
            Outcome::OptedOut => is_named,
            _ => true,
        }
    }

    /// Whether it is worth a line what a Pod gets through its ServiceAccount: where the mapping or somebody
    /// else gives it something there. `verdict` is what was decided for irsa on the Pod itself.
    pub(super) fn is_told_through_account(&self, verdict: &Verdict<'_>, named: &[Provider]) -> bool {
        let is_named = named.contains(&Provider::Irsa);
        let Some((_, gets)) = self.through_account() else { return self.is_pod() && is_named };
        let is_nothing = gets.verdict.outcome == Outcome::NoRule && gets.role.is_none();
        !is_nothing || is_named && verdict.outcome != Outcome::DefaultAccount
    }
}

/// Tells what a Pod gets through its ServiceAccount, where that was found. A `default` that was not found is
/// known well enough: every namespace has one, and it comes without labels and annotations.
pub(super) fn account_of<'a>(
    ruleset: &'a Ruleset,
    pod: &Subject<'a>,
    found: Option<(Place, &'a Object<'a>)>,
    why_unknown: &str,
) -> Account<'a> {
    let unknown = || Account::Unknown(why_unknown.to_owned());
    let (place, account) = match found {
        _ if pod.kind != Kind::Pod => return unknown(),
        Some((place, object)) => (place, object.subject(pod.namespace, pod.requester)),
        None if pod.service_account == "default" => {
            let bare = Subject {
                kind: Kind::ServiceAccount,
                name: "default",
                labels: &[],
                annotations: &[],
                ..*pod
            };
            (Place::Taken, bare)
        }
        None => return unknown(),
    };
    explain::through_account(ruleset, &account).map_or_else(unknown, |gets| Account::Known { place, gets })
}
