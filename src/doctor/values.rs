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
use crate::engine::yaml::{self, Limits, Node, ScalarKind};
use crate::inventory::{Hidden, Secret};

/// A value of GitLab's chart does nothing.
pub(super) const DEAD_VALUE: Check =
    Check { id: "dead-value", severity: Severity::Warning, reference: REFERENCE.object_storage };

/// The values that a chart is installed with.
#[derive(Clone, Debug)]
pub struct ValuesFile {
    /// What to call them, as the path of a file.
    pub name: String,
    /// The text, in YAML.
    pub text: Hidden,
}

/// The most bytes of a release before it is unpacked: a Secret holds no more.
const MAX_PACKED: usize = 2 << 20;

/// The most bytes of a release once it is unpacked: a few bytes of gzip can stand for gigabytes.
const MAX_UNPACKED: u64 = 16 << 20;

/// How much of the values is read.
const LIMITS: Limits =
    Limits { nodes: 100_000, held: Some(16 << 20), anchors: Some(1000), lookahead: 1024, directives: false };

/// The longest text of values that is read, in bytes.
const MAX_VALUES: usize = 4 << 20;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for file in view.scene.values {
        let place = Place::named(&file.name);
        judge(file.text.expose(), &place, &file.name, findings);
    }
    for secret in newest_releases(view.secrets()) {
        let metadata = &secret.metadata;
        let name = format!("Secret {}/{}", shown(&metadata.namespace), shown(&metadata.name));
        match unpacked(secret) {
            Ok(Some(values)) => judge(values.expose(), &Place::of("Secret", metadata), &name, findings),
            Ok(None) => {}
            Err(why) => findings.unread(name, why),
        }
    }
}

fn judge(text: &str, place: &Place, name: &str, findings: &mut Findings) {
    match dead_values(text) {
        Ok(dead) => {
            for DeadValue { path, why, instead } in dead {
                findings.add(&DEAD_VALUE, place.clone().at(&path), why, instead);
            }
        }
        Err(why) => findings.unread(shown(name), why),
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

/// Returns the values that a release of GitLab's was given, and none for a release of another chart.
fn unpacked(secret: &Secret) -> Result<Option<Hidden>, &'static str> {
    #[derive(Deserialize)]
    struct Release<'t> {
        #[serde(borrow, default)]
        config: Option<&'t RawValue>,
        chart: Chart,
    }
    #[derive(Deserialize)]
    struct Chart {
        metadata: ChartMetadata,
    }
    #[derive(Deserialize)]
    struct ChartMetadata {
        #[serde(default)]
        name: String,
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
    let is_gitlab = release.chart.metadata.name == "gitlab";
    Ok(release.config.filter(|_| is_gitlab).map(|config| Hidden::new(config.get().to_owned())))
}

/// A value that does nothing.
struct DeadValue {
    path: String,
    why: &'static str,
    instead: &'static str,
}

fn dead_values(text: &str) -> Result<Vec<DeadValue>, &'static str> {
    if text.len() > MAX_VALUES {
        return Err("the values are longer than 4 MiB");
    }
    let documents =
        yaml::read_apart(text, LIMITS, None, &mut |_, _| {}).map_err(|_| "the values are not YAML")?;
    let Some(values) = documents.first() else { return Ok(Vec::new()) };
    let mut dead = Vec::new();
    let mut tell = |path: &str, why, instead| dead.push(DeadValue { path: path.to_owned(), why, instead });
    if is_there(values.at_path(&["global", "platform", "eksRoleArn"])) {
        tell(
            "global.platform.eksRoleArn",
            "the chart reads it no more (it did in 4.11 and 4.12, and wrote what nobody reads)",
            "delete it, and map the components with `provider: irsa`",
        );
    }
    if is_there(values.at_path(&["gitlab", "task-runner", "annotations"])) {
        tell(
            "gitlab.task-runner.annotations",
            "the chart reads it no more: since 5.5.0 task-runner is toolbox",
            "delete it, and map the component toolbox",
        );
    }
    Ok(dead)
}

fn is_there(node: Option<&Node<'_>>) -> bool {
    node.is_some_and(|node| match node.as_scalar() {
        Some(scalar) => scalar.kind != ScalarKind::Null && !scalar.text.is_empty(),
        None => node.as_mapping().is_none_or(|entries| !entries.is_empty()),
    })
}
