//! Routes below a stream's path: `/live/cam1/whip`, `/a/b/c/index.m3u8` …
//!
//! A path has one to eight segments, so a router that goes from left to right can't tell where it ends. This table goes from
//! the right: the last segments are compared with patterns, and what is left must be a stream path.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use std::sync::Arc;
use tower::ServiceExt;

use super::common::METHODS;
use super::front::Written;
use super::names::{self, FileName};
use super::{ApiError, Outside, shown_key};
use crate::base::StreamPath;

/// Most segments of a URL that are looked at: eight of the path and some for the pattern.
const MAX_SEGMENTS: usize = 16;

/// What a request below a stream's path is about: take it as an argument in a handler.
#[derive(Debug, Clone)]
pub(crate) struct StreamTarget {
    /// The stream. It need not be live.
    pub path: StreamPath,
    params: Vec<(&'static str, String)>,
}

impl StreamTarget {
    /// What stood for `{name}` in the pattern; empty if there is no such parameter.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }
}

impl<S: Sync> FromRequestParts<S> for StreamTarget {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let target = parts.extensions.get::<StreamTarget>().cloned();
        target.ok_or_else(|| ApiError::internal("this handler is not below a stream's path"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Param(&'static str),
}

#[derive(Debug, Clone)]
struct StreamRoute {
    segments: Vec<Segment>,
    handler: MethodRouter,
}

impl StreamRoute {
    /// Lower is tried first: a literal last segment beats a parameter (so that `live/whip` is a possible stream path and
    /// `/live/whip/index.m3u8` its playlist), then more segments, then more literals.
    fn rank(&self) -> (bool, std::cmp::Reverse<usize>, usize) {
        let is_param = |s: &Segment| matches!(s, Segment::Param(_));
        (
            self.segments.last().is_some_and(is_param),
            std::cmp::Reverse(self.segments.len()),
            self.segments.iter().filter(|s| is_param(s)).count(),
        )
    }

    fn is_page(&self) -> bool {
        self.segments == [Segment::Literal("")]
    }

    /// Whether any name below a stream's path fits.
    fn is_file(&self) -> bool {
        matches!(self.segments.as_slice(), [Segment::Param(_)])
    }

    /// Whether it has something to read, and is not only written to.
    fn answers_reading(&self) -> bool {
        !matches!(self.segments.first(), Some(Segment::Literal("whip" | "whep")))
    }
}

/// What may be said about a stream to somebody who shows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Live,
    /// Nobody publishes there.
    Away,
    /// It needs another key even to say which of both.
    Secret,
}

/// Asks for [`Known`].
pub(super) type Knowledge = Arc<dyn Fn(&StreamPath, Option<&str>) -> Known + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct StreamRoutes {
    routes: Vec<StreamRoute>,
    knowledge: Option<Knowledge>,
}

impl std::fmt::Debug for StreamRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamRoutes").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// A request, as far as it matters where it leads.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    reading: bool,
    path: &'a str,
    query: &'a str,
    /// Whether there were empty segments in the path.
    untidy: bool,
    key: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of<B>(request: &'a Request<B>, key: Option<&'a str>) -> Self {
        let path = request.uri().path();
        Self {
            // What a browser asks by OPTIONS is whether it may read.
            reading: matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS),
            path,
            query: request.uri().query().unwrap_or_default(),
            untidy: request.extensions().get::<Written>().is_some_and(|written| written.untidy) || path.contains("//"),
            key,
        }
    }
}

/// What a URL stands for.
enum Found<'a> {
    Here(&'a StreamRoute, StreamTarget),
    /// At another path of ours: for good, or as long as a stream is live.
    Elsewhere(StatusCode, String),
    Nothing(ApiError),
}

impl StreamRoutes {
    /// See [`super::Routes::stream`].
    pub(super) fn add(&mut self, pattern: &'static str, handler: MethodRouter) {
        let segment = |s: &'static str| match s.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(name) => Segment::Param(name),
            None => Segment::Literal(s),
        };
        self.routes.push(StreamRoute { segments: pattern.split('/').map(segment).collect(), handler });
        self.routes.sort_by_key(StreamRoute::rank);
    }

    /// How to find out which streams there are. Without, there are none.
    pub(super) fn know(&mut self, knowledge: Knowledge) {
        self.knowledge = Some(knowledge);
    }

    /// The route for a URL's path, and what it is about.
    fn find(&self, url_path: &str) -> Result<(&StreamRoute, StreamTarget), ApiError> {
        let text = url_path.strip_prefix('/').unwrap_or(url_path);
        let given: Vec<&str> = text.split('/').take(MAX_SEGMENTS + 1).collect();
        let mut reason = None;
        if given.len() <= MAX_SEGMENTS {
            for route in &self.routes {
                let Some(params) = matches(&route.segments, &given) else { continue };
                let head = given.len() - route.segments.len();
                let length = given.iter().take(head).map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
                match StreamPath::parse(text.get(..length).unwrap_or("")) {
                    Ok(path) => return Ok((route, StreamTarget { path, params })),
                    Err(why) => reason = reason.or(Some(why)),
                }
            }
        }
        Err(ApiError::not_found(reason.map_or_else(|| "there is nothing here".to_owned(), |why| why.to_string())))
    }

    fn has_page(&self) -> bool {
        self.routes.iter().any(StreamRoute::is_page)
    }

    /// What a URL stands for, also where it is written as for another server, with a slash behind a file, or in capitals.
    fn resolve(&self, asked: &Asked<'_>) -> Found<'_> {
        let (path, reading) = (asked.path, asked.reading);
        if let Some(found) = self.resolve_srs(asked) {
            return found;
        }
        if let Some(without_slash) = path.strip_suffix('/').filter(|path| !path.is_empty()) {
            return self.resolve_with_slash(asked, without_slash);
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let found = match names::file_name(name) {
            FileName::Ours => self.find(path),
            FileName::Cased(lower) if !self.is_live(asked, path) => self.find(&format!("{folder}/{lower}")),
            _ => self.find(path),
        };
        match found {
            // A file below a stream, of whatever name: no more than a wish.
            Ok((route, _)) if route.is_file() && names::file_name(name) == FileName::Other => self.no_file(asked, path),
            Ok((route, _)) if route.is_file() && self.is_live(asked, path) => self.no_file(asked, path),
            // The publish page of what is no stream's name is none, like its watch page.
            Ok((route, target)) if reading && route.answers_reading() && self.is_away(asked, &target.path, name) => nothing(),
            Ok((route, target)) => Found::Here(route, target),
            Err(error) if reading && self.has_page() && StreamPath::parse(path.trim_start_matches('/')).is_ok() => {
                drop(error);
                self.no_file(asked, path)
            }
            Err(error) => Found::Nothing(error),
        }
    }

    fn known(&self, asked: &Asked<'_>, path: &StreamPath) -> Known {
        self.knowledge.as_ref().map_or(Known::Away, |knowledge| knowledge(path, asked.key))
    }

    fn is_live(&self, asked: &Asked<'_>, path: &str) -> bool {
        StreamPath::parse(path.trim_matches('/')).is_ok_and(|path| self.known(asked, &path) == Known::Live)
    }

    /// Whether a page below `stream` is asked for that nobody publishes and nobody will, to judge by its name.
    fn is_away(&self, asked: &Asked<'_>, stream: &StreamPath, name: &str) -> bool {
        names::file_name(name) == FileName::Other && names::is_no_stream(stream.as_str()) && self.known(asked, stream) != Known::Live
    }

    /// A page, or something else with a slash too many.
    fn resolve_with_slash(&self, asked: &Asked<'_>, without_slash: &str) -> Found<'_> {
        let Asked { reading, path, untidy, .. } = *asked;
        let page = match self.find(path) {
            Ok(found) => found,
            Err(error) => return Found::Nothing(error),
        };
        let stream = &page.1.path;
        if reading && self.known(asked, stream) == Known::Live {
            // With empty segments in it, what a page names relatively would be sought elsewhere.
            return if untidy {
                Found::Elsewhere(StatusCode::PERMANENT_REDIRECT, format!("/{stream}/"))
            } else {
                Found::Here(page.0, page.1)
            };
        }
        let name = without_slash.rsplit('/').next().unwrap_or_default();
        match self.find(without_slash) {
            Ok((route, target)) if !route.is_file() && names::file_name(name) == FileName::Other => {
                // Endpoints work as they are; a page would be a folder too deep.
                let endpoint = !reading || !route.answers_reading();
                if endpoint {
                    Found::Here(route, target)
                } else {
                    Found::Elsewhere(StatusCode::PERMANENT_REDIRECT, without_slash.to_owned())
                }
            }
            Ok(_) if names::file_name(name) != FileName::Other => {
                Found::Elsewhere(StatusCode::PERMANENT_REDIRECT, without_slash.to_owned())
            }
            _ if names::is_no_stream(stream.as_str()) => self.no_file(asked, without_slash),
            _ if untidy => Found::Nothing(ApiError::not_found("there is nothing here: the address has empty segments")),
            _ => Found::Here(page.0, page.1),
        }
    }

    /// What is at a path that has no file: a stream's page, what another server has under that name, or nothing.
    fn no_file(&self, asked: &Asked<'_>, path: &str) -> Found<'_> {
        let text = path.trim_matches('/');
        if !asked.reading {
            return nothing();
        }
        let stream = StreamPath::parse(text).ok().filter(|_| self.has_page());
        if let Some(stream) =
            stream.filter(|stream| self.known(asked, stream) == Known::Live || !(asked.untidy || names::is_no_stream(text)))
        {
            return Found::Elsewhere(StatusCode::PERMANENT_REDIRECT, format!("/{stream}/"));
        }
        // To a stream that needs a key too: there the answer says so, whether it is live or not.
        let other = names::elsewhere(text).into_iter().find(|(stream, _)| self.known(asked, stream) != Known::Away);
        other.map_or_else(nothing, |(stream, file)| Found::Elsewhere(StatusCode::TEMPORARY_REDIRECT, format!("/{stream}/{file}")))
    }

    /// SRS has one address for all streams, which stand in the query.
    fn resolve_srs(&self, asked: &Asked<'_>) -> Option<Found<'_>> {
        let protocol = asked.path.trim_end_matches('/').strip_prefix("/rtc/v1/").filter(|name| matches!(*name, "whip" | "whep"))?;
        if self.is_live(asked, "rtc/v1") {
            return None;
        }
        match names::srs_stream(asked.query) {
            Some(stream) => Some(Found::Elsewhere(StatusCode::TEMPORARY_REDIRECT, format!("/{stream}/{protocol}"))),
            None => asked
                .reading
                .then(|| Found::Nothing(ApiError::not_found("there is nothing here; WebRTC is at /<path>/whip and /<path>/whep"))),
        }
    }
}

fn nothing<'a>() -> Found<'a> {
    Found::Nothing(ApiError::not_found("there is nothing here; a stream's HLS is at /<path>/index.m3u8, its DASH at /<path>/manifest.mpd"))
}

/// The parameters, if the last of `given` are as in `pattern` and something is left before them.
fn matches(pattern: &[Segment], given: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let head = given.len().checked_sub(pattern.len()).filter(|head| *head > 0)?;
    let mut params = Vec::new();
    for (segment, given) in pattern.iter().zip(given.get(head..)?) {
        match segment {
            Segment::Literal(text) if text == given => {}
            Segment::Literal(_) => return None,
            Segment::Param(_) if given.is_empty() => return None,
            Segment::Param(name) => params.push((*name, (*given).to_owned())),
        }
    }
    Some(params)
}

/// Answers what no fixed route does.
pub(super) async fn dispatch(State(table): State<Arc<StreamRoutes>>, mut request: Request<Body>) -> Response {
    let key = shown_key(request.headers(), request.uri());
    match table.resolve(&Asked::of(&request, key.as_deref())) {
        Found::Here(route, target) => {
            let handler = route.handler.clone();
            request.extensions_mut().insert(target);
            // The error type is Infallible.
            handler.oneshot(request).await.into_response()
        }
        // A preflight that is led elsewhere fails (Fetch standard section 4.8).
        Found::Elsewhere(..) if request.method() == Method::OPTIONS => (StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response(),
        Found::Elsewhere(status, path) => {
            let outside = request.extensions().get::<Outside>().cloned().unwrap_or_else(|| Outside::at(request.uri().path()));
            redirect(status, &outside, &path, request.uri().query())
        }
        Found::Nothing(error) => error.into_response(),
    }
}

/// To another path of ours, written relative to the request's, so that it holds behind any proxy.
pub(super) fn redirect(status: StatusCode, outside: &Outside, path: &str, query: Option<&str>) -> Response {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(location) = HeaderValue::from_str(&format!("{}{query}", outside.relative(path))) else {
        return ApiError::not_found("there is nothing here").into_response();
    };
    // What depends on who is live must be asked again; the rest may depend on the key that was shown.
    let cache = if status == StatusCode::TEMPORARY_REDIRECT { "no-store" } else { "private, max-age=60" };
    (status, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static(cache))]).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    fn table() -> StreamRoutes {
        let mut table = StreamRoutes::default();
        for pattern in ["whip/{id}", "", "index.m3u8", "whip", "hls/{rendition}/{file}", "publish"] {
            table.add(pattern, get(move |target: StreamTarget| async move { format!("{pattern}|{}|{}", target.path, target.param("id")) }));
        }
        table
    }

    #[tokio::test]
    async fn finds_from_the_right() {
        for (url, wanted) in [
            ("/live/cam1/whip", Some("whip|live/cam1|")),
            ("/cam/whip", Some("whip|cam|")),
            ("/live/cam1/whip/abc", Some("whip/{id}|live/cam1|abc")),
            ("/live/whip/index.m3u8", Some("index.m3u8|live/whip|")),
            ("/live/whip/whip", Some("whip|live/whip|")),
            ("/live/cam1/", Some("|live/cam1|")),
            ("/a/b/c/d/e/f/g/h/publish", Some("publish|a/b/c/d/e/f/g/h|")),
            ("/a/b/c/d/e/f/g/h/i/publish", None),
            ("/cam/hls/v0/1.m4s", Some("hls/{rendition}/{file}|cam|")),
            ("/cam/hls/v0/", Some("|cam/hls/v0|")),
            ("/whip", None),
            ("/", None),
            ("//whip", None),
            ("/api/whip", None),
            ("/../whip", None),
            ("/a%2fb/whip", None),
            ("/live/cam1/whip/", Some("|live/cam1/whip|")),
            ("/live/cam1/other", None),
            ("/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9/publish", None),
        ] {
            let table = table();
            let found = table.find(url).ok();
            assert_eq!(found.is_some(), wanted.is_some(), "{url}");
            if let (Some((route, target)), Some(wanted)) = (found, wanted) {
                let mut request = Request::new(Body::empty());
                request.extensions_mut().insert(target);
                let response = route.handler.clone().oneshot(request).await.unwrap();
                let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
                assert_eq!(body, wanted, "{url}");
            }
        }
    }

    /// What a URL leads to, where `live/cam1`, `live/cam.flv` and `live/whip` are live.
    fn resolved(method: &str, url: &str) -> String {
        let mut table = StreamRoutes::default();
        for pattern in ["whip/{id}", "whep", "whip", "", "index.m3u8", "manifest.mpd", "{file}", "publish"] {
            table.add(pattern, get(|| async {}));
        }
        table.know(Arc::new(|path: &StreamPath, key: Option<&str>| match path.as_str() {
            "live/cam1" | "live/cam.flv" | "live/whip" => Known::Live,
            "locked/cam.flv" if key == Some("k") => Known::Live,
            secret if secret.starts_with("locked/") => Known::Secret,
            _ => Known::Away,
        }));
        let mut request = Request::builder().method(method).uri(url).body(()).unwrap();
        let written = crate::http::front::tidy(&mut request, &Default::default()).unwrap();
        request.extensions_mut().insert(written);
        let key = shown_key(request.headers(), request.uri());
        match table.resolve(&Asked::of(&request, key.as_deref())) {
            Found::Here(route, target) => {
                let pattern: Vec<String> = route
                    .segments
                    .iter()
                    .map(|s| match s {
                        Segment::Literal(text) => (*text).to_owned(),
                        Segment::Param(name) => format!("{{{name}}}={}", target.param(name)),
                    })
                    .collect();
                format!("{} of {}", pattern.join("/"), target.path)
            }
            Found::Elsewhere(status, path) => format!("{} {path}", status.as_u16()),
            Found::Nothing(error) => error.status().as_u16().to_string(),
        }
    }

    #[test]
    fn names_of_other_servers_crawlers_and_people() {
        for (url, wanted) in [
            ("/live/cam1/", " of live/cam1"),
            ("/live/cam1", "308 /live/cam1/"),
            ("/live/later", "308 /live/later/"),
            ("/live/later/", " of live/later"),
            ("/live/cam.flv", "308 /live/cam.flv/"),
            ("/live/cam.flv/", " of live/cam.flv"),
            ("/live/later.flv", "404"),
            ("/live/later.flv/", "404"),
            ("/live/cam1/index.m3u8", "index.m3u8 of live/cam1"),
            ("/live/cam1/INDEX.M3U8", "index.m3u8 of live/cam1"),
            ("/live/cam1/Manifest.mpd", "manifest.mpd of live/cam1"),
            ("/live/cam1/V-1.M4S", "{file}=v-1.m4s of live/cam1"),
            ("/live/cam1/v-1.m4s", "{file}=v-1.m4s of live/cam1"),
            ("/live/cam1/index.m3u8/", "308 /live/cam1/index.m3u8"),
            ("/live/cam1/v.m3u8/", "308 /live/cam1/v.m3u8"),
            ("/live/cam1/publish/", "308 /live/cam1/publish"),
            ("/live/later/publish", "publish of live/later"),
            ("/live/cam.flv/publish", "publish of live/cam.flv"),
            ("/live/later.flv/publish", "404"),
            ("/later.FLV/publish/", "308 /later.FLV/publish"),
            ("/later.FLV/publish", "404"),
            ("/index.php/publish", "404"),
            ("/.git/publish", "404"),
            ("/wp-admin/publish", "404"),
            ("/live/cam1/stream.m3u8", "307 /live/cam1/index.m3u8"),
            ("/live/cam1/video1_stream.m3u8", "307 /live/cam1/index.m3u8"),
            ("/live/cam1/stream.m3u8/", "307 /live/cam1/index.m3u8"),
            ("/live/cam1.m3u8", "307 /live/cam1/index.m3u8"),
            ("/live/cam.flv.m3u8", "307 /live/cam.flv/index.m3u8"),
            ("/hls/cam1.m3u8", "307 /live/cam1/index.m3u8"),
            ("/dash/cam1.mpd", "307 /live/cam1/manifest.mpd"),
            ("/live/later/stream.m3u8", "404"),
            ("/live/later.m3u8", "404"),
            ("/live/cam1/seg1.ts", "404"),
            ("/live/cam1.flv", "404"),
            ("/live/cam1/embed.html", "404"),
            ("/locked/cam/", " of locked/cam"),
            ("/locked/cam/stream.m3u8", "307 /locked/cam/index.m3u8"),
            ("/locked/cam.m3u8", "307 /locked/cam/index.m3u8"),
            ("/locked/cam.flv/", "404"),
            ("/locked/cam.flv", "404"),
            ("/locked/cam.flv?token=k", "308 /locked/cam.flv/"),
            ("/locked/cam.flv/?token=k", " of locked/cam.flv"),
            ("/favicon.ico", "404"),
            ("/robots.txt", "404"),
            ("/index.php", "404"),
            ("/.well-known/security.txt", "404"),
            ("/.git/config", "404"),
            ("/rtc/v1/whep", "404"),
            ("/rtc/v1/whep/?app=live&stream=cam1", "307 /live/cam1/whep"),
            ("/live/cam1/whep", "whep of live/cam1"),
            ("/live/cam1/whep/", "whep of live/cam1"),
            ("/live/whip/", " of live/whip"),
            ("//live//cam1//index.m3u8", "index.m3u8 of live/cam1"),
            ("/live//cam1/", "308 /live/cam1/"),
            ("/live//later/", "404"),
            ("//evil.example", "404"),
            ("/live/c%61m1/", " of live/cam1"),
            ("/live/a%2Fb/", "404"),
        ] {
            assert_eq!(resolved("GET", url), wanted, "GET {url}");
            assert_eq!(resolved("HEAD", url), wanted, "HEAD {url}");
        }
        for (url, wanted) in [
            ("/live/cam1/whip", "whip of live/cam1"),
            ("/live/cam1/whip/", "whip of live/cam1"),
            ("/live/later.flv/whip", "whip of live/later.flv"),
            ("/live/cam1//whip", "whip of live/cam1"),
            ("/rtc/v1/whip/?app=live&stream=new", "307 /live/new/whip"),
            ("/live/cam1.m3u8", "404"),
            ("/live/cam1/index.m3u8", "index.m3u8 of live/cam1"),
            ("/live/cam1/", " of live/cam1"),
        ] {
            assert_eq!(resolved("POST", url), wanted, "POST {url}");
        }
    }
}
