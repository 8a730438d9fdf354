//! Which namespaces have opted in? Those labelled `gitlab-iam-webhook/inject: enabled`, watched by their metadata alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ApiServer;
use super::pages::Collection;
use super::watch::{Event, follow as follow_all};
use crate::engine::object::subject::INJECT;
use crate::metrics::Metrics;

/// The most that are looked after. Their names are all that is kept of them.
const MOST: usize = 10_000;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// These alone, each watched by its name; everywhere where it is empty.
    pub only: Vec<String>,
    /// Never these.
    pub except: Vec<String>,
}

/// The namespaces that have opted in; none before they were listed for the first time.
pub type OptedIn = Option<Arc<BTreeSet<String>>>;

/// Where they are told, and what has to run for it until it is stopped.
#[must_use]
pub fn follow(
    api: &ApiServer,
    scope: &Scope,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> (watch::Receiver<OptedIn>, Vec<impl Future<Output = ()> + Send + 'static>) {
    let (found, receiver) = watch::channel(None);
    let found = Arc::new(found);
    let all = Collection::of::<Namespace>(None).metadata_only().labelled(format!("{INJECT}=enabled"));
    let parts = if scope.only.is_empty() {
        vec![(None, all)]
    } else {
        scope.only.iter().map(|name| (Some(name.clone()), all.clone().named(name))).collect()
    };
    let tasks = parts.into_iter().map(|(own, what)| {
        let follower = Follower {
            own,
            except: scope.except.clone(),
            found: Arc::clone(&found),
            metrics: Arc::clone(metrics),
            said: AtomicBool::new(false),
        };
        let (api, stop) = (api.clone(), stop.clone());
        async move { stop.run_until_cancelled(follower.follow(api, what)).await.unwrap_or_default() }
    });
    (receiver, tasks.collect())
}

/// One watch: on all namespaces, or on one of them.
struct Follower {
    own: Option<String>,
    except: Vec<String>,
    found: Arc<watch::Sender<OptedIn>>,
    metrics: Arc<Metrics>,
    /// That there are too many was said.
    said: AtomicBool,
}

impl Follower {
    async fn follow(self, api: ApiServer, what: Collection) {
        let mut listed = None;
        let mut events = std::pin::pin!(follow_all(api, what, name));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Listing) => listed = Some(BTreeSet::new()),
                Ok(Event::There(name)) => match &mut listed {
                    Some(listed) => drop(self.insert(listed, name)),
                    None => self.change(|set| self.insert(set, name)),
                },
                Ok(Event::Listed) => {
                    let listed = listed.take().unwrap_or_default();
                    self.change(|set| self.replace(set, listed));
                }
                // Also where the label went.
                Ok(Event::Gone(name)) => self.change(|set| set.remove(&name)),
                Err(failure) => failure.log("watching namespaces"),
            }
        }
    }

    /// Whether it is another one.
    fn insert(&self, set: &mut BTreeSet<String>, name: String) -> bool {
        if self.except.contains(&name) || set.contains(&name) {
            return false;
        }
        if set.len() >= MOST {
            if !self.said.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "more than {MOST} namespaces have opted in: what exists in the others is not repaired"
                );
            }
            return false;
        }
        set.insert(name)
    }

    /// Puts what this watch listed in the place of what it knew. Whether that is something else.
    fn replace(&self, set: &mut BTreeSet<String>, listed: BTreeSet<String>) -> bool {
        let before = set.len();
        set.retain(|name| listed.contains(name) || self.own.as_ref().is_some_and(|own| own != name));
        let fewer = set.len() < before;
        let before = set.len();
        for name in listed {
            self.insert(set, name);
        }
        fewer || set.len() > before
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        self.found.send_if_modified(|found| {
            let first = found.is_none();
            let set = Arc::make_mut(found.get_or_insert_default());
            let other = change(set);
            self.metrics.opted_in_namespaces.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
            first || other
        });
    }
}

fn name(namespace: &RawValue) -> serde_json::Result<String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    serde_json::from_str(namespace.get()).map(|Object { metadata }| metadata.name)
}
