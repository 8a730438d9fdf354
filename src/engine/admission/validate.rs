//! May this edit of the mapping's ConfigMap stand? All problems refuse it at the moment of the edit.

use serde::Serialize;

use super::wire::{self, MAX_UID, ReviewError};
use crate::engine::decision::warning;
use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::mapping::first::First;
use crate::engine::mapping::lints::{self, Lint};
use crate::engine::mapping::{self, CONFIG_MAP_KEY, Problem, Problems};
use crate::engine::object::metadata::{MetadataError, once};
use crate::engine::object::subject::MAX_NAME;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;

/// How many warnings are told: the API server passes on some thousands of characters of them in all.
const MAX_WARNINGS: usize = 20;

/// An edit of the mapping's ConfigMap, apart from the review that it came in.
#[derive(Debug)]
pub struct Edit {
    uid: String,
    name: String,
    /// The new text; `None` where the edit does not touch it.
    text: Option<Result<String, Problems>>,
}

/// What is to be said about an edit.
#[derive(Debug)]
pub struct Verdict {
    /// How many problems refuse it; 0 where it may stand.
    pub problems: usize,
    /// The mapping that would come into force, where the edit is another one than the text before.
    pub accepted: Option<Ruleset>,
    uid: String,
    status: Option<Status>,
    warnings: Vec<String>,
}

impl Verdict {
    /// The AdmissionReview to send, JSON, with these warnings before its own: at most 256 KiB.
    ///
    /// # Errors
    /// Never in practice: what is written can be written as JSON.
    pub fn into_body(mut self, mut first: Vec<String>) -> Result<Vec<u8>, ReviewError> {
        first.append(&mut self.warnings);
        let response =
            Response { uid: &self.uid, allowed: self.status.is_none(), status: self.status, warnings: first };
        wire::close(&response, 0)
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

/// What kubectl shows of an invalid object, line by line; `kubectl edit` opens the editor again with it.
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

/// Takes the edit out of an AdmissionReview, which is not needed any more then. No text is taken that no ConfigMap could hold.
///
/// # Errors
/// When it is none.
pub fn read(body: &[u8]) -> Result<Edit, ReviewError> {
    let [mut uid, mut name, mut operation, mut new, mut old] = [None; 5];
    wire::open(body, |member, reader| {
        match &*member {
            "uid" => once(&mut uid, "uid", reader.text()?)?,
            "name" => once(&mut name, "name", reader.text()?)?,
            "operation" => once(&mut operation, "operation", reader.text()?)?,
            "object" => once(&mut new, "object", text_of_config_map(reader)?)?,
            "oldObject" => once(&mut old, "oldObject", text_of_config_map(reader)?)?,
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
    // What does not touch the text may always be done, also where the text was broken before.
    let untouched =
        operation == "DELETE" || (operation == "UPDATE" && new.map(RawText::raw) == old.map(RawText::raw));
    let text = match new {
        _ if untouched => None,
        None => Some(Err(Problems::of_the_whole(&format!("there is no `data` key `{CONFIG_MAP_KEY}`")))),
        Some(text) => Some(match text.within(mapping::MAX_BYTES)? {
            None => Err(Problems::of_the_whole(&mapping::size_message(text.len()))),
            Some(text) => Ok(text.into_owned()),
        }),
    };
    Ok(Edit { uid, name, text })
}

/// The mapping's text in a ConfigMap, as it was sent: two texts that differ are not unescaped to find out.
fn text_of_config_map<'a>(reader: &mut Reader<'a>) -> Result<Option<RawText<'a>>, MetadataError> {
    let mut text = None;
    reader.object(|member, reader| {
        if member.to_name()? == "data" {
            reader.object(|key, reader| {
                if key.to_name()? == CONFIG_MAP_KEY {
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
    /// How long the text is that is to be judged; `None` where there is nothing to judge.
    #[must_use]
    pub fn text_bytes(&self) -> Option<usize> {
        self.text.as_ref()?.as_ref().ok().map(String::len)
    }

    /// Judges it, within [`mapping::weight`] of its text.
    #[must_use]
    pub fn judge(self, operator_policy: &OperatorPolicy) -> Verdict {
        let Self { uid, name, text } = self;
        let mut verdict = Verdict { problems: 0, accepted: None, uid, status: None, warnings: Vec::new() };
        match text.map(|text| text.and_then(|text| judge(&text, operator_policy))) {
            None => {}
            Some(Ok((ruleset, warnings))) => {
                verdict.accepted = Some(ruleset);
                verdict.warnings = warnings;
            }
            Some(Err(problems)) => {
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
        message: format!("{CONFIG_MAP_KEY} has {problems}"),
        reason: "Invalid",
        code: 422,
        details: Details { kind: "ConfigMap", name, causes: told.chain(rest).collect() },
    }
}

fn judge(text: &str, operator_policy: &OperatorPolicy) -> Result<(Ruleset, Vec<String>), Problems> {
    let ruleset = mapping::compile(text, operator_policy)?;
    let mut told = First::new(MAX_WARNINGS, Lint::place);
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
    Ok((ruleset, warnings.collect()))
}
