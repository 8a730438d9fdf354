//! What is told of each object, and how are all of them put together?

use serde_json::Value;

use super::table::{self, Row};
use super::{ExplainArgs, json, text};
use crate::cli::{OutputFormat, output};
use crate::engine::decision::explain::{self, Explanation, ThroughAccount};
use crate::engine::object::manifest::Object;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Kind, Requester, Subject};
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

/// Everything that is told.
pub(super) struct Report<'a> {
    args: &'a ExplainArgs,
    /// The providers that some rule names.
    named: Vec<Provider>,
    /// Whether there is more than one object, so that it begins with a table.
    is_table: bool,
    rows: Vec<Row>,
    /// The objects in many lines each.
    texts: Vec<String>,
    warnings: Vec<String>,
    values: Vec<Value>,
    is_assumed: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(args: &'a ExplainArgs, ruleset: &Ruleset, count: usize) -> Self {
        let named = Provider::ALL.into_iter().filter(|provider| ruleset.names_provider(*provider));
        Self {
            args,
            named: named.collect(),
            is_table: count > 1,
            rows: Vec::new(),
            texts: Vec::new(),
            warnings: Vec::new(),
            values: Vec::new(),
            is_assumed: false,
        }
    }

    pub(super) fn add(&mut self, shown: &Shown<'_>) {
        if self.args.output != OutputFormat::Text {
            self.values.push(json::of(shown));
            return;
        }
        self.is_assumed |= shown.is_pod() && shown.subject.requester == Requester::Assumed;
        if self.is_table {
            self.rows.extend(table::rows(shown, &self.named));
            let name = table::name(shown);
            let warnings = shown.explanation.decision.warnings.iter();
            self.warnings.extend(warnings.map(|warning| in_a_line(&format!("{name}: {warning}"))));
        }
        if !self.is_table || self.args.trace {
            self.texts.push(text::of(shown, &self.named));
        }
    }

    /// Whether Pods count as asked for by a controller although nobody said so.
    pub(super) fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// Prints it: what is said first, the table, the objects, and what is said last.
    pub(super) fn print(mut self, first: &[String], last: &[String]) -> anyhow::Result<()> {
        let values = std::mem::take(&mut self.values);
        let text = || self.as_text(first, last);
        output::print(&output::formatted(self.args.output, text, || Value::Array(values))?)
    }

    fn as_text(&self, first: &[String], last: &[String]) -> String {
        let lines = |lines: &[String]| lines.iter().map(|line| format!("{}\n", in_a_line(line))).collect();
        let table = if self.rows.is_empty() { String::new() } else { table::as_text(&self.rows) };
        let hint = if self.is_table && !self.args.trace {
            "Name one object, as sa/NAME, to see the rules that were tried, or say --trace.\n".to_owned()
        } else {
            String::new()
        };
        let parts = [&[lines(first), table, lines(&self.warnings)][..], &self.texts, &[lines(last), hint]];
        let parts: Vec<String> = parts.concat().into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }
}

/// Anybody can write an annotation: it must not begin a line of its own, nor send commands to the terminal.
pub(super) fn in_a_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}
