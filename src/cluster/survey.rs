//! How are the objects of the opted-in and the observed namespaces shown to a survey, page by page?
//!
//! None of them is kept. What may not be read, or is too much, is told and ends nothing.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Namespace as ClusterNamespace, Pod as ClusterPod};
use k8s_openapi::api::events::v1::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::inventory::{CollectError, LONGEST_LIST, must_exist};
use super::namespaces::{Effect, Scope};
use super::pages::{Collection, Pages};
use super::repair::CHANGED_BACK;
use super::{ApiServer, MANAGER, service_accounts};
use crate::engine::object::subject::{INJECT, MAX_NAME};
use crate::inventory::{Listed, Namespace, Pod, ServiceAccount, Unread};
use crate::status::{self, Place, Survey};

/// The most objects of a kind in a namespace that are looked at.
const MOST: usize = 50_000;

/// The most namespaces that are looked into.
const MOST_NAMESPACES: usize = 1_000;

/// The most Events of a namespace that are looked at.
const MOST_EVENTS: usize = 5_000;

/// Where to look.
#[derive(Debug, Default)]
pub struct Places {
    /// The namespaces in which the webhook does something, in the order of their names.
    pub namespaces: BTreeMap<String, status::Effect>,
    /// Those that a person or the chart named and in which it does nothing, with the reason.
    pub idle: Vec<(String, String)>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// Finds the namespaces that have opted in or are observed, among those that the webhook looks after.
/// `named` are those that a person named; all are meant where there is none.
///
/// # Errors
/// When the API server does not answer, or says that there is no namespace of a name that a person named.
pub async fn places(api: &ApiServer, scope: &Scope, named: &[String]) -> Result<Places, CollectError> {
    let mut found = Places::default();
    let labelled = match &scope.selector {
        Some(more) => format!("{INJECT},{more}"),
        None => INJECT.to_owned(),
    };
    let all = Collection::of::<ClusterNamespace>(None).metadata_only();
    let only = if named.is_empty() { &scope.only } else { named };
    if only.is_empty() {
        let what = (Listed::Namespaces, None);
        let namespaces = &mut found.namespaces;
        let see = |namespace: Namespace| insert(namespaces, scope, &namespace);
        let read = show(api, all.labelled(labelled), MOST_NAMESPACES, what, see).await?;
        found.unread.extend(read);
        return Ok(found);
    }
    let is_by_person = !named.is_empty();
    for name in only {
        let mut seen = None;
        let what = (Listed::Namespaces, Some(name.as_str()));
        let read = show(api, all.clone().named(name), 1, what, |namespace| seen = Some(namespace)).await?;
        match (read, seen) {
            (Some(unread), _) => {
                if is_by_person {
                    must_exist(api, name).await?;
                }
                let why = format!("{}; it is taken to have opted in", unread.why);
                found.unread.push(Unread { why, ..unread });
                found.namespaces.insert(name.clone(), status::Effect::Enabled);
            }
            (None, Some(namespace)) => {
                if !insert(&mut found.namespaces, scope, &namespace) && is_by_person {
                    found.idle.push((name.clone(), why_not(scope, &namespace)));
                }
            }
            (None, None) => {
                if is_by_person {
                    must_exist(api, name).await?;
                }
                found.idle.push((name.clone(), "the API server lists no namespace of this name".to_owned()));
            }
        }
    }
    Ok(found)
}

/// Adds a namespace if the webhook does something there. Returns whether it does.
fn insert(found: &mut BTreeMap<String, status::Effect>, scope: &Scope, namespace: &Namespace) -> bool {
    let effect = match effect(scope, namespace) {
        Effect::Enabled => status::Effect::Enabled,
        Effect::Observed => status::Effect::Observed,
        Effect::Nothing => return false,
    };
    found.insert(namespace.metadata.name.clone(), effect);
    true
}

fn effect(scope: &Scope, Namespace { metadata }: &Namespace) -> Effect {
    let is_excepted = scope.except.contains(&metadata.name)
        || !scope.only.is_empty() && !scope.only.contains(&metadata.name);
    Effect::of(metadata.label(INJECT).unwrap_or_default(), is_excepted)
}

fn why_not(scope: &Scope, Namespace { metadata }: &Namespace) -> String {
    if scope.except.contains(&metadata.name) {
        "it runs there itself, or is told to keep out of it".to_owned()
    } else if !scope.only.is_empty() && !scope.only.contains(&metadata.name) {
        "it is not one of its `namespaces` (values of the chart)".to_owned()
    } else {
        format!("it has neither the label {INJECT}=enabled nor {INJECT}=observe")
    }
}

/// Shows the objects of these namespaces to a survey. Returns what could not be shown.
///
/// # Errors
/// When the API server does not answer.
pub async fn look(
    api: &ApiServer,
    places: &BTreeMap<String, status::Effect>,
    survey: &mut Survey<'_>,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Unread>, CollectError> {
    let mut unread = Vec::new();
    for (name, effect) in places {
        let mut begin = |kind: Listed| {
            progress(&kind.within(Some(name)));
            (kind, Some(name.as_str()))
        };
        let what = begin(Listed::Events);
        let mut contested = BTreeSet::new();
        let fields = format!("reason={CHANGED_BACK},reportingController={MANAGER}");
        let events = Collection::of::<Event>(Some(name)).selected(&fields);
        let see = |event: Told| contested.extend(event.contested(name));
        unread.extend(show(api, events, MOST_EVENTS, what, see).await?);
        survey.enter(Place { name: name.clone(), effect: *effect, contested });
        let what = begin(Listed::ServiceAccounts);
        let accounts = service_accounts::collection(api, name);
        let see = |account: ServiceAccount| survey.account(&account);
        if let Some(gap) = show(api, accounts, MOST, what, see).await? {
            survey.accounts_are_incomplete();
            unread.push(gap);
        }
        let what = begin(Listed::Pods);
        let see = |mut pod: Pod| {
            "Pod".clone_into(&mut pod.written_kind);
            survey.pod(&pod);
        };
        unread.extend(show(api, Collection::of::<ClusterPod>(Some(name)), MOST, what, see).await?);
    }
    Ok(unread)
}

/// Shows each object of a collection. Returns why not all of them could be shown.
async fn show<O: DeserializeOwned, T>(
    api: &ApiServer,
    all: Collection,
    most: usize,
    (kind, namespace): (Listed, Option<&str>),
    mut see: impl FnMut(O) -> T,
) -> Result<Option<Unread>, CollectError> {
    let (mut pages, mut count) = (Pages::new(api.clone(), all), 0);
    let unread = |is_partial, why| Unread { kind, namespace: namespace.map(str::to_owned), is_partial, why };
    let end = Instant::now() + LONGEST_LIST;
    loop {
        let page = pages.next(|object: &RawValue| {
            count += 1;
            if count <= most {
                see(serde_json::from_str(object.get())?);
            }
            Ok(())
        });
        match page.await {
            Ok(_) if count > most => break,
            Ok(false) => return Ok(None),
            Ok(true) if Instant::now() < end => {}
            Ok(true) => break,
            Err(failure) => {
                let why = CollectError::unless_refused(&kind.within(namespace), failure)?;
                return Ok(Some(unread(false, why)));
            }
        }
    }
    let why = "there are more than this command looks at: name fewer namespaces with -n".to_owned();
    Ok(Some(unread(true, why)))
}

/// What is read of an Event. Whoever may write Events can write one that looks like ours.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    reason: String,
    reporting_controller: String,
    regarding: Regarding,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Regarding {
    kind: String,
    namespace: String,
    name: String,
}

impl Told {
    /// The ServiceAccount of this namespace whose role is changed back, as this Event says.
    fn contested(self, namespace: &str) -> Option<String> {
        let Regarding { kind, namespace: of, name } = self.regarding;
        let is_ours = self.reason == CHANGED_BACK && self.reporting_controller == MANAGER;
        (is_ours && kind == "ServiceAccount" && of == namespace && name.len() <= MAX_NAME).then_some(name)
    }
}
