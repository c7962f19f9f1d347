//! What happens to every request before it is routed: its path is tidied, and who asks is found out.
//!
//! In: a request as it came. Out: the same one with a path in one spelling, and [`ClientIp`], [`super::proxy::Caller`] and [`Outside`] among its extensions; or an
//! answer at once, where there is nothing to route.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::http::header::{ALLOW, HOST};
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, StatusCode, Uri, Version};
use axum::response::{IntoResponse, Response};

use super::ApiError;
use super::common::METHODS;
use super::proxy::{ClientIp, Proxies};

/// Longest path with query, in bytes: room for a token of 8 KiB, and for the rest of a head within its own bound.
const MAX_TARGET: usize = 12 * 1024;
/// First segments below which no path ends with a slash: `/api/v1/info/` is `/api/v1/info`.
const WITHOUT_SLASH: [&str; 5] = ["api", "healthz", "readyz", "metrics", "static"];

/// How the path of a request was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Folders below the root.
    pub(super) depth: usize,
    /// With empty segments, which only count for [`Written::depth`].
    pub(super) untidy: bool,
}

impl Written {
    /// In one pass: this stands before every request.
    fn of(path: &str) -> Self {
        let (mut slashes, mut untidy, mut last) = (0usize, false, b' ');
        for byte in path.bytes() {
            let slash = byte == b'/';
            slashes += usize::from(slash);
            untidy |= slash && last == b'/';
            last = byte;
        }
        Self { depth: slashes.saturating_sub(1), untidy }
    }
}

/// The answer to a request of HTTP/1.1 that doesn't say, once, which host it is for (RFC 9112 section 3.2). Proxies that don't agree on the
/// host of a request can be played off against each other.
pub(super) fn without_host<B>(request: &Request<B>) -> Option<Response> {
    let hosts = request.headers().get_all(HOST).iter().count();
    let wrong = if request.version() == Version::HTTP_11 { hosts != 1 } else { hosts > 1 };
    let error = || ApiError::new(StatusCode::BAD_REQUEST, "no_host", "a request of HTTP/1.1 has one Host header");
    wrong.then(|| error().into_response())
}

/// Tidies the request's path. An answer instead where it is for no path at all, or too long.
pub(super) fn tidy<B>(request: &mut Request<B>, proxies: &Proxies) -> Result<Written, Box<Response>> {
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        let long = ApiError::new(StatusCode::URI_TOO_LONG, "uri_too_long", format!("the address has more than {MAX_TARGET} bytes"));
        return Err(Box::new(long.into_response()));
    }
    if uri.path() == "*" || request.method() == Method::CONNECT {
        let status = if request.method() == Method::OPTIONS { StatusCode::NO_CONTENT } else { StatusCode::METHOD_NOT_ALLOWED };
        return Err(Box::new((status, [(ALLOW, METHODS)]).into_response()));
    }
    let below = below(uri.path(), proxies.base_path());
    let written = Written::of(below);
    let tidied = tidied(below, written);
    if tidied != uri.path() {
        let target = match uri.query() {
            Some(query) => format!("{tidied}?{query}"),
            None => tidied.into_owned(),
        };
        let mut parts = uri.clone().into_parts();
        if let Ok(target) = target.parse::<PathAndQuery>() {
            parts.path_and_query = Some(target);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    Ok(written)
}

/// Puts what handlers may want to know among the request's extensions.
pub(super) fn introduce<B>(request: &mut Request<B>, proxies: &Proxies, peer: IpAddr, client: ClientIp, written: Written) {
    let outside = proxies.outside(peer, request.headers(), request.uri(), written.depth);
    let caller = proxies.caller(peer, client, request.headers());
    let extensions = request.extensions_mut();
    extensions.insert(client);
    extensions.insert(caller);
    extensions.insert(outside);
    extensions.insert(written);
}

/// The path below the base: proxies may leave it there or take it away.
fn below<'a>(path: &'a str, base: &str) -> &'a str {
    match path.strip_prefix(base) {
        _ if base.is_empty() => path,
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// One spelling for a path: no needless escapes (RFC 3986 section 6.2.2.2), no empty segments, no slash behind what has none.
fn tidied(path: &str, written: Written) -> Cow<'_, str> {
    // As nearly all are.
    if !written.untidy && !path.ends_with('/') && !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut path = Cow::Borrowed(path);
    if path.contains('%') {
        path = Cow::Owned(without_needless_escapes(&path));
    }
    while path.contains("//") {
        path = Cow::Owned(path.replace("//", "/"));
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    if path.ends_with('/') && WITHOUT_SLASH.contains(&first) {
        path = Cow::Owned(path.trim_end_matches('/').to_owned());
    }
    path
}

fn without_needless_escapes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut pieces = path.split('%');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let byte = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&piece[2..]);
            }
            None => {
                out.push('%');
                out.push_str(piece);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths() {
        for (uri, wanted, depth, untidy) in [
            ("/", "/", 0, false),
            ("/live/cam1/", "/live/cam1/", 2, false),
            ("/live/cam1", "/live/cam1", 1, false),
            ("/live/cam%31/index%2Em3u8?a=%31", "/live/cam1/index.m3u8?a=%31", 2, false),
            ("/live/a%2Fb/%zz%", "/live/a%2Fb/%zz%", 2, false),
            ("//live///cam1//index.m3u8", "/live/cam1/index.m3u8", 6, true),
            ("/api/v1/info/", "/api/v1/info", 3, false),
            ("/healthz//", "/healthz", 2, true),
            ("/vod/x/", "/vod/x/", 2, false),
            ("http://h.example/live/cam1/?t=1", "http://h.example/live/cam1/?t=1", 2, false),
            ("http://h.example//live/cam1", "http://h.example/live/cam1", 2, true),
        ] {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            let written = tidy(&mut request, &Proxies::default()).unwrap();
            assert_eq!((request.uri().to_string().as_str(), written.depth, written.untidy), (wanted, depth, untidy), "{uri}");
        }
    }

    #[test]
    fn a_base_path_is_taken_away_if_it_is_there() {
        let proxies = Proxies::new(&[], "/media");
        for (uri, wanted, depth) in [
            ("/media/live/cam1/", "/live/cam1/", 2),
            ("/media", "/", 0),
            ("/media/", "/", 0),
            ("/live/cam1/", "/live/cam1/", 2),
            ("/mediathek/cam1/", "/mediathek/cam1/", 2),
        ] {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            assert_eq!(tidy(&mut request, &proxies).unwrap().depth, depth, "{uri}");
            assert_eq!(request.uri(), wanted, "{uri}");
        }
    }

    #[test]
    fn what_is_answered_at_once() {
        let long = format!("/{}", "x".repeat(MAX_TARGET));
        for (method, uri, status) in [("OPTIONS", "*", 204), ("GET", "*", 405), ("CONNECT", "a.example:443", 405), ("GET", &long, 414)] {
            let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let response = tidy(&mut request, &Proxies::default()).unwrap_err();
            assert_eq!(response.status().as_u16(), status, "{method} {uri}");
            assert_eq!(response.headers().contains_key(ALLOW), status != 414);
        }
    }

    #[test]
    fn a_request_names_its_host_once() {
        let table = [
            (Version::HTTP_11, &[][..], true),
            (Version::HTTP_11, &["a.example"], false),
            (Version::HTTP_11, &["a.example", "b.example"], true),
            // For an address without an authority (RFC 9112 section 3.2).
            (Version::HTTP_11, &[""], false),
            (Version::HTTP_10, &[], false),
            (Version::HTTP_10, &["a.example"], false),
            (Version::HTTP_2, &[], false),
        ];
        for (version, hosts, refused) in table {
            let mut request = Request::builder().version(version).uri("/").body(()).unwrap();
            for host in hosts {
                request.headers_mut().append(HOST, axum::http::HeaderValue::from_static(host));
            }
            let answer = without_host(&request).map(|response| response.status().as_u16());
            assert_eq!(answer, refused.then_some(400), "{version:?} {hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn tidying_never_panics_and_is_done_once(path in "/[a-c%/.0-9é]{0,30}") {
            let once = tidied(&path, Written::of(&path)).into_owned();
            prop_assert!(!once.contains("//"));
            prop_assert!(once.is_empty() || once.starts_with('/'));
        }
    }
}
