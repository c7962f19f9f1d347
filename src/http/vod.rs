//! Recordings: MP4 downloads with Range, HLS and DASH of what was recorded.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;

use super::{ApiError, Routes, shown_key};
use crate::base::StreamPath;
use crate::record::driver::{Recordings, body_stream};
use crate::record::{RecordError, VodBody, VodRequest};
use crate::stream::Hub;

/// What these routes need.
#[derive(Debug, Clone)]
pub struct VodRoutes {
    /// The recordings.
    pub recordings: Recordings,
    /// Who may watch: a recording is as open as the stream it is of.
    pub hub: Hub,
}

/// Adds the routes.
pub fn register(routes: &mut Routes, state: VodRoutes) {
    let router = Router::new()
        .route("/vod/{id}", get(whole))
        .route("/vod/{id}/", get(super::pages::recording))
        .route("/vod/{id}/{file}", get(file))
        .with_state(state);
    routes.merge(super::compress::compressed_router(router));
}

/// Refuses a recording of a stream that the client may not watch.
pub(super) fn admit(state: &VodRoutes, id: &str, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let recording = state.recordings.get(id)?;
    let key = shown_key(headers, uri);
    let open = StreamPath::parse(&recording.path).is_ok_and(|path| state.hub.may_view(&path, key.as_deref()));
    if open { Ok(()) } else { Err(ApiError::unauthorized(key.is_some(), "this recording needs the token of its stream")) }
}

/// `/vod/<id>.mp4`.
async fn whole(State(state): State<VodRoutes>, Path(name): Path<String>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let id = name.strip_suffix(".mp4").unwrap_or(&name);
    admit(&state, id, &headers, &uri)?;
    answer(&state, name.clone(), &headers, &uri).await
}

/// `/vod/<id>/<file>`.
async fn file(
    State(state): State<VodRoutes>,
    Path((id, file)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    admit(&state, &id, &headers, &uri)?;
    answer(&state, format!("{id}/{file}"), &headers, &uri).await
}

async fn answer(state: &VodRoutes, path: String, headers: &HeaderMap, uri: &Uri) -> Result<Response, ApiError> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = VodRequest {
        path,
        range: text(RANGE),
        if_range: text(IF_RANGE),
        if_match: text(IF_MATCH),
        if_none_match: text(IF_NONE_MATCH),
        query: super::live::passed_on(uri),
    };
    let answer = state.recordings.vod(request).await?;
    let mut response = Response::new(match answer.body {
        VodBody::Bytes(bytes) => Body::from(bytes),
        body => Body::from_stream(body_stream(body)),
    });
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let out = response.headers_mut();
    let mut put = |name: HeaderName, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            out.insert(name, value);
        }
    };
    put(CONTENT_TYPE, Some(answer.content_type.to_owned()));
    put(CACHE_CONTROL, Some(answer.cache_control.to_owned()));
    put(ETAG, answer.etag);
    put(CONTENT_RANGE, answer.content_range);
    put(CONTENT_DISPOSITION, answer.content_disposition);
    if answer.accept_ranges {
        put(ACCEPT_RANGES, Some("bytes".to_owned()));
    }
    if answer.status != StatusCode::NOT_MODIFIED {
        put(CONTENT_LENGTH, Some(answer.content_length.to_string()));
    }
    Ok(response)
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(%error, "a recording could not be read");
        }
        Self::new(status, error.code(), error.to_string())
    }
}
