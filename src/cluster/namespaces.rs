//! Which namespaces have opted in, and which are observed? Their label `gitlab-iam-webhook/inject` says it.
//!
//! Every namespace that carries the label is watched by its metadata alone, and only its name is kept. Where
//! the label does nothing, an Event on the namespace says why.

mod label;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ApiServer;
use super::events::{Events, Importance, Naming, Notice, Regarding};
use super::pages::Collection;
use super::watch::{Event, follow as follow_all};
use crate::engine::object::subject::INJECT;
use crate::metrics::Metrics;
pub(super) use label::Effect;
use label::{FutileLabels, LabelledNamespace};

/// The most namespaces that are looked after.
const MOST: usize = 10_000;

/// Among which namespaces to look for those that carry the label.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only among these, each watched by its name. Where there are none, among all.
    pub only: Vec<String>,
    /// In these the label has no effect.
    pub except: Vec<String>,
    /// Only among those that this label selector selects.
    pub selector: Option<String>,
}

/// The names of the namespaces in which the label has an effect. Both sets are told in one step, so that a
/// namespace is never in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Those that have opted in: the label says `enabled`.
    pub enabled: Arc<BTreeSet<String>>,
    /// Those that are observed: the label says `observe`.
    pub observed: Arc<BTreeSet<String>>,
}

/// The namespaces; `None` before they were listed for the first time. A set can be empty and not absent, so
/// this is no [`Observed`](super::observed::Observed).
pub type KnownNamespaces = Option<Namespaces>;

/// Returns where the namespaces are told, and the tasks that tell them until they are stopped.
#[must_use]
pub fn follow(
    api: &ApiServer,
    scope: &Scope,
    events: &Events,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> (watch::Receiver<KnownNamespaces>, Vec<impl Future<Output = ()> + Send + 'static>) {
    let (found, receiver) = watch::channel(None);
    let found = Arc::new(found);
    let more = scope.selector.iter().map(|selector| format!(",{selector}")).collect::<String>();
    let selector = format!("{INJECT}{more}");
    let all = Collection::of::<Namespace>(None).metadata_only().labelled(selector.clone());
    let parts = if scope.only.is_empty() {
        vec![(None, all)]
    } else {
        scope.only.iter().map(|name| (Some(name.clone()), all.clone().named(name))).collect()
    };
    let tasks = parts.into_iter().map(|(own, what)| {
        let follower = Follower {
            own,
            selector: selector.clone(),
            except: scope.except.clone(),
            found: Arc::clone(&found),
            events: events.clone(),
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
    /// The labels that the namespaces have.
    selector: String,
    except: Vec<String>,
    found: Arc<watch::Sender<KnownNamespaces>>,
    events: Events,
    metrics: Arc<Metrics>,
    /// Whether it was logged that there are too many.
    said: AtomicBool,
}

impl Follower {
    async fn follow(self, api: ApiServer, what: Collection) {
        let (mut listed, mut futile) = (None, FutileLabels::default());
        let mut events = std::pin::pin!(follow_all(api, what, LabelledNamespace::read));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Listing) => {
                    futile.listing();
                    listed = Some(Namespaces::default());
                }
                Ok(Event::There(namespace)) => {
                    let is_excepted = self.except.contains(&namespace.name);
                    if let Some(why) = futile.see(&namespace, is_excepted) {
                        self.tell(&namespace, why);
                    }
                    let effect = Effect::of(&namespace.value, is_excepted);
                    match &mut listed {
                        Some(listed) => drop(self.put(listed, namespace.name, effect)),
                        None => self.change(|known| self.put(known, namespace.name, effect)),
                    }
                }
                Ok(Event::Listed) => {
                    futile.listed();
                    let listed = listed.take().unwrap_or_default();
                    self.change(|known| self.replace(known, listed));
                }
                // A namespace that loses the label is told as one that is deleted.
                Ok(Event::Gone(namespace)) => {
                    futile.gone(&namespace.name);
                    self.change(|known| known.remove(&namespace.name));
                }
                Err(failure) => {
                    failure
                        .log(&format!("watching the namespaces that the labels `{}` select", self.selector));
                }
            }
        }
    }

    /// Tells why the label of this namespace does nothing.
    fn tell(&self, namespace: &LabelledNamespace, why: String) {
        let LabelledNamespace { name, uid, .. } = namespace;
        tracing::warn!(namespace = name, "{why}");
        self.events.tell(Notice {
            regarding: Regarding {
                uid: uid.as_deref().map(Arc::from),
                ..Regarding::namespace(Arc::from(&**name))
            },
            importance: Importance::Warning,
            reason: "LabelHasNoEffect",
            action: "Watch",
            note: why,
            naming: Naming::ByContent,
        });
    }

    /// Puts a namespace where its label says. Returns whether anything changed by it.
    fn put(&self, known: &mut Namespaces, name: String, effect: Effect) -> bool {
        let is = (known.enabled.contains(&name), known.observed.contains(&name));
        if is == (effect == Effect::Enabled, effect == Effect::Observed) {
            return false;
        }
        let removed = known.remove(&name);
        if effect != Effect::Nothing && known.enabled.len() + known.observed.len() >= MOST {
            if !self.said.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "more than {MOST} namespaces carry the label {INJECT}: what exists in the others is \
                     neither repaired nor reported"
                );
            }
            return removed;
        }
        match effect {
            Effect::Enabled => Arc::make_mut(&mut known.enabled).insert(name),
            Effect::Observed => Arc::make_mut(&mut known.observed).insert(name),
            Effect::Nothing => removed,
        }
    }

    /// Puts what this watch listed in the place of what it knew. Returns whether that is something else.
    fn replace(&self, known: &mut Namespaces, listed: Namespaces) -> bool {
        let before = known.clone();
        // Other watches know of other namespaces.
        let is_other = |name: &String| self.own.as_ref().is_some_and(|own| own != name);
        Arc::make_mut(&mut known.enabled).retain(|name| is_other(name) || listed.enabled.contains(name));
        Arc::make_mut(&mut known.observed).retain(|name| is_other(name) || listed.observed.contains(name));
        for (names, effect) in [(listed.enabled, Effect::Enabled), (listed.observed, Effect::Observed)] {
            for name in &*names {
                self.put(known, name.clone(), effect);
            }
        }
        *known != before
    }

    /// Changes what is known, and tells it where that makes a difference or is the first time.
    fn change(&self, change: impl FnOnce(&mut Namespaces) -> bool) {
        self.found.send_if_modified(|found| {
            let first = found.is_none();
            let known = found.get_or_insert_default();
            let other = change(known);
            let count = |names: &BTreeSet<String>| i64::try_from(names.len()).unwrap_or(i64::MAX);
            self.metrics.opted_in_namespaces.set(count(&known.enabled));
            self.metrics.observed_namespaces.set(count(&known.observed));
            first || other
        });
    }
}

impl Namespaces {
    /// Returns whether the namespace was there.
    fn remove(&mut self, name: &str) -> bool {
        let mut removed = false;
        for names in [&mut self.enabled, &mut self.observed] {
            // A set that somebody reads is copied only where it changes.
            removed |= names.contains(name) && Arc::make_mut(names).remove(name);
        }
        removed
    }
}
