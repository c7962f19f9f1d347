//! What a client shows and sends: its key, and a body, read within bounds.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::ApiError;
use crate::base::query;

/// A small body must have come within this time; it bounds how long a handler can be held by a client that sends it byte by byte.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The key or token a client shows, as it was written: `Authorization: Bearer …` (RFC 6750), or `token` or `key` in the query. What it may
/// mean is for [`query::readings`].
pub fn shown_key(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let header = headers.get(AUTHORIZATION).and_then(|value| {
        let text = header_text(value.as_bytes());
        let (scheme, key) = text.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty()).then(|| key.trim().to_owned())
    });
    header.or_else(|| query::shown_key(uri.query()?).map(str::to_owned))
}

/// UTF-8 as most clients send it, or the Latin-1 that browsers do.
fn header_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    }
}

/// Reads a whole body of at most `max` bytes: 413 beyond, 408 where it does not come, 400 where it breaks off.
pub async fn read_body(body: Body, max: usize) -> Result<Bytes, ApiError> {
    read_body_within(body, max, BODY_TIMEOUT).await
}

async fn read_body_within(body: Body, max: usize, time: Duration) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(time, Limited::new(body, max).collect()).await {
        Err(_) => Err(ApiError::of_status(StatusCode::REQUEST_TIMEOUT)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if is_length_limit(&*error) => {
            Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE).with_message(format!("the body has more than {max} bytes")))
        }
        Ok(Err(_)) => Err(ApiError::bad_request("the body broke off")),
    }
}

/// A limit may be that of a layer further out, wrapped in others' errors.
fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let key = |auth: Option<&'static str>, uri: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(auth) = auth {
                headers.insert(AUTHORIZATION, axum::http::HeaderValue::from_static(auth));
            }
            shown_key(&headers, &Uri::from_static(uri))
        };
        assert_eq!(key(Some("Bearer s3cret"), "/x?token=other").as_deref(), Some("s3cret"));
        assert_eq!(key(Some("bearer  s3cret"), "/x").as_deref(), Some("s3cret"));
        assert_eq!(key(Some("Basic Zm9v"), "/x?token=a%20b").as_deref(), Some("a%20b"));
        assert_eq!(key(None, "/x?a=1&key=k").as_deref(), Some("k"));
        assert_eq!(key(Some("Bearer "), "/x?token="), None);
        assert_eq!(key(None, "/x"), None);
        for bytes in ["Bearer é".as_bytes(), b"Bearer \xE9"] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, axum::http::HeaderValue::from_bytes(bytes).unwrap())]);
            assert_eq!(shown_key(&headers, &Uri::from_static("/x")).as_deref(), Some("é"));
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        assert_eq!(read_body(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read_body(Body::from("123456"), 5).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>());
        assert_eq!(read_body_within(never, 5, Duration::from_millis(10)).await.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
