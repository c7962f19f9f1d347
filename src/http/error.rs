//! Errors as every route answers them: `{"error":{"code","message"}}` with the right status.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::base::StreamPath;

/// The type of errors' bodies.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// When somebody who wants to watch a stream that is not live should ask again, in seconds.
pub(super) const NOT_LIVE_RETRY: u16 = 2;

/// An answer that says what went wrong.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// `code` is for machines (`snake_case`, never changed), `message` for people: what is wrong and what to do.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// 404.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404 of a path that nobody publishes to now; it is worth asking again.
    pub(crate) fn not_live(path: &StreamPath) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_live", format!("{path} is not live now")).retry_after(NOT_LIVE_RETRY)
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 500; `message` is shown, so it says nothing that an attacker could use.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// 401 where no key was shown, 403 where the one shown is wrong (RFC 6750 section 3.1).
    pub(crate) fn unauthorized(shown: bool, message: impl Into<String>) -> Self {
        let (status, challenge) = if shown {
            (StatusCode::FORBIDDEN, "Bearer realm=\"headend\", error=\"insufficient_scope\"")
        } else {
            (StatusCode::UNAUTHORIZED, "Bearer realm=\"headend\"")
        };
        Self::new(status, if shown { "forbidden" } else { "unauthorized" }, message)
            .with_header(axum::http::header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// The usual code and message of a status, for errors that came without.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::BAD_REQUEST => ("bad_request", "the request can't be understood"),
            StatusCode::UNAUTHORIZED => ("unauthorized", "a key is needed"),
            StatusCode::FORBIDDEN => ("forbidden", "this is not allowed"),
            StatusCode::NOT_FOUND => ("not_found", "there is nothing here"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this method is not possible here; the Allow header names those that are")
            }
            StatusCode::NOT_ACCEPTABLE => ("not_acceptable", "nothing that the Accept header allows can be given"),
            StatusCode::REQUEST_TIMEOUT => ("timeout", "the request took too long to come"),
            StatusCode::PRECONDITION_FAILED => ("precondition_failed", "it is not in the state that If-Match names"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "this Content-Type is not understood here"),
            StatusCode::RANGE_NOT_SATISFIABLE => ("range_not_satisfiable", "the range lies outside"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "the server can't do this now"),
            status if status.is_client_error() => ("bad_request", "the request can't be answered"),
            _ => ("internal", "something went wrong in the server"),
        };
        Self::new(status, code, message)
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds `Retry-After`, in seconds.
    pub(crate) fn retry_after(self, seconds: u16) -> Self {
        self.with_header(axum::http::header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of the answer.
    pub(super) fn json(&self) -> String {
        serde_json::json!({ "error": { "code": self.code, "message": self.message } }).to_string()
    }

    pub(super) fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CONTENT_TYPE, JSON)], self.json()).into_response();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}
