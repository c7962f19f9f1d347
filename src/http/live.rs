//! LL-HLS and DASH of live streams: playlists, manifests and the media they name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::compress::compressed;
use super::streams::redirect_to_page;
use super::{ApiError, ClientIp, Routes, StreamTarget, shown_key};
use crate::base::{StreamPath, UnixNanos};
use crate::package::{BlockingReload, Live, MediaName, Missing, Presentation, SegmentBody};
use crate::stream::Hub;

/// Names never repeat (see `package::MediaName`), so what they name may be kept for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A playlist that a request waited for answers that very request for as long as players ask it: a few target durations.
const WAITED_FOR: &str = "public, max-age=10";
/// What changes with every part: a cache may bundle the requests of one second.
const NEWEST: &str = "public, max-age=1";

const HLS: &str = "application/vnd.apple.mpegurl";
const DASH: &str = "application/dash+xml";
const MP4: &str = "video/mp4";

/// Where players read the time for DASH, from the server's root.
pub const TIME_PATH: &str = "/api/v1/time";

/// What these routes need.
#[derive(Debug, Clone)]
pub struct LiveRoutes {
    /// Who is live, and who may watch.
    pub hub: Hub,
    /// The presentations.
    pub live: Live,
}

/// Adds the routes.
pub fn register(routes: &mut Routes, state: LiveRoutes) {
    routes.stream("index.m3u8", compressed(get(multivariant).with_state(state.clone())));
    routes.stream("manifest.mpd", compressed(get(manifest).with_state(state.clone())));
    routes.stream("{file}", compressed(get(file).with_state(state)));
    routes.merge(Router::new().route(TIME_PATH, get(time)));
}

#[derive(Debug, Deserialize)]
struct Reload {
    #[serde(rename = "_HLS_msn")]
    msn: Option<u64>,
    #[serde(rename = "_HLS_part")]
    part: Option<usize>,
    #[serde(rename = "_HLS_skip")]
    skip: Option<String>,
}

/// A request that may be answered: its presentation, and what URIs in the answer need behind them.
struct Admitted {
    presentation: Presentation,
    query: String,
}

impl LiveRoutes {
    fn admit(&self, path: &StreamPath, headers: &HeaderMap, uri: &Uri) -> Result<Admitted, ApiError> {
        let key = shown_key(headers, uri);
        if !self.hub.may_view(path, key.as_deref()) {
            return Err(ApiError::unauthorized(key.is_some(), format!("watching {path} needs a token (?token=… or a Bearer header)")));
        }
        let presentation = self.live.presentation(path).ok_or_else(|| ApiError::not_live(path))?;
        Ok(Admitted { presentation, query: passed_on(uri) })
    }

    fn note(&self, path: &StreamPath, protocol: &'static str, ip: ClientIp, headers: &HeaderMap) {
        if let Some(stream) = self.hub.stream(path) {
            let mut hasher = DefaultHasher::new();
            (ip.0, headers.get(USER_AGENT).map(HeaderValue::as_bytes)).hash(&mut hasher);
            stream.note_http_viewer(protocol, hasher.finish(), unix_now());
        }
    }
}

/// `?token=…` as it came: players don't pass a playlist's query on to what it names.
pub(super) fn passed_on(uri: &Uri) -> String {
    let token = uri.query().and_then(|query| query.split('&').find(|pair| pair.starts_with("token=") || pair.starts_with("key=")));
    // Only what can stand in an attribute of a playlist or manifest without being mistaken for its end.
    let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=%-._~+".contains(&byte));
    token.filter(plain).map_or_else(String::new, |token| format!("?{token}"))
}

async fn multivariant(
    State(state): State<LiveRoutes>,
    target: StreamTarget,
    ip: ClientIp,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let admitted = state.admit(&target.path, &headers, &uri)?;
    let text = admitted.presentation.multivariant(&admitted.query).await?;
    state.note(&target.path, "hls", ip, &headers);
    Ok(answer(HLS, NEWEST, text))
}

async fn manifest(
    State(state): State<LiveRoutes>,
    target: StreamTarget,
    ip: ClientIp,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let admitted = state.admit(&target.path, &headers, &uri)?;
    let text = admitted.presentation.manifest(unix_now(), TIME_PATH, &admitted.query).await?;
    state.note(&target.path, "dash", ip, &headers);
    Ok(answer(DASH, NEWEST, text))
}

async fn file(
    State(state): State<LiveRoutes>,
    target: StreamTarget,
    ip: ClientIp,
    Query(reload): Query<Reload>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Some(name) = MediaName::parse(target.param("file")) else {
        return redirect_to_page(&uri).ok_or_else(|| ApiError::not_found("there is nothing here"));
    };
    let Admitted { presentation, query } = state.admit(&target.path, &headers, &uri)?;
    match name {
        MediaName::Playlist { track } => {
            if reload.part.is_some() && reload.msn.is_none() {
                return Err(ApiError::bad_request("_HLS_part needs _HLS_msn")); // RFC 8216bis section 6.2.5.2
            }
            let skip = reload.skip.as_deref().is_some_and(|skip| skip == "YES" || skip == "v2");
            let wait = BlockingReload { msn: reload.msn, part: reload.part };
            let playlist = presentation.playlist(track, wait, skip, &query).await?;
            state.note(&target.path, "hls", ip, &headers);
            Ok(answer(HLS, if playlist.blocking { WAITED_FOR } else { NEWEST }, playlist.text))
        }
        MediaName::Init { track, number } => Ok(answer(MP4, FOR_EVER, presentation.init_segment(track, number).await?)),
        MediaName::Part { track, number, part } => Ok(answer(MP4, FOR_EVER, presentation.part(track, number, part).await?)),
        MediaName::Segment { track, number } => Ok(match presentation.segment(track, number).await? {
            SegmentBody::Complete(parts) => {
                let length: usize = parts.iter().map(bytes::Bytes::len).sum();
                let stream = futures_util::stream::iter(parts.into_iter().map(Ok::<_, io::Error>));
                let mut response = answer(MP4, FOR_EVER, Body::from_stream(stream));
                response.headers_mut().insert(axum::http::header::CONTENT_LENGTH, HeaderValue::from(length));
                response
            }
            SegmentBody::Growing(reader) => {
                let stream = futures_util::stream::try_unfold(reader, |mut reader| async move {
                    match reader.next().await {
                        Ok(part) => Ok(part.map(|part| (part, reader))),
                        Err(error) => Err(io::Error::other(error)), // the connection breaks off: the segment is not whole
                    }
                });
                answer(MP4, FOR_EVER, Body::from_stream(stream))
            }
        }),
    }
}

/// The time, for players that must know what is the live edge.
async fn time() -> Response {
    let now = crate::package::date_time(unix_now());
    ([(CONTENT_TYPE, "text/plain"), (CACHE_CONTROL, "no-store")], now).into_response()
}

fn answer(content_type: &'static str, cache: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, cache)], body.into()).into_response()
}

impl From<Missing> for ApiError {
    fn from(missing: Missing) -> Self {
        let (status, code) = match missing {
            Missing::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Missing::TooFarAhead => (StatusCode::BAD_REQUEST, "too_far_ahead"),
            _ => (StatusCode::NOT_FOUND, "not_found"),
        };
        Self::new(status, code, missing.to_string()).with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }
}

/// The wall clock; `http` is a driver.
#[allow(clippy::disallowed_methods)]
pub(super) fn unix_now() -> UnixNanos {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_passed_on_only_where_they_can_do_no_harm() {
        for (uri, wanted) in [
            ("/a/index.m3u8", ""),
            ("/a/index.m3u8?token=abc", "?token=abc"),
            ("/a/index.m3u8?_HLS_msn=3&token=a%20b", "?token=a%20b"),
            ("/a/index.m3u8?x=1&key=k", "?key=k"),
            ("/a/index.m3u8?token=a\"b", ""),
        ] {
            let Ok(uri) = uri.parse::<Uri>() else { continue };
            assert_eq!(passed_on(&uri), wanted, "{uri}");
        }
    }
}
