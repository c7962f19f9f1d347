//! Recordings: MP4 downloads with Range, HLS and DASH of what was recorded.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use futures_util::{StreamExt, stream};

use super::multipart::Multipart;
use super::streams::redirect;
use super::{ApiError, ClientIp, Outside, Reading, Routes, shown_key};
use crate::base::StreamPath;
use crate::record::driver::Recordings;
use crate::record::{RecordError, VodBody, VodRequest};
use crate::stream::Hub;

/// What these routes need.
#[derive(Debug, Clone)]
pub(crate) struct VodRoutes {
    pub recordings: Recordings,
    /// Who may watch: a recording is as open as the stream it is of.
    pub hub: Hub,
}

pub(crate) fn register(routes: &mut Routes, state: VodRoutes) {
    let router = Router::new()
        .route("/vod/{id}", get(whole))
        .route("/vod/{id}/", get(page))
        .route("/vod/{id}/{file}", get(file))
        .route("/vod/{id}/{file}/", get(without_slash))
        .with_state(state);
    routes.merge(super::compress::compressed_router(router));
}

/// The stream that a recording is of; refused where the client may not watch it.
pub(super) fn admit(state: &VodRoutes, id: &str, headers: &HeaderMap, uri: &Uri) -> Result<StreamPath, ApiError> {
    let recording = state.recordings.get(id)?;
    let key = shown_key(headers, uri);
    let path = StreamPath::parse(&recording.path).ok().filter(|path| state.hub.may_view(path, key.as_deref()));
    path.ok_or_else(|| ApiError::unauthorized(key.is_some(), "this recording needs the token of its stream"))
}

/// `/vod/<id>.mp4`; without the extension, to the recording's page.
async fn whole(
    State(state): State<VodRoutes>,
    Path(name): Path<String>,
    ip: ClientIp,
    reading: Reading,
    outside: Outside,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    // Ids and names have no capitals.
    let name = name.to_ascii_lowercase();
    let Some(id) = name.strip_suffix(".mp4") else {
        state.recordings.get(&name)?;
        return Ok(redirect(StatusCode::PERMANENT_REDIRECT, &outside, &format!("/vod/{name}/"), uri.query()));
    };
    let stream = admit(&state, id, &headers, &uri)?;
    answer(&state, name.clone(), &stream, ip, &reading, &headers, &uri).await
}

/// `/vod/<id>/<file>`.
async fn file(
    State(state): State<VodRoutes>,
    Path((id, file)): Path<(String, String)>,
    ip: ClientIp,
    reading: Reading,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let stream = admit(&state, &id, &headers, &uri)?;
    answer(&state, format!("{id}/{}", file.to_ascii_lowercase()), &stream, ip, &reading, &headers, &uri).await
}

/// `/vod/<id>/<file>/` and `/vod/<id>.mp4/`: a slash too many.
async fn without_slash(outside: Outside, uri: Uri) -> Response {
    redirect(StatusCode::PERMANENT_REDIRECT, &outside, uri.path().trim_end_matches('/'), uri.query())
}

/// `/vod/<id>/`: the page.
async fn page(Path(name): Path<String>, outside: Outside, headers: HeaderMap, uri: Uri) -> Response {
    if name.contains('.') { without_slash(outside, uri).await } else { super::pages::recording(outside, headers).await }
}

async fn answer(
    state: &VodRoutes,
    path: String,
    stream: &StreamPath,
    ip: ClientIp,
    reading: &Reading,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Response, ApiError> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = VodRequest {
        path,
        range: text(RANGE),
        if_range: text(IF_RANGE),
        if_match: text(IF_MATCH),
        if_none_match: text(IF_NONE_MATCH),
        if_modified_since: text(IF_MODIFIED_SINCE),
        if_unmodified_since: text(IF_UNMODIFIED_SINCE),
        client: ip.with_agent(headers),
        query: super::live::passed_on(uri, |key| state.hub.may_view(stream, Some(key))),
    };
    let answer = state.recordings.vod(request).await?;
    if answer.status == StatusCode::PRECONDITION_FAILED {
        return Err(RecordError::PreconditionFailed.into());
    }
    if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
        // With how long it is (RFC 9110 section 15.5.17).
        let length = answer.content_range.and_then(|range| HeaderValue::from_str(&range).ok());
        let refused = ApiError::of_status(StatusCode::RANGE_NOT_SATISFIABLE);
        return Err(length.into_iter().fold(refused, |refused, length| refused.with_header(CONTENT_RANGE, length)));
    }
    let (body, content_type, length) = body(state, answer.body, answer.content_type, answer.content_length, answer.total);
    let mut response = Response::new(reading.recording().body(body.into_data_stream()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let out = response.headers_mut();
    out.insert(CACHE_CONTROL, super::live::caching(answer.cache_control, state.hub.is_open(stream)));
    let mut put = |name: HeaderName, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            out.insert(name, value);
        }
    };
    put(CONTENT_TYPE, Some(content_type));
    put(ETAG, answer.etag);
    put(LAST_MODIFIED, answer.last_modified);
    put(CONTENT_RANGE, answer.content_range);
    put(CONTENT_DISPOSITION, answer.content_disposition);
    if answer.accept_ranges {
        put(ACCEPT_RANGES, Some("bytes".to_owned()));
    }
    if answer.status != StatusCode::NOT_MODIFIED {
        put(CONTENT_LENGTH, Some(length.to_string()));
    }
    Ok(response)
}

/// What to send, and of which type and length.
fn body(state: &VodRoutes, body: VodBody, content_type: &str, length: u64, total: u64) -> (Body, String, u64) {
    match body {
        VodBody::Bytes(bytes) => (Body::from(bytes), content_type.to_owned(), length),
        VodBody::Parts(parts) => {
            let ranges: Vec<_> = parts.iter().map(|(range, _)| range.clone()).collect();
            let Multipart { content_type, heads, tail, length } = Multipart::around(&ranges, total, content_type, state.hub.lots());
            let recordings = state.recordings.clone();
            let parts = stream::iter(heads.into_iter().zip(parts))
                .flat_map(move |(head, (_, reader))| stream::iter([Ok(head)]).chain(recordings.stream(VodBody::File(reader))));
            (Body::from_stream(parts.chain(stream::iter([Ok(tail)]))), content_type, length)
        }
        body => (Body::from_stream(state.recordings.stream(body)), content_type.to_owned(), length),
    }
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
