//! How does the webhook tell people something by an Event on an object?
//!
//! Whoever has something to tell logs it, and gives a [`Notice`] to [`Events::tell`], which never waits.
//! [`EventWriter`] makes Events of notices in the background. What it writes is bounded, because the
//! developers of a namespace can cause thousands of notices: where there are too many, the log alone tells.
//! The bounds hold for each namespace and for all together, so that one namespace does not silence the
//! others.

mod gate;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use kube::core::{Request, Resource};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::{ApiServer, MANAGER};
use crate::metrics::{EventResult, Metrics};
use crate::telemetry::causes;
use gate::{Admission, Allowance, Gate, OF_REVIEWS, OF_TASKS};

/// How many notices wait to be written. Each takes up to 2 kB.
const QUEUE: usize = 256;

/// How many Events are written at once.
const AT_ONCE: usize = 4;

/// The longest note of an Event in bytes, which the API server checks.
const MAX_NOTE: usize = 1_024;

/// The longest part of an object's name that the name of its Event begins with, in bytes. A name has at most
/// 253, and up to 33 follow.
const MAX_PREFIX: usize = 200;

/// What the API server says where an account lacks the right to create something.
const NO_RIGHT: &str = "cannot create resource";

/// How long to wait after each try that the API server may not have taken, unless it says for how long.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What there is to tell about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The object.
    pub regarding: Regarding,
    /// Whether somebody should do something about it.
    pub importance: Importance,
    /// Why there is an Event, as one word: `RoleChangedBack`.
    pub reason: &'static str,
    /// What the webhook did when it noticed, as one word: `Repair`.
    pub action: &'static str,
    /// The sentence for people. It is cut to what an Event holds.
    pub note: String,
    /// What the Event is called.
    pub naming: Naming,
}

/// The object that an Event is about. The Event is written into its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regarding {
    /// Its `apiVersion`, such as `apps/v1`.
    pub api_version: &'static str,
    /// Its `kind`.
    pub kind: &'static str,
    /// Its namespace. For a Namespace this is its own name, because the API server asks for it.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid. `kubectl describe` shows only Events that carry it, and `kubectl get events` shows all.
    pub uid: Option<Arc<str>>,
}

impl Regarding {
    /// Names a ServiceAccount.
    #[must_use]
    pub fn service_account(namespace: Arc<str>, name: Arc<str>) -> Self {
        Self { api_version: "v1", kind: "ServiceAccount", namespace, name, uid: None }
    }

    /// Names a Namespace.
    #[must_use]
    pub fn namespace(name: Arc<str>) -> Self {
        Self { api_version: "v1", kind: "Namespace", namespace: Arc::clone(&name), name, uid: None }
    }
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// It is good to know.
    Normal,
    /// Somebody should do something.
    Warning,
}

/// What an Event is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// It has a name of its own: what it tells has happened once more.
    Unique,
    /// It is called by what it tells about which object. When a second replica tells the same, or this one
    /// after a restart, there is an Event of that name already, and no second one is written.
    ByContent,
}

/// Takes what there is to tell. Its clones share one queue.
#[derive(Clone, Debug)]
pub struct Events {
    /// Says what may be told by this handle and its clones.
    gate: Arc<Mutex<Gate>>,
    sender: mpsc::Sender<Admitted>,
    metrics: Arc<Metrics>,
}

/// Something that is to be written.
#[derive(Debug)]
struct Admitted {
    notice: Notice,
    /// What the gate knows it by, where it is to be told once only.
    known_by: Option<u64>,
    gate: Arc<Mutex<Gate>>,
}

impl Events {
    /// Makes the queue, and the writer that is to be run.
    #[must_use]
    pub fn new(api: ApiServer, metrics: Arc<Metrics>) -> (Self, EventWriter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = EventWriter {
            api,
            queue,
            writes: JoinSet::new(),
            metrics: Arc::clone(&metrics),
            was_denied: false,
        };
        (Self { gate: gate(OF_TASKS), sender, metrics }, writer)
    }

    /// Returns a handle for what reviews cause, and so whoever reaches the port. It has an allowance of its
    /// own, which is small.
    #[must_use]
    pub fn for_reviews(&self) -> Self {
        Self { gate: gate(OF_REVIEWS), ..self.clone() }
    }

    /// Has an Event written, if that is not too much. This never waits.
    pub fn tell(&self, mut notice: Notice) {
        notice.note = fit(&notice.note);
        let known_by = (notice.naming == Naming::ByContent).then(|| notice.content());
        let admission = lock(&self.gate).admit(&notice.regarding.namespace, known_by, Instant::now());
        let is_dropped = match admission {
            Admission::Told => false,
            Admission::TooMany => true,
            Admission::Write => {
                let gate = Arc::clone(&self.gate);
                let is_full = self.sender.try_send(Admitted { notice, known_by, gate }).is_err();
                if let Some(content) = known_by.filter(|_| is_full) {
                    lock(&self.gate).forget(content);
                }
                is_full
            }
        };
        if is_dropped {
            self.metrics.event_ended(EventResult::Dropped);
        }
    }
}

/// Writes the Events that were told.
pub struct EventWriter {
    api: ApiServer,
    queue: mpsc::Receiver<Admitted>,
    writes: JoinSet<(Admitted, Result<(), Failure>)>,
    metrics: Arc<Metrics>,
    /// That a right is missing was logged.
    was_denied: bool,
}

impl EventWriter {
    /// Writes until it is told to stop.
    pub async fn follow(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.writes.join_next() => match done {
                    Ok((admitted, written)) => self.finished(&admitted, written),
                    // It panicked.
                    Err(_) => return,
                },
                admitted = self.queue.recv(), if self.writes.len() < AT_ONCE => match admitted {
                    Some(admitted) => {
                        let api = self.api.clone();
                        self.writes.spawn(async move {
                            let written = create(&api, &admitted).await;
                            (admitted, written)
                        });
                    }
                    // Nobody is left who could tell anything.
                    None => {
                        stop.cancelled().await;
                        return;
                    }
                },
            }
        }
    }

    fn finished(&mut self, Admitted { notice, known_by, gate }: &Admitted, written: Result<(), Failure>) {
        let Err(failure) = written else {
            self.metrics.event_ended(EventResult::Written);
            return;
        };
        self.metrics.event_ended(EventResult::Failed);
        // It may be told again.
        if let Some(content) = known_by {
            lock(gate).forget(*content);
        }
        let (why, Regarding { kind, namespace, name, .. }) = (causes(&failure), &notice.regarding);
        match failure.code() {
            // The namespace is gone, or on its way.
            Some(404) => {}
            Some(403) if why.contains("being terminated") => {}
            Some(403) if why.contains(NO_RIGHT) => {
                if !std::mem::replace(&mut self.was_denied, true) {
                    tracing::warn!(
                        %namespace,
                        "Events cannot be written: {why}; give the webhook's account the right to create \
                         `events` of `events.k8s.io` there (this is said once)"
                    );
                }
            }
            // Others may refuse it, such as a quota: their words say what to do.
            _ => tracing::warn!(kind, %namespace, %name, "writing an Event: {why}"),
        }
    }
}

fn gate(allowance: Allowance) -> Arc<Mutex<Gate>> {
    Arc::new(Mutex::new(Gate::new(allowance, Instant::now())))
}

/// Nothing that holds the lock panics.
fn lock(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notice {
    /// A number that is the same for the same words about the same object, on every replica.
    fn content(&self) -> u64 {
        let Regarding { api_version, kind, namespace, name, uid } = &self.regarding;
        let uid = uid.as_deref().unwrap_or_default();
        let parts = [*api_version, *kind, &**namespace, &**name, uid, self.reason, &*self.note];
        // This is FNV-1a. The standard library's hashers may change, and replicas may be of two versions.
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    fn to_event(&self, id: u128, now: SystemTime) -> Value {
        let Regarding { api_version, kind, namespace, name, uid } = &self.regarding;
        let mut prefix = (**name).to_owned();
        prefix.truncate(prefix.floor_char_boundary(MAX_PREFIX));
        let prefix = prefix.trim_end_matches(['.', '-']);
        let mut regarding =
            json!({"apiVersion": api_version, "kind": kind, "namespace": **namespace, "name": **name});
        if let (Some(uid), Some(regarding)) = (uid, regarding.as_object_mut()) {
            regarding.insert("uid".to_owned(), Value::from(&**uid));
        }
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": **namespace, "name": format!("{prefix}.{id:016x}")},
            "eventTime": humantime::format_rfc3339_micros(now).to_string(),
            "type": match self.importance {
                Importance::Normal => "Normal",
                Importance::Warning => "Warning",
            },
            "reason": self.reason,
            "action": self.action,
            "note": self.note,
            "regarding": regarding,
            "reportingController": MANAGER,
            "reportingInstance": MANAGER,
        })
    }
}

/// Makes a note fit for an Event: it is no longer than an Event holds, and has no control characters, which
/// could command the terminal of whoever reads it.
fn fit(note: &str) -> String {
    let mut note: String = note.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - '…'.len_utf8()));
        note.push('…');
    }
    note
}

/// Creates the Event. When there is one of its name, that is as good.
async fn create(api: &ApiServer, Admitted { notice, known_by, .. }: &Admitted) -> Result<(), Failure> {
    let now = SystemTime::now();
    let id = match known_by {
        Some(content) => u128::from(*content),
        None => now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos(),
    };
    let event = serde_json::to_vec(&notice.to_event(id, now)).map_err(Failure::json)?;
    let mut pauses = PAUSES.into_iter();
    loop {
        let request = Request::new(Event::url_path(&(), Some(&notice.regarding.namespace)));
        let failure = match api.tell(request.create(&PostParams::default(), event.clone())).await {
            Ok(()) | Err(Failure::Conflict) => return Ok(()),
            Err(failure) => failure,
        };
        let may_pass = failure.code().is_none_or(|code| code == 429 || code >= 500);
        let Some(pause) = pauses.next().filter(|_| may_pass) else { return Err(failure) };
        tokio::time::sleep(failure.retry_after().unwrap_or(pause)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(name: &str, note: &str) -> Notice {
        Notice {
            regarding: Regarding::service_account("team".into(), name.into()),
            importance: Importance::Warning,
            reason: "Reason",
            action: "Action",
            note: note.to_owned(),
            naming: Naming::ByContent,
        }
    }

    #[test]
    fn a_note_is_cut_between_characters_to_what_an_event_holds_and_commands_no_terminal() {
        for (note, want) in [
            ("as it is".to_owned(), "as it is".to_owned()),
            ("x".repeat(1_024), "x".repeat(1_024)),
            ("x".repeat(1_025), format!("{}…", "x".repeat(1_021))),
            ("é".repeat(513), format!("{}…", "é".repeat(510))),
            ("a\u{1b}[2J\nb".to_owned(), "a?[2J?b".to_owned()),
        ] {
            let fitted = fit(&note);
            assert!(fitted.len() <= 1_024);
            assert_eq!(fitted, want);
        }
    }

    #[test]
    fn the_same_words_about_the_same_object_have_the_same_name_everywhere() {
        // This number never changes, because replicas of two versions agree on it.
        assert_eq!(notice("a", "x").content(), 0x8183_05ac_d9f3_bc4c);
        let mut other = notice("a", "x");
        other.regarding.uid = Some("1".into());
        let mut reason = notice("a", "x");
        reason.reason = "Other";
        for other in [other, reason, notice("b", "x"), notice("a", "y")] {
            assert_ne!(other.content(), notice("a", "x").content(), "{other:?}");
        }
    }

    #[test]
    fn an_event_is_named_after_its_object_with_a_name_that_the_api_server_takes() {
        let name = |object: &str, id: u128| {
            let event = notice(object, "x").to_event(id, UNIX_EPOCH);
            event["metadata"]["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(name("gitlab-web", 0xab), "gitlab-web.00000000000000ab");
        assert_eq!(name(&format!("{}-.b", "a".repeat(199)), u128::MAX).len(), 199 + 1 + 32);
        assert!(name(&"a".repeat(253), u128::MAX).len() <= 253);
    }
}
