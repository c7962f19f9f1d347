//! LL-HLS and DASH of live streams: playlists, manifests and the media they name.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use super::error::JSON;
use super::multipart::Multipart;
use super::{ApiError, ClientIp, Outside, Reading, StreamTarget, shown_key};
use crate::base::ranges::{Conditions, Selection, Version, http_date};
use crate::base::{Lots, StreamPath, query};
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
pub(super) const TIME_PATH: &str = "/api/v1/time";

/// What these routes need.
#[derive(Debug, Clone)]
pub(crate) struct LiveRoutes {
    /// Who is live, and who may watch.
    pub hub: Hub,
    pub live: Live,
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
    /// Whether it would be answered to anybody.
    open: bool,
}

impl LiveRoutes {
    fn admit(&self, path: &StreamPath, headers: &HeaderMap, uri: &Uri) -> Result<Admitted, ApiError> {
        let open = self.hub.is_open(path);
        if !open {
            let key = shown_key(headers, uri);
            if !self.hub.may_view(path, key.as_deref()) {
                return Err(ApiError::unauthorized(key.is_some(), format!("watching {path} needs a token (?token=… or a Bearer header)")));
            }
        }
        let presentation = self.live.presentation(path).ok_or_else(|| ApiError::not_live(path))?;
        let query = passed_on(uri, |key| open || self.hub.may_view(path, Some(key)));
        Ok(Admitted { presentation, query, open })
    }

    fn note(&self, path: &StreamPath, protocol: &'static str, ip: ClientIp, headers: &HeaderMap) {
        if let Some(stream) = self.hub.stream(path) {
            stream.note_http_viewer(protocol, ip.with_agent(headers), self.hub.clock().unix());
        }
    }
}

/// `Cache-Control` of an answer. Where a key was needed for it, caches that many share may not keep it: they would give it to whoever knows
/// the address, and such addresses are guessed, logged and sent on (RFC 9111 section 5.2.2.7).
pub(super) fn caching(control: &'static str, open: bool) -> HeaderValue {
    const NOT_AT_ALL: &str = "no-store";
    if open || control == NOT_AT_ALL {
        return HeaderValue::from_static(control);
    }
    let rest = control.strip_prefix("public, ").unwrap_or(control);
    HeaderValue::try_from(format!("private, {rest}")).unwrap_or(HeaderValue::from_static(NOT_AT_ALL))
}

/// `?token=…` for the URIs in an answer: players don't pass a playlist's query on to what it names. As it came where it has only characters
/// that mean the same everywhere, else escaped in the reading that `opens`.
pub(super) fn passed_on(uri: &Uri, opens: impl Fn(&str) -> bool) -> String {
    let Some(shown) = uri.query().and_then(query::shown_key) else { return String::new() };
    let first = query::first_part(shown);
    // A slash would be safe too, but for players that look for the last one of a URL to resolve what it names.
    if first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=%-._~+".contains(&byte)) && opens(first) {
        return format!("?token={first}");
    }
    let found = query::readings(shown).map(|reading| query::percent_encode(&reading)).find(|key| opens(key));
    found.map_or_else(String::new, |key| format!("?token={key}"))
}

pub(super) async fn multivariant(
    State(state): State<LiveRoutes>,
    target: StreamTarget,
    ip: ClientIp,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let admitted = state.admit(&target.path, &headers, &uri)?;
    let text = admitted.presentation.multivariant(&admitted.query).await?;
    state.note(&target.path, "hls", ip, &headers);
    Ok(text_answer(HLS, text, admitted.open, &headers, state.hub.lots()))
}

pub(super) async fn manifest(
    State(state): State<LiveRoutes>,
    target: StreamTarget,
    ip: ClientIp,
    outside: Outside,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let admitted = state.admit(&target.path, &headers, &uri)?;
    // Absolute: TV boxes and ExoPlayer don't resolve it.
    let text = admitted.presentation.manifest(state.hub.clock().unix(), &outside.url(TIME_PATH), &admitted.query).await?;
    state.note(&target.path, "dash", ip, &headers);
    Ok(text_answer(DASH, text, admitted.open, &headers, state.hub.lots()))
}

pub(super) async fn file(
    State(state): State<LiveRoutes>,
    target: StreamTarget,
    ip: ClientIp,
    reading: Reading,
    Query(reload): Query<Reload>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let name = MediaName::parse(target.param("file")).ok_or_else(|| ApiError::not_found("there is nothing here"))?;
    let reply = state.media(&target.path, name, &reload, ip, &headers, &uri).await?;
    Ok(reply.respond(&headers, |content| match content {
        Content::Playlist(playlist) => playlist.text.into(),
        Content::Whole(bytes) => bytes.into(),
        Content::Segment(segment) => pieces(segment.parts.iter().map(|part| part.data.clone()).collect(), Some(segment), &reading),
        Content::Pieces(bytes, of) => pieces(bytes, of, &reading),
        Content::Growing(reader) => growing(reader),
    }))
}

/// A text that is made anew with every part.
fn text_answer(content_type: &'static str, text: String, open: bool, headers: &HeaderMap, lots: &Lots) -> Response {
    let (etag, content) = (header(text_tag(text.as_bytes())), Content::Whole(text.into()));
    let reply = Reply { content_type, cache: NEWEST, open, etag, len: None, content, lots: lots.clone() };
    reply.respond(headers, |content| if let Content::Whole(bytes) = content { bytes.into() } else { Body::empty() })
}

/// Weak: compression changes the bytes, not what they say.
fn text_tag(text: &[u8]) -> Bytes {
    format!("W/\"{:08x}-{:x}\"", crc32fast::hash(text), text.len()).into()
}

fn header(value: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(value).ok()
}

/// These bytes of a segment, or of nothing that is held elsewhere.
pub(super) fn pieces(bytes: Vec<Bytes>, of: Option<Arc<Segment>>, reading: &Reading) -> Body {
    let body = futures_util::stream::iter(bytes.into_iter().map(Ok::<_, io::Error>));
    match of {
        Some(segment) => reading.segment(segment).body(body),
        None => Body::from_stream(body),
    }
}

/// What a playlist or a piece of media is answered with.
pub(super) struct Reply {
    content_type: &'static str,
    /// As [`caching`] takes it.
    cache: &'static str,
    /// Whether it would be answered to anybody.
    open: bool,
    /// Names never repeat, so a name is as good as a hash.
    etag: Option<HeaderValue>,
    /// In bytes, of what ranges may be served of.
    len: Option<u64>,
    content: Content,
    lots: Lots,
}

pub(super) enum Content {
    /// A text that clients may like compressed.
    Playlist(Playlist),
    /// An initialization or a part.
    Whole(Bytes),
    Segment(Arc<Segment>),
    /// Bytes from here and there, of a segment if they are.
    Pieces(Vec<Bytes>, Option<Arc<Segment>>),
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
    ) -> Result<Reply, ApiError> {
        let Admitted { presentation, query, open } = self.admit(path, headers, uri)?;
        let media = |len: usize, content| {
            let etag = header(format!("\"{name}\"").into());
            Ok(Reply { content_type: MP4, cache: FOR_EVER, open, etag, len: Some(len as u64), content, lots: self.hub.lots().clone() })
        };
        let whole = |bytes: Bytes| media(bytes.len(), Content::Whole(bytes));
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
                let etag = header(playlist.tag(text_tag));
                let (content, lots) = (Content::Playlist(playlist), self.hub.lots().clone());
                Ok(Reply { content_type: HLS, cache, open, etag, len: None, content, lots })
            }
            MediaName::Init { track, number } => whole(presentation.init_segment(track, number).await?),
            MediaName::Part { track, number, part } => whole(presentation.part(track, number, part).await?),
            MediaName::Segment { track, number } => match presentation.segment(track, number).await? {
                SegmentBody::Complete(segment) => media(segment.bytes(), Content::Segment(segment)),
                // Its length is not known before it is whole, and a range needs that.
                SegmentBody::Growing(mut reader) if wants_a_part(headers) => {
                    let mut parts = Vec::new();
                    while let Some(part) = reader.next().await? {
                        parts.push(part);
                    }
                    media(parts.iter().map(Bytes::len).sum(), Content::Pieces(parts, None))
                }
                SegmentBody::Growing(reader) => Ok(Reply { len: None, ..media(0, Content::Growing(reader))? }),
            },
        }
    }
}

/// Whether a range is wanted that is not all of the file: what asks for everything need not wait for its end.
fn wants_a_part(headers: &HeaderMap) -> bool {
    headers.get(RANGE).is_some_and(|range| range.as_bytes().trim_ascii() != b"bytes=0-")
}

impl Reply {
    /// The answer to a request with these headers; `body` says how content is sent.
    pub(super) fn respond<B>(self, headers: &HeaderMap, body: impl FnOnce(Content) -> B) -> Response<B> {
        let Self { content_type, cache, open, etag, len, content, lots } = self;
        let tag = || etag.as_ref().and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        let selection =
            conditions(headers).map_or(Selection::Whole, |conditions| conditions.select(Version { etag: tag(), modified: None, len }));
        let refused = |status, range| (status, Some(JSON), range, None, Content::Whole(ApiError::of_status(status).json().into()));
        let (status, content_type, content_range, length, content) = match (selection, len) {
            (Selection::NotModified, _) => (StatusCode::NOT_MODIFIED, None, None, None, Content::Whole(Bytes::new())),
            (Selection::Failed, _) => refused(StatusCode::PRECONDITION_FAILED, None),
            (Selection::Unsatisfiable, len) => refused(StatusCode::RANGE_NOT_SATISFIABLE, Some(format!("bytes */{}", len.unwrap_or(0)))),
            (Selection::Parts(parts), Some(len)) => partial(&content, &parts, len, content_type, &lots),
            (_, len) => (StatusCode::OK, Some(HeaderValue::from_static(content_type)), None, len, content),
        };
        let mut response = Response::new(body(content));
        *response.status_mut() = status;
        let out = response.headers_mut();
        let mut put = |name: HeaderName, value: Option<HeaderValue>| value.map(|value| out.insert(name, value));
        put(CONTENT_TYPE, content_type);
        put(CACHE_CONTROL, Some(caching(if status.is_client_error() { "no-store" } else { cache }, open)));
        put(ETAG, etag);
        put(ACCEPT_RANGES, len.map(|_| HeaderValue::from_static("bytes")));
        put(CONTENT_RANGE, content_range.and_then(|range| HeaderValue::from_str(&range).ok()));
        put(CONTENT_LENGTH, length.map(HeaderValue::from));
        response
    }
}

/// The request's conditions and range, if it has any: most have none.
fn conditions(headers: &HeaderMap) -> Option<Conditions<'_>> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let conditions = Conditions {
        range: text(RANGE),
        if_range: text(IF_RANGE),
        if_match: text(IF_MATCH),
        if_none_match: text(IF_NONE_MATCH),
        ..Conditions::default()
    };
    (conditions != Conditions::default()).then_some(conditions)
}

type Partial = (StatusCode, Option<HeaderValue>, Option<String>, Option<u64>, Content);

/// Some bytes of a piece of media: one range as it is, several as `multipart/byteranges`.
fn partial(content: &Content, parts: &[Range<u64>], len: u64, content_type: &'static str, lots: &Lots) -> Partial {
    let bytes: Vec<Bytes> = match content {
        Content::Whole(bytes) => vec![bytes.clone()],
        Content::Segment(segment) => segment.parts.iter().map(|part| part.data.clone()).collect(),
        Content::Pieces(bytes, _) => bytes.clone(),
        Content::Playlist(_) | Content::Growing(_) => Vec::new(),
    };
    let of = if let Content::Segment(segment) = content { Some(segment.clone()) } else { None };
    if let [part] = parts {
        let range = format!("bytes {}-{}/{len}", part.start, part.end.saturating_sub(1));
        let content = Content::Pieces(cut(&bytes, part), of);
        return (
            StatusCode::PARTIAL_CONTENT,
            Some(HeaderValue::from_static(content_type)),
            Some(range),
            Some(part.end - part.start),
            content,
        );
    }
    let multipart = Multipart::around(parts, len, content_type, lots);
    let mut all = Vec::new();
    for (head, part) in multipart.heads.into_iter().zip(parts) {
        all.push(head);
        all.extend(cut(&bytes, part));
    }
    all.push(multipart.tail);
    let content_type = HeaderValue::from_str(&multipart.content_type).ok();
    (StatusCode::PARTIAL_CONTENT, content_type, None, Some(multipart.length), Content::Pieces(all, of))
}

/// The bytes of a range of what lies in several pieces.
fn cut(pieces: &[Bytes], range: &Range<u64>) -> Vec<Bytes> {
    let mut at = 0u64;
    let mut out = Vec::new();
    for piece in pieces {
        let end = at + piece.len() as u64;
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            out.push(piece.slice((from - at) as usize..(to - at) as usize));
        }
        at = end;
    }
    out
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

/// The time, for players that must know what is the live edge: by the clock that media goes by, in `Date` (which others would take from the
/// machine) as well as in the body.
pub(super) async fn time(State(state): State<LiveRoutes>) -> Response {
    let now = state.hub.clock().unix();
    let mut response = ([(CONTENT_TYPE, "text/plain"), (CACHE_CONTROL, "no-store")], crate::base::date_time(now)).into_response();
    let date = http_date(now.div_euclid(1_000_000_000)).and_then(|date| HeaderValue::from_str(&date).ok());
    date.map(|date| response.headers_mut().insert(DATE, date));
    response
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_passed_on_so_that_they_open_and_do_no_harm() {
        for (uri, secret, wanted) in [
            ("/a/index.m3u8", "", ""),
            ("/a/index.m3u8?token=abc", "abc", "?token=abc"),
            ("/a/index.m3u8?token=abc&_HLS_msn=3", "abc", "?token=abc"),
            ("/a/index.m3u8?_HLS_msn=3&token=a%20b", "a b", "?token=a%20b"),
            ("/a/index.m3u8?token=a+b", "a b", "?token=a+b"),
            ("/a/index.m3u8?token=a+b", "a+b", "?token=a+b"),
            ("/a/index.m3u8?x=1&key=k", "k", "?token=k"),
            ("/a/index.m3u8?token=a/b", "a/b", "?token=a%2Fb"),
            ("/a/index.m3u8?token=a&b&_HLS_msn=3", "a&b", "?token=a%26b"),
            ("/a/index.m3u8?token=it's", "it's", "?token=it%27s"),
            ("/a/index.m3u8?token=a%26%3C%22", "a&<\"", "?token=a%26%3C%22"),
            ("/a/index.m3u8?token=wrong'", "right", ""),
        ] {
            let uri = uri.parse::<Uri>().unwrap();
            assert_eq!(passed_on(&uri, |key| crate::stream::opens(secret, key)), wanted, "{uri}");
        }
    }
}
