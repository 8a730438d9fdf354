//! How is the answer to a review about a ServiceAccount or a Pod written?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::Error as _;

use super::wire::{ReviewError, close};
use crate::engine::json::{write_text, write_texts};

/// The response of an AdmissionReview that allows what was asked about.
pub(super) struct Response<'a> {
    pub(super) uid: &'a str,
    /// The patch as JSON, where there is one.
    pub(super) patch: Option<Vec<u8>>,
    pub(super) warnings: &'a [String],
    pub(super) audit_annotations: Vec<(&'static str, &'a str)>,
}

impl Response<'_> {
    /// Writes the AdmissionReview.
    pub(super) fn into_body(self) -> Result<Vec<u8>, ReviewError> {
        let patch = self.patch.as_ref().map_or(0, |patch| patch.len().div_ceil(3) * 4);
        let warnings: usize = self.warnings.iter().map(|warning| warning.len() + 3).sum();
        let audit: usize =
            self.audit_annotations.iter().map(|(name, text)| name.len() + text.len() + 6).sum();
        close(self.uid.len() + patch + warnings + audit + 128, |body| self.write(body))
    }

    fn write(&self, body: &mut Vec<u8>) -> serde_json::Result<()> {
        body.extend_from_slice(br#"{"uid":"#);
        write_text(body, self.uid)?;
        body.extend_from_slice(br#","allowed":true"#);
        if let Some(patch) = &self.patch {
            body.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
            write_base64(body, patch)?;
            body.push(b'"');
        }
        let mut before: &[u8] = br#","warnings":["#;
        for warning in self.warnings {
            body.extend_from_slice(before);
            write_text(body, warning)?;
            before = b",";
        }
        if !self.warnings.is_empty() {
            body.push(b']');
        }
        if !self.audit_annotations.is_empty() {
            body.extend_from_slice(br#","auditAnnotations":"#);
            write_texts(body, self.audit_annotations.iter().copied())?;
        }
        body.push(b'}');
        Ok(())
    }
}

/// Writes bytes in base64, as the API documents it for a patch. They go straight into the answer, so that a
/// long patch is never in memory twice.
fn write_base64(body: &mut Vec<u8>, bytes: &[u8]) -> serde_json::Result<()> {
    let start = body.len();
    body.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    let room = body.get_mut(start..).unwrap_or_default();
    STANDARD.encode_slice(bytes, room).map(drop).map_err(serde_json::Error::custom)
}
