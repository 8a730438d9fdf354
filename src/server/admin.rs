//! How is this process? `/livez` and `/readyz` for the kubelet, `/metrics` for Prometheus.

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

use super::eviction::Rules;
use super::refusal::sentence;
use super::{Limits, Port};
use crate::health::Readiness;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Connections open at once: probes and scrapes come one at a time, and each is closed when it has its answer.
const CONNECTIONS: usize = 16;

/// None lives longer than their sum.
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

/// Serves until `stop` says so, on a thread of its own: however busy the webhook's threads are, a probe is answered.
///
/// The receiver is told how it ended.
///
/// # Errors
/// When there can be no such thread.
pub fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: Shutdown,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rules = Rules {
        total: CONNECTIONS,
        per_peer: CONNECTIONS,
        // A probe asks as soon as it is connected.
        silent: Duration::from_millis(50),
        idle: Duration::from_secs(1),
    };
    let app = router(readiness, metrics);
    // What it counts of its own connections would say nothing about the webhook.
    let metrics = Arc::default();
    let port = Port { limits: LIMITS, rules, tls: None, app, keep_alive: false, metrics, stop };
    let (ended, receiver) = oneshot::channel();
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let _ = ended.send(runtime.block_on(port.serve(listener)));
    })?;
    Ok(receiver)
}

/// The routes. Liveness looks at nothing: a process that answers is alive.
fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(write_metrics).with_state(metrics))
        .fallback(|| async { sentence(StatusCode::NOT_FOUND, "no such path: /livez, /readyz or /metrics") })
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness.check() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => sentence(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn write_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => sentence(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
