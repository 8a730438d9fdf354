//! How is it told who the process is for AWS?

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::verify::report::{refusal_as_json, tell};
use super::metadata::NodeRole;
use super::sources::{Kind, Sources};
use super::web_identity::{Outcome, WebIdentity};
use crate::cli::output::in_a_line;
use crate::sts::Claims;
use crate::telemetry::{duration_in_words, unix_time_in_words};

/// All that was found out.
pub(super) struct Report {
    pub(super) sources: Sources,
    pub(super) node: NodeRole,
    pub(super) identity: WebIdentity,
    /// Whether this runs in a Pod.
    pub(super) is_pod: bool,
    /// Whether `AWS_PROFILE` names a profile that no file has.
    pub(super) has_missing_profile: bool,
}

impl Report {
    /// Whether an SDK would use the web identity.
    pub(super) fn web_identity_wins(&self) -> bool {
        self.sources.winner() == Some(Kind::WebIdentity)
    }

    pub(super) fn as_text(&self) -> String {
        let mut text = String::new();
        // Others write variables, tokens and answers: they must not begin lines of their own, nor send
        // commands to the terminal.
        let mut line = |indent: usize, words: &str| {
            let _ = writeln!(text, "{:indent$}{}", "", in_a_line(words));
        };
        let winner = self.sources.winner();
        line(0, "Sources of credentials, in the order of AWS's SDKs:");
        for source in &self.sources.all {
            let mark = if Some(source.kind) == winner { "->" } else { "  " };
            line(0, &format!("{mark} {}: {}", source.kind.in_words(), source.words));
        }
        let is_unusable = matches!(self.identity.outcome, Outcome::Unusable(_));
        match winner {
            Some(kind @ Kind::WebIdentity) if is_unusable => {
                line(2, &format!("An SDK would choose: {}, and fail", kind.in_words()));
            }
            Some(kind) => line(2, &format!("An SDK would use: {}", kind.in_words())),
            None => line(2, "An SDK would find no credentials."),
        }
        for note in &self.sources.notes {
            line(2, &format!("Note: {note}"));
        }
        let WebIdentity { role, token_file, claims, endpoint, outcome } = &self.identity;
        line(0, "Web identity:");
        for (name, value) in [("role", role), ("token", token_file), ("STS", endpoint)] {
            line(2, &format!("{name}: {}", value.as_deref().unwrap_or("none")));
        }
        if let Some(Claims { issuer, subject, audiences, ends_at, .. }) = claims {
            line(2, &format!("issuer: {issuer}"));
            line(2, &format!("subject: {subject}"));
            line(2, &format!("audience: {}", audiences.join(", ")));
            line(2, &format!("ends: {}", end_in_words(*ends_at)));
        }
        match outcome {
            Outcome::Absent if winner == Some(Kind::Metadata) => line(0, &self.as_the_node()),
            Outcome::Absent if winner.is_some() => line(
                0,
                "There is no web identity for STS to be asked about. Asking as another source would need a \
                 signature.",
            ),
            Outcome::Absent if !self.is_pod => line(
                0,
                "There is no web identity, and this is no Pod (KUBERNETES_SERVICE_HOST is not set): run it \
                 in one with the ServiceAccount in question, as docs/verify.md shows.",
            ),
            Outcome::Absent => line(
                0,
                "There is no web identity: the Pod's ServiceAccount had no role when it began. Ask `doctor \
                 -n NAMESPACE`; a Pod older than its ServiceAccount's role must be restarted.",
            ),
            Outcome::Unusable(why) => line(0, &format!("No SDK could use the web identity: {why}")),
            Outcome::Given(arn) if self.web_identity_wins() => line(0, &format!("STS gives the role: {arn}")),
            Outcome::Given(arn) => {
                line(0, &format!("STS gives the role, but another source comes before it: {arn}"));
            }
            Outcome::Refused { refused, explanation } => {
                line(0, &format!("STS says {refused}"));
                tell(explanation, &mut line);
            }
            Outcome::Unknown(why) => line(0, &format!("Nobody knows whether STS gives the role: {why}")),
        }
        text
    }

    /// Says that AWS sees what the metadata service names, why, and what to do.
    fn as_the_node(&self) -> String {
        let name = match &self.node {
            NodeRole::Role { name, .. } => name,
            NodeRole::NoRole | NodeRole::Disabled | NodeRole::Unknown(_) => "unknown",
        };
        if !self.is_pod {
            return format!(
                "AWS sees the role of the machine, {name}: this is no Pod (KUBERNETES_SERVICE_HOST is not \
                 set). Run it in one with the ServiceAccount in question, as docs/verify.md shows."
            );
        }
        format!(
            "AWS sees the role of the node, {name}: the Pod has none of its own by IRSA (with kube2iam or \
             kiam, {name} is the Pod's own). Ask `doctor -n NAMESPACE`; a Pod older than its \
             ServiceAccount's role must be restarted. There is no web identity for STS to be asked about."
        )
    }

    pub(super) fn as_json(&self) -> Value {
        let sources: Vec<Value> = self
            .sources
            .all
            .iter()
            .map(|source| {
                json!({"source": source.kind.name(), "present": source.is_there, "what": source.words})
            })
            .collect();
        let WebIdentity { role, token_file, claims, endpoint, outcome } = &self.identity;
        let (name, assumed, error, why) = match outcome {
            Outcome::Absent => ("absent", None, None, None),
            Outcome::Unusable(why) => ("unusable", None, None, Some(why)),
            Outcome::Given(arn) => ("given", Some(arn), None, None),
            Outcome::Refused { refused, explanation } => {
                ("refused", None, Some(refusal_as_json(refused, explanation)), None)
            }
            Outcome::Unknown(why) => ("unknown", None, None, Some(why)),
        };
        let node = match &self.node {
            NodeRole::Role { name, .. } => Some(name),
            NodeRole::NoRole | NodeRole::Disabled | NodeRole::Unknown(_) => None,
        };
        json!({
            "sources": sources,
            "winner": self.sources.winner().map(Kind::name),
            "notes": self.sources.notes,
            "metadataRole": node,
            "webIdentity": {
                "role": role,
                "tokenFile": token_file,
                "issuer": claims.as_ref().map(|claims| &claims.issuer),
                "subject": claims.as_ref().map(|claims| &claims.subject),
                "audiences": claims.as_ref().map(|claims| &claims.audiences),
                "endsAt": claims.as_ref().and_then(|claims| claims.ends_at).map(unix_time_in_words),
                "endpoint": endpoint,
                "outcome": name,
                "assumedRole": assumed,
                "error": error,
                "why": why,
            },
        })
    }
}

fn end_in_words(ends_at: Option<i64>) -> String {
    let Some(ends_at) = ends_at else { return "the token does not say".to_owned() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let distance = ends_at.abs_diff(i64::try_from(now).unwrap_or(i64::MAX));
    let distance = duration_in_words(Duration::from_secs(distance));
    let at = unix_time_in_words(ends_at);
    if u64::try_from(ends_at).is_ok_and(|end| end > now) {
        format!("{at}, in {distance}")
    } else {
        format!("{at}, {distance} ago: the kubelet has not renewed it")
    }
}
