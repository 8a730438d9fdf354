//! How is an inventory collected from a cluster, in bounded memory?
//!
//! Each object is reduced to what is looked at while its page is read. What may not be read, or is too much,
//! is told in the inventory and ends nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Pod, Secret as ClusterSecret, ServiceAccount as ClusterServiceAccount,
};
use kube::api::GetParams;
use kube::core::{Request, Resource};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::ApiServer;
use super::failure::Failure;
use super::pages::{Collection, Pages};
use crate::inventory::{self, Inventory, Listed, Metadata, Unread};
use crate::telemetry::causes;

/// The most objects of a kind in a namespace that are looked at.
const MOST: usize = 20_000;

/// The most bytes of JSON of all objects that are looked at.
const MOST_BYTES: usize = 128 << 20;

/// How long one list may take. Somebody may answer slowly for ever.
pub(super) const LONGEST_LIST: Duration = Duration::from_mins(3);

/// What to collect.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The namespaces to look into; all of them where there is none. ServiceAccounts are always read.
    pub namespaces: Vec<String>,
    /// Whether Pods and the templates of CronJobs are wanted.
    pub pods: bool,
    /// Whether ConfigMaps are wanted.
    pub config_maps: bool,
    /// Whether Secrets are wanted. Their values are read.
    pub secrets: bool,
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The API server did not answer at all.
    #[error("reading the {what}")]
    Unreachable {
        /// What was being read.
        what: String,
        /// Why, in words.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The API server says that there is no such namespace. Its lists would be empty without a word.
    #[error("there is no namespace {0}")]
    NoNamespace(String),
}

/// Collects what is wanted. `progress` is told what is being read.
///
/// # Errors
/// When the API server cannot be reached, or says that there is no namespace of a name that is wanted. What
/// it refuses is told in the inventory.
pub async fn collect(
    api: &ApiServer,
    wanted: &Wanted,
    progress: impl FnMut(&str),
) -> Result<Inventory, CollectError> {
    let mut inventory = Inventory { is_live: true, ..Inventory::default() };
    let mut collector = Collector { api, progress, left: MOST_BYTES, unread: Vec::new() };
    collector.namespaces(wanted, &mut inventory).await?;
    for name in &wanted.namespaces {
        if !inventory.namespaces.iter().any(|namespace| namespace.metadata.name == *name) {
            must_exist(api, name).await?;
        }
    }
    let places: Vec<Option<&str>> = match wanted.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|name| Some(name.as_str())).collect(),
    };
    for place in places {
        let accounts = Collection::of::<ClusterServiceAccount>(place).metadata_only();
        let of = |kind| Place { kind, namespace: place };
        collector
            .list(accounts, of(Listed::ServiceAccounts), &mut inventory.service_accounts, |object| object)
            .await?;
        if wanted.pods {
            let as_pod = |mut pod: inventory::Pod| {
                "Pod".clone_into(&mut pod.written_kind);
                pod
            };
            let pods = Collection::of::<Pod>(place);
            collector.list(pods, of(Listed::Pods), &mut inventory.pods, as_pod).await?;
            let mut jobs = Vec::new();
            let all = Collection::of::<CronJob>(place);
            collector.list(all, of(Listed::CronJobs), &mut jobs, |object| object).await?;
            inventory.pods.extend(jobs.into_iter().filter_map(pod_of));
        }
        if wanted.config_maps {
            let maps = Collection::of::<ConfigMap>(place);
            collector.list(maps, of(Listed::ConfigMaps), &mut inventory.config_maps, |object| object).await?;
        }
        if wanted.secrets {
            let secrets = Collection::of::<ClusterSecret>(place);
            collector.list(secrets, of(Listed::Secrets), &mut inventory.secrets, |object| object).await?;
        }
    }
    inventory.unread = collector.unread;
    Ok(inventory)
}

/// Looks whether there may be a namespace. Only the API server's own word says that there is none: of what
/// may not be read, nobody knows, and a proxy's 404 is not about namespaces.
///
/// # Errors
/// When there is none.
pub async fn must_exist(api: &ApiServer, name: &str) -> Result<(), CollectError> {
    let request = Request::new(Namespace::url_path(&(), None)).get(name, &GetParams::default());
    match api.object(request).await {
        Err(Failure::Refused(refusal))
            if refusal.code == 404 && refusal.to_string() == format!("namespaces \"{name}\" not found") =>
        {
            Err(CollectError::NoNamespace(name.to_owned()))
        }
        _ => Ok(()),
    }
}

/// What is listed, and where.
#[derive(Clone, Copy)]
struct Place<'a> {
    kind: Listed,
    /// The namespace, or for Namespaces the only one; `None` for all of them.
    namespace: Option<&'a str>,
}

struct Collector<'a, F> {
    api: &'a ApiServer,
    progress: F,
    left: usize,
    unread: Vec<Unread>,
}

impl<F: FnMut(&str)> Collector<'_, F> {
    /// All Namespaces are read, because checks ask for labels of others too; where that is forbidden, those
    /// that are wanted.
    async fn namespaces(&mut self, wanted: &Wanted, inventory: &mut Inventory) -> Result<(), CollectError> {
        let before = self.unread.len();
        let all = Collection::of::<Namespace>(None).metadata_only();
        let of = |namespace| Place { kind: Listed::Namespaces, namespace };
        self.list(all, of(None), &mut inventory.namespaces, |object| object).await?;
        if self.unread.len() > before {
            for name in &wanted.namespaces {
                let one = Collection::of::<Namespace>(None).metadata_only().named(name);
                self.list(one, of(Some(name)), &mut inventory.namespaces, |object| object).await?;
            }
        }
        Ok(())
    }

    async fn list<O: DeserializeOwned, T>(
        &mut self,
        all: Collection,
        place: Place<'_>,
        into: &mut Vec<T>,
        made: impl Fn(O) -> T,
    ) -> Result<(), CollectError> {
        let what = place.kind.within(place.namespace);
        (self.progress)(&what);
        let unread = |is_partial, why| Unread {
            kind: place.kind,
            namespace: place.namespace.map(str::to_owned),
            is_partial,
            why,
        };
        let (mut pages, before) = (Pages::new(self.api.clone(), all), into.len());
        let (mut left, mut is_cut) = (self.left, false);
        let end = Instant::now() + LONGEST_LIST;
        loop {
            let page = pages
                .next(|object: &RawValue| {
                    let length = object.get().len();
                    if into.len() - before >= MOST || left < length || Instant::now() > end {
                        is_cut = true;
                        return Ok(());
                    }
                    left -= length;
                    into.push(made(serde_json::from_str(object.get())?));
                    Ok(())
                })
                .await;
            match page {
                Ok(true) if !is_cut => {}
                Ok(_) => break,
                Err(failure) if failure.is_unreachable() => {
                    return Err(CollectError::unreachable(&what, failure));
                }
                Err(failure) => {
                    self.unread.push(unread(false, causes(&failure)));
                    break;
                }
            }
        }
        self.left = left;
        if is_cut {
            let why = "there are more than this command looks at: name fewer namespaces with -n".to_owned();
            self.unread.push(unread(true, why));
        }
        Ok(())
    }
}

impl CollectError {
    fn unreachable(what: &str, failure: Failure) -> Self {
        Self::Unreachable { what: what.to_owned(), source: Arc::new(failure) }
    }

    /// Returns why something could not be read, or the error where nobody answers at all.
    pub(super) fn unless_refused(what: &str, failure: Failure) -> Result<String, Self> {
        if failure.is_unreachable() {
            return Err(Self::unreachable(what, failure));
        }
        Ok(causes(&failure))
    }
}

/// What is read of a CronJob.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Job {
    metadata: Metadata,
    spec: JobSpec,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobSpec {
    job_template: Template,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Template {
    spec: TemplateSpec,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct TemplateSpec {
    template: Option<inventory::Pod>,
}

fn pod_of(job: Job) -> Option<inventory::Pod> {
    let mut pod = job.spec.job_template.spec.template?;
    "CronJob".clone_into(&mut pod.written_kind);
    // The Job controller writes it on every Pod.
    pod.metadata.labels.insert("job-name".to_owned(), job.metadata.name.clone());
    pod.metadata.name = job.metadata.name;
    pod.metadata.namespace = job.metadata.namespace;
    Some(pod)
}
