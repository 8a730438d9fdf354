//! What does the API server ask? `POST /mutate` and `POST /observe`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::connection::Peer;
use super::quota::{Lease, Quota};
use super::{Limits, MAX_BODY};
use crate::engine::component::Component;
use crate::engine::review::{self, Mode, Reply, ReviewError};
use crate::engine::ruleset::Ruleset;
use crate::engine::validation;
use crate::live::Live;
use crate::metrics::{KindLabel, Metrics, OperationLabel, ReviewLabels};

/// How long a body waits for room, and how long a refused one is read on.
const PATIENCE: Duration = Duration::from_secs(1);

/// What each body may have without asking for room: nearly every review fits, so that no long body keeps it out.
const FREE: usize = 16 << 10;

/// What an accepted mapping would do to what exists, as warnings; where somebody can look.
pub type Rehearse = Arc<dyn Fn(Ruleset) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
struct Webhook {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    bodies: Quota,
    /// A mapping of 1 MiB takes tens of milliseconds and of megabytes: one at a time.
    validating: Arc<Semaphore>,
    rehearse: Option<Rehearse>,
}

/// Why a request gets no decision: a status and a sentence.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Review(#[from] ReviewError),
    #[error("expected content-type application/json, found {0}")]
    ContentType(String),
    #[error("the body has more than {MAX_BODY} bytes")]
    TooLarge,
    #[error("too busy: no room for this body now, try again")]
    Busy,
    #[error("a fault in gitlab-iam-webhook: see its log")]
    Fault(#[source] tokio::task::JoinError),
    #[error("the body could not be read: {0}")]
    Body(#[source] axum::Error),
}

impl Refusal {
    fn status_and_reason(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Review(error) => (StatusCode::BAD_REQUEST, error.reason()),
            Self::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Body(_) => (StatusCode::BAD_REQUEST, "body"),
            Self::Fault(_) => (StatusCode::INTERNAL_SERVER_ERROR, "panic"),
        }
    }
}

/// The webhook's routes, with their bounds.
pub fn router(live: Arc<Live>, metrics: &Arc<Metrics>, limits: Limits, rehearse: Option<Rehearse>) -> Router {
    let bodies = Quota::new(limits.body_bytes, limits.body_bytes_per_peer);
    let validating = Arc::new(Semaphore::new(1));
    let state = Webhook { live, metrics: Arc::clone(metrics), bodies, validating, rehearse };
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
        .layer(middleware::from_fn_with_state(Arc::clone(metrics), refuse_without_room))
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
        let (body, _room) = receive(webhook, peer, request).await?;
        let started = Instant::now();
        let live = webhook.live.load();
        let reply = review::respond(&body, &live.ruleset, mode)?;
        record(&webhook.metrics, mode, &reply, started.elapsed());
        Ok(reply.body)
    };
    conclude(webhook, peer, answered.await)
}

async fn validate(
    State(webhook): State<Webhook>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Response {
    let peer = peer.map(|Extension(peer)| peer);
    let answered = async {
        let (body, _room) = receive(&webhook, peer, request).await?;
        let turn = Arc::clone(&webhook.validating).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else { return Err(Refusal::Busy) };
        let live = webhook.live.load_full();
        let judged = move || {
            let _turn = turn;
            validation::validate(&body, live.ruleset.bounds())
        };
        let mut verdict = tokio::task::spawn_blocking(judged).await.map_err(Refusal::Fault)??;
        tracing::info!(problems = verdict.problems, "mapping validated");
        let warnings = match webhook.rehearse.as_ref().zip(verdict.accepted.take()) {
            Some((rehearse, ruleset)) => rehearse(ruleset).await,
            None => Vec::new(),
        };
        Ok(verdict.into_body(warnings)?)
    };
    conclude(&webhook, peer, answered.await)
}

/// The whole body, and the room that it takes.
async fn receive(webhook: &Webhook, peer: Option<Peer>, request: Request) -> Result<(Bytes, Lease), Refusal> {
    check_content_type(request.headers())?;
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
    let mut lease = webhook.bodies.lease(address);
    let body = read(&mut request.into_body(), &mut lease).await?;
    Ok((body, lease))
}

fn conclude(webhook: &Webhook, peer: Option<Peer>, answered: Result<Vec<u8>, Refusal>) -> Response {
    match answered {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(refusal) => {
            let (status, reason) = refusal.status_and_reason();
            let words = clean(&refusal.to_string());
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

/// The body, taking room for each part of it as it comes: memory follows what has arrived, not what was announced.
async fn read(body: &mut Body, lease: &mut Lease) -> Result<Bytes, Refusal> {
    let read = read_within(body, lease).await;
    if matches!(read, Err(Refusal::Busy | Refusal::TooLarge)) {
        // A peer that is still sending when the connection closes may never see its answer.
        let _ = tokio::time::timeout(PATIENCE, discard(body)).await;
    }
    read
}

async fn read_within(body: &mut Body, lease: &mut Lease) -> Result<Bytes, Refusal> {
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > MAX_BODY) {
        return Err(Refusal::TooLarge);
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Refusal::Body)?.into_data() else { continue };
        if whole.len() + data.len() > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        let beyond = (whole.len() + data.len()).saturating_sub(FREE).min(data.len());
        if beyond > 0 && !lease.grow_within(beyond, PATIENCE).await {
            return Err(Refusal::Busy);
        }
        if announced == Some(data.len()) {
            return Ok(data);
        }
        if whole.is_empty() {
            whole.reserve_exact(announced.unwrap_or(data.len()));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// Reads on without keeping anything.
async fn discard(body: &mut Body) {
    let mut left = 2 * MAX_BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.into_data().map_or(0, |data| data.len());
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
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

/// A connection for which there was no room is told so, and closed.
async fn refuse_without_room(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Peer>().is_some_and(|peer| peer.refused) {
        metrics.refused("connections");
        let mut response =
            sentence(StatusCode::SERVICE_UNAVAILABLE, "too busy: too many connections are open, try again");
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        return response;
    }
    next.run(request).await
}

async fn method_not_allowed(State(webhook): State<Webhook>) -> Response {
    webhook.metrics.refused("method");
    sentence(StatusCode::METHOD_NOT_ALLOWED, "an AdmissionReview comes by POST")
}

async fn not_found(State(webhook): State<Webhook>) -> Response {
    webhook.metrics.refused("path");
    sentence(StatusCode::NOT_FOUND, "no such path: reviews go to /mutate, /observe or /validate")
}

/// A status and one line of text.
pub(super) fn sentence(status: StatusCode, text: &str) -> Response {
    let mut response = (status, format!("{text}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}
