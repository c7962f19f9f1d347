//! LL-HLS and DASH of live streams: playlists, manifests and the media they name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;

use super::compress::compressed;
use super::streams::redirect_to_page;
use super::{ApiError, ClientIp, Routes, StreamTarget, shown_key};
use crate::base::{StreamPath, UnixNanos};
use crate::package::{BlockingReload, Live, MediaName, Missing, Playlist, Presentation, Segment, SegmentBody, SegmentReader};
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
    routes.stream("{file}", compressed(get(file).with_state(state.clone())));
    routes.direct(state);
    routes.merge(Router::new().route(TIME_PATH, get(time)));
}

/// What a player may ask of a media playlist (RFC 8216bis section 6.2.5).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Reload {
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
        let presentation = self
            .live
            .presentation(path)
            .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "not_live", format!("{path} is not live now")).retry_after(2))?;
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
    Ok(state.media(&target.path, name, &reload, ip, &headers, &uri).await?.into_response())
}

/// What a playlist or a piece of media is answered with.
pub(super) struct Media {
    pub(super) content_type: &'static str,
    pub(super) cache: &'static str,
    pub(super) content: Content,
}

/// Its body.
pub(super) enum Content {
    /// A text that clients may like compressed.
    Playlist(Playlist),
    /// An initialization or a part.
    Whole(Bytes),
    /// A complete segment.
    Segment(Arc<Segment>),
    /// A segment in the making, part by part as they come.
    Growing(SegmentReader),
}

impl LiveRoutes {
    /// What `name` of `path` stands for, waited for where the request says so.
    pub(super) async fn media(
        &self,
        path: &StreamPath,
        name: MediaName,
        reload: &Reload,
        ip: ClientIp,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Media, ApiError> {
        let Admitted { presentation, query } = self.admit(path, headers, uri)?;
        let media = |content| Ok(Media { content_type: MP4, cache: FOR_EVER, content });
        match name {
            MediaName::Playlist { track } => {
                if reload.part.is_some() && reload.msn.is_none() {
                    return Err(ApiError::bad_request("_HLS_part needs _HLS_msn")); // RFC 8216bis section 6.2.5.2
                }
                let skip = reload.skip.as_deref().is_some_and(|skip| skip == "YES" || skip == "v2");
                let wait = BlockingReload { msn: reload.msn, part: reload.part };
                let playlist = presentation.playlist(track, wait, skip, &query).await?;
                self.note(path, "hls", ip, headers);
                let cache = if playlist.blocking { WAITED_FOR } else { NEWEST };
                Ok(Media { content_type: HLS, cache, content: Content::Playlist(playlist) })
            }
            MediaName::Init { track, number } => media(Content::Whole(presentation.init_segment(track, number).await?)),
            MediaName::Part { track, number, part } => media(Content::Whole(presentation.part(track, number, part).await?)),
            MediaName::Segment { track, number } => media(match presentation.segment(track, number).await? {
                SegmentBody::Complete(segment) => Content::Segment(segment),
                SegmentBody::Growing(reader) => Content::Growing(reader),
            }),
        }
    }
}

impl IntoResponse for Media {
    fn into_response(self) -> Response {
        let mut length = None;
        let body = match self.content {
            Content::Playlist(playlist) => playlist.text.into(),
            Content::Whole(bytes) => bytes.into(),
            Content::Segment(segment) => {
                length = Some(segment.bytes());
                let parts: Vec<_> = segment.parts.iter().map(|part| Ok::<_, io::Error>(part.data.clone())).collect();
                Body::from_stream(futures_util::stream::iter(parts))
            }
            Content::Growing(reader) => growing(reader),
        };
        let mut response = answer(self.content_type, self.cache, body);
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

/// Each part as it comes.
pub(super) fn growing(reader: SegmentReader) -> Body {
    Body::from_stream(futures_util::stream::try_unfold(reader, |mut reader| async move {
        match reader.next().await {
            Ok(part) => Ok(part.map(|part| (part, reader))),
            Err(error) => Err(io::Error::other(error)), // the connection breaks off: the segment is not whole
        }
    }))
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
