//! Which namespaces have opted in? Those labelled `gitlab-iam-webhook/inject: enabled`, watched by their metadata alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::pauses::Pauses;
use crate::engine::subject::INJECT;
use crate::metrics::Metrics;
use crate::telemetry::causes;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// These alone, each watched by its name; everywhere where it is empty.
    pub only: Vec<String>,
    /// Never these.
    pub except: Vec<String>,
}

/// The namespaces that have opted in; none before they were listed for the first time.
pub type OptedIn = Option<BTreeSet<String>>;

/// Where they are told, and what has to run for it until it is stopped.
#[must_use]
pub fn follow(
    client: &Client,
    scope: &Scope,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> (watch::Receiver<OptedIn>, Vec<impl Future<Output = ()> + Send + 'static>) {
    let (found, receiver) = watch::channel(None);
    let found = Arc::new(found);
    let config = Config::default().labels(&format!("{INJECT}=enabled"));
    let configs = if scope.only.is_empty() {
        vec![(None, config)]
    } else {
        let named =
            |name: &String| (Some(name.clone()), config.clone().fields(&format!("metadata.name={name}")));
        scope.only.iter().map(named).collect()
    };
    let tasks = configs.into_iter().map(|(own, config)| {
        let follower = Follower {
            own,
            except: scope.except.clone(),
            found: Arc::clone(&found),
            metrics: Arc::clone(metrics),
        };
        follower.follow(Api::all(client.clone()), config, stop.clone())
    });
    (receiver, tasks.collect())
}

/// One watch: on all namespaces, or on one of them.
struct Follower {
    own: Option<String>,
    except: Vec<String>,
    found: Arc<watch::Sender<OptedIn>>,
    metrics: Arc<Metrics>,
}

impl Follower {
    async fn follow(self, api: Api<PartialObjectMeta<Namespace>>, config: Config, stop: CancellationToken) {
        let mut listed = BTreeSet::new();
        let mut events = std::pin::pin!(watcher(api, config).backoff(Pauses::default()));
        while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(namespace)) => listed.extend(namespace.metadata.name),
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listed);
                    self.change(|set| {
                        set.retain(|name| self.own.as_ref().is_some_and(|own| own != name));
                        set.extend(listed);
                    });
                }
                Ok(Event::Apply(namespace)) => self.change(|set| set.extend(namespace.metadata.name)),
                // Also where the label went.
                Ok(Event::Delete(namespace)) => {
                    self.change(|set| set.retain(|name| Some(name) != namespace.metadata.name.as_ref()));
                }
                Err(error) => tracing::warn!("watching namespaces: {}; trying again", causes(&error)),
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        self.found.send_if_modified(|found| {
            let before = found.clone();
            let set = found.get_or_insert_default();
            change(set);
            set.retain(|name| !self.except.contains(name));
            self.metrics.opted_in_namespaces.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
            *found != before
        });
    }
}
