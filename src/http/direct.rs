//! The short way of a GET for live media: past the router and its layers, which cost more than the answer.
//!
//! In: a request, before the router has seen it. Out: the same answer as the router's (see the tests), or nothing: then the router has it.

use std::convert::Infallible;
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{Query, Request};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ORIGIN, VARY};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::{Router, body};
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tower::Service;

use super::common::Common;
use super::compress::{SMALLEST, gzip};
use super::driver::Patience;
use super::front::{Written, introduce, tidy, without_host};
use super::live::{Content, LiveRoutes, Reload, Reply, growing, pieces};
use super::proxy::Proxies;
use super::reading::Held;
use super::{ClientIp, HttpMetrics, Reading};
use crate::base::StreamPath;
use crate::package::MediaName;

const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const ACCEPT_ENCODING_VALUE: HeaderValue = HeaderValue::from_static("accept-encoding");

/// What the server serves: a router, and what needs none.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    router: Router,
    direct: Option<Arc<Direct>>,
    common: Arc<Common>,
    proxies: Arc<Proxies>,
    /// With who tries keys.
    patience: Option<Patience>,
}

/// Live media, and what all answers have in common.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) live: LiveRoutes,
    pub(super) common: Arc<Common>,
}

impl From<Router> for Served {
    fn from(router: Router) -> Self {
        let common = Arc::new(Common::new(&["*".to_owned()], HttpMetrics::default()));
        Self { router, direct: None, common, proxies: Arc::default(), patience: None }
    }
}

impl Served {
    pub(super) fn new(router: Router, direct: Option<Direct>, common: Arc<Common>, proxies: Proxies, patience: Patience) -> Self {
        Self { router, direct: direct.map(Arc::new), common, proxies: Arc::new(proxies), patience: Some(patience) }
    }

    pub(super) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: IpAddr,
        reading: Reading,
    ) -> Result<Response<Answer>, Infallible> {
        let written = match without_host(&request).map_or_else(|| tidy(&mut request, &self.proxies), |answer| Err(Box::new(answer))) {
            Ok(written) => written,
            Err(answer) => return Ok(self.at_once(*answer, &request)),
        };
        let client = self.proxies.client(peer, request.headers());
        let Some(patience) = &self.patience else { return self.look(request, peer, client, written, reading).await };
        let attempt = match patience.take(&request, client).await {
            Ok(attempt) => attempt,
            Err(error) => return Ok(self.at_once(error.into_response(), &request)),
        };
        let response = self.look(request, peer, client, written, reading).await?;
        attempt.ended(response.status());
        Ok(response)
    }

    /// What is answered before anything else is done.
    fn at_once(&self, answer: Response, request: &Request<Incoming>) -> Response<Answer> {
        let mut answer = answer.map(Answer::Routed);
        self.common.complete(&mut answer, request.headers().get(ORIGIN), None);
        answer
    }

    async fn look(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        client: ClientIp,
        written: Written,
        reading: Reading,
    ) -> Result<Response<Answer>, Infallible> {
        if let Some(direct) = &self.direct
            && let Some(response) = direct.answer(&request, client, &reading).await
        {
            return Ok(response);
        }
        introduce(&mut request, &self.proxies, peer, client, written);
        request.extensions_mut().insert(reading);
        Ok(self.router.clone().call(request).await?.map(Answer::Routed))
    }
}

impl Direct {
    /// The answer, if it is a plain GET for media of a stream that is live.
    pub(super) async fn answer<B>(&self, request: &Request<B>, ip: ClientIp, reading: &Reading) -> Option<Response<Answer>> {
        let (uri, headers) = (request.uri(), request.headers());
        if request.method() != Method::GET {
            return None;
        }
        let (path, file) = uri.path().strip_prefix('/')?.rsplit_once('/')?;
        let name = MediaName::parse(file)?;
        let gzipped = likes_gzip(headers)?;
        let path = StreamPath::parse(path).ok()?;
        let reload = match uri.query() {
            None => Reload::default(),
            Some(_) => Query::try_from_uri(uri).ok()?.0,
        };
        self.live.live.presentation(&path)?;
        let mut response = match self.live.media(&path, name, &reload, ip, headers, uri).await {
            Ok(media) => render(media, headers, gzipped, reading),
            Err(error) => error.into_response().map(Answer::Routed),
        };
        self.common.complete(&mut response, headers.get(ORIGIN), None);
        Some(response)
    }
}

/// Whether text is to be compressed; `None` where that takes more than a look (weights, wildcards).
fn likes_gzip(headers: &HeaderMap) -> Option<bool> {
    let mut values = headers.get_all(ACCEPT_ENCODING).iter();
    let Some(value) = values.next() else { return Some(false) };
    let text = value.to_str().ok().filter(|text| values.next().is_none() && !text.contains([';', '*']))?;
    Some(text.split(',').any(|name| name.trim().eq_ignore_ascii_case("gzip")))
}

fn render(reply: Reply, headers: &HeaderMap, gzipped: bool, reading: &Reading) -> Response<Answer> {
    let mut encoded = None;
    let mut response = reply.respond(headers, |content| match content {
        Content::Playlist(playlist) if playlist.text.len() as u64 >= SMALLEST => {
            encoded = Some(gzipped);
            Answer::Whole(if gzipped { playlist.compressed(gzip) } else { playlist.text })
        }
        Content::Playlist(playlist) => Answer::Whole(playlist.text),
        Content::Whole(bytes) => Answer::Whole(bytes),
        Content::Segment(segment) => Answer::Segment(SegmentBytes::new(reading.segment(segment))),
        Content::Pieces(bytes, of) => Answer::Routed(pieces(bytes, of, reading)),
        Content::Growing(reader) => Answer::Routed(growing(reader)),
    });
    if let Some(gzipped) = encoded {
        let out = response.headers_mut();
        out.insert(VARY, ACCEPT_ENCODING_VALUE);
        if gzipped {
            out.insert(CONTENT_ENCODING, GZIP);
        }
    }
    response
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing (any more).
    Empty,
    Whole(Bytes),
    /// A segment, all its parts at once: they leave with one system call.
    Segment(SegmentBytes),
    /// A router's.
    Routed(body::Body),
}

impl Body for Answer {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        if let Answer::Routed(body) = &mut *self {
            return Pin::new(body).poll_frame(cx).map_ok(|frame| frame.map_data(Piece::Whole));
        }
        let piece = match std::mem::replace(&mut *self, Answer::Empty) {
            Answer::Whole(bytes) => Piece::Whole(bytes),
            Answer::Segment(segment) => Piece::Segment(segment),
            Answer::Empty | Answer::Routed(_) => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Empty => true,
            Answer::Routed(body) => body.is_end_stream(),
            Answer::Whole(bytes) => bytes.is_empty(),
            Answer::Segment(segment) => segment.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Empty => SizeHint::with_exact(0),
            Answer::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Answer::Segment(segment) => SizeHint::with_exact(segment.left as u64),
            Answer::Routed(body) => body.size_hint(),
        }
    }
}

/// Bytes on their way out.
#[derive(Debug)]
pub(super) enum Piece {
    Whole(Bytes),
    Segment(SegmentBytes),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Whole(bytes) => bytes.len(),
            Piece::Segment(segment) => segment.left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Whole(bytes) => bytes,
            Piece::Segment(segment) => segment.slices().next().unwrap_or_default(),
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        match self {
            Piece::Whole(bytes) => bytes.chunks_vectored(into),
            Piece::Segment(segment) => {
                let mut count = 0;
                for (slot, slice) in into.iter_mut().zip(segment.slices()) {
                    *slot = IoSlice::new(slice);
                    count += 1;
                }
                count
            }
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Whole(bytes) => bytes.advance(count),
            Piece::Segment(segment) => segment.advance(count),
        }
    }
}

/// What is left of a segment's parts.
#[derive(Debug)]
pub(super) struct SegmentBytes {
    held: Held,
    /// The part that comes next, and how much of it is gone.
    part: usize,
    gone: usize,
    left: usize,
}

impl SegmentBytes {
    fn new(held: Held) -> Self {
        let left = held.parts().iter().map(|part| part.data.len()).sum();
        Self { held, part: 0, gone: 0, left }
    }

    /// Never an empty one.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let rest = self.held.parts().get(self.part..).unwrap_or_default();
        rest.iter()
            .enumerate()
            .map(move |(at, part)| part.data.get(if at == 0 { self.gone } else { 0 }..).unwrap_or_default())
            .filter(|slice| !slice.is_empty())
    }

    fn advance(&mut self, count: usize) {
        let mut count = count.min(self.left);
        self.left -= count;
        while count > 0 {
            let Some(part) = self.held.parts().get(self.part) else { return };
            let here = part.data.len() - self.gone;
            if count < here {
                self.gone += count;
                return;
            }
            count -= here;
            (self.part, self.gone) = (self.part + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::http::StatusCode;
    use axum::http::header::CONTENT_LENGTH;
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::base::UnixNanos;
    use crate::cmaf::{Chunk, Targets, TrackInit};
    use crate::codec::Codec;
    use crate::http::{HttpConfig, Routes, register_live};
    use crate::package::{Live, PackageConfig};
    use crate::package::{Recall, Segment};
    use crate::sfu::{SfuConfig, WorkerPool};
    use crate::stream::{AccessRule, Hub, HubOptions, StreamConfig};

    const NOW: UnixNanos = 1_700_000_000_000_000_000;

    /// Six segments of video at `live/cam` and at `live/locked`, and four parts of the next.
    fn live() -> LiveRoutes {
        let live = Live::new(PackageConfig::default(), Targets::default(), 1 << 30);
        for path in ["live/cam", "live/locked"] {
            let presentation = live.begin(&StreamPath::parse(path).unwrap(), NOW);
            presentation.init(TrackInit {
                track: 0,
                epoch: 0,
                codec: Codec::H264,
                codec_string: "avc1.64001f".into(),
                timescale: 90_000,
                resolution: Some((1280, 720)),
                audio: None,
                data: Bytes::from_static(b"init"),
            });
            for position in 0..64u64 {
                let (segment, part) = (position / 10, position % 10);
                presentation.chunk(Chunk {
                    track: 0,
                    epoch: 0,
                    segment,
                    first: part == 0,
                    last: part == 9,
                    end: false,
                    independent: part == 0,
                    presentation_time: position * 18_000,
                    duration: 18_000,
                    wallclock: NOW + position as i64 * 200_000_000,
                    data: Bytes::from(vec![position as u8; 1000 + position as usize]),
                });
            }
        }
        let sfu = SfuConfig { workers: 1, listen: vec!["127.0.0.1:0".parse().unwrap()], ..SfuConfig::default() };
        let rule = AccessRule { paths: "live/locked".into(), secret: "s3cret".into() };
        let config = StreamConfig { viewer_tokens: vec![rule], ..StreamConfig::default() };
        let (clock, lots) = (crate::base::real_clock(), crate::base::Lots::new(crate::base::seeded(1)));
        let workers = Arc::new(WorkerPool::start(&sfu, &clock, &lots, &crate::base::Vitals::unwatched()).unwrap());
        LiveRoutes {
            hub: Hub::new(HubOptions {
                config,
                b_frames: Default::default(),
                workers,
                clock,
                lots,
                vitals: crate::base::Vitals::unwatched(),
            }),
            live,
        }
    }

    async fn parts<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> (StatusCode, Vec<(String, String)>, Bytes) {
        let (parts, body) = response.into_parts();
        let mut headers: Vec<_> = parts
            .headers
            .iter()
            .filter(|(name, _)| *name != CONTENT_LENGTH) // the server adds it where the router did not
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        (parts.status, headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn the_short_way_answers_as_the_router_does() {
        let first = 1_700_000_000;
        let segment = format!("/live/cam/v-{}.m4s", first + 2);
        let part = format!("/live/cam/v-{}.3.m4s", first + 6);
        let init = format!("/live/cam/v-init-{first}.mp4");
        let gone = format!("/live/cam/v-{}.m4s", first - 1);
        let blocking = format!("/live/cam/v.m3u8?_HLS_msn={}&_HLS_part=2", first + 6);
        let far = format!("/live/cam/v.m3u8?_HLS_msn={}", first + 99);
        for origins in ["*", "https://a.example"] {
            let config = HttpConfig { cors_origins: vec![origins.into()], ..HttpConfig::default() };
            let state = live();
            let mut routes = Routes::new();
            register_live(&mut routes, state.clone());
            let router = routes.into_router(&config, &HttpMetrics::default());
            let direct = Direct { live: state, common: Arc::new(Common::new(&config.cors_origins, HttpMetrics::default())) };
            for (uri, encodings, short, status) in [
                ("/live/cam/v.m3u8", "", true, 200),
                ("/live/cam/v.m3u8", "gzip, deflate, br", true, 200),
                ("/live/cam/v.m3u8", "br", true, 200),
                ("/live/cam/v.m3u8", "gzip;q=0.5", false, 200),
                ("/live/cam/v.m3u8", "identity;q=0", false, 406),
                ("/live/cam/v.m3u8?token=abc", "", true, 200),
                ("/live/cam/v.m3u8?_HLS_skip=YES", "", true, 200),
                ("/live/cam/v.m3u8?_HLS_part=1", "", true, 400),
                ("/live/cam/v.m3u8?_HLS_msn=x", "", false, 400),
                (&blocking, "gzip", true, 200),
                (&far, "", true, 400),
                (&segment, "gzip", true, 200),
                (&part, "", true, 200),
                (&init, "", true, 200),
                (&gone, "", true, 404),
                ("/live/cam/a.m3u8", "", true, 404),
                ("/live/other/v.m3u8", "", false, 404),
                ("/live/cam/x.m3u8", "", false, 307),
                ("/live/cam/index.m3u8", "", false, 200),
                ("/live/locked/v.m3u8", "", true, 401),
                ("/live/locked/v.m3u8?token=wrong", "", true, 403),
                ("/live/locked/v.m3u8?token=s3cret", "", true, 200),
            ] {
                let request = || {
                    let mut request = Request::builder().uri(uri).header(ORIGIN, "https://a.example");
                    if !encodings.is_empty() {
                        request = request.header(ACCEPT_ENCODING, encodings);
                    }
                    request.body(body::Body::empty()).unwrap()
                };
                let (routed_status, headers, mut routed_body) = parts(router.clone().oneshot(request()).await.unwrap()).await;
                assert_eq!(routed_status, status, "{uri}");
                let answer = direct.answer(&request(), ClientIp(None), &Reading::default()).await;
                assert_eq!(answer.is_some(), short, "{uri} {encodings}");
                let Some(answer) = answer else { continue };
                let length = answer.body().size_hint().exact();
                let (direct_status, direct_headers, mut direct_body) = parts(answer).await;
                assert_eq!((direct_status, direct_headers), (routed_status, headers.clone()), "{uri} {encodings}");
                assert_eq!(length, Some(direct_body.len() as u64), "{uri}");
                if headers.iter().any(|(name, _)| *name == CONTENT_ENCODING.as_str()) {
                    for body in [&mut routed_body, &mut direct_body] {
                        let mut plain = Vec::new();
                        GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                        *body = plain.into();
                    }
                }
                assert_eq!(direct_body, routed_body, "{uri} {encodings}");
            }
        }
    }

    #[tokio::test]
    async fn what_needs_a_key_is_kept_by_its_player_alone() {
        let state = live();
        let mut routes = Routes::new();
        register_live(&mut routes, state);
        let router = routes.into_router(&HttpConfig::default(), &HttpMetrics::default());
        let first = 1_700_000_000;
        for (file, how_long) in [
            ("index.m3u8".to_owned(), "max-age=1"),
            ("manifest.mpd".to_owned(), "max-age=1"),
            ("v.m3u8".to_owned(), "max-age=1"),
            (format!("v.m3u8?_HLS_msn={}&_HLS_part=2", first + 6), "max-age=10"),
            (format!("v-init-{first}.mp4"), "max-age=31536000, immutable"),
            (format!("v-{}.m4s", first + 2), "max-age=31536000, immutable"),
            (format!("v-{}.3.m4s", first + 6), "max-age=31536000, immutable"),
        ] {
            for (path, key, scope) in [
                ("live/cam", None, "public"),
                ("live/cam", Some("Bearer s3cret"), "public"),
                ("live/locked", Some("Bearer s3cret"), "private"),
            ] {
                let mut request = Request::builder().uri(format!("/{path}/{file}"));
                if let Some(key) = key {
                    request = request.header("authorization", key);
                }
                let answer = router.clone().oneshot(request.body(body::Body::empty()).unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{path} {file}");
                assert_eq!(answer.headers()["cache-control"], format!("{scope}, {how_long}"), "{path} {file}");
            }
        }
    }

    #[tokio::test]
    async fn ranges_and_conditions_both_ways() {
        let first = 1_700_000_000;
        let (segment, part) = (format!("/live/cam/v-{}.m4s", first + 2), format!("/live/cam/v-{}.3.m4s", first + 2));
        let state = live();
        let mut routes = Routes::new();
        register_live(&mut routes, state.clone());
        let router = routes.into_router(&HttpConfig::default(), &HttpMetrics::default());
        let direct = Direct { live: state, common: Arc::new(Common::new(&["*".to_owned()], HttpMetrics::default())) };
        let whole = |uri: &str| {
            let request = Request::builder().uri(uri).body(body::Body::empty()).unwrap();
            let direct = &direct;
            async move { parts(direct.answer(&request, ClientIp(None), &Reading::default()).await.unwrap()).await }
        };
        let (_, headers, bytes) = whole(&segment).await;
        let header =
            |headers: &[(String, String)], name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let tag = header(&headers, "etag").unwrap();
        assert_eq!(header(&headers, "accept-ranges").as_deref(), Some("bytes"));
        let playlist_tag = header(&whole("/live/cam/v.m3u8").await.1, "etag").unwrap();
        let len = bytes.len();
        for (uri, sent, status, range, body) in [
            (&segment, vec![("range", "bytes=0-")], 206, format!("bytes 0-{}/{len}", len - 1), &bytes[..]),
            (&segment, vec![("range", "bytes=1000-2999")], 206, format!("bytes 1000-2999/{len}"), &bytes[1000..3000]),
            (&segment, vec![("range", "bytes=-7")], 206, format!("bytes {}-{}/{len}", len - 7, len - 1), &bytes[len - 7..]),
            (&segment, vec![("range", "bytes=999999-")], 416, format!("bytes */{len}"), &[]),
            (&segment, vec![("range", "bytes=9-5")], 200, String::new(), &bytes),
            (&segment, vec![("range", "bytes=0-9"), ("if-range", &tag)], 206, format!("bytes 0-9/{len}"), &bytes[..10]),
            (&segment, vec![("range", "bytes=0-9"), ("if-range", "\"other\"")], 200, String::new(), &bytes),
            (&segment, vec![("if-none-match", &tag)], 304, String::new(), &[]),
            (&segment, vec![("if-match", "\"other\"")], 412, String::new(), &[]),
            (&part, vec![("range", "bytes=0-0")], 206, "bytes 0-0/1023".into(), &[23]),
            (&"/live/cam/v.m3u8".to_owned(), vec![("if-none-match", &playlist_tag)], 304, String::new(), &[]),
        ] {
            let request = || {
                let builder = Request::builder().uri(uri);
                sent.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(body::Body::empty()).unwrap()
            };
            let short = parts(direct.answer(&request(), ClientIp(None), &Reading::default()).await.unwrap()).await;
            let routed = parts(router.clone().oneshot(request()).await.unwrap()).await;
            assert_eq!((short.0, &short.2), (routed.0, &routed.2), "{uri} {sent:?}");
            assert_eq!(short.0.as_u16(), status, "{uri} {sent:?}");
            assert!(short.0.is_client_error() || short.2[..] == *body, "{uri} {sent:?}");
            assert_eq!(header(&short.1, "content-range").unwrap_or_default(), range, "{uri} {sent:?}");
        }
        let request = || Request::builder().uri(&segment).header("range", "bytes=0-9,5000-5009").body(body::Body::empty()).unwrap();
        let (status, headers, body) = parts(direct.answer(&request(), ClientIp(None), &Reading::default()).await.unwrap()).await;
        assert_eq!(status, 206);
        assert!(header(&headers, "content-type").unwrap().starts_with("multipart/byteranges; boundary="));
        assert_eq!(String::from_utf8_lossy(&body).matches("Content-Range: bytes ").count(), 2);
    }

    #[tokio::test]
    async fn a_range_of_a_segment_in_the_making_waits_for_its_end() {
        let state = live();
        let presentation = state.live.presentation(&StreamPath::parse("live/cam").unwrap()).unwrap();
        let direct = Direct { live: state, common: Arc::new(Common::new(&["*".to_owned()], HttpMetrics::default())) };
        let request =
            Request::builder().uri("/live/cam/v-1700000006.m4s").header("range", "bytes=1000-1999").body(body::Body::empty()).unwrap();
        let reading = Reading::default();
        let asking = direct.answer(&request, ClientIp(None), &reading);
        let end = async {
            tokio::task::yield_now().await;
            presentation.end();
        };
        let (answer, ()) = tokio::join!(asking, end);
        let (status, _, body) = parts(answer.unwrap()).await;
        assert_eq!((status.as_u16(), body.len()), (206, 1000));
    }

    #[tokio::test]
    async fn other_methods_go_to_the_router() {
        let direct = Direct { live: live(), common: Arc::new(Common::new(&["*".to_owned()], HttpMetrics::default())) };
        for method in ["HEAD", "OPTIONS", "POST"] {
            let request = Request::builder().method(method).uri("/live/cam/v.m3u8").body(body::Body::empty()).unwrap();
            assert!(direct.answer(&request, ClientIp(None), &Reading::default()).await.is_none(), "{method}");
        }
    }

    #[test]
    fn a_segment_is_read_in_any_steps() {
        let data: Vec<Bytes> = [3, 0, 5, 1].into_iter().enumerate().map(|(n, len)| Bytes::from(vec![n as u8; len])).collect();
        let whole = data.concat();
        let parts = data.into_iter().map(|data| crate::package::Part { duration: 1, independent: true, data }).collect();
        let segment = Segment {
            number: 0,
            epoch: 0,
            wallclock: NOW,
            presentation_time: 0,
            duration: 4,
            timescale: 1,
            parts,
            complete: true,
            timeline: None,
            recall: Recall::default(),
        };
        let segment = Arc::new(segment);
        for step in 1..=9 {
            let mut piece = Piece::Segment(SegmentBytes::new(Reading::default().segment(segment.clone())));
            let mut read = Vec::new();
            while piece.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = piece.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                assert!(all.len() == piece.remaining() && all.starts_with(piece.chunk()) && !piece.chunk().is_empty());
                let now = step.min(piece.remaining());
                read.extend_from_slice(&all[..now]);
                piece.advance(now);
            }
            assert_eq!(read, whole, "{step}");
        }
    }
}
