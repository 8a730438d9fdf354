//! What is reported, whatever the format?

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::SystemTime;

use crate::inventory::Unread;
use crate::status::{Effect, Status};

/// All that is told.
pub(super) struct Report {
    /// When it was looked at.
    pub(super) at: SystemTime,
    /// What was looked at.
    pub(super) looked_at: LookedAt,
    /// What came of it.
    pub(super) status: Status,
    /// What was not looked at.
    pub(super) unread: Vec<Gap>,
    /// Whether ServiceAccounts may be missing, as not all could be read.
    pub(super) lacks_accounts: bool,
    /// What a command of kubectl needs to be about the same cluster: ` --context x`.
    pub(super) flags: String,
}

/// Something that was not looked at.
pub(super) struct Gap {
    /// What it is.
    pub(super) what: String,
    /// Why, in words.
    pub(super) why: String,
}

impl From<Unread> for Gap {
    fn from(unread: Unread) -> Self {
        Self { what: unread.to_string(), why: unread.why }
    }
}

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct LookedAt {
    /// The address of the API server.
    pub(super) cluster: Option<String>,
    /// Where the mapping in force stands.
    pub(super) mapping: Option<String>,
    /// Where the candidate stands.
    pub(super) candidate: Option<String>,
    /// How many rules the mapping has that is judged by.
    pub(super) rules: usize,
    /// The namespaces.
    pub(super) namespaces: Vec<(String, Effect)>,
    /// The files of manifests.
    pub(super) manifests: Vec<String>,
    /// Whether objects of them name no namespace, and count as in `default`.
    pub(super) takes_default: bool,
}

/// What is said of objects that name no namespace.
pub(super) const PLACED: &str =
    "objects that name no namespace count as in `default`: name another one with -n NAMESPACE";

impl Report {
    pub(super) fn exit_code(&self, is_strict: bool) -> ExitCode {
        ExitCode::from(u8::from(self.status.has_drift() || is_strict && !self.unread.is_empty()))
    }

    /// Returns what most ARNs of roles begin with, without the last slash, so that it need be said once.
    pub(super) fn common_prefix(&self) -> Option<&str> {
        let rows = self.status.rows.iter();
        let roles = rows.flat_map(|row| [row.wanted.as_deref(), row.actual.as_deref()]).flatten();
        let arns = roles.filter(|role| role.starts_with("arn:"));
        let prefixes = arns.filter_map(|role| role.get(..role.find(":role/")? + ":role".len()));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        prefixes.for_each(|prefix| *counts.entry(prefix).or_default() += 1);
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(prefix, _)| prefix)
    }
}

/// Returns the word for what the webhook does in a namespace.
pub(super) fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Enabled => "enabled",
        Effect::Observed => "observed",
    }
}
