//! What does the API server ask? `POST /mutate` and `POST /observe`.

use std::net::{IpAddr, Ipv4Addr};
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
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::Limits;
use super::body::{Bodies, LONG, PATIENCE, Room};
use super::connection::Peer;
use super::quota::Quota;
use super::refusal::{Refusal, sentence};
use crate::engine::admission;
use crate::engine::admission::mutate::{Mode, Reply};
use crate::engine::admission::validate;
use crate::engine::mapping;
use crate::engine::object::component::Component;
use crate::engine::rules::ruleset::Ruleset;
use crate::live::Live;
use crate::memory::Pool;
use crate::metrics::{KindLabel, Metrics, OperationLabel, ReviewLabels};
use crate::telemetry;

/// So many long bodies are judged at once; the others wait for their turn.
const LONG_AT_ONCE: usize = 2;

/// So many edits are judged or wait for it, and so many of them from one address.
const IN_LINE: usize = 16;
const IN_LINE_OF_PEER: usize = 2;

/// What an accepted mapping would do to what exists, as warnings; where somebody can look.
pub type Rehearse = Arc<dyn Fn(Ruleset) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
struct Webhook {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    bodies: Bodies,
    /// The turns of long bodies.
    aside: Arc<Semaphore>,
    /// A mapping of 1 MiB takes tens of milliseconds: one at a time.
    validating: Arc<Semaphore>,
    /// Who waits for that: of one address so few that nobody keeps the edits of others from being judged.
    in_line: Quota,
    pool: Pool,
    rehearse: Option<Rehearse>,
}

/// The webhook's routes, with their bounds.
pub fn router(
    live: Arc<Live>,
    metrics: &Arc<Metrics>,
    limits: Limits,
    rehearse: Option<Rehearse>,
    pool: Pool,
) -> Router {
    let bodies = Bodies::new(limits, pool.clone());
    let aside = Arc::new(Semaphore::new(LONG_AT_ONCE));
    let validating = Arc::new(Semaphore::new(1));
    let in_line = Quota::new(IN_LINE, IN_LINE_OF_PEER);
    let state =
        Webhook { live, metrics: Arc::clone(metrics), bodies, aside, validating, in_line, pool, rehearse };
    let panics = Arc::clone(metrics);
    Router::new()
        .route("/mutate", post(mutate))
        .route("/observe", post(observe))
        .route("/validate", post(validate))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request))
        .layer(CatchPanicLayer::custom(move |_panic| {
            // The panic hook has logged it.
            panics.refused("panic");
            sentence(StatusCode::INTERNAL_SERVER_ERROR, "a fault in gitlab-iam-webhook: see its log")
        }))
        .with_state(state)
}

async fn mutate(State(webhook): State<Webhook>, peer: Option<Extension<Peer>>, request: Request) -> Response {
    answer(&webhook, Mode::Mutate, peer, request).await
}

async fn observe(
    State(webhook): State<Webhook>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    answer(&webhook, Mode::Observe, peer, request).await
}

async fn answer(webhook: &Webhook, mode: Mode, peer: Option<Extension<Peer>>, request: Request) -> Response {
    let peer = peer.map(|Extension(peer)| peer);
    let answered = async {
        let (body, room) = receive(webhook, peer, request).await?;
        if body.len() > LONG {
            return judge_aside(webhook, mode, body, room).await;
        }
        // What judging and answering it may take beyond its bytes is small, and over before anything else goes on here.
        let answer = judge(webhook, mode, &body, |_| Ok(()))?;
        drop(body);
        Ok(room.keep(answer))
    };
    conclude(webhook, peer, answered.await)
}

/// Reads, judges and answers a review by one mapping. `take` is asked for the room that this may need beyond the body's, once that
/// is known.
fn judge(
    webhook: &Webhook,
    mode: Mode,
    body: &[u8],
    take: impl FnOnce(usize) -> Result<(), Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let started = Instant::now();
    let live = webhook.live.load();
    let request = admission::parse(body, &live.ruleset)?;
    take(request.weight()?)?;
    let reply = request.answer(mode)?;
    record(&webhook.metrics, mode, &reply, started.elapsed());
    Ok(reply.body)
}

async fn judge_aside(webhook: &Webhook, mode: Mode, body: Bytes, mut room: Room) -> Result<Bytes, Refusal> {
    // Nobody closes it.
    let turn = Arc::clone(&webhook.aside).acquire_owned().await.map_err(|_| Refusal::Busy)?;
    let (webhook, runtime) = (webhook.clone(), Handle::current());
    let judged = move || {
        // Kept until the work is done, also where nobody waits for it any more.
        let _turn = turn;
        let take = |bytes| runtime.block_on(webhook.bodies.more(&mut room, bytes));
        let answer = judge(&webhook, mode, &body, take)?;
        drop(body);
        Ok(room.keep(answer))
    };
    tokio::task::spawn_blocking(judged).await.map_err(Refusal::Fault)?
}

async fn validate(
    State(webhook): State<Webhook>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    let peer = peer.map(|Extension(peer)| peer);
    let answered = async {
        let (body, room) = receive(&webhook, peer, request).await?;
        let mut place = webhook.in_line.lease(address_of(peer));
        if !place.try_grow(1) {
            return Err(Refusal::Busy);
        }
        let turn = Arc::clone(&webhook.validating).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else { return Err(Refusal::Busy) };
        // The body goes before room is taken for what is in it.
        let (edit, turn) = aside(move || {
            let edit = validate::read(&body);
            drop((body, room));
            edit.map(|edit| (edit, turn))
        })
        .await??;
        let bytes = edit.text_bytes().map_or(0, |text| text + mapping::weight(text));
        let room = webhook.pool.take_within(bytes, PATIENCE).await.ok_or(Refusal::Busy)?;
        let operator_policy = webhook.live.load().ruleset.operator_policy().clone();
        let (mut verdict, mut room) = aside(move || {
            let _turn = turn;
            (edit.judge(&operator_policy), room)
        })
        .await?;
        drop(place);
        tracing::info!(problems = verdict.problems, "mapping validated");
        room.shrink_to(verdict.accepted.as_ref().map_or(0, Ruleset::weight));
        let warnings = match webhook.rehearse.as_ref().zip(verdict.accepted.take()) {
            Some((rehearse, ruleset)) => rehearse(ruleset).await,
            None => Vec::new(),
        };
        drop(room);
        Ok(verdict.into_body(warnings)?)
    };
    conclude(&webhook, peer, answered.await)
}

/// Does what takes longer than a review where it holds up none. What it was given stays with it when the peer hangs up.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::Fault)
}

/// The whole body, and the room that it takes.
async fn receive(webhook: &Webhook, peer: Option<Peer>, request: Request) -> Result<(Bytes, Room), Refusal> {
    check_content_type(request.headers())?;
    webhook.bodies.receive(address_of(peer), request).await
}

fn address_of(peer: Option<Peer>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip())
}

fn conclude(webhook: &Webhook, peer: Option<Peer>, answered: Result<impl Into<Body>, Refusal>) -> Response {
    match answered {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response(),
        Err(refusal) => {
            let (status, reason) = refusal.status_and_reason();
            let words = match &refusal {
                Refusal::Review(error) => clean(&telemetry::causes(error)),
                _ => clean(&refusal.to_string()),
            };
            webhook.metrics.refused(reason);
            let peer = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
            tracing::warn!(peer, status = status.as_u16(), "{words}");
            sentence(status, &words)
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("bytes that are no text"));
    let essence = found.map(|value| value.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::ContentType(found.unwrap_or("none").to_owned())),
    }
}

/// Text from outside as a log or an answer can take it: one line, and no longer than any name in Kubernetes.
fn clean(text: &str) -> String {
    const LONGEST: usize = 253;
    let mut characters = text.chars();
    let mut clean: String =
        characters.by_ref().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if characters.next().is_some() {
        clean.push('…');
    }
    clean
}

/// One line and one count for each review.
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
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let decision = reply.decision.as_ref();
    let leading = decision.and_then(|decision| decision.leading());
    let warnings = reply.warnings.join("; ");
    tracing::info!(
        mode = mode.name(),
        uid = clean(&reply.uid),
        operation = clean(&reply.operation),
        kind = clean(&reply.kind),
        namespace = clean(&reply.namespace),
        name = clean(&reply.name),
        component = decision.and_then(|decision| decision.component).map(Component::name),
        hint = decision.and_then(|decision| decision.resembles).map(Component::resemblance),
        rule = leading.and_then(|verdict| verdict.rule).map(|rule| &*rule.name),
        role = leading.and_then(|verdict| verdict.role.as_deref()),
        outcome = outcome.name(),
        dry_run = reply.dry_run,
        duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        warnings = (!warnings.is_empty()).then_some(warnings.as_str()),
        "review"
    );
}

async fn method_not_allowed(State(webhook): State<Webhook>) -> Response {
    webhook.metrics.refused("method");
    sentence(StatusCode::METHOD_NOT_ALLOWED, "an AdmissionReview comes by POST")
}

async fn not_found(State(webhook): State<Webhook>) -> Response {
    webhook.metrics.refused("path");
    sentence(StatusCode::NOT_FOUND, "no such path: reviews go to /mutate, /observe or /validate")
}
