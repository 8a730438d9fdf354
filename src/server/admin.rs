//! How are probes and scrapes answered? The kubelet asks `/livez` and `/readyz`, and Prometheus asks
//! `/metrics`.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use tokio::sync::oneshot;

use super::eviction::EvictionPolicy;
use super::refusal::text_response;
use super::{Limits, Port};
use crate::health::Readiness;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How many connections may be open at once. Probes and scrapes come one at a time, and each is closed after
/// its answer.
const CONNECTIONS: usize = 16;

/// The limits of the admin port. No connection lives longer than the sum of these timeouts.
pub(super) const LIMITS: Limits = Limits {
    handshake: Duration::ZERO,
    header: Duration::from_secs(2),
    request: Duration::from_secs(5),
    idle: Duration::ZERO,
    connections: CONNECTIONS,
    connections_per_peer: CONNECTIONS,
    body_bytes: 0,
    body_bytes_per_peer: 0,
};

/// Serves until it is told to stop, on a thread of its own, so that a probe is answered however busy the
/// webhook is.
///
/// The receiver is told how it ended.
///
/// # Errors
/// The thread cannot be started.
pub fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: Shutdown,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let policy = EvictionPolicy {
        total: CONNECTIONS,
        per_peer: CONNECTIONS,
        // A probe sends its request as soon as it is connected.
        silent: Duration::from_millis(50),
        idle: Duration::from_secs(1),
    };
    let app = router(readiness, metrics);
    // Its own connections are not counted: they would say nothing about the webhook.
    let metrics = Arc::default();
    let port = Port { limits: LIMITS, policy, tls: None, app, keep_alive: false, metrics, stop };
    let (ended, receiver) = oneshot::channel();
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let _ = ended.send(runtime.block_on(port.serve(listener)));
    })?;
    Ok(receiver)
}

/// The routes of the admin port. Liveness looks at nothing: a process that answers is alive.
fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(write_metrics).with_state(metrics))
        .fallback(|| async {
            text_response(StatusCode::NOT_FOUND, "no such path: ask for /livez, /readyz or /metrics")
        })
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness.check() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => text_response(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn write_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => text_response(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
