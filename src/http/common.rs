//! What all answers have in common: CORS, OPTIONS, errors as JSON, counters.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_TYPE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hyper::body::Body as _;

use super::{ApiError, HttpMetrics};

/// What pages of other origins may read: without the first three they could not end a WHIP or WHEP session.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Location, ETag, Link, Accept-Patch, Content-Range, Content-Length, Accept-Ranges, Date, Retry-After");
/// Every method that some route has.
pub(super) const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// What a preflight that asks for nothing particular may send. `Authorization` is not covered by `*`.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Accept, If-Match, If-None-Match, If-Range, Range");
/// A preflight is good for a day; browsers cap it lower.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
/// Longest message of an inner error that is shown, in bytes.
const MAX_MESSAGE: usize = 1024;

/// What [`finish`] needs.
#[derive(Debug)]
pub(super) struct Common {
    /// `None`: all origins.
    origins: Option<Vec<String>>,
    metrics: HttpMetrics,
}

impl Common {
    pub(super) fn new(origins: &[String], metrics: HttpMetrics) -> Self {
        Self { origins: (!origins.iter().any(|o| o == "*")).then(|| origins.to_vec()), metrics }
    }

    /// The value of `Access-Control-Allow-Origin` for a page of this origin.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(list) => origin.filter(|o| list.iter().any(|l| l.as_bytes() == o.as_bytes())).cloned(),
        }
    }

    /// Counts an answer and adds the headers for other origins.
    pub(super) fn complete<B>(&self, response: &mut Response<B>, origin: Option<&HeaderValue>, preflight: Option<Preflight>) {
        self.metrics.requests.inc();
        if response.status().is_client_error() {
            self.metrics.client_errors.inc();
        } else if response.status().is_server_error() {
            self.metrics.server_errors.inc();
        }
        self.add_cors(response.headers_mut(), origin, preflight);
    }

    fn add_cors(&self, response: &mut HeaderMap, origin: Option<&HeaderValue>, preflight: Option<Preflight>) {
        if self.origins.is_some() {
            response.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = self.allowed(origin) else { return };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        match preflight {
            Some(Preflight { headers }) => {
                response.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.unwrap_or(REQUEST_HEADERS));
                response.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
            }
            None => {
                response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
        }
    }
}

/// A preflight request (Fetch standard section 3.2.2), with the headers it asks for.
pub(super) struct Preflight {
    headers: Option<HeaderValue>,
}

/// The layer around all routes.
pub(super) async fn finish(State(common): State<Arc<Common>>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    if method == Method::HEAD {
        // Answered as GET to its last header, compression and errors included.
        *request.method_mut() = Method::GET;
    }
    let headers = request.headers();
    let origin = headers.get(ORIGIN).cloned();
    let preflight = (method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD))
        .then(|| Preflight { headers: headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned() });
    let mut response = next.run(request).await;
    // A page of another origin whose preflight is refused hears of a network error, and never what was wrong.
    let refused = response.status() == StatusCode::METHOD_NOT_ALLOWED || preflight.is_some() && response.status().is_client_error();
    if method == Method::OPTIONS && refused {
        response = options_for(&response);
    }
    if response.status().is_client_error() || response.status().is_server_error() {
        response = as_json(response).await;
    }
    common.complete(&mut response, origin.as_ref(), preflight);
    if method == Method::HEAD { without_body(response) } else { response }
}

/// The head of an answer to GET, with its length where that is known.
fn without_body(mut response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let has_length = response.headers().contains_key(CONTENT_LENGTH);
    let may_have = response.status() != StatusCode::NOT_MODIFIED && response.status() != StatusCode::NO_CONTENT;
    match length.filter(|_| may_have && !has_length) {
        Some(length) => drop(response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length))),
        // A body of unknown length: the server would say 0 of an empty one.
        None if may_have && !has_length => return response.map(|_| Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())),
        None => {}
    }
    response.map(|_| Body::empty())
}

/// A route without OPTIONS of its own says by `Allow` what it has.
fn options_for(refused: &Response) -> Response {
    let mut allow = refused.headers().get(ALLOW).and_then(|a| a.to_str().ok()).unwrap_or("").replace(',', ", ");
    if !allow.is_empty() {
        allow.push_str(", ");
    }
    allow.push_str("OPTIONS");
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// Errors that came without a body (405 …) or as plain text (those of extractors) become what ours are. Others stay.
async fn as_json(response: Response) -> Response {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|t| t.to_str().ok());
    let plain = content_type.is_some_and(|t| t.starts_with("text/plain"));
    if !plain && content_type.is_some() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let mut error = ApiError::of_status(parts.status);
    if plain
        && let Ok(text) = axum::body::to_bytes(body, MAX_MESSAGE).await
        && !text.is_empty()
    {
        error = error.with_message(String::from_utf8_lossy(&text).trim().to_owned());
    }
    let (new_parts, body) = error.into_response().into_parts();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
        parts.headers.remove(name);
    }
    parts.headers.extend(new_parts.headers);
    Response::from_parts(parts, Body::new(body))
}
