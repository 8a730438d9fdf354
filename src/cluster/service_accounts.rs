//! How is a ServiceAccount of the cluster read so that the same decision is made as at its admission?
//!
//! Its metadata alone is read, as the webhook does.

use k8s_openapi::api::core::v1::ServiceAccount;
use serde::de::Error as _;
use serde_json::Error;
use serde_json::value::RawValue;

use super::ApiServer;
use super::pages::Collection;
use crate::engine::json::Reader;
use crate::engine::object::metadata::{Metadata, MetadataError};
use crate::engine::object::subject::{Kind, MAX_NAME, Requester, Subject};
use crate::engine::rules::ruleset::Ruleset;

/// The ServiceAccounts of a namespace that are sent to the webhook, as they are listed and watched.
pub(super) fn collection(api: &ApiServer, namespace: &str) -> Collection {
    let all = Collection::of::<ServiceAccount>(Some(namespace)).metadata_only();
    match &api.service_accounts {
        Some(selector) => all.labelled(selector.to_string()),
        None => all,
    }
}

/// Lends the ServiceAccount as a decision of these rules sees it, and whether it is being deleted.
pub(super) fn with_subject<T>(
    object: &RawValue,
    namespace: &str,
    ruleset: &Ruleset,
    see: impl FnOnce(&Subject<'_>, bool) -> T,
) -> serde_json::Result<T> {
    let metadata = metadata(object, ruleset).map_err(Error::custom)?;
    let metadata = metadata.ok_or_else(|| Error::custom("it has no metadata"))?;
    let name = metadata.name.unwrap_or_default().within(MAX_NAME).map_err(Error::custom)?;
    let name = name.ok_or_else(|| Error::custom("its name is too long"))?;
    let pairs = metadata.pairs().map_err(Error::custom)?;
    let subject = Subject {
        kind: Kind::ServiceAccount,
        namespace,
        name: &name,
        service_account: &name,
        labels: &pairs.labels,
        annotations: pairs.annotations.as_deref().unwrap_or_default(),
        requester: Requester::Assumed,
    };
    Ok(see(&subject, metadata.is_deleted))
}

fn metadata<'a>(object: &'a RawValue, ruleset: &'a Ruleset) -> Result<Option<Metadata<'a>>, MetadataError> {
    let mut metadata = None;
    Reader::new(object.get().as_bytes()).object(|member, reader| {
        if *member.to_name()? == *b"metadata" {
            metadata = Metadata::read(reader, ruleset.label_keys())?;
        }
        Ok::<_, MetadataError>(())
    })?;
    Ok(metadata)
}
