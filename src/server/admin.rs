//! How is this process? `/livez` and `/readyz` for the kubelet, `/metrics` for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::webhook::sentence;
use crate::health::Readiness;
use crate::metrics::Metrics;

/// The routes. Liveness looks at nothing: a process that answers is alive.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
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
