//! `/metrics`: Prometheus' text format.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;

use super::key::bearer;
use super::proxy::Caller;
use super::{ApiConfig, ApiError, Routes};

/// OpenMetrics 1.0, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Makes the text, whenever it is asked for.
pub(crate) type MetricsText = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// `config` says who may read them.
pub(crate) fn register(routes: &mut Routes, config: ApiConfig, text: MetricsText) {
    let router = Router::new().route("/metrics", get(metrics)).with_state((config, text));
    routes.merge(super::compress::compressed_router(router));
}

async fn metrics(State((config, text)): State<(ApiConfig, MetricsText)>, caller: Caller, headers: HeaderMap) -> Result<Response, ApiError> {
    if !config.sees_details(caller, &headers) {
        let what = "metrics are for this machine, the networks of api.details_from, and who shows the admin token as a Bearer header";
        return Err(ApiError::unauthorized(bearer(&headers).is_some(), what));
    }
    Ok(([(CONTENT_TYPE, OPEN_METRICS), (CACHE_CONTROL, "no-store")], text().await).into_response())
}
