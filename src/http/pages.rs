//! The pages, which are part of the binary: dashboard, watch, publish, recording, and what they load.
//!
//! In: `/`, `/<path>/`, `/<path>/publish`, `/vod/<id>/`, `/static/<file>`. Out: files of `static/dist`, made by `make pages`. The pages
//! are the same for every stream: they read their own address and ask the API.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use include_dir::{Dir, File, include_dir};
use ring::digest::{SHA256, digest};

use super::compress::{compressed, compressed_router};
use super::{ApiError, Outside, Routes};

static DIST: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static/dist");

/// A page is asked for again each time (and answered by 304): it names the newest assets.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// An asset's name holds a hash of its content, so it never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Everything comes from this server; media also from Media Source Extensions (`blob:`). No inline script or style.
macro_rules! policy {
    ($more:literal) => {
        concat!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; ",
            "base-uri 'none'; form-action 'none'",
            $more
        )
    };
}
/// For players, which may be embedded in others' pages.
const EMBEDDABLE: HeaderValue = HeaderValue::from_static(policy!(""));
/// For pages that do something or show everything: no frame of another origin may hold them.
const UNFRAMED: HeaderValue = HeaderValue::from_static(policy!("; frame-ancestors 'self'"));
/// For assets, should one be opened by itself.
const INERT: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

/// Which devices a page may ask for. (`http` has no constant for this name.)
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// A file of the pages.
#[derive(Debug, Clone)]
pub(crate) struct Asset {
    pub bytes: Cow<'static, [u8]>,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its `ETag`, quoted. Weak: compression on the way changes the bytes, not what they say.
    pub etag: String,
}

/// The file `path` below `static/dist`, such as `watch.html` or `assets/app-ABCD1234.css`; `None` also for what isn't meant to be served.
pub(crate) fn asset(path: &str) -> Option<Asset> {
    static ASSETS: LazyLock<HashMap<&str, Asset>> = LazyLock::new(|| {
        let files = DIST.files().chain(DIST.dirs().flat_map(Dir::files));
        files.filter_map(|file| Some((file.path().to_str()?, embedded(file)?))).collect()
    });
    ASSETS.get(path).cloned()
}

fn embedded(file: &'static File<'static>) -> Option<Asset> {
    let content_type = match file.path().extension()?.to_str()? {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let hash: String = digest(&SHA256, file.contents()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(Asset { bytes: file.contents().into(), content_type, etag: format!("W/\"{hash}\"") })
}

/// Adds the pages and their assets, compressed for those who take it (hls.js is 580 KB without). [`recording`] is answered by the
/// routes below `/vod/`: two patterns there would be in each other's way.
pub(crate) fn register(routes: &mut Routes) {
    routes.merge(compressed_router(Router::new().route("/", get(dashboard)).route("/static/{file}", get(static_file))));
    routes.stream("", compressed(get(watch)));
    routes.stream("publish", compressed(get(publish)));
}

/// `/`: what is live and what was recorded.
pub(super) async fn dashboard(outside: Outside, headers: HeaderMap) -> Response {
    page("dashboard.html", UNFRAMED, None, &outside, &headers)
}

/// `/<path>/`: the player.
pub(super) async fn watch(outside: Outside, headers: HeaderMap) -> Response {
    page("watch.html", EMBEDDABLE, None, &outside, &headers)
}

/// `/<path>/publish`: camera or screen over WHIP.
pub(super) async fn publish(outside: Outside, headers: HeaderMap) -> Response {
    let devices = HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self), screen-wake-lock=(self)");
    page("publish.html", UNFRAMED, Some(devices), &outside, &headers)
}

/// `/vod/<id>/`: the player of a recording. Whether there is such a recording, the page finds out.
pub(super) async fn recording(outside: Outside, headers: HeaderMap) -> Response {
    page("recording.html", EMBEDDABLE, None, &outside, &headers)
}

/// `/static/<file>`.
pub(super) async fn static_file(Path(file): Path<String>, headers: HeaderMap) -> Response {
    // The parameter is percent-decoded, but only names that were embedded are found.
    match asset(&format!("assets/{file}")) {
        Some(asset) => answer(asset, IMMUTABLE, INERT, &headers),
        None => ApiError::not_found(format!("there is no file {file:?}; a page from before an update may ask for it: reload the page"))
            .into_response(),
    }
}

fn page(name: &str, policy: HeaderValue, permissions: Option<HeaderValue>, outside: &Outside, headers: &HeaderMap) -> Response {
    let Some(asset) = asset(name) else {
        return ApiError::internal("this headend was built without its pages; run make pages and build it again").into_response();
    };
    let asset = from_root(asset, &outside.root());
    let mut response = answer(asset, REVALIDATE, policy, headers);
    if let Some(permissions) = permissions {
        response.headers_mut().insert(PERMISSIONS_POLICY, permissions);
    }
    response
}

/// A page whose links from the root are relative to its own address instead, so that they hold below any proxy's folder.
fn from_root(page: Asset, root: &str) -> Asset {
    let text = String::from_utf8_lossy(&page.bytes).replace("=\"/", &format!("=\"{root}"));
    let etag = format!("{}-{}\"", page.etag.trim_end_matches('"'), root.len());
    Asset { bytes: text.into_bytes().into(), etag, ..page }
}

fn answer(asset: Asset, caching: HeaderValue, policy: HeaderValue, headers: &HeaderMap) -> Response {
    let common = [
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Addresses may hold a token.
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let etag = [(ETAG, asset.etag.as_str())];
    if is_known(headers, &asset.etag) {
        return (StatusCode::NOT_MODIFIED, common, etag).into_response();
    }
    let body = match asset.bytes {
        Cow::Borrowed(bytes) => bytes::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    (common, etag, [(CONTENT_TYPE, asset.content_type)], body).into_response()
}

/// Whether `If-None-Match` names the tag, by weak comparison (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = opaque(etag);
    let given = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|tag| tag.trim() == "*" || opaque(tag) == wanted)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 4 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn pages_load_only_what_is_embedded() {
        for name in ["dashboard.html", "watch.html", "publish.html", "recording.html"] {
            let html = text(page(name, UNFRAMED, None, &Outside::default(), &HeaderMap::new())).await;
            assert!(
                !html.contains("://") && !html.contains("<style") && !html.contains(" style=") && !html.contains(" onclick="),
                "{name}"
            );
            let mut loaded = 0;
            for part in html.split("\"./static/").skip(1) {
                let file = part.split('"').next().unwrap().to_owned();
                let response = static_file(Path(file.clone()), HeaderMap::new()).await;
                assert_eq!(response.status(), StatusCode::OK, "{name} loads {file}");
                assert_eq!(response.headers()[CACHE_CONTROL], IMMUTABLE);
                assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
                loaded += 1;
            }
            assert!(loaded >= 3, "{name} has an icon, a style sheet and a script");
        }
    }

    #[tokio::test]
    async fn links_hold_below_any_folder() {
        for (path, root) in [("/", "./"), ("/cam/", "../"), ("/live/cam1/", "../../"), ("/live/cam1/publish", "../../")] {
            let page = watch(Outside::at(path), HeaderMap::new()).await;
            let other = watch(Outside::at("/a/b/c/d/"), HeaderMap::new()).await;
            assert_ne!(page.headers()[ETAG], other.headers()[ETAG]);
            let html = text(page).await;
            assert!(html.contains(&format!("src=\"{root}static/")) && html.contains(&format!("href=\"{root}\"")), "{path}");
            assert!(!html.contains("=\"/"), "{path}");
        }
    }

    #[tokio::test]
    async fn known_pages_are_not_sent_again() {
        let first = watch(Outside::default(), HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CACHE_CONTROL], REVALIDATE);
        assert_eq!(first.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let etag = first.headers()[ETAG].clone();
        for (given, status) in [
            (etag.to_str().unwrap().to_owned(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", {}", etag.to_str().unwrap()), StatusCode::NOT_MODIFIED),
            (etag.to_str().unwrap().trim_start_matches("W/").to_owned(), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, given.parse().unwrap());
            let response = watch(Outside::default(), headers).await;
            assert_eq!(response.status(), status, "{given}");
            assert_eq!(response.headers()[ETAG], etag);
        }
    }

    #[tokio::test]
    async fn policies() {
        let policy = |response: &Response| response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy(&dashboard(Outside::default(), HeaderMap::new()).await).contains("frame-ancestors"));
        assert!(!policy(&watch(Outside::default(), HeaderMap::new()).await).contains("frame-ancestors"));
        let publish = publish(Outside::default(), HeaderMap::new()).await;
        assert!(policy(&publish).contains("frame-ancestors") && publish.headers().contains_key(PERMISSIONS_POLICY));
        assert!(!policy(&recording(Outside::default(), HeaderMap::new()).await).contains("unsafe"));
    }

    #[tokio::test]
    async fn assets_are_compressed() {
        use tower::ServiceExt;
        let router = || Router::new().route("/static/{file}", compressed(get(static_file)));
        let mut assets = DIST.get_dir("assets").unwrap().files().filter_map(|file| file.path().file_name()?.to_str());
        let file = assets.find(|name| name.starts_with("hls-")).unwrap();
        let request = |encoding: &str| {
            let request = axum::http::Request::get(format!("/static/{file}")).header("accept-encoding", encoding);
            request.body(axum::body::Body::empty()).unwrap()
        };
        let plain = router().oneshot(request("identity")).await.unwrap();
        let small = router().oneshot(request("gzip")).await.unwrap();
        assert_eq!(small.headers()["content-encoding"], "gzip");
        assert_eq!(small.headers()[ETAG], plain.headers()[ETAG]);
        let (plain, small) = (to_bytes(plain.into_body(), 4 << 20).await.unwrap(), to_bytes(small.into_body(), 4 << 20).await.unwrap());
        assert!(small.len() * 2 < plain.len(), "{} {}", small.len(), plain.len());
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        for file in ["", ".", "nothing.js", "../watch.html", "../../Cargo.toml", "/etc/passwd", "app.stamp", "../app.stamp", "a\0.js"] {
            let response = static_file(Path(file.to_owned()), HeaderMap::new()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{file}");
        }
        assert!(asset("app.stamp").is_none());
    }
}
