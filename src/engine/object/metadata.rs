//! Which parts of an object's `metadata` are kept, and how much memory may they take?
//!
//! Anybody who may create a ServiceAccount or a Pod can send megabytes of metadata: the API server validates
//! it only after it has asked the mutating webhooks. Labels and annotations are therefore kept as they were
//! sent, and only those that a decision could read: the keys below, and the label keys that some rule names.
//! Each key is kept once. Where it stands twice the last one counts, as for the API server.

use std::borrow::Cow;

use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::object::component::is_runner_key;
use crate::engine::object::owner::Owner;
use crate::engine::object::provider::{self, RoleOption};
use crate::engine::object::subject::{APPLIED, INJECT, MAX_ANNOTATIONS, MAX_LABEL, Pair, WAS};

/// The labels that [`super::component::recognise`] reads, and the opt-out, sorted by length.
const LABELS: [&str; 12] = [
    "app",
    "chart",
    "release",
    "job-name",
    "helm.sh/chart",
    "app.kubernetes.io/name",
    INJECT,
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
    "batch.kubernetes.io/job-name",
    "project.runner.gitlab.com/id",
];

/// The annotations that decisions read, sorted by length.
const ANNOTATIONS: [&str; 13] = [
    "helm.sh/hook",
    WAS,
    provider::POD_ROLE,
    "job.runner.gitlab.com/id",
    INJECT,
    RoleOption::IrsaAudience.key(),
    provider::IRSA_ROLE,
    APPLIED,
    RoleOption::PodExternalId.key(),
    RoleOption::PodSessionName.key(),
    RoleOption::IrsaSkipContainers.key(),
    RoleOption::IrsaTokenExpiration.key(),
    RoleOption::IrsaStsRegionalEndpoints.key(),
];

/// This text stands in for the value of a label that is too long. It is too long itself, so that no rule
/// matches it.
pub const OVERLONG: &str = "a value that is longer than the 63 bytes that a label's value may have at most";

/// This key stands in for all labels of GitLab Runner's that no rule names.
const RUNNER_KEY: &str = "runner.gitlab.com/";

/// Why metadata cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is not JSON, or JSON of another shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member stands there twice, of which there can be only one.
    #[error("`{0}` stands there twice")]
    Twice(&'static str),
    /// The annotations are longer than any that are stored.
    #[error("its annotations have more than {MAX_ANNOTATIONS} bytes, which Kubernetes does not store")]
    TooLong,
}

/// The metadata of one object, as it was sent.
#[derive(Debug)]
pub struct Metadata<'a> {
    /// The label keys of the rules that it was read for, sorted by length.
    of_rules: &'a [Box<str>],
    /// `name`
    pub name: Option<RawText<'a>>,
    /// `generateName`
    pub generate_name: Option<RawText<'a>>,
    /// `namespace`
    pub namespace: Option<RawText<'a>>,
    /// `resourceVersion`
    pub resource_version: Option<RawText<'a>>,
    /// A reader that stands before the value of `ownerReferences`, which is read only where it is asked for.
    owners: Option<Reader<'a>>,
    /// The object is being deleted, because it has a `deletionTimestamp`.
    pub is_deleted: bool,
    /// The values of [`LABELS`] and then of `of_rules`, each in its place; `None` where the object has no
    /// such label.
    labels: Vec<Option<RawText<'a>>>,
    /// Some other label belongs to GitLab Runner.
    has_runner_label: bool,
    /// The values of [`ANNOTATIONS`], each in its place; `None` where the object has no map of annotations.
    annotations: Option<Box<[Option<RawText<'a>>; ANNOTATIONS.len()]>>,
}

/// Labels and annotations in the form that a decision reads, which is unescaped.
#[derive(Debug, Default)]
pub struct Pairs<'a> {
    /// The labels that a decision could read.
    pub labels: Vec<Pair<'a>>,
    /// The annotations that a decision could read; `None` where the object has no map of annotations.
    pub annotations: Option<Vec<Pair<'a>>>,
}

impl<'a> Metadata<'a> {
    /// Reads a `metadata` object, and keeps the labels with these keys beside those that are always kept.
    /// Returns `None` where it is `null`.
    ///
    /// # Errors
    /// Returns an error where it is no such object.
    pub fn read(reader: &mut Reader<'a>, label_keys: &'a [Box<str>]) -> Result<Option<Self>, MetadataError> {
        let mut metadata = Self {
            of_rules: label_keys,
            name: None,
            generate_name: None,
            namespace: None,
            resource_version: None,
            owners: None,
            is_deleted: false,
            labels: Vec::new(),
            has_runner_label: false,
            annotations: None,
        };
        let there = reader.object(|name, reader| metadata.member(&name.to_name()?, reader))?;
        Ok(there.then_some(metadata))
    }

    fn member(&mut self, name: &[u8], reader: &mut Reader<'a>) -> Result<(), MetadataError> {
        let (slot, name) = match name {
            b"name" => (&mut self.name, "name"),
            b"generateName" => (&mut self.generate_name, "generateName"),
            b"namespace" => (&mut self.namespace, "namespace"),
            b"resourceVersion" => (&mut self.resource_version, "resourceVersion"),
            b"deletionTimestamp" => {
                self.is_deleted = reader.text()?.is_some();
                return Ok(());
            }
            b"ownerReferences" => return once(&mut self.owners, "ownerReferences", Some(reader.clone())),
            b"labels" => return self.read_labels(reader),
            b"annotations" => return self.read_annotations(reader),
            _ => return Ok(()),
        };
        once(slot, name, reader.text()?)
    }

    fn read_labels(&mut self, reader: &mut Reader<'a>) -> Result<(), MetadataError> {
        let of_rules = self.of_rules;
        if !self.labels.is_empty() {
            return Err(MetadataError::Twice("labels"));
        }
        self.labels.resize(LABELS.len() + of_rules.len(), None);
        reader.object(|key, reader| {
            let value = text(reader)?;
            let of_rule = || key.place_in(of_rules).map(|place| LABELS.len() + place);
            let place = key.place_in(&LABELS).or_else(of_rule);
            match place {
                Some(place) => {
                    if let Some(slot) = self.labels.get_mut(place) {
                        *slot = Some(value);
                    }
                }
                // This sees the raw key, so that a key which is too long to be looked up counts as well.
                None => self.has_runner_label |= is_runner_key(key.raw()),
            }
            Ok::<_, MetadataError>(())
        })?;
        Ok(())
    }

    fn read_annotations(&mut self, reader: &mut Reader<'a>) -> Result<(), MetadataError> {
        if self.annotations.is_some() {
            return Err(MetadataError::Twice("annotations"));
        }
        let mut kept: Box<[_; ANNOTATIONS.len()]> = Box::default();
        let there = reader.object(|key, reader| {
            let value = text(reader)?;
            let place = key.place_in(&ANNOTATIONS);
            if let Some(slot) = place.and_then(|place| kept.get_mut(place)) {
                *slot = Some(value);
            }
            Ok::<_, MetadataError>(())
        })?;
        self.annotations = there.then_some(kept);
        Ok(())
    }

    /// Reads which workload made the object, where its `ownerReferences` name one.
    ///
    /// # Errors
    /// Returns an error where they are none.
    pub fn owner(&self) -> Result<Option<Owner<'a>>, JsonError> {
        self.owners.clone().map_or(Ok(None), Owner::read)
    }

    /// Returns the most bytes that it can take to unescape what is kept and to write it into an answer.
    ///
    /// # Errors
    /// Returns [`MetadataError::TooLong`], before anything is unescaped.
    pub fn weight(&self) -> Result<usize, MetadataError> {
        let values = self.annotations.iter().flat_map(|kept| kept.iter().flatten());
        let (mut raw, mut bytes) = (0, 0);
        for value in values {
            raw += value.raw_len();
            bytes += value.len();
        }
        if bytes > MAX_ANNOTATIONS {
            return Err(MetadataError::TooLong);
        }
        // The unescaped bytes are there four times at most: in the copy that unescaping makes, in `was`, and
        // in the record, which takes twice its bytes while it grows. The escaped bytes are there three times:
        // in the patch, which grows in the same way, and in the body.
        Ok(4 * bytes + 3 * raw)
    }

    /// Unescapes what was kept.
    ///
    /// # Errors
    /// Returns an error where a value is not UTF-8, or where the annotations are too long.
    pub fn pairs(&self) -> Result<Pairs<'a>, MetadataError> {
        self.weight()?;
        let label_keys = LABELS.into_iter().chain(self.of_rules.iter().map(|key| &**key));
        let mut labels: Vec<Pair<'a>> = Vec::with_capacity(LABELS.len());
        for (key, value) in label_keys.zip(&self.labels) {
            if let Some(value) = value {
                let value = value.within(MAX_LABEL)?.unwrap_or(Cow::Borrowed(OVERLONG));
                labels.push((Cow::Borrowed(key), value));
            }
        }
        if self.has_runner_label {
            labels.push((Cow::Borrowed(RUNNER_KEY), Cow::Borrowed("")));
        }
        let annotations = match &self.annotations {
            Some(kept) => {
                let mut annotations: Vec<Pair<'a>> = Vec::with_capacity(4);
                for (key, value) in ANNOTATIONS.into_iter().zip(kept.iter()) {
                    if let Some(value) = value {
                        annotations.push((Cow::Borrowed(key), value.to_text()?));
                    }
                }
                Some(annotations)
            }
            None => None,
        };
        Ok(Pairs { labels, annotations })
    }
}

/// Puts a member into its place.
///
/// # Errors
/// Returns an error where the place is taken.
pub(in crate::engine) fn once<T>(
    slot: &mut Option<T>,
    name: &'static str,
    value: Option<T>,
) -> Result<(), MetadataError> {
    if slot.is_some() {
        return Err(MetadataError::Twice(name));
    }
    *slot = value;
    Ok(())
}

/// Reads the value of a label or an annotation.
fn text<'a>(reader: &mut Reader<'a>) -> Result<RawText<'a>, JsonError> {
    // Go reads null as an empty string, and so does the API server.
    Ok(reader.text()?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The label keys that some rules name, sorted as [`Metadata::read`] needs them.
    fn label_keys() -> [Box<str>; 2] {
        ["team".into(), "a.b/c".into()]
    }

    type Owned = Vec<(String, String)>;

    fn pairs(text: &str) -> (Owned, Option<Owned>) {
        let label_keys = label_keys();
        let metadata = Metadata::read(&mut Reader::new(text.as_bytes()), &label_keys).unwrap().unwrap();
        let Pairs { labels, annotations } = metadata.pairs().unwrap();
        let owned =
            |pairs: Vec<Pair<'_>>| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        (owned(labels), annotations.map(owned))
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn the_keys_are_sorted_so_that_they_are_found() {
        let order = |key: &&'static str| (key.len(), *key);
        assert!(LABELS.is_sorted_by_key(order) && ANNOTATIONS.is_sorted_by_key(order));
        for provider in provider::Provider::ALL {
            let on_pods = [provider.pod_keys()].into_iter().chain(provider.service_account_keys());
            for key in on_pods.flat_map(|keys| keys.iter().chain(keys.read_only.iter().copied())) {
                assert!(ANNOTATIONS.contains(&key), "{key}");
            }
        }
    }

    #[test]
    fn only_what_a_decision_reads_is_kept_and_each_key_once() {
        let (labels, annotations) = pairs(
            r#"{"labels": {"other": "x", "app": "one", "team": "a", "app": "two", "a.b/c": "y"},
                "annotations": {"other": "x", "gitlab-iam-webhook/was": "w"}, "managedFields": [{"a": {}}]}"#,
        );
        assert_eq!(labels, [pair("app", "two"), pair("team", "a"), pair("a.b/c", "y")]);
        assert_eq!(annotations.unwrap(), [pair("gitlab-iam-webhook/was", "w")]);
        assert_eq!(pairs(r#"{"annotations": null}"#).1, None);
        assert_eq!(pairs(r#"{"annotations": {"x": "y"}}"#).1, Some(Vec::new()));
    }

    #[test]
    fn a_label_that_is_too_long_counts_as_present() {
        let (long, fits) = ("v".repeat(64), "v".repeat(63));
        let (labels, _) = pairs(&format!(r#"{{"labels": {{"team": "{long}", "app": "{fits}"}}}}"#));
        assert_eq!(labels, [pair("app", &fits), pair("team", OVERLONG)]);
        assert!(OVERLONG.len() > MAX_LABEL);
        for key in
            [&format!("x.runner.gitlab.com/{long}{long}{long}{long}{long}"), "\\u0061.runner.gitlab.com/x"]
        {
            let (labels, _) = pairs(&format!(r#"{{"labels": {{"{key}": "1"}}}}"#));
            assert_eq!(labels, [pair(RUNNER_KEY, "")], "{key}");
        }
    }

    #[test]
    fn annotations_that_nobody_could_store_are_refused_before_they_are_unescaped() {
        let label_keys = label_keys();
        let read = |value: &str| {
            let text = format!(r#"{{"annotations": {{"gitlab-iam-webhook/was": "{value}"}}}}"#);
            let metadata = Metadata::read(&mut Reader::new(text.as_bytes()), &label_keys).unwrap().unwrap();
            metadata.weight()
        };
        // A byte may be sent as an escape of six, and it is the byte that is stored.
        assert!(read(&"\\u003c".repeat(MAX_ANNOTATIONS)).is_ok());
        assert_eq!(read(&"\\u003c".repeat(MAX_ANNOTATIONS + 1)), Err(MetadataError::TooLong));
        assert_eq!(read(&"x".repeat(MAX_ANNOTATIONS)), Ok(7 * MAX_ANNOTATIONS));
    }

    #[test]
    fn metadata_of_another_shape_is_an_error() {
        let label_keys = label_keys();
        let error = |text: &str| {
            Metadata::read(&mut Reader::new(text.as_bytes()), &label_keys).unwrap_err().to_string()
        };
        assert_eq!(error(r#"{"labels": {"a": 1}}"#), "expected a text at byte 17");
        assert_eq!(error(r#"{"labels": []}"#), "expected an object at byte 11");
        assert_eq!(error(r#"{"name": "a", "name": "b"}"#), "`name` stands there twice");
        assert_eq!(error(r#"{"labels": {}, "labels": {}}"#), "`labels` stands there twice");
    }
}
