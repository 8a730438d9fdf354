//! May this edit of the mapping's ConfigMap stand?
//!
//! A mapping with problems is refused at the moment of the edit, and all of its problems are told. The same
//! holds for the ConfigMap beside it that keeps the last good mapping: no broken text is kept there.

use serde::Serialize;

use super::wire::{self, MAX_UID, ReviewError};
use crate::engine::decision::warning;
use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::mapping::capped_list::CappedList;
use crate::engine::mapping::lints::{self, Lint};
use crate::engine::mapping::{self, CONFIG_MAP_KEY, Problem, Problems};
use crate::engine::object::metadata::{MetadataError, once};
use crate::engine::object::subject::MAX_NAME;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;

/// How many warnings are told. The API server passes on some thousands of characters of warnings in all.
const MAX_WARNINGS: usize = 20;

/// What the name of the ConfigMap that keeps the last good mapping has after the name of the mapping's own.
pub const LAST_GOOD_SUFFIX: &str = "-last-good";

/// The text that a probe asks the API server to write as the last good mapping, as a dry run. It is no
/// mapping, so every version of this webhook refuses it: that the refusal comes back shows that the API
/// server reaches the webhook. Whoever else sends it gets a refusal, and nothing more.
pub const PROBE: &str = "this text is a probe of gitlab-iam-webhook and must be refused";

/// The beginning of every refusal of a text.
pub const REFUSAL: &str = "mapping.yaml has ";

/// An edit of one of the mapping's ConfigMaps. It holds nothing of the review that it came in.
#[derive(Debug)]
pub struct Edit {
    uid: String,
    name: String,
    purpose: Purpose,
    mapping: Change,
}

/// What an edit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The text is to come into force.
    Mapping,
    /// The text is to be kept as the last good mapping. It changes nothing that is in force.
    LastGood,
    /// Nothing is to be stored: a replica or a person asks whether the API server reaches the webhook.
    Probe,
}

/// What an edit does to the mapping.
#[derive(Debug)]
enum Change {
    /// The edit leaves the mapping's text as it is, or deletes the ConfigMap.
    Untouched,
    /// There is no text that could be judged.
    Unusable(Problems),
    /// This is the new text.
    Text(String),
}

/// The answer to an edit.
#[derive(Debug)]
pub struct Verdict {
    /// How many problems the mapping has. The edit may stand where there are none.
    pub problems: usize,
    /// The mapping that would come into force, where the edit changes it to a good one.
    pub accepted: Option<Ruleset>,
    uid: String,
    status: Option<Status>,
    warnings: Vec<String>,
}

impl Verdict {
    /// Writes the AdmissionReview to send, with `first` before its own warnings. It has at most 256 KiB.
    ///
    /// # Errors
    /// Returns an error where it cannot be written as JSON, which does not happen.
    pub fn into_body(mut self, mut first: Vec<String>) -> Result<Vec<u8>, ReviewError> {
        first.append(&mut self.warnings);
        let response =
            Response { uid: &self.uid, allowed: self.status.is_none(), status: self.status, warnings: first };
        wire::close(0, |body| serde_json::to_writer(body, &response))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    message: String,
    reason: &'static str,
    code: u16,
    details: Details,
}

/// What kubectl shows of an invalid object, line by line. `kubectl edit` opens the editor again with it.
#[derive(Debug, Serialize)]
struct Details {
    kind: &'static str,
    name: String,
    causes: Vec<Cause>,
}

#[derive(Debug, Serialize)]
struct Cause {
    reason: &'static str,
    field: String,
    message: String,
}

/// Reads the edit from an AdmissionReview, which may be dropped afterwards. A text that is too long for a
/// ConfigMap is not copied.
///
/// # Errors
/// Returns an error where the body is no AdmissionReview.
pub fn read(body: &[u8]) -> Result<Edit, ReviewError> {
    let [mut uid, mut name, mut operation, mut new, mut old] = [None; 5];
    let mut dry_run = None;
    wire::open(body, |member, reader| {
        match &*member.to_name()? {
            b"uid" => once(&mut uid, "uid", reader.text()?)?,
            b"name" => once(&mut name, "name", reader.text()?)?,
            b"operation" => once(&mut operation, "operation", reader.text()?)?,
            b"dryRun" => once(&mut dry_run, "dryRun", reader.boolean()?)?,
            b"object" => once(&mut new, "object", text_of_config_map(reader)?)?,
            b"oldObject" => once(&mut old, "oldObject", text_of_config_map(reader)?)?,
            _ => {}
        }
        Ok(())
    })?;
    let short = |text: Option<RawText<'_>>, most| {
        Ok::<_, JsonError>(text.unwrap_or_default().within(most)?.unwrap_or_default().into_owned())
    };
    let (uid, name, operation) = (short(uid, MAX_UID)?, short(name, MAX_NAME)?, short(operation, MAX_NAME)?);
    if uid.is_empty() {
        return Err(ReviewError::NoUid);
    }
    let purpose = match new {
        _ if !name.ends_with(LAST_GOOD_SUFFIX) => Purpose::Mapping,
        Some(text)
            if dry_run == Some(true) && text.within(PROBE.len())?.is_some_and(|text| text == PROBE) =>
        {
            Purpose::Probe
        }
        _ => Purpose::LastGood,
    };
    // An edit that does not touch the text is always allowed, even where the text was broken before.
    let untouched =
        operation == "DELETE" || (operation == "UPDATE" && new.map(RawText::raw) == old.map(RawText::raw));
    let mapping = match new {
        _ if purpose == Purpose::Probe => {
            Change::Unusable(Problems::of_the_whole("this is a probe, which is always refused"))
        }
        _ if untouched => Change::Untouched,
        None => {
            let message = format!(
                "there is no `data` key `{CONFIG_MAP_KEY}`: give the text this key, as `kubectl create \
                 configmap --from-file={CONFIG_MAP_KEY}=FILE` does"
            );
            Change::Unusable(Problems::of_the_whole(&message))
        }
        Some(text) => match text.within(mapping::MAX_BYTES)? {
            None => Change::Unusable(Problems::of_the_whole(&mapping::size_message(text.len()))),
            Some(text) => Change::Text(text.into_owned()),
        },
    };
    Ok(Edit { uid, name, purpose, mapping })
}

/// Reads the mapping's text in a ConfigMap. It is left as it was sent, so that two texts are compared without
/// unescaping.
fn text_of_config_map<'a>(reader: &mut Reader<'a>) -> Result<Option<RawText<'a>>, MetadataError> {
    let mut text = None;
    reader.object(|member, reader| {
        if *member.to_name()? == *b"data" {
            reader.object(|key, reader| {
                if *key.to_name()? == *CONFIG_MAP_KEY.as_bytes() {
                    // The last one counts, as for the API server.
                    text = reader.text()?;
                }
                Ok::<_, MetadataError>(())
            })?;
        }
        Ok::<_, MetadataError>(())
    })?;
    Ok(text)
}

impl Edit {
    /// Returns what the edit is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Returns how long the text is that is to be judged, or `None` where there is none.
    #[must_use]
    pub fn text_bytes(&self) -> Option<usize> {
        match &self.mapping {
            Change::Text(text) => Some(text.len()),
            Change::Untouched | Change::Unusable(_) => None,
        }
    }

    /// Judges the edit. This takes at most [`mapping::weight`] of its text.
    #[must_use]
    pub fn judge(self, operator_policy: &OperatorPolicy) -> Verdict {
        let Self { uid, name, purpose, mapping } = self;
        let mut verdict = Verdict { problems: 0, accepted: None, uid, status: None, warnings: Vec::new() };
        let judged = match mapping {
            Change::Untouched => return verdict,
            Change::Unusable(problems) => Err(problems),
            Change::Text(text) => judge(&text, purpose, operator_policy),
        };
        match judged {
            Ok((accepted, warnings)) => {
                verdict.accepted = accepted;
                verdict.warnings = warnings;
            }
            Err(problems) => {
                verdict.problems = problems.count();
                verdict.status = Some(refusal(&problems, name));
            }
        }
        verdict
    }
}

fn refusal(problems: &Problems, name: String) -> Status {
    let cause = |field, message| Cause { reason: "FieldValueInvalid", field, message };
    let told = problems.first.iter().map(|Problem { at, path, message }| {
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        cause(format!("{CONFIG_MAP_KEY}:{at}"), format!("{path}{message}"))
    });
    let rest = problems.rest().map(|rest| cause(CONFIG_MAP_KEY.to_owned(), rest));
    Status {
        message: format!("{REFUSAL}{problems}"),
        reason: "Invalid",
        code: 422,
        details: Details { kind: "ConfigMap", name, causes: told.chain(rest).collect() },
    }
}

/// Returns the mapping that would come into force, where one would, and what to warn of.
fn judge(
    text: &str,
    purpose: Purpose,
    operator_policy: &OperatorPolicy,
) -> Result<(Option<Ruleset>, Vec<String>), Problems> {
    let ruleset = mapping::compile(text, operator_policy)?;
    if purpose != Purpose::Mapping {
        // Whoever edited the mapping was warned then.
        return Ok((None, Vec::new()));
    }
    let mut told = CappedList::new(Some(MAX_WARNINGS), Lint::place);
    lints::each(&ruleset, text.len(), &mut |lint| {
        if !lint.kind.is_note() {
            told.add(lint.place(), || lint);
        }
    });
    let told = told.into_kept().into_iter();
    let warnings = told.map(|lint| {
        let place = lint.at.map(|at| format!("{at}: ")).unwrap_or_default();
        let rule = lint.rule.map(|rule| format!("rule {rule} ")).unwrap_or_default();
        warning(format!("{place}{rule}{}", lint.message))
    });
    let warnings = warnings.collect();
    Ok((Some(ruleset), warnings))
}
