//! How is the envelope of an AdmissionReview read and written?

use std::borrow::Cow;

use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::object::metadata::{MetadataError, once};
use crate::engine::object::subject::{MAX_ANNOTATIONS, MAX_NAME};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The longest uid that is answered, in bytes. The API server sends 36. The answer repeats it, so that it
/// must be bounded.
pub(super) const MAX_UID: usize = 128;

/// Why a body is no AdmissionReview that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not JSON, or cut off, or has a value of the wrong type.
    #[error("the body is not an AdmissionReview in JSON")]
    Json(#[from] JsonError),
    /// The answer cannot be written, which does not happen.
    #[error("writing the answer")]
    Answer(#[source] serde_json::Error),
    /// A member stands there twice, of which there can be only one.
    #[error("the body is not an AdmissionReview in JSON: `{0}` stands there twice")]
    Twice(&'static str),
    /// The object has more annotations than can be stored.
    #[error("the object cannot be stored: its annotations have more than {MAX_ANNOTATIONS} bytes")]
    Annotations,
    /// It is of another version of the API.
    #[error("`{0}` is not supported: register the webhook with admissionReviewVersions [\"v1\"]")]
    Version(String),
    /// It is no AdmissionReview.
    #[error(
        "expected kind AdmissionReview of {API_VERSION}, found kind `{kind}` and apiVersion `{api_version}`"
    )]
    Kind {
        /// The `kind` that was sent.
        kind: String,
        /// The `apiVersion` that was sent.
        api_version: String,
    },
    /// It has no request.
    #[error("the AdmissionReview has no `request`")]
    NoRequest,
    /// It has no uid to answer to.
    #[error("`request.uid` is missing, empty or longer than {MAX_UID} bytes")]
    NoUid,
    /// A CREATE or UPDATE comes without its object.
    #[error("`request.object` is missing, or has no `metadata`")]
    NoObject,
}

impl From<MetadataError> for ReviewError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Json(error) => Self::Json(error),
            MetadataError::Twice(name) => Self::Twice(name),
            MetadataError::TooLong => Self::Annotations,
        }
    }
}

/// Reads an AdmissionReview, and gives each member of its request to `member`.
pub(super) fn open<'a>(
    body: &'a [u8],
    mut member: impl FnMut(RawText<'a>, &mut Reader<'a>) -> Result<(), ReviewError>,
) -> Result<(), ReviewError> {
    let [mut api_version, mut kind, mut request] = [None; 3];
    let mut reader = Reader::new(body);
    reader.object(|name, reader| {
        match &*name.to_name()? {
            b"apiVersion" => once(&mut api_version, "apiVersion", reader.text()?)?,
            b"kind" => once(&mut kind, "kind", reader.text()?)?,
            b"request" => {
                let there = reader.object(&mut member)?;
                once(&mut request, "request", there.then(RawText::default))?;
            }
            _ => {}
        }
        Ok::<_, ReviewError>(())
    })?;
    reader.end()?;
    let (api_version, kind) = (shown(api_version)?, shown(kind)?);
    if kind != KIND || api_version != API_VERSION {
        if kind == KIND && api_version.starts_with("admission.k8s.io/") {
            return Err(ReviewError::Version(api_version.into_owned()));
        }
        return Err(ReviewError::Kind { kind: kind.into_owned(), api_version: api_version.into_owned() });
    }
    request.map(drop).ok_or(ReviewError::NoRequest)
}

/// Returns a text that is shown to people. Where it is longer than any name, it says only that.
pub(super) fn shown(text: Option<RawText<'_>>) -> Result<Cow<'_, str>, JsonError> {
    let text = text.unwrap_or_default().within(MAX_NAME)?;
    Ok(text.unwrap_or(Cow::Borrowed("(longer than 253 bytes)")))
}

/// Writes an AdmissionReview whose response is written by `response`. `room` is about how many bytes that
/// has.
pub(super) fn close(
    room: usize,
    response: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
) -> Result<Vec<u8>, ReviewError> {
    let mut body = Vec::with_capacity(room + 128);
    body.extend_from_slice(br#"{"apiVersion":""#);
    body.extend_from_slice(API_VERSION.as_bytes());
    body.extend_from_slice(br#"","kind":""#);
    body.extend_from_slice(KIND.as_bytes());
    body.extend_from_slice(br#"","response":"#);
    response(&mut body).map_err(ReviewError::Answer)?;
    body.push(b'}');
    Ok(body)
}
