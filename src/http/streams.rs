//! Routes below a stream's path: `/live/cam1/whip`, `/a/b/c/index.m3u8` …
//!
//! A path has one to eight segments, so a router that goes from left to right can't tell where it ends. This table goes from
//! the right: the last segments are compared with patterns, and what is left must be a stream path.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use std::sync::Arc;
use tower::ServiceExt;

use super::ApiError;
use crate::base::StreamPath;

/// Most segments of a URL that are looked at: eight of the path and some for the pattern.
const MAX_SEGMENTS: usize = 16;

/// What a request below a stream's path is about: take it as an argument in a handler.
#[derive(Debug, Clone)]
pub struct StreamTarget {
    /// The stream. It need not be live.
    pub path: StreamPath,
    params: Vec<(&'static str, String)>,
}

impl StreamTarget {
    /// What stood for `{name}` in the pattern; empty if there is no such parameter.
    pub fn param(&self, name: &str) -> &str {
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
}

/// The table.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamRoutes {
    routes: Vec<StreamRoute>,
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

    /// The handler for a URL's path, and what it is about.
    fn find(&self, url_path: &str) -> Result<(&MethodRouter, StreamTarget), ApiError> {
        let text = url_path.strip_prefix('/').unwrap_or(url_path);
        let given: Vec<&str> = text.split('/').take(MAX_SEGMENTS + 1).collect();
        let mut reason = None;
        if given.len() <= MAX_SEGMENTS {
            for route in &self.routes {
                let Some(params) = matches(&route.segments, &given) else { continue };
                let head = given.len() - route.segments.len();
                let length = given.iter().take(head).map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
                match StreamPath::parse(text.get(..length).unwrap_or("")) {
                    Ok(path) => return Ok((&route.handler, StreamTarget { path, params })),
                    Err(why) => reason = reason.or(Some(why)),
                }
            }
        }
        Err(ApiError::not_found(reason.map_or_else(|| "there is nothing here".to_owned(), |why| why.to_string())))
    }

    fn has_page(&self) -> bool {
        self.routes.iter().any(|r| r.segments == [Segment::Literal("")])
    }
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
    match table.find(request.uri().path()) {
        Ok((handler, target)) => {
            request.extensions_mut().insert(target);
            // The error type is Infallible.
            handler.clone().oneshot(request).await.into_response()
        }
        Err(error) => to_the_page(&table, &request).unwrap_or_else(|| error.into_response()),
    }
}

fn to_the_page(table: &StreamRoutes, request: &Request<Body>) -> Option<Response> {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    (reading && table.has_page()).then(|| redirect_to_page(request.uri()))?
}

/// `/live/cam1` → `/live/cam1/`, so that the page's relative links work. `None` where that is no stream path.
pub(super) fn redirect_to_page(uri: &Uri) -> Option<Response> {
    StreamPath::parse(uri.path().strip_prefix('/')?).ok()?;
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{}/{query}", uri.path())).ok()?;
    Some((StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response())
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
            if let (Some((handler, target)), Some(wanted)) = (found, wanted) {
                let mut request = Request::new(Body::empty());
                request.extensions_mut().insert(target);
                let response = handler.clone().oneshot(request).await.unwrap();
                let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
                assert_eq!(body, wanted, "{url}");
            }
        }
    }
}
