//! Which namespaces have opted in? Those labelled `gitlab-iam-webhook/inject: enabled`.
//!
//! They are watched by their metadata alone, and their names are all that is kept of them.

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

/// The most namespaces that are looked after.
const MOST: usize = 10_000;

/// Among which namespaces to look for those that have opted in.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only among these, each watched by its name. Where there are none, among all.
    pub only: Vec<String>,
    /// Never among these.
    pub except: Vec<String>,
    /// Only among those that this label selector selects.
    pub selector: Option<String>,
}

/// The names of the namespaces that have opted in; `None` before they were listed for the first time. A set
/// can be empty and not absent, so this is no [`Observed`](super::observed::Observed).
pub type OptedIn = Option<Arc<BTreeSet<String>>>;

/// Returns where the names are told, and the tasks that tell them until they are stopped.
#[must_use]
pub fn follow(
    api: &ApiServer,
    scope: &Scope,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> (watch::Receiver<OptedIn>, Vec<impl Future<Output = ()> + Send + 'static>) {
    let (found, receiver) = watch::channel(None);
    let found = Arc::new(found);
    let more = scope.selector.iter().map(|selector| format!(",{selector}")).collect::<String>();
    let labels = format!("{INJECT}=enabled{more}");
    let all = Collection::of::<Namespace>(None).metadata_only().labelled(labels);
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

/// One watch, on all namespaces or on one of them.
struct Follower {
    /// The one namespace that this watches.
    own: Option<String>,
    except: Vec<String>,
    found: Arc<watch::Sender<OptedIn>>,
    metrics: Arc<Metrics>,
    /// Whether it was logged that there are too many.
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
                // A namespace that loses the label is told as one that is deleted.
                Ok(Event::Gone(name)) => self.change(|set| set.remove(&name)),
                Err(failure) => failure.log("watching namespaces"),
            }
        }
    }

    /// Adds a namespace. Returns whether it was not in the set.
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

    /// Puts what this watch listed in the place of what it knew. Returns whether that is something else.
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

    /// Changes the set, and tells it where that makes a difference or is the first time.
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
