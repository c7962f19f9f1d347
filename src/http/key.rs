//! The key that a client shows.

use std::borrow::Cow;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};

use crate::base::query;

/// The key or token a client shows, as it was written: `Authorization: Bearer …` (RFC 6750), or `token` or `key` in the query. What it may
/// mean is for [`query::readings`].
pub(crate) fn shown_key(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    bearer(headers).or_else(|| query::shown_key(uri.query()?).map(str::to_owned))
}

/// The key in `Authorization: Bearer …`, if there is one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = header_text(headers.get(AUTHORIZATION)?.as_bytes());
    let (scheme, key) = text.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty()).then(|| key.trim().to_owned())
}

/// UTF-8 as most clients send it, or the Latin-1 that browsers do.
fn header_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    }
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
}
