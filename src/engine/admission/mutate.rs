//! How does an AdmissionReview become an answer? The one pure call of the admission path.
//!
//! A review is read in place, for one generation of the mapping: what neither its rules nor recognition look at is passed over. What
//! was kept is unescaped only once its size is known ([`Request::weight`]), so that a review never weighs a multiple of its bytes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::request::{Request, parse};
use super::wire::{ReviewError, close};
use crate::engine::decision::patch;
use crate::engine::decision::{self, Decision, Outcome};
use crate::engine::object::provider::Provider;
use crate::engine::rules::ruleset::Ruleset;

/// How many bytes of JSON a patch of ordinary annotations stays under.
const SHORT_PATCH: usize = 4 << 10;

/// Whether the answer carries its patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `/mutate`
    Mutate,
    /// `/observe`: a rehearsal, the same decision without the patch.
    Observe,
}

impl Mode {
    /// The word in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Observe => "observe",
        }
    }
}

/// The answer, and what there is to say about it. Borrows from the request and the mapping.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The AdmissionReview to send, JSON.
    pub body: Vec<u8>,
    /// `request.uid`
    pub uid: Cow<'a, str>,
    /// `CREATE`, `UPDATE` and so on.
    pub operation: Cow<'a, str>,
    /// The kind of the object, as sent.
    pub kind: Cow<'a, str>,
    /// `request.namespace`
    pub namespace: Cow<'a, str>,
    /// The object's name, or its generateName.
    pub name: Cow<'a, str>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// What a person must know.
    pub warnings: Vec<String>,
    /// What was decided, but for its warnings; `None` where the webhook does not act on such a review.
    pub decision: Option<Decision<'a>>,
}

impl Reply<'_> {
    /// The outcome most worth telling.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.decision.as_ref().map_or(Outcome::Undecided, Decision::outcome)
    }
}

/// Answers one AdmissionReview.
///
/// # Errors
/// When it is none; the HTTP answer is then 400 with this sentence.
pub fn respond<'a>(body: &'a [u8], ruleset: &'a Ruleset, mode: Mode) -> Result<Reply<'a>, ReviewError> {
    parse(body, ruleset)?.answer(mode)
}

impl<'a> Request<'a> {
    /// Judges it, by the rules that it was read for, and writes the answer.
    ///
    /// # Errors
    /// Where it lacks its object, or holds bytes that are no text.
    pub fn answer(self, mode: Mode) -> Result<Reply<'a>, ReviewError> {
        let names = self.names()?;
        let (decision, patch, mut warnings) = match self.acts_on() {
            Ok(kind) => {
                let metadata = self.metadata.as_ref().ok_or(ReviewError::NoObject)?;
                let pairs = metadata.pairs()?;
                let mut decision = decision::decide(self.ruleset, &self.subject(kind, &names, &pairs));
                let patch = patch::patch(&decision.edits, pairs.annotations.as_deref());
                let warnings = std::mem::take(&mut decision.warnings);
                (Some(decision), patch, warnings)
            }
            Err(reason) => (None, json_patch::Patch::default(), vec![decision::warning(reason)]),
        };
        if mode == Mode::Observe
            && let Some(decision) = decision.as_ref().filter(|_| !patch.0.is_empty())
        {
            warnings.insert(0, observed(decision));
        }
        let writes = mode == Mode::Mutate && !patch.0.is_empty();
        let patch =
            if writes { serde_json::to_vec(&patch).map_err(ReviewError::Answer)? } else { Vec::new() };
        let response = Response {
            uid: &self.uid,
            allowed: true,
            patch_type: writes.then_some("JSONPatch"),
            patch: writes.then_some(Base64(&patch)),
            warnings: &warnings,
            audit_annotations: audit_annotations(mode, decision.as_ref()),
        };
        let body = close(&response, patch.len() / 3 * 4)?;
        Ok(Reply {
            body,
            uid: self.uid,
            operation: self.operation,
            kind: self.kind,
            namespace: self.namespace,
            name: names.shown,
            dry_run: self.dry_run,
            warnings,
            decision,
        })
    }
}

/// A patch's JSON, written in base64 as the API documents it. A long one goes straight into the answer, and is never there as a text of
/// its own; nearly every patch is short, and encoded faster in one piece.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() <= SHORT_PATCH {
            return serializer.serialize_str(&STANDARD.encode(self.0));
        }
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

fn observed(decision: &Decision<'_>) -> String {
    let Some(verdict) = decision.leading() else {
        return String::new();
    };
    let rule = verdict.rule.map_or("none", |rule| &*rule.name);
    decision::warning(match &verdict.role {
        Some(role) => format!("observed, not written: role {role}, rule {rule}"),
        None => format!("observed, not written: values come off, rule {rule}"),
    })
}

/// Rule, role and outcome for each provider, into the API server's audit log.
fn audit_annotations<'a>(mode: Mode, decision: Option<&'a Decision<'_>>) -> Vec<(&'static str, &'a str)> {
    let mut annotations = Vec::with_capacity(7);
    let told = |outcome| !matches!(outcome, Outcome::NoRule | Outcome::Undecided);
    let verdicts = decision.map(|decision| decision.verdicts.as_slice()).unwrap_or_default();
    for verdict in verdicts.iter().filter(|verdict| told(verdict.outcome)) {
        let [outcome, rule, role] = match verdict.provider {
            Provider::Irsa => ["irsa-outcome", "irsa-rule", "irsa-role"],
            Provider::Kube2iam => ["kube2iam-outcome", "kube2iam-rule", "kube2iam-role"],
            Provider::Kiam => ["kiam-outcome", "kiam-rule", "kiam-role"],
        };
        annotations.push((outcome, verdict.outcome.name()));
        annotations.extend(verdict.rule.map(|winner| (rule, &*winner.name)));
        annotations.extend(verdict.role.as_deref().map(|given| (role, given)));
    }
    if mode == Mode::Observe && !annotations.is_empty() {
        annotations.push(("mode", mode.name()));
    }
    annotations
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    audit_annotations: Vec<(&'static str, &'a str)>,
}

fn as_map<S: Serializer>(pairs: &[(&'static str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}
