//! How are the API server's reviews answered? It sends them to `POST /mutate`, `/observe` and `/validate`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::Limits;
use super::body::{BodyReader, LONG_BODY, RESERVATION_TIMEOUT, Reservation};
use super::connection::{Peer, address_of};
use super::quota::Quota;
use super::refusal::{Refusal, text_response};
use crate::engine::admission;
use crate::engine::admission::ReviewError;
use crate::engine::admission::mutate::{Mode, Reply, Unreached};
use crate::engine::admission::validate::{self, Purpose};
use crate::engine::mapping;
use crate::engine::object::component::Component;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;
use crate::log;
use crate::memory::Pool;
use crate::metrics::{KindLabel, Metrics, OperationLabel, RefusalReason, ReviewLabels};
use crate::telemetry::causes;

/// How many long bodies are judged at once. Others wait.
const CONCURRENT_LONG_BODIES: usize = 2;

/// How many edits of the mapping are validated or wait for it, and how many of these may be of one peer
/// address.
const VALIDATION_QUEUE: usize = 16;
const VALIDATION_QUEUE_PER_PEER: usize = 2;

/// Tells, as warnings, what a mapping that was accepted would change of what exists in the cluster.
pub type PreviewImpact = Arc<dyn Fn(Ruleset) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// Tells whom it concerns that a role does not reach a Pod in this namespace. It never waits.
pub type TellUnreached = Arc<dyn Fn(&str, &Unreached<'_>) + Send + Sync>;

/// What the routes do in the cluster, where there is one.
#[derive(Clone, Default)]
pub struct InCluster {
    /// Asked for each edit that is accepted.
    pub preview_impact: Option<PreviewImpact>,
    /// Told for each Pod that runs as `default`.
    pub tell_unreached: Option<TellUnreached>,
}

/// The state that the handlers share.
struct Webhook {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    bodies: BodyReader,
    /// A long body is judged while it holds a permit of these.
    long_bodies: Arc<Semaphore>,
    /// A mapping of 1 MiB takes tens of milliseconds, so only one is validated at a time.
    validation_turn: Arc<Semaphore>,
    /// One peer address may have only a few edits here, so that it does not keep the edits of others from
    /// being validated.
    validation_queue: Quota,
    pool: Pool,
    in_cluster: InCluster,
}

/// The routes of the webhook's port, with their limits.
pub fn router(
    live: Arc<Live>,
    metrics: &Arc<Metrics>,
    limits: Limits,
    in_cluster: InCluster,
    pool: Pool,
) -> Router {
    let bodies = BodyReader::new(limits, pool.clone());
    let long_bodies = Arc::new(Semaphore::new(CONCURRENT_LONG_BODIES));
    let validation_turn = Arc::new(Semaphore::new(1));
    let validation_queue = Quota::new(VALIDATION_QUEUE, VALIDATION_QUEUE_PER_PEER);
    let metrics = Arc::clone(metrics);
    let state =
        Webhook { live, metrics, bodies, long_bodies, validation_turn, validation_queue, pool, in_cluster };
    Router::new()
        .route("/mutate", post(mutate))
        .route("/observe", post(observe))
        .route("/validate", post(validate))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(Arc::new(state))
}

async fn mutate(
    State(webhook): State<Arc<Webhook>>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    answer(&webhook, Mode::Mutate, peer, request).await
}

async fn observe(
    State(webhook): State<Arc<Webhook>>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    answer(&webhook, Mode::Observe, peer, request).await
}

async fn answer(
    webhook: &Arc<Webhook>,
    mode: Mode,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    let peer = peer.as_deref();
    let answered = async {
        let (body, reservation) = receive(webhook, peer, request).await?;
        if body.len() > LONG_BODY {
            return Box::pin(judge_long(webhook, mode, body, reservation)).await;
        }
        // The memory for judging a short body is small, and free again before this thread does anything else.
        let answer = judge(webhook, mode, &body, |_| Ok(()))?;
        drop(body);
        Ok(reservation.into_answer(answer))
    };
    respond(webhook, peer, answered.await)
}

/// Reads, judges and answers a review by one mapping. `reserve` is asked for the memory that this may take
/// beside the body, once that is known.
fn judge(
    webhook: &Webhook,
    mode: Mode,
    body: &[u8],
    reserve: impl FnOnce(usize) -> Result<(), Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let started = Instant::now();
    let live = webhook.live.load();
    let request = admission::parse(body, &live.ruleset)?;
    reserve(request.weight()?)?;
    let reply = request.answer(mode)?;
    record(&webhook.metrics, mode, &reply, started.elapsed());
    if let Some((unreached, tell)) = reply.unreached.as_ref().zip(webhook.in_cluster.tell_unreached.as_ref())
    {
        tell(&reply.namespace, unreached);
    }
    Ok(reply.body)
}

/// Judges a long body on a thread of its own.
async fn judge_long(
    webhook: &Arc<Webhook>,
    mode: Mode,
    body: Bytes,
    mut reservation: Reservation,
) -> Result<Bytes, Refusal> {
    // Nobody closes the semaphore.
    let permit = Arc::clone(&webhook.long_bodies).acquire_owned().await.map_err(|_| Refusal::Busy)?;
    let (webhook, runtime) = (Arc::clone(webhook), Handle::current());
    offload(move || {
        // The permit is held until the work is done, also where nobody waits for the answer any more.
        let _permit = permit;
        let reserve = |bytes| runtime.block_on(webhook.bodies.extend(&mut reservation, bytes));
        let answer = judge(&webhook, mode, &body, reserve)?;
        drop(body);
        Ok(reservation.into_answer(answer))
    })
    .await?
}

async fn validate(
    State(webhook): State<Arc<Webhook>>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    let peer = peer.as_deref();
    let answered = async {
        let (body, reservation) = receive(&webhook, peer, request).await?;
        if let Some(refusal) = answer_to_probe(&body)? {
            return Ok(refusal);
        }
        let mut queued = webhook.validation_queue.lease(address_of(peer));
        if !queued.try_grow(1) {
            return Err(Refusal::Busy);
        }
        let permit = Arc::clone(&webhook.validation_turn).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(RESERVATION_TIMEOUT, permit).await else {
            return Err(Refusal::Busy);
        };
        // The body is dropped before memory is taken for the mapping in it.
        let (edit, permit) = offload(move || {
            let edit = validate::read(&body);
            drop((body, reservation));
            edit.map(|edit| (edit, permit))
        })
        .await??;
        let purpose = edit.purpose();
        let bytes = edit.text_bytes().map_or(0, |text| text + mapping::weight(text));
        let room = webhook.pool.take_within(bytes, RESERVATION_TIMEOUT).await.ok_or(Refusal::Busy)?;
        let policy = webhook.live.load().ruleset.operator_policy().clone();
        let (mut verdict, mut room) = offload(move || {
            let _permit = permit;
            (edit.judge(&policy), room)
        })
        .await?;
        drop(queued);
        match purpose {
            Purpose::Probe => tracing::debug!("probe answered"),
            // Each replica keeps each mapping, so that only a refusal is worth a line.
            Purpose::LastGood if verdict.problems == 0 => tracing::debug!("last good mapping validated"),
            Purpose::LastGood => {
                tracing::info!(problems = verdict.problems, "last good mapping validated");
            }
            Purpose::Mapping => tracing::info!(problems = verdict.problems, "mapping validated"),
        }
        room.shrink_to(verdict.accepted.as_ref().map_or(0, Ruleset::weight));
        let warnings = match webhook.in_cluster.preview_impact.as_ref().zip(verdict.accepted.take()) {
            Some((preview_impact, ruleset)) => preview_impact(ruleset).await,
            None => Vec::new(),
        };
        drop(room);
        Ok(verdict.into_body(warnings)?)
    };
    respond(&webhook, peer, answered.await)
}

/// The answer, where this is a probe. It waits for no turn: while many edits wait, it would seem that the API
/// server does not reach us. A probe with a long body, which holds what is kept already, waits as edits do.
/// A short edit is read once more in its turn, so that no copy of it waits.
fn answer_to_probe(body: &[u8]) -> Result<Option<Vec<u8>>, ReviewError> {
    if body.len() > LONG_BODY {
        return Ok(None);
    }
    let edit = validate::read(body)?;
    if edit.purpose() != Purpose::Probe {
        return Ok(None);
    }
    tracing::debug!("probe answered");
    edit.judge(&OperatorPolicy::default()).into_body(Vec::new()).map(Some)
}

/// Does long work on a thread where it holds up no review. It goes on, with all that it was given, when the
/// peer hangs up.
async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    // The panic hook has logged a panic: its words are not for the peer.
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Fault)
}

/// Reads the whole body, and returns it with its reservation.
async fn receive(
    webhook: &Webhook,
    peer: Option<&Peer>,
    request: Request,
) -> Result<(Bytes, Reservation), Refusal> {
    check_content_type(request.headers())?;
    webhook.bodies.receive(peer, request).await
}

fn respond(webhook: &Webhook, peer: Option<&Peer>, answered: Result<impl Into<Body>, Refusal>) -> Response {
    match answered {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response(),
        Err(refusal) => {
            let (status, reason) = refusal.status_and_reason();
            let causes = causes(&refusal);
            let sentence = sanitize(&causes);
            webhook.metrics.refused(reason);
            let peer = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
            tracing::warn!(name: log::UNKEPT, peer, status = status.as_u16(), "{sentence}");
            text_response(status, &sentence)
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("bytes that are not text"));
    let essence = found.map(|value| value.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        // In quotes, so that in a line of the log its words are no fields.
        _ => Err(Refusal::ContentType(found.map_or_else(|| "none".to_owned(), |found| format!("{found:?}")))),
    }
}

/// Makes text from outside fit for a log line or an answer: one line, and no longer than any name in
/// Kubernetes.
fn sanitize(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 253;
    if text.len() <= LONGEST && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.into();
    }
    let mut characters = text.chars();
    let mut sanitized: String =
        characters.by_ref().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if characters.next().is_some() {
        sanitized.push('…');
    }
    sanitized.into()
}

/// Logs and counts a review. Where a role does not reach a Pod that is to have it, the line is a warning.
fn record(metrics: &Metrics, mode: Mode, reply: &Reply<'_>, duration: Duration) {
    let outcome = reply.outcome();
    let labels = ReviewLabels {
        mode,
        kind: KindLabel::of(&reply.kind),
        operation: OperationLabel::of(&reply.operation),
        outcome,
    };
    metrics.reviews.get_or_create(&labels).inc();
    metrics.review_duration.observe(duration.as_secs_f64());
    let advice = reply.unreached.as_ref().map(|unreached| {
        metrics.unreached_pods.inc();
        format!("it runs as `default`, which its role does not reach: {}", unreached.advice)
    });
    if !tracing::enabled!(tracing::Level::INFO) && advice.is_none() {
        return;
    }
    let decision = reply.decision.as_ref();
    let leading = decision.and_then(|decision| decision.leading());
    let changes_a_role = mode == Mode::Mutate && decision.is_some_and(|decision| !decision.edits.is_empty());
    let is_of_note = changes_a_role || !reply.warnings.is_empty();
    let warnings = (!reply.warnings.is_empty()).then(|| reply.warnings.join("; "));
    macro_rules! line {
        ($level:ident, $($name:tt)*) => {
            tracing::$level!(
                $($name)*
                mode = mode.name(),
                uid = &*sanitize(&reply.uid),
                operation = &*sanitize(&reply.operation),
                kind = &*sanitize(&reply.kind),
                namespace = &*sanitize(&reply.namespace),
                name = &*sanitize(&reply.name),
                component = decision.and_then(|decision| decision.component).map(Component::name),
                hint = decision.and_then(|decision| decision.resembles).map(Component::resemblance),
                rule = leading.and_then(|verdict| verdict.rule).map(|rule| &*rule.name),
                role = leading.and_then(|verdict| verdict.role.as_deref()),
                outcome = outcome.name(),
                dry_run = reply.dry_run,
                duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
                warnings,
                advice,
                "review"
            )
        };
    }
    if advice.is_some() {
        line!(warn,);
    } else if is_of_note {
        line!(info, name: log::KEPT,);
    } else {
        line!(info,);
    }
}

async fn method_not_allowed(State(webhook): State<Arc<Webhook>>) -> Response {
    webhook.metrics.refused(RefusalReason::Method);
    text_response(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: send the AdmissionReview by POST")
}

async fn not_found(State(webhook): State<Arc<Webhook>>) -> Response {
    webhook.metrics.refused(RefusalReason::Path);
    text_response(StatusCode::NOT_FOUND, "no such path: send reviews to /mutate, /observe or /validate")
}
