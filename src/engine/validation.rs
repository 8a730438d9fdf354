//! May this edit of the mapping's ConfigMap stand? All problems refuse it at the moment of the edit.

use serde::{Deserialize, Serialize};

use super::advice::advise;
use super::bounds::Bounds;
use super::decision::warning;
use super::mapping::{self, CONFIG_MAP_KEY, Problem, Problems};
use super::review::{self, ReviewError};
use super::ruleset::Ruleset;
use super::subject::Text;

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
    /// The AdmissionReview to send, JSON, with these warnings before its own.
    ///
    /// # Errors
    /// Never in practice: what is written can be written as JSON.
    pub fn into_body(mut self, mut first: Vec<String>) -> Result<Vec<u8>, ReviewError> {
        first.append(&mut self.warnings);
        let response =
            Response { uid: &self.uid, allowed: self.status.is_none(), status: self.status, warnings: first };
        review::close(&response, 0)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    operation: Text<'a>,
    #[serde(borrow)]
    object: Option<ConfigMap<'a>>,
    #[serde(borrow)]
    old_object: Option<ConfigMap<'a>>,
}

#[derive(Deserialize)]
struct ConfigMap<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "mapping.yaml")]
    mapping: Option<Text<'a>>,
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

/// Judges an AdmissionReview of the mapping's ConfigMap.
///
/// # Errors
/// When it is none.
pub fn validate(body: &[u8], bounds: &Bounds) -> Result<Verdict, ReviewError> {
    let request: Request<'_> = review::open(body)?;
    review::check_uid(&request.uid)?;
    let (new, old) = (text(request.object.as_ref()), text(request.old_object.as_ref()));
    // What does not touch the text may always be done, also where the text was broken before.
    let judged = if request.operation.0 == "DELETE" || (request.operation.0 == "UPDATE" && new == old) {
        None
    } else {
        Some(judge(new, bounds))
    };
    let uid = request.uid.0.into_owned();
    Ok(match judged {
        None => Verdict { problems: 0, accepted: None, uid, status: None, warnings: Vec::new() },
        Some(Ok((ruleset, warnings))) => {
            Verdict { problems: 0, accepted: Some(ruleset), uid, status: None, warnings }
        }
        Some(Err(problems)) => {
            let status = Some(refusal(&problems, &request.name));
            Verdict { problems: problems.0.len(), accepted: None, uid, status, warnings: Vec::new() }
        }
    })
}

fn text<'t>(config_map: Option<&'t ConfigMap<'_>>) -> Option<&'t str> {
    Some(&config_map?.data.as_ref()?.mapping.as_ref()?.0)
}

fn refusal(problems: &Problems, name: &Text<'_>) -> Status {
    let causes = problems.0.iter().map(|Problem { at, path, message }| {
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let field = format!("{CONFIG_MAP_KEY}:{at}");
        Cause { reason: "FieldValueInvalid", field, message: format!("{path}{message}") }
    });
    Status {
        message: format!("{CONFIG_MAP_KEY} has {problems}"),
        reason: "Invalid",
        code: 422,
        details: Details { kind: "ConfigMap", name: name.0.to_string(), causes: causes.collect() },
    }
}

fn judge(text: Option<&str>, bounds: &Bounds) -> Result<(Ruleset, Vec<String>), Problems> {
    let whole = |message| {
        let at = super::yaml::Position { line: 1, column: 1 };
        Problems(vec![Problem { at, path: String::new(), message }])
    };
    let text = text.ok_or_else(|| whole(format!("there is no `data` key `{CONFIG_MAP_KEY}`")))?;
    // Before anything is read: whoever reaches the port can send more than a ConfigMap holds.
    if text.len() > mapping::MAX_BYTES {
        return Err(whole(mapping::size_message(text.len())));
    }
    let ruleset = mapping::compile(text, bounds)?;
    let told = advise(&ruleset, text.len()).into_iter().filter(|advice| !advice.is_note());
    // The API server passes on some thousands of characters of warnings in all.
    let warnings: Vec<String> = told
        .take(20)
        .map(|advice| {
            let place = advice.at.map(|at| format!("{at}: ")).unwrap_or_default();
            let rule = advice.rule.map(|rule| format!("rule {rule} ")).unwrap_or_default();
            warning(format!("{place}{rule}{}", advice.message))
        })
        .collect();
    Ok((ruleset, warnings))
}
