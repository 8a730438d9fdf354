//! What does the API server's answer to a probe mean, and when is it told?
//!
//! Everything here is pure: all that was read and answered is given.

use std::fmt;
use std::time::Duration;

use crate::cluster::NamespacedName;
use crate::cluster::configurations::{Configuration, Entry};
use crate::cluster::failure::Failure;
use crate::engine::admission::validate::REFUSAL;
use crate::telemetry::causes;

/// How long to wait after an answer that is sure.
const INTERVAL: Duration = Duration::from_mins(5);

/// The same while the API server does not reach the webhook: that it does again is soon told.
const INTERVAL_WHILE_NOT_REACHED: Duration = Duration::from_mins(1);

/// How long to wait until a bad answer is confirmed: a Pod may just have ended, or a certificate may just
/// have been rotated.
const CONFIRM: Duration = Duration::from_secs(10);

/// What a probe is about.
#[derive(Debug)]
pub(super) struct Asked {
    /// The ConfigMap that the dry run is to write.
    pub(super) last_good: NamespacedName,
    /// The name of both webhook configurations.
    pub(super) configuration: String,
}

/// What the API server answered to the dry run.
#[derive(Debug)]
pub(super) enum Answer {
    /// It would have stored the text.
    Admitted,
    /// It refused the text with these words.
    Refused(String),
    /// It gave no answer, or one that says nothing of the text.
    None(String),
}

impl Answer {
    /// What became of the dry run.
    pub(super) fn of(done: Result<(), Failure>) -> Self {
        let Err(failure) = done else { return Self::Admitted };
        let why = in_a_line(&failure);
        match failure.code() {
            // The API server is busy, does not know who asks, or has no such namespace. A 500 comes from a
            // webhook that was called.
            None | Some(401 | 404 | 409 | 429 | 501..) => Self::None(why),
            Some(_) => Self::Refused(why),
        }
    }

    /// There was no dry run, because the webhook configurations could not be read.
    pub(super) fn unread(asked: &Asked, failure: &Failure) -> Self {
        let why = in_a_line(failure);
        Self::None(format!("reading the webhook configurations {}: {why}", asked.configuration))
    }
}

/// The words of a failure, which others may have written: they go into the log and to a terminal.
fn in_a_line(failure: &Failure) -> String {
    causes(failure).replace(char::is_control, " ")
}

/// Whether the API server reaches the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does.
    Reached,
    /// It does by the entry for `/validate`, and another entry leads elsewhere or trusts something else.
    Differs,
    /// It does not.
    NotReached,
    /// A webhook configuration is missing, or has no entries: nothing is sent to the webhook.
    NotRegistered,
    /// Something else refused the dry run before it came to the webhook.
    RefusedElsewhere,
    /// The API server gave no answer.
    NotAnswered,
}

impl Reach {
    /// Whether the API server reaches the webhook by all entries; none where the answer does not say.
    #[must_use]
    pub fn is_reached(self) -> Option<bool> {
        match self {
            Self::Reached => Some(true),
            Self::Differs | Self::NotReached | Self::NotRegistered => Some(false),
            Self::RefusedElsewhere | Self::NotAnswered => None,
        }
    }
}

/// What came of a probe. It is written as a text for people, which says what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    reach: Reach,
    text: String,
}

impl Outcome {
    /// Whether the API server reaches the webhook.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What this answer means beside these configurations, of which each may not be there.
pub(super) fn judge(
    asked: &Asked,
    answer: Answer,
    validating: Option<&Configuration>,
    mutating: Option<&Configuration>,
) -> Outcome {
    let validating = validating.map_or(&[][..], |configuration| &configuration.entries);
    let mutating = mutating.map_or(&[][..], |configuration| &configuration.entries);
    match answer {
        Answer::None(why) => not_answered(&why),
        Answer::Refused(message) => {
            // The API server begins with this. What a webhook says comes after it, so that no other webhook's
            // words are taken for ours.
            let by = |before: &str| {
                validating.iter().find_map(|entry| {
                    let words = message.strip_prefix(&format!("{before} \"{}\"", entry.name))?;
                    Some((entry, words))
                })
            };
            let refused = by("admission webhook");
            let refusal = format!(" denied the request: {REFUSAL}");
            let failed = by("Internal error occurred: failed calling webhook");
            match (refused.filter(|(_, words)| words.starts_with(&refusal)), failed) {
                (Some((entry, _)), _) => reached(asked, entry, mutating),
                (None, Some((entry, why))) => not_reached(asked, entry, &format!("it says{why}")),
                (None, None) => refused_elsewhere(asked, &message),
            }
        }
        Answer::Admitted => {
            let Some(entry) = validating.first() else {
                return not_registered("ValidatingWebhookConfiguration", &asked.configuration);
            };
            let why = match validating.iter().find(|entry| entry.bundle.is_empty()) {
                Some(Entry { name, .. }) => format!(
                    "the entry {name} has no caBundle, which the replicas write when they start: see first \
                     that they run, and what their log says"
                ),
                None => "only its own log says why".to_owned(),
            };
            let passed = format!("it let a broken mapping for {} pass, and {why}", asked.last_good);
            not_reached(asked, entry, &passed)
        }
    }
}

/// The refusal came back by this entry. The others must lead to the same place and trust the same.
fn reached(asked: &Asked, by: &Entry, mutating: &[Entry]) -> Outcome {
    let configuration = &asked.configuration;
    if mutating.is_empty() {
        return not_registered("MutatingWebhookConfiguration", configuration);
    }
    let bundle = |entry: &Entry| -> Vec<u8> {
        entry.bundle.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
    };
    let differs = mutating.iter().find_map(|entry| {
        let what = if (&entry.host, entry.port) != (&by.host, by.port) {
            format!("leads to {}:{} instead of {}:{}", entry.host, entry.port, by.host, by.port)
        } else if bundle(entry) != bundle(by) {
            "has another caBundle".to_owned()
        } else {
            return None;
        };
        Some((&entry.name, what))
    });
    if let Some((other, what)) = differs {
        let text = format!(
            "the API server reaches the webhook by {} (/validate), but the entry {other} of \
             MutatingWebhookConfiguration {configuration} {what}, so reviews may not arrive; find out who \
             wrote it: kubectl get mutatingwebhookconfiguration {configuration} -o yaml \
             --show-managed-fields",
            by.name
        );
        return Outcome { reach: Reach::Differs, text };
    }
    let text = format!(
        "the API server reaches the webhook ({}:{}); this holds for the one API server that answered: where \
         there are more, as on EKS, ask again to ask another one",
        by.host, by.port
    );
    Outcome { reach: Reach::Reached, text }
}

fn not_reached(asked: &Asked, entry: &Entry, why: &str) -> Outcome {
    let text = format!(
        "the API server that answered does not reach the webhook ({}:{}): {why}; let the control plane \
         connect to the webhook's port of the Pods (8443, unless containerPorts.webhook says otherwise): \
         mostly a security group, a NetworkPolicy or an overlay network keeps it out, see docs/eks.md; if \
         the ValidatingWebhookConfiguration {} is not the chart's, its matchConditions must let {} through",
        entry.host, entry.port, asked.configuration, asked.last_good
    );
    Outcome { reach: Reach::NotReached, text }
}

fn not_registered(kind: &str, name: &str) -> Outcome {
    let text = format!(
        "there is no {kind} {name} with a webhook in it, so the API server sends nothing there: install the \
         chart again, or give the name of the one that there is"
    );
    Outcome { reach: Reach::NotRegistered, text }
}

fn refused_elsewhere(asked: &Asked, message: &str) -> Outcome {
    let text = format!(
        "nobody can say whether the API server reaches the webhook, because something else refused the dry \
         run on {}; allow this account to patch and create it, and exempt it from the policy that the API \
         server names: {message}",
        asked.last_good
    );
    Outcome { reach: Reach::RefusedElsewhere, text }
}

fn not_answered(why: &str) -> Outcome {
    let text = format!(
        "nobody can say whether the API server reaches the webhook, because it could not be asked: {why}; \
         see that the API server is up, that the names are right, and that this account may get both webhook \
         configurations"
    );
    Outcome { reach: Reach::NotAnswered, text }
}

/// What was told of the outcomes so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    told: Option<Reach>,
    /// The last outcome was bad, and is to be confirmed.
    is_doubted: bool,
}

/// What to do after an outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// It is no passing thing.
    pub(super) is_sure: bool,
    /// It is sure, and another one than was told last.
    pub(super) is_news: bool,
    /// How long to wait before the next probe.
    pub(super) wait: Duration,
}

impl Report {
    /// Notes an outcome. One that is bad is sure where it was told before, or comes right after another bad
    /// one.
    pub(super) fn hear(&mut self, reach: Reach) -> Next {
        let is_good = reach == Reach::Reached;
        let is_sure = is_good || self.is_doubted || self.told == Some(reach);
        self.is_doubted = !is_sure;
        if !is_sure {
            return Next { is_sure, is_news: false, wait: CONFIRM };
        }
        let is_news = self.told.replace(reach) != Some(reach);
        let wait = if is_good { INTERVAL } else { INTERVAL_WHILE_NOT_REACHED };
        Next { is_sure, is_news, wait }
    }
}

#[cfg(test)]
mod tests;
