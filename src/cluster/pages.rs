//! How is a set of objects listed in bounded memory?
//!
//! It is listed page by page. Where a page is too long, the next ones have fewer objects.

use std::borrow::Cow;
use std::time::Duration;

use kube::api::{ListParams, WatchParams};
use kube::core::{Request, Resource};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::Failure;
use super::read::{ApiServer, Built, Held, OBJECT};

/// Objects of a page at first. The metadata of an ordinary one has about 2 kB.
const PAGE: u32 = 200;

/// The longest page, in bytes. Anybody who may write objects can write large ones: then fewer are asked for.
const PAGE_BYTES: usize = 2 << 20;

/// How long it may take until a page begins.
const TIME: Duration = Duration::from_secs(30);

/// A set of objects, as it is listed and watched.
#[derive(Clone)]
pub(super) struct Collection {
    url: String,
    labels: Option<String>,
    name: Option<String>,
    metadata_only: bool,
}

impl Collection {
    /// The whole objects of a kind, in one namespace or in all of them.
    pub(super) fn of<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> Self {
        Self { url: K::url_path(&(), namespace), labels: None, name: None, metadata_only: false }
    }

    /// Of each object only its metadata is asked for.
    pub(super) fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    /// Only the object of this name.
    pub(super) fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Only the objects that this label selector selects.
    pub(super) fn labelled(self, selector: String) -> Self {
        Self { labels: Some(selector), ..self }
    }

    fn fields(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }

    /// The request that watches them from this version on.
    pub(super) fn watch(&self, version: &str) -> Built {
        let parameters = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields(),
            ..WatchParams::default()
        };
        let request = Request::new(&self.url);
        if self.metadata_only {
            request.watch_metadata(&parameters, version)
        } else {
            request.watch(&parameters, version)
        }
    }

    fn list(&self, size: u32, from: Option<&String>) -> Built {
        let parameters = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields(),
            limit: Some(size),
            continue_token: from.cloned(),
            ..ListParams::default()
        };
        let request = Request::new(&self.url);
        if self.metadata_only { request.list_metadata(&parameters) } else { request.list(&parameters) }
    }
}

/// A list that is read page by page.
pub(super) struct Pages {
    api: ApiServer,
    what: Collection,
    size: u32,
    from: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMetadata<'a>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata<'a> {
    #[serde(borrow, rename = "continue", default)]
    rest: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

impl Pages {
    /// Begins with the first page.
    pub(super) fn new(api: ApiServer, what: Collection) -> Self {
        let size = if what.name.is_some() { 1 } else { PAGE };
        Self { api, what, size, from: None, version: None }
    }

    /// Shows each object of the next page, and returns whether there is another page.
    pub(super) async fn next(
        &mut self,
        mut see: impl FnMut(&RawValue) -> serde_json::Result<()>,
    ) -> Result<bool, Failure> {
        let page = self.read().await?;
        let list: List<'_> = page.json()?;
        for item in list.items.unwrap_or_default() {
            see(item).map_err(Failure::Json)?;
        }
        self.version = Some(list.metadata.resource_version.into_owned());
        self.from = Some(list.metadata.rest.into_owned()).filter(|token| !token.is_empty());
        Ok(self.from.is_some())
    }

    /// The version to watch from, once all pages were read.
    pub(super) fn version(self) -> String {
        self.version.unwrap_or_default()
    }

    async fn read(&mut self) -> Result<Held, Failure> {
        loop {
            // One object alone may have any size that the API server stores.
            let most = if self.size == 1 { OBJECT } else { PAGE_BYTES };
            match self.api.ask(self.what.list(self.size, self.from.as_ref()), TIME, most).await {
                Err(Failure::TooLong(_)) if self.size > 1 => self.size = (self.size / 4).max(1),
                done => return done,
            }
        }
    }
}
