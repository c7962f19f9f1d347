//! `/api/v1`: what is live, what was recorded, and what this server is.

use axum::extract::{Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::proxy::Caller;
use super::{ApiConfig, ApiError, Outside, Routes, shown_key};
use crate::base::StreamPath;
use crate::record::Recording;
use crate::record::driver::Recordings;
use crate::stream::{Hub, Stream, StreamInfo};

/// Recordings on one page where the request doesn't say.
const PAGE: usize = 50;

/// What these routes need.
#[derive(Debug, Clone)]
pub(crate) struct ApiRoutes {
    pub config: ApiConfig,
    pub hub: Hub,
    pub recordings: Recordings,
    /// The port where RTMP is taken, for the pages' advice.
    pub rtmp_port: u16,
}

pub(crate) fn register(routes: &mut Routes, state: ApiRoutes) {
    let router = Router::new()
        .route("/api/v1/info", get(info))
        .route("/api/v1/streams", get(streams))
        .route("/api/v1/streams/{*path}", get(stream).delete(end_stream))
        .route("/api/v1/recordings", get(recordings))
        .route("/api/v1/recordings/{id}", get(recording).delete(delete_recording))
        .with_state(state);
    routes.merge(super::compress::compressed_router(router));
}

impl ApiRoutes {
    /// What the caller may know of a stream.
    async fn shown(&self, stream: &Stream, caller: Caller, headers: &HeaderMap) -> StreamInfo {
        let info = stream.info().await;
        if self.config.sees_details(caller, headers) { info } else { info.without_addresses() }
    }

    fn may_see(&self, path: &str, key: Option<&str>) -> bool {
        StreamPath::parse(path).is_ok_and(|path| self.hub.may_view(&path, key))
    }
}

async fn info(State(state): State<ApiRoutes>) -> Response {
    fresh(json!({ "name": "headend", "version": env!("CARGO_PKG_VERSION"), "rtmp_port": state.rtmp_port }))
}

/// Live streams that the client may watch.
async fn streams(State(state): State<ApiRoutes>, caller: Caller, headers: HeaderMap, uri: Uri) -> Response {
    let key = shown_key(&headers, &uri);
    let mut items = Vec::new();
    for stream in state.hub.listed_streams() {
        if state.hub.may_view(stream.path(), key.as_deref()) {
            items.push(state.shown(&stream, caller, &headers).await);
        }
    }
    fresh(json!({ "items": items, "next": null }))
}

async fn stream(
    State(state): State<ApiRoutes>,
    Path(path): Path<String>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let path = StreamPath::parse(&path).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let key = shown_key(&headers, &uri);
    if !state.hub.may_view(&path, key.as_deref()) {
        return Err(ApiError::unauthorized(key.is_some(), format!("watching {path} needs a token")));
    }
    let stream = state.hub.listed_stream(&path).ok_or_else(|| ApiError::not_live(&path))?;
    Ok(fresh(serde_json::to_value(state.shown(&stream, caller, &headers).await).unwrap_or_default()))
}

async fn end_stream(State(state): State<ApiRoutes>, Path(path): Path<String>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    state.config.may_change(&headers)?;
    let path = StreamPath::parse(&path).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let stream = state.hub.listed_stream(&path).ok_or_else(|| ApiError::not_live(&path))?;
    stream.evict("ended by the operator");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    path: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn recordings(
    State(state): State<ApiRoutes>,
    Query(query): Query<ListQuery>,
    outside: Outside,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let key = shown_key(&headers, &uri);
    let mut page = state.recordings.list(query.path.as_deref(), query.cursor.as_deref(), query.limit.unwrap_or(PAGE))?;
    page.items.retain(|recording| state.may_see(&recording.path, key.as_deref()));
    page.items.iter_mut().for_each(|recording| place(recording, &outside));
    Ok(fresh(serde_json::to_value(page).unwrap_or_default()))
}

async fn recording(
    State(state): State<ApiRoutes>,
    Path(id): Path<String>,
    outside: Outside,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let key = shown_key(&headers, &uri);
    let mut recording = state.recordings.get(&id)?;
    if !state.may_see(&recording.path, key.as_deref()) {
        return Err(ApiError::unauthorized(key.is_some(), "this recording needs the token of its stream"));
    }
    place(&mut recording, &outside);
    Ok(fresh(serde_json::to_value(recording).unwrap_or_default()))
}

/// Puts what stands before our paths outside before the URLs of a recording.
fn place(recording: &mut Recording, outside: &Outside) {
    let urls = &mut recording.urls;
    for url in [&mut urls.mp4, &mut urls.hls, &mut urls.dash] {
        *url = outside.path(url);
    }
}

async fn delete_recording(State(state): State<ApiRoutes>, Path(id): Path<String>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    state.config.may_change(&headers)?;
    state.recordings.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// JSON that is true now only.
fn fresh(value: serde_json::Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}
