//! A body, read within bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::http::ApiError;

/// A small body must have come within this time; it bounds how long a handler can be held by a client that sends it byte by byte.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a whole body of at most `max` bytes: 413 beyond, 408 where it does not come, 400 where it breaks off.
pub(crate) async fn read_body(body: Body, max: usize) -> Result<Bytes, ApiError> {
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
