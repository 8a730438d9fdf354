//! How is a ServiceAccount in the cluster read and decided on? By its metadata alone, as the webhook does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ListParams;
use kube::core::{ObjectList, PartialObjectMeta, Request, Resource};

use crate::engine::subject::{Kind, Pair, Requester, Subject};
use crate::telemetry::causes;

/// ServiceAccounts asked for at once. Ordinary ones have about 2 kB.
const PAGE: u32 = 200;

/// The most bytes of them at once. Anybody who may write ServiceAccounts can write large ones: then fewer are asked for.
/// One alone has at most 1.5 MiB, the most that etcd stores, and takes twice as much while it is read.
const PAGE_BYTES: usize = 2 << 20;

/// How long one page may take.
const TIME: Duration = Duration::from_secs(30);

/// Why a page was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("{}", causes(.0))]
    Api(#[source] kube::Error),
    #[error("reading the answer: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("reading the list: {0}")]
    Json(#[source] serde_json::Error),
    #[error("no answer within {TIME:?}")]
    TooLate,
}

/// The ServiceAccounts of a namespace, page by page, in bounded memory.
pub(super) struct Pages {
    client: Client,
    url: String,
    size: u32,
    from: Option<String>,
    done: bool,
}

/// Some of them.
pub(super) struct Page {
    /// Their metadata.
    pub(super) accounts: Vec<ObjectMeta>,
    /// What to watch from once all pages were read.
    pub(super) version: Option<String>,
}

impl Pages {
    /// From the first.
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        let url = ServiceAccount::url_path(&(), Some(namespace));
        Self { client, url, size: PAGE, from: None, done: false }
    }

    /// The next page; none after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, ListError> {
        while !self.done {
            let read = tokio::time::timeout(TIME, self.read()).await.map_err(|_| ListError::TooLate)??;
            let Some(list) = read else {
                self.size = (self.size / 4).max(1);
                continue;
            };
            self.from = list.metadata.continue_.filter(|token| !token.is_empty());
            self.done = self.from.is_none();
            let accounts = list.items.into_iter().map(|account| account.metadata).collect();
            return Ok(Some(Page { accounts, version: list.metadata.resource_version }));
        }
        Ok(None)
    }

    /// None where it is too much at once.
    async fn read(&self) -> Result<Option<ObjectList<PartialObjectMeta<ServiceAccount>>>, ListError> {
        let parameters =
            ListParams { limit: Some(self.size), continue_token: self.from.clone(), ..ListParams::default() };
        let request = Request::new(&self.url)
            .list_metadata(&parameters)
            .map_err(|error| ListError::Api(kube::Error::BuildRequest(error)))?;
        let answer = self.client.send(request.map(Into::into)).await.map_err(ListError::Api)?;
        let status = answer.status();
        // One alone is read whatever its size: the API server bounds it.
        let most = if self.size == 1 { 2 * PAGE_BYTES } else { PAGE_BYTES };
        let body = match Limited::new(answer.into_body(), most).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() && self.size > 1 => return Ok(None),
            Err(error) => return Err(ListError::Body(error)),
        };
        if !status.is_success() {
            let status = serde_json::from_slice(&body).map_err(ListError::Json)?;
            return Err(ListError::Api(kube::Error::Api(status)));
        }
        serde_json::from_slice(&body).map(Some).map_err(ListError::Json)
    }
}

/// Lends the ServiceAccount as a decision sees it.
pub(super) fn with_subject<T>(metadata: &ObjectMeta, see: impl FnOnce(&Subject<'_>) -> T) -> T {
    let name = metadata.name.as_deref().unwrap_or_default();
    let (labels, annotations) = (pairs(metadata.labels.as_ref()), pairs(metadata.annotations.as_ref()));
    see(&Subject {
        kind: Kind::ServiceAccount,
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        name,
        service_account: name,
        labels: &labels,
        annotations: &annotations,
        requester: Requester::Assumed,
    })
}

fn pairs(map: Option<&BTreeMap<String, String>>) -> Vec<Pair<'_>> {
    let pairs = map.into_iter().flatten();
    pairs.map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_str()))).collect()
}
