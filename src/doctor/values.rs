//! Which values of GitLab's chart do nothing?
//!
//! They come from files, or from the Secret in which Helm keeps a release. Values hold passwords: nothing of
//! them is told but the path of a value.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::findings::{Check, Findings, Place, shown};
use super::view::View;
use super::{REFERENCE, Severity};
use crate::engine::yaml::Limits;
use crate::import::{self, Chart, DeadValue, Values, ValuesError};
use crate::inventory::{Hidden, Secret};

/// A value of GitLab's chart does nothing.
pub(super) const DEAD_VALUE: Check =
    Check { id: "dead-value", severity: Severity::Warning, reference: REFERENCE.object_storage };

/// The values that a chart is installed with.
#[derive(Debug)]
pub struct ValuesFile {
    name: String,
    values: Values,
}

impl ValuesFile {
    /// Reads values in YAML. The name is what to call them, as the path of a file.
    ///
    /// # Errors
    /// When they cannot be read; the reason holds nothing of them.
    pub fn read(name: String, text: &str) -> Result<Self, &'static str> {
        let mut values = Values::default();
        // Errors about values would show parts of them.
        values.merge_within(&name, text, LIMITS).map_err(|error| match error {
            ValuesError::Size(_) => "the values are longer than 4 MiB",
            ValuesError::Syntax(_) => "the values are no YAML of that size",
            _ => "the values are no mapping in YAML",
        })?;
        Ok(Self { name, values })
    }
}

/// The most bytes of a release before it is unpacked: a Secret holds no more.
const MAX_PACKED: usize = 2 << 20;

/// The most bytes of a release once it is unpacked: a few bytes of gzip can stand for gigabytes.
const MAX_UNPACKED: u64 = 16 << 20;

/// How much of the values is read.
const LIMITS: Limits =
    Limits { nodes: 100_000, held: Some(16 << 20), anchors: Some(1000), lookahead: 1024, directives: false };

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for file in view.scene.values {
        judge(&Place::named(&file.name), &file.values, &Chart::detect(&file.values, None), findings);
    }
    for secret in newest_releases(view.secrets()) {
        let metadata = &secret.metadata;
        let name = format!("Secret {}/{}", shown(&metadata.namespace), shown(&metadata.name));
        let read = unpacked(secret).and_then(|found| {
            let file = |text: &Hidden| ValuesFile::read(name.clone(), text.expose());
            found.map(|(chart, text)| file(&text).map(|file| (chart, file))).transpose()
        });
        match read {
            Ok(Some((chart, file))) => {
                judge(&Place::of("Secret", metadata), &file.values, &chart, findings);
            }
            Ok(None) => {}
            Err(why) => findings.unread(name, why),
        }
    }
}

fn judge(place: &Place, values: &Values, chart: &Chart, findings: &mut Findings) {
    for DeadValue { path, why, instead, .. } in import::dead_values(values, chart) {
        let instead = instead.unwrap_or_else(|| "delete it".to_owned());
        findings.add(&DEAD_VALUE, place.clone().at(&path), shown(&why), shown(&instead));
    }
}

/// Returns the newest Secret of each release of Helm's. It keeps the last ten revisions.
fn newest_releases<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Vec<&'s Secret> {
    let mut newest: BTreeMap<(&str, &str), (u64, &Secret)> = BTreeMap::new();
    for secret in secrets.filter(|secret| secret.kind == "helm.sh/release.v1") {
        // As sh.helm.release.v1.gitlab.v12
        let name = secret.metadata.name.strip_prefix("sh.helm.release.v1.").unwrap_or(&secret.metadata.name);
        let (release, version) = name.rsplit_once(".v").unwrap_or((name, ""));
        let version = version.parse().unwrap_or_default();
        let found = newest.entry((&secret.metadata.namespace, release)).or_insert((version, secret));
        if found.0 < version {
            *found = (version, secret);
        }
    }
    newest.into_values().map(|(_, secret)| secret).collect()
}

/// Returns the values that a release of GitLab's, or of the runner's, was given, with its chart. `None` is
/// for a release of another chart.
fn unpacked(secret: &Secret) -> Result<Option<(Chart, Hidden)>, &'static str> {
    #[derive(Deserialize)]
    struct Release<'t> {
        #[serde(borrow, default)]
        config: Option<&'t RawValue>,
        chart: Packed,
    }
    #[derive(Deserialize)]
    struct Packed {
        metadata: ChartMetadata,
    }
    #[derive(Deserialize)]
    struct ChartMetadata {
        #[serde(default)]
        name: String,
        #[serde(default)]
        version: String,
    }
    let broken = "it is not what Helm writes";
    let Some(data) = secret.data.get("release") else { return Err(broken) };
    if data.expose().len() > MAX_PACKED {
        return Err("it is larger than any Secret");
    }
    // The API server shows in base64 what Helm wrote in base64.
    let packed =
        STANDARD.decode(data.expose()).and_then(|inner| STANDARD.decode(inner)).map_err(|_| broken)?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice()).take(MAX_UNPACKED + 1).read_to_end(&mut json).map_err(|_| broken)?;
    if json.len() as u64 > MAX_UNPACKED {
        return Err("it is larger than 16 MiB once it is unpacked");
    }
    let release: Release<'_> = serde_json::from_slice(&json).map_err(|_| broken)?;
    let ChartMetadata { name, version } = release.chart.metadata;
    let is_runner = match name.as_str() {
        "gitlab" => false,
        "gitlab-runner" => true,
        _ => return Ok(None),
    };
    let chart = Chart::new(is_runner, version.parse().ok());
    Ok(release.config.map(|config| (chart, Hidden::new(config.get().to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_read_are_told_without_a_word_of_them() {
        let long = format!("password: {}\n", "PLANTED".repeat(1 << 20));
        for (text, why) in [
            ("password: [PLANTED", "the values are no YAML of that size"),
            ("- PLANTED", "the values are no mapping in YAML"),
            ("a: PLANTED\n---\nb: c\n", "the values are no mapping in YAML"),
            (&format!("a: [{}]", "PLANTED, ".repeat(100_000)), "the values are no YAML of that size"),
            (&long, "the values are longer than 4 MiB"),
        ] {
            assert_eq!(ValuesFile::read("values.yaml".to_owned(), text).unwrap_err(), why);
        }
        let read = ValuesFile::read("values.yaml".to_owned(), "password: PLANTED\n").unwrap();
        assert!(!format!("{read:?}").contains("PLANTED"));
    }
}
