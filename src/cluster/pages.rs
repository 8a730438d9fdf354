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

/// How many pages without objects may follow each other. Whoever answers so for ever is no API server.
const EMPTY_PAGES: u32 = 10;

/// A set of objects, as it is listed and watched.
#[derive(Clone)]
pub(super) struct Collection {
    url: String,
    labels: Option<String>,
    name: Option<String>,
    fields: Option<String>,
    metadata_only: bool,
}

impl Collection {
    /// The whole objects of a kind, in one namespace or in all of them.
    pub(super) fn of<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> Self {
        Self {
            url: K::url_path(&(), namespace),
            labels: None,
            name: None,
            fields: None,
            metadata_only: false,
        }
    }

    /// Of each object only its metadata is asked for.
    pub(super) fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    /// Only the object of this name.
    pub(super) fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Only the objects that this field selector selects.
    pub(super) fn selected(self, fields: &str) -> Self {
        Self { fields: Some(fields.to_owned()), ..self }
    }

    /// Only the objects that this label selector selects.
    pub(super) fn labelled(self, selector: String) -> Self {
        Self { labels: Some(selector), ..self }
    }

    fn fields(&self) -> Option<String> {
        let name = self.name.as_ref().map(|name| format!("metadata.name={name}"));
        name.or_else(|| self.fields.clone())
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
    empty: u32,
}

/// `items` may be null, but is never left out: what has none is no list, whatever status it came with.
#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMetadata<'a>,
    #[serde(borrow, deserialize_with = "Option::deserialize")]
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
        Self { api, what, size, from: None, version: None, empty: 0 }
    }

    /// Shows each object of the next page, and returns whether there is another page.
    pub(super) async fn next(
        &mut self,
        mut see: impl FnMut(&RawValue) -> serde_json::Result<()>,
    ) -> Result<bool, Failure> {
        let page = self.read().await?;
        let list: List<'_> = page.json()?;
        let items = list.items.unwrap_or_default();
        self.empty = if items.is_empty() { self.empty + 1 } else { 0 };
        for item in items {
            see(item).map_err(Failure::json)?;
        }
        self.version = Some(list.metadata.resource_version.into_owned());
        let next = Some(list.metadata.rest.into_owned()).filter(|token| !token.is_empty());
        if next.is_some() && (next == self.from || self.empty >= EMPTY_PAGES) {
            return Err(Failure::Endless);
        }
        self.from = next;
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::cluster::read::tests::answering;

    /// What comes of a list where every page is this.
    async fn listed(page: &'static str) -> Result<usize, Failure> {
        let (mut pages, mut count) = (Pages::new(answering(200, page), Collection::of::<Pod>(None)), 0);
        while pages
            .next(|_| {
                count += 1;
                Ok(())
            })
            .await?
        {}
        Ok(count)
    }

    #[tokio::test]
    async fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for page in [r#"{"kind": "Status", "metadata": {}}"#, r#"{"metadata": {}}"#, "{}"] {
            assert!(matches!(listed(page).await, Err(Failure::Json(_))), "{page}");
        }
        assert_eq!(listed(r#"{"metadata": {}, "items": null}"#).await.unwrap(), 0);
        assert_eq!(listed(r#"{"metadata": {}, "items": [{}]}"#).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_list_that_does_not_go_on_is_left() {
        let again = r#"{"metadata": {"continue": "again"}, "items": [{}]}"#;
        assert!(matches!(listed(again).await, Err(Failure::Endless)));
    }
}
