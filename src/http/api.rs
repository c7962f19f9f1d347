//! `/api/v1`: what is live, what was recorded, and what this server is.

use axum::extract::{Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ApiError, Outside, Routes, shown_key};
use crate::base::StreamPath;
use crate::record::Recording;
use crate::record::driver::Recordings;
use crate::stream::Hub;

/// Recordings on one page where the request doesn't say.
const PAGE: usize = 50;

/// `[api]`: who may change things through the API.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// A Bearer token for requests that change something (deleting recordings, ending streams). Empty: nobody may.
    pub admin_token: String,
}

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
    fn admin(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        let shown = shown_key(headers, uri);
        let wanted = &self.config.admin_token;
        if wanted.is_empty() {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "changing things through the API is off; set api.admin_token"));
        }
        match shown {
            Some(token) if crate::stream::opens(wanted, &token) => Ok(()),
            shown => Err(ApiError::unauthorized(shown.is_some(), "this needs the admin token as a Bearer header")),
        }
    }

    fn may_see(&self, path: &str, key: Option<&str>) -> bool {
        StreamPath::parse(path).is_ok_and(|path| self.hub.may_view(&path, key))
    }
}

async fn info(State(state): State<ApiRoutes>) -> Response {
    fresh(json!({ "name": "headend", "version": env!("CARGO_PKG_VERSION"), "rtmp_port": state.rtmp_port }))
}

/// Live streams that the client may watch.
async fn streams(State(state): State<ApiRoutes>, headers: HeaderMap, uri: Uri) -> Response {
    let key = shown_key(&headers, &uri);
    let mut items = Vec::new();
    for stream in state.hub.listed_streams() {
        if state.hub.may_view(stream.path(), key.as_deref()) {
            items.push(stream.info().await);
        }
    }
    fresh(json!({ "items": items, "next": null }))
}

async fn stream(State(state): State<ApiRoutes>, Path(path): Path<String>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let path = StreamPath::parse(&path).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let key = shown_key(&headers, &uri);
    if !state.hub.may_view(&path, key.as_deref()) {
        return Err(ApiError::unauthorized(key.is_some(), format!("watching {path} needs a token")));
    }
    let stream = state.hub.listed_stream(&path).ok_or_else(|| ApiError::not_live(&path))?;
    Ok(fresh(serde_json::to_value(stream.info().await).unwrap_or_default()))
}

async fn end_stream(
    State(state): State<ApiRoutes>,
    Path(path): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, ApiError> {
    state.admin(&headers, &uri)?;
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

async fn delete_recording(
    State(state): State<ApiRoutes>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, ApiError> {
    state.admin(&headers, &uri)?;
    state.recordings.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// JSON that is true now only.
fn fresh(value: serde_json::Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}
