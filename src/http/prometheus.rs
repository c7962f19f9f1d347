//! `/metrics`: Prometheus' text format.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;

use super::Routes;

/// OpenMetrics 1.0, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Makes the text, whenever it is asked for.
pub(crate) type MetricsText = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

pub(crate) fn register(routes: &mut Routes, text: MetricsText) {
    let router = Router::new().route("/metrics", get(metrics)).with_state(text);
    routes.merge(super::compress::compressed_router(router));
}

async fn metrics(State(text): State<MetricsText>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS), (CACHE_CONTROL, "no-store")], text().await).into_response()
}
