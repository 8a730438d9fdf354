//! In which namespaces is GitLab, and which have our label?
//!
//! A person need not know it: GitLab's charts label what they make. Only metadata is asked for, and only of
//! what has labels as these charts write them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::ApiServer;
use super::inventory::{CollectError, LONGEST_LIST};
use super::pages::{Collection, Pages};
use crate::engine::object::component;
use crate::engine::object::subject::{INJECT, Kind, Pair};
use crate::inventory::{Listed, Metadata, Unread};

/// The most objects of a kind that are looked at.
const MOST: usize = 20_000;

/// The most namespaces that are found.
const MOST_NAMESPACES: usize = 200;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The namespaces, in the order of their names.
    pub namespaces: BTreeSet<String>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

/// Finds the namespaces that have our label, or objects of GitLab's charts.
///
/// # Errors
/// When the API server does not answer.
pub async fn find(api: &ApiServer, mut progress: impl FnMut(&str)) -> Result<Found, CollectError> {
    let mut found = Found::default();
    let all = Collection::of::<Namespace>(None).labelled(INJECT.to_owned());
    progress("Namespaces with our label");
    look(api, all, Listed::Namespaces, &mut found, |metadata| Some(metadata.name)).await?;
    for (kind, all, what) in [
        (Kind::ServiceAccount, Collection::of::<ServiceAccount>(None), Listed::ServiceAccounts),
        (Kind::Pod, Collection::of::<Pod>(None), Listed::Pods),
    ] {
        progress(&what.within(None));
        let all = all.labelled("app,release".to_owned());
        let of_gitlab = |metadata: Metadata| is_of_gitlab(kind, &metadata).then_some(metadata.namespace);
        look(api, all, what, &mut found, of_gitlab).await?;
    }
    Ok(found)
}

fn is_of_gitlab(kind: Kind, metadata: &Metadata) -> bool {
    let pair = |(key, value): (&'_ String, &'_ String)| -> Pair<'static> {
        (Cow::Owned(key.clone()), Cow::Owned(value.clone()))
    };
    let labels: Vec<_> = metadata.labels.iter().map(pair).collect();
    let annotations: Vec<_> = metadata.annotations.iter().map(pair).collect();
    let claims = component::recognise(kind, &labels, &annotations);
    claims.component.is_some() || claims.resembles.is_some()
}

async fn look(
    api: &ApiServer,
    all: Collection,
    what: Listed,
    found: &mut Found,
    namespace: impl Fn(Metadata) -> Option<String>,
) -> Result<(), CollectError> {
    let mut pages = Pages::new(api.clone(), all.metadata_only());
    let (mut count, end) = (0, Instant::now() + LONGEST_LIST);
    let (is_partial, why) = loop {
        let page = pages.next(|object: &RawValue| {
            count += 1;
            let Object { metadata } = serde_json::from_str(object.get())?;
            if found.namespaces.len() < MOST_NAMESPACES {
                found.namespaces.extend(namespace(metadata));
            }
            Ok(())
        });
        match page.await {
            Ok(false) => return Ok(()),
            Ok(true) if count < MOST && found.namespaces.len() < MOST_NAMESPACES && Instant::now() < end => {}
            Ok(true) => {
                break (
                    true,
                    "there are more than this command looks at: name namespaces with -n".to_owned(),
                );
            }
            Err(failure) => break (false, CollectError::unless_refused(&what.within(None), failure)?),
        }
    };
    found.unread.push(Unread { kind: what, namespace: None, is_partial, why });
    Ok(())
}
