//! How does an AdmissionReview become an answer? The one pure call of the admission path.
//!
//! The wire types are our own: they borrow from the request's bytes and read only what a decision needs, and `patch` is
//! written in base64 as the API documents it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::decision::{self, Decision, Outcome};
use super::patch;
use super::provider::Provider;
use super::ruleset::Ruleset;
use super::subject::{Kind, Pair, Requester, Subject, Text};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The API server sends 36; the answer repeats it, so it must not be of any length.
const MAX_UID: usize = 128;

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

/// A body that is no AdmissionReview that could be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or cut off, or with a value of the wrong type.
    #[error("the body is not an AdmissionReview in JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// An older API.
    #[error("`{0}` is not supported: register the webhook with admissionReviewVersions [\"v1\"]")]
    Version(String),
    /// Another kind altogether.
    #[error(
        "expected kind AdmissionReview of {API_VERSION}, found kind `{kind}` and apiVersion `{api_version}`"
    )]
    Kind {
        /// `kind` as sent.
        kind: String,
        /// `apiVersion` as sent.
        api_version: String,
    },
    /// No request in it.
    #[error("the AdmissionReview has no `request`")]
    NoRequest,
    /// Nothing to answer to.
    #[error("`request.uid` is missing, empty or longer than {MAX_UID} bytes")]
    NoUid,
    /// A CREATE or UPDATE without its object.
    #[error("`request.object` is missing, or has no `metadata`")]
    NoObject,
}

impl ReviewError {
    /// A word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Version(_) => "version",
            Self::Kind { .. } => "kind",
            Self::NoRequest => "no_request",
            Self::NoUid => "no_uid",
            Self::NoObject => "no_object",
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
    let request = parse(body)?;
    let (decision, patch, mut warnings) = match request.acts_on() {
        Ok(kind) => {
            let object = request.object.as_ref().ok_or(ReviewError::NoObject)?;
            let metadata = object.metadata.as_ref().ok_or(ReviewError::NoObject)?;
            let mut decision = decision::decide(ruleset, &request.subject(kind, object, metadata));
            let annotations = metadata.annotations.as_ref().map(|pairs| pairs.0.as_slice());
            let patch = patch::patch(&decision.edits, annotations);
            let warnings = std::mem::take(&mut decision.warnings);
            (Some(decision), patch, warnings)
        }
        Err(reason) => (None, json_patch::Patch::default(), vec![decision::warning(reason)]),
    };
    let patch = match mode {
        Mode::Observe => {
            if let Some(decision) = decision.as_ref().filter(|_| !patch.0.is_empty()) {
                warnings.insert(0, observed(decision));
            }
            None
        }
        Mode::Mutate if patch.0.is_empty() => None,
        Mode::Mutate => {
            let json = serde_json::to_vec(&patch).map_err(ReviewError::Json)?;
            Some(base64::engine::general_purpose::STANDARD.encode(json))
        }
    };
    let response = Response {
        uid: &request.uid.0,
        allowed: true,
        patch_type: patch.as_ref().map(|_| "JSONPatch"),
        patch,
        warnings: &warnings,
        audit_annotations: audit_annotations(mode, decision.as_ref()),
    };
    let body = close(&response)?;
    Ok(request.reply(body, warnings, decision))
}

/// Reads a request, for commands that explain a stored review.
///
/// # Errors
/// As [`respond`].
pub fn parse(body: &[u8]) -> Result<Request<'_>, ReviewError> {
    let request: Request<'_> = open(body)?;
    check_uid(&request.uid)?;
    Ok(request)
}

/// Takes the request out of an AdmissionReview.
pub(super) fn open<'a, R: Deserialize<'a>>(body: &'a [u8]) -> Result<R, ReviewError> {
    let review: Review<'a, R> = serde_json::from_slice(body).map_err(ReviewError::Json)?;
    let api_version = review.api_version.unwrap_or_default().0;
    let kind = review.kind.unwrap_or_default().0;
    if kind != KIND || api_version != API_VERSION {
        if kind == KIND && api_version.starts_with("admission.k8s.io/") {
            return Err(ReviewError::Version(api_version.into_owned()));
        }
        return Err(ReviewError::Kind { kind: kind.into_owned(), api_version: api_version.into_owned() });
    }
    review.request.ok_or(ReviewError::NoRequest)
}

/// Puts a response into an AdmissionReview.
pub(super) fn close<R: Serialize>(response: &R) -> Result<Vec<u8>, ReviewError> {
    let review = ResponseReview { api_version: API_VERSION, kind: KIND, response };
    serde_json::to_vec(&review).map_err(ReviewError::Json)
}

pub(super) fn check_uid(uid: &Text<'_>) -> Result<(), ReviewError> {
    if uid.0.is_empty() || uid.0.len() > MAX_UID { Err(ReviewError::NoUid) } else { Ok(()) }
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

/// A map of texts in its own order: labels, annotations.
#[derive(Debug, Default)]
struct Pairs<'a>(Vec<Pair<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(16);
                while let Some((key, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    pairs.push((key.0, value.0));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a, R> {
    #[serde(borrow)]
    api_version: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    request: Option<R>,
}

/// `request` of an AdmissionReview, as far as a decision needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    kind: GroupVersionKind<'a>,
    #[serde(borrow)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    operation: Text<'a>,
    #[serde(borrow, default)]
    user_info: UserInfo<'a>,
    #[serde(borrow)]
    object: Option<Object<'a>>,
    dry_run: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct GroupVersionKind<'a> {
    #[serde(borrow, default)]
    group: Text<'a>,
    #[serde(borrow, default)]
    version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct UserInfo<'a> {
    #[serde(borrow)]
    username: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    generate_name: Option<Text<'a>>,
    #[serde(borrow)]
    labels: Option<Pairs<'a>>,
    #[serde(borrow)]
    annotations: Option<Pairs<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    service_account_name: Option<Text<'a>>,
}

fn as_str<'t>(text: Option<&'t Text<'_>>) -> &'t str {
    text.map_or("", |text| text.0.as_ref())
}

impl<'a> Request<'a> {
    /// The kind to decide on, or why there is nothing to decide.
    fn acts_on(&self) -> Result<Kind, String> {
        let GroupVersionKind { group, version, kind } = &self.kind;
        let sub_resource = as_str(self.sub_resource.as_ref());
        let operation = self.operation.0.as_ref();
        let core = group.0.is_empty() && version.0 == "v1" && sub_resource.is_empty();
        match (kind.0.as_ref(), operation) {
            ("ServiceAccount", "CREATE" | "UPDATE") if core => Ok(Kind::ServiceAccount),
            ("Pod", "CREATE") if core => Ok(Kind::Pod),
            (kind, _) => {
                let slash = if sub_resource.is_empty() { "" } else { "/" };
                Err(format!(
                    "{operation} of {kind}{slash}{sub_resource} is not for this webhook: mend the webhook configuration"
                ))
            }
        }
    }

    /// The object as a decision sees it; `None` where there is nothing to decide.
    #[must_use]
    pub fn as_subject(&self) -> Option<Subject<'_>> {
        let kind = self.acts_on().ok()?;
        let object = self.object.as_ref()?;
        Some(self.subject(kind, object, object.metadata.as_ref()?))
    }

    /// Where it is, and what it is called.
    #[must_use]
    pub fn namespace_and_name(&self) -> (&str, &str) {
        let metadata = self.object.as_ref().and_then(|object| object.metadata.as_ref());
        let names = [
            as_str(self.name.as_ref()),
            as_str(metadata.and_then(|metadata| metadata.name.as_ref())),
            as_str(metadata.and_then(|metadata| metadata.generate_name.as_ref())),
        ];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        (as_str(self.namespace.as_ref()), name)
    }

    fn subject<'s>(&'s self, kind: Kind, object: &'s Object<'a>, metadata: &'s Metadata<'a>) -> Subject<'s> {
        let (namespace, name) = self.namespace_and_name();
        let service_account = match kind {
            // A generateName is not yet the name that rules and trust policies speak of.
            Kind::ServiceAccount if name == as_str(metadata.generate_name.as_ref()) => "",
            Kind::ServiceAccount => name,
            // The API server fills it in before it asks; a Pod without a name runs as `default`.
            Kind::Pod => {
                match as_str(object.spec.as_ref().and_then(|spec| spec.service_account_name.as_ref())) {
                    "" => "default",
                    name => name,
                }
            }
        };
        Subject {
            kind,
            namespace,
            name,
            service_account,
            labels: metadata.labels.as_ref().map(|pairs| pairs.0.as_slice()).unwrap_or_default(),
            annotations: metadata.annotations.as_ref().map(|pairs| pairs.0.as_slice()).unwrap_or_default(),
            requester: Requester::User(as_str(self.user_info.username.as_ref())),
        }
    }

    fn reply(self, body: Vec<u8>, warnings: Vec<String>, decision: Option<Decision<'a>>) -> Reply<'a> {
        let metadata = self.object.and_then(|object| object.metadata);
        let of_object = metadata.and_then(|metadata| metadata.name.or(metadata.generate_name));
        let name = self.name.filter(|name| !name.0.is_empty()).or(of_object).unwrap_or_default().0;
        Reply {
            body,
            uid: self.uid.0,
            operation: self.operation.0,
            kind: self.kind.kind.0,
            namespace: self.namespace.unwrap_or_default().0,
            name,
            dry_run: self.dry_run.unwrap_or(false),
            warnings,
            decision,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseReview<'a, R> {
    api_version: &'a str,
    kind: &'a str,
    response: &'a R,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    audit_annotations: Vec<(&'static str, &'a str)>,
}

fn as_map<S: Serializer>(pairs: &[(&'static str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}
