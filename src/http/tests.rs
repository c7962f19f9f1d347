//! The routes as a client sees them, in process and over real connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, AUTHORIZATION, CONTENT_TYPE,
    ETAG, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::whip::SessionService;
use super::*;
use crate::base::StreamPath;
use crate::sdp::SdpError;
use crate::webrtc::{Bound, Mismatch, PatchOutcome, Role, SessionCreated, SessionRequest, WebRtcError};

/// Answers by the name of the stream, and notes what it was asked.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    links: Arc<Vec<String>>,
}

impl Fake {
    fn note(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }
}

impl SessionService for Fake {
    async fn create(&self, role: Role, request: SessionRequest<'_>) -> Result<SessionCreated, WebRtcError> {
        let SessionRequest { path, offer, key, remote, .. } = request;
        self.note(format!("{} {path} {} {key:?} {remote:?}", role.protocol(), offer.len()));
        let path = path.clone();
        Err(match path.as_str() {
            "live/busy" => WebRtcError::Busy(path),
            "live/away" => WebRtcError::NotLive(path),
            "live/locked" => WebRtcError::Forbidden { shown: key.is_some(), path },
            "live/full" => WebRtcError::Full(Bound::Sessions(1)),
            "live/odd" => WebRtcError::NothingInCommon(Mismatch::SendsNothing),
            "live/broken" => WebRtcError::Sdp(SdpError::NotUtf8),
            "live/lacking" => WebRtcError::Sdp(SdpError::Missing { what: "a=fingerprint", why: "test" }),
            _ => return Ok(SessionCreated { id: "id1".into(), answer: "v=0\r\n".into(), etag: "e1".into() }),
        })
    }

    async fn patch(&self, _: Role, _: &StreamPath, id: &str, if_match: Option<&str>, _: &[u8]) -> Result<PatchOutcome, WebRtcError> {
        match (id, if_match) {
            ("id1", None) => Err(WebRtcError::PreconditionRequired),
            ("id1", Some("*")) => Ok(PatchOutcome::Restarted { fragment: "a=ice-lite\r\n".into(), etag: "e2".into() }),
            ("id1", Some("\"e1\"")) => Ok(PatchOutcome::Trickled),
            ("id1", Some(_)) => Err(WebRtcError::PreconditionFailed),
            _ => Err(WebRtcError::NoSuchSession),
        }
    }

    async fn delete(&self, role: Role, path: &StreamPath, id: &str) -> Result<(), WebRtcError> {
        self.note(format!("delete {} {path} {id}", role.protocol()));
        if id == "id1" { Ok(()) } else { Err(WebRtcError::NoSuchSession) }
    }

    fn links(&self) -> &[String] {
        &self.links
    }
}

fn router(config: &HttpConfig) -> (axum::Router, Fake, Readiness) {
    let fake =
        Fake { links: Arc::new(vec!["<stun:a>; rel=\"ice-server\"".into(), "<stun:b>; rel=\"ice-server\"".into()]), ..Fake::default() };
    let readiness = Readiness::new();
    let mut routes = Routes::new();
    register_health(&mut routes, readiness.clone());
    register_whip(&mut routes, fake.clone());
    routes.stream("", get(|target: StreamTarget| async move { format!("page of {}", target.path) }));
    routes.stream(
        "slow",
        get(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "slow"
        }),
    );
    routes.stream("bug", get(|| async { if true { panic!("planted") } else { "" } }));
    (routes.into_router(config, &HttpMetrics::default()), fake, readiness)
}

async fn call(router: &axum::Router, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(axum::body::to_bytes(response.into_body(), 100_000).await.unwrap().to_vec()).unwrap()
}

fn header(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> &str {
    headers.get(name).map_or("", |v| v.to_str().unwrap())
}

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

#[tokio::test]
async fn a_session_is_made() {
    let (router, fake, _) = router(&HttpConfig::default());
    for (uri, location) in [("/live/cam1/whip?token=k", "/live/cam1/whip/id1"), ("/a/b/c/whep", "/a/b/c/whep/id1")] {
        let response = call(&router, "POST", uri, &[("content-type", "application/SDP; charset=utf-8")], "v=0").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let headers = response.headers();
        assert_eq!(header(headers, LOCATION), location);
        assert_eq!(header(headers, ETAG), "\"e1\"");
        assert_eq!(header(headers, CONTENT_TYPE), "application/sdp");
        assert_eq!(header(headers, "accept-patch"), "application/trickle-ice-sdpfrag");
        assert_eq!(headers.get_all(LINK).iter().count(), 2);
        assert_eq!(header(headers, ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        for name in ["Location", "ETag", "Link"] {
            assert!(header(headers, ACCESS_CONTROL_EXPOSE_HEADERS).contains(name));
        }
        assert_eq!(text(response).await, "v=0\r\n");
    }
    assert_eq!(*fake.asked.lock().unwrap(), ["whip live/cam1 3 Some(\"k\") None", "whep a/b/c 3 None None"]);
}

#[tokio::test]
async fn refusals() {
    let (router, ..) = router(&HttpConfig::default());
    let big = "x".repeat(64 * 1024 + 1);
    for (uri, headers, body, status, code) in [
        ("/live/busy/whip", vec![SDP], "", 409, "busy"),
        ("/live/away/whep", vec![SDP], "", 404, "not_live"),
        ("/live/locked/whip", vec![SDP], "", 401, "unauthorized"),
        ("/live/locked/whip", vec![SDP, ("authorization", "Bearer x")], "", 403, "forbidden"),
        ("/live/full/whep", vec![SDP], "", 503, "full"),
        ("/live/odd/whep", vec![SDP], "", 406, "nothing_in_common"),
        ("/live/broken/whep", vec![SDP], "", 400, "bad_sdp"),
        ("/live/lacking/whep", vec![SDP], "", 422, "bad_sdp"),
        ("/live/cam1/whep", vec![SDP], big.as_str(), 413, "too_large"),
        ("/live/cam1/whep", vec![], "v=0", 415, "unsupported_media_type"),
        ("/live/cam1/whep", vec![("content-type", "text/plain")], "v=0", 415, "unsupported_media_type"),
        ("/live/cam1/whep", vec![SDP, ("accept", "text/html, image/*")], "v=0", 406, "not_acceptable"),
        ("/api/whep", vec![SDP], "v=0", 404, "not_found"),
        ("/live/../whep", vec![SDP], "v=0", 404, "not_found"),
        ("/live/cam1/nothing", vec![], "", 404, "not_found"),
        ("/healthz", vec![], "", 405, "method_not_allowed"),
    ] {
        let response = call(&router, "POST", uri, &headers, body).await;
        let head = response.headers().clone();
        assert_eq!(response.status().as_u16(), status, "{uri} {headers:?}");
        assert_eq!(header(&head, CONTENT_TYPE), "application/json");
        assert_eq!(header(&head, ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["error"]["code"], code, "{uri}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
        assert_eq!(head.contains_key(RETRY_AFTER), matches!(code, "not_live" | "full"));
        assert_eq!(head.contains_key(WWW_AUTHENTICATE), matches!(status, 401 | 403));
        assert_eq!(head.contains_key("accept-post"), status == 415);
    }
}

#[tokio::test]
async fn accept_that_allows_sdp() {
    let (router, ..) = router(&HttpConfig::default());
    for accept in ["*/*", "application/sdp", "text/html, application/*;q=0.5", "application/SDP;q=1"] {
        let response = call(&router, "POST", "/live/cam1/whep", &[SDP, (ACCEPT.as_str(), accept)], "v=0").await;
        assert_eq!(response.status(), StatusCode::CREATED, "{accept}");
    }
}

#[tokio::test]
async fn sessions_are_patched_and_ended() {
    let (router, fake, _) = router(&HttpConfig::default());
    let uri = "/live/cam1/whip/id1";
    for (headers, status, etag) in [
        (vec![FRAGMENT, ("if-match", "\"e1\"")], 204, ""),
        (vec![FRAGMENT, ("if-match", "*")], 200, "\"e2\""),
        (vec![FRAGMENT, ("if-match", "\"old\"")], 412, ""),
        (vec![FRAGMENT], 428, ""),
        (vec![SDP, ("if-match", "*")], 415, ""),
    ] {
        let response = call(&router, "PATCH", uri, &headers, "").await;
        assert_eq!(response.status().as_u16(), status, "{headers:?}");
        assert_eq!(header(response.headers(), ETAG), etag);
        if status == 200 {
            assert_eq!(header(response.headers(), CONTENT_TYPE), FRAGMENT.1);
        }
    }
    assert_eq!(call(&router, "PATCH", "/live/cam1/whip/other", &[FRAGMENT, ("if-match", "*")], "").await.status(), 404);
    assert_eq!(call(&router, "DELETE", uri, &[], "").await.status(), 200);
    assert_eq!(call(&router, "DELETE", "/live/cam1/whep/no", &[], "").await.status(), 404);
    assert_eq!(*fake.asked.lock().unwrap(), ["delete whip live/cam1 id1", "delete whep live/cam1 no"]);
}

#[tokio::test]
async fn methods_and_options() {
    let (router, ..) = router(&HttpConfig::default());
    for (method, uri, status, allow) in [
        ("GET", "/live/cam1/whip", 405, "OPTIONS,POST"),
        ("PUT", "/live/cam1/whip/id1", 405, "DELETE,OPTIONS,PATCH"),
        ("OPTIONS", "/live/cam1/whep", 204, "OPTIONS,POST"),
        ("OPTIONS", "/live/cam1/whep/id1", 204, "DELETE,OPTIONS,PATCH"),
        ("OPTIONS", "/live/cam1/", 204, "GET,HEAD,OPTIONS"),
        ("OPTIONS", "/healthz", 204, "GET,HEAD,OPTIONS"),
        ("OPTIONS", "/live/cam1", 204, "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT"),
        ("OPTIONS", "/live/cam1/whep/", 204, "OPTIONS,POST"),
    ] {
        let response = call(&router, method, uri, &[], "").await;
        assert_eq!(response.status().as_u16(), status, "{method} {uri}");
        let mut allowed: Vec<&str> = header(response.headers(), ALLOW).split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {uri}");
        if uri.ends_with("whep") {
            assert_eq!(header(response.headers(), "accept-post"), "application/sdp");
            assert_eq!(response.headers().get_all(LINK).iter().count(), 2);
        }
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let mut routes = Routes::new();
    register_health(&mut routes, Readiness::new());
    register_pages(&mut routes);
    routes.stream("whip", axum::routing::post(|| async {}));
    let router = routes.into_router(&HttpConfig::default(), &HttpMetrics::default());
    for uri in ["/", "/live/cam1/", "/live/cam1", "/healthz", "/readyz", "/favicon.ico", "/static/none.js", "/live/cam1/whip"] {
        for encoding in ["identity", "gzip"] {
            let get = call(&router, "GET", uri, &[("accept-encoding", encoding)], "").await;
            let head = call(&router, "HEAD", uri, &[("accept-encoding", encoding)], "").await;
            assert_eq!(head.status(), get.status(), "{uri}");
            let (wanted, mut seen) = (get.headers().clone(), head.headers().clone());
            let length = text_length(get).await;
            if let Some(told) = seen.remove("content-length").filter(|_| !wanted.contains_key("content-length")) {
                assert_eq!(told.to_str().unwrap(), length.to_string(), "{uri} {encoding}");
            }
            let mut wanted = wanted;
            wanted.remove("content-length");
            assert_eq!(seen, wanted, "{uri} {encoding}");
            assert_eq!(text_length(head).await, 0);
        }
    }
}

async fn text_length(response: Response) -> usize {
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().len()
}

#[tokio::test]
async fn preflights_and_origins() {
    let ask = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-y"),
    ];
    let (open, ..) = router(&HttpConfig::default());
    let response = call(&open, "OPTIONS", "/live/cam1/whip", &ask, "").await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(response.headers(), ACCESS_CONTROL_ALLOW_HEADERS), "authorization,x-y");
    assert_eq!(header(response.headers(), ACCESS_CONTROL_ALLOW_ORIGIN), "*");

    // What the request itself gets, the page hears from its answer.
    for uri in ["/favicon.ico", "/live/cam1/x.m4s", "/live/cam1/nothing.m3u8", "/api/v1/none", "/live/../x/", "/vod/none.mp4"] {
        let response = call(&open, "OPTIONS", uri, &ask, "").await;
        assert_eq!((response.status().as_u16(), header(response.headers(), ALLOW)), (204, "OPTIONS"), "{uri}");
        assert_eq!(header(response.headers(), ACCESS_CONTROL_ALLOW_HEADERS), "authorization,x-y", "{uri}");
    }
    assert_eq!(call(&open, "OPTIONS", "/favicon.ico", &[], "").await.status(), 404, "who asks what there is, is told");

    let (closed, ..) = router(&HttpConfig { cors_origins: vec!["https://a.example".into()], ..HttpConfig::default() });
    let allowed = |response: &Response| header(response.headers(), ACCESS_CONTROL_ALLOW_ORIGIN).to_owned();
    assert_eq!(allowed(&call(&closed, "OPTIONS", "/live/cam1/whip", &ask, "").await), "https://a.example");
    assert_eq!(allowed(&call(&closed, "GET", "/healthz", &[("origin", "https://b.example")], "").await), "");
    assert_eq!(allowed(&call(&closed, "GET", "/healthz", &[], "").await), "");
}

#[tokio::test]
async fn health_and_pages() {
    let (router, _, readiness) = router(&HttpConfig::default());
    assert_eq!(text(call(&router, "GET", "/healthz", &[], "").await).await, "ok\n");
    assert_eq!(call(&router, "GET", "/readyz", &[], "").await.status(), 503);
    readiness.set(true);
    assert_eq!(call(&router, "GET", "/readyz", &[], "").await.status(), 200);
    readiness.set_stuck(true);
    assert_eq!(call(&router, "GET", "/readyz", &[], "").await.status(), 503);
    readiness.set_stuck(false);
    assert_eq!(call(&router, "GET", "/readyz", &[], "").await.status(), 200);
    assert_eq!(text(call(&router, "GET", "/live/cam1/", &[], "").await).await, "page of live/cam1");
    let response = call(&router, "GET", "/live/cam1?x=1", &[], "").await;
    assert_eq!((response.status().as_u16(), header(response.headers(), LOCATION)), (308, "../live/cam1/?x=1"));
    assert_eq!(call(&router, "GET", "//evil.example", &[], "").await.status(), 404);
    assert_eq!(call(&router, "HEAD", "/live/cam1/none/", &[], "").await.status(), 200);
}

/// A server on a free loopback port.
fn serve(change: impl FnOnce(&mut HttpConfig)) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let mut config = HttpConfig { listen: ([127, 0, 0, 1], 0).into(), ..HttpConfig::default() };
    change(&mut config);
    let shutdown = CancellationToken::new();
    let server = HttpServer::bind(&config, router(&config).0, HttpMetrics::default(), shutdown.clone()).unwrap();
    (server.local_addr(), shutdown, tokio::spawn(server.run()))
}

#[tokio::test]
async fn http_1_and_2_over_real_connections() {
    let (address, shutdown, task) = serve(|_| {});
    for client in [reqwest::Client::new(), reqwest::Client::builder().http2_prior_knowledge().build().unwrap()] {
        let request = client.post(format!("http://{address}/live/cam1/whip")).header(CONTENT_TYPE, SDP.1).header(AUTHORIZATION, "Bearer k");
        let response = request.body("v=0").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.text().await.unwrap(), "v=0\r\n");
    }
    shutdown.cancel();
    task.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// One address takes no more than its share; the machine itself and a proxy that is trusted take as much as there is.
#[tokio::test]
async fn one_address_takes_no_more_than_its_share() {
    let own = crate::net::interfaces::local_addresses().unwrap()[0];
    let all: std::net::IpAddr = if own.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    for (from, trusted) in
        [(own, false), (own, true), (if own.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() }, false)]
    {
        let (address, shutdown, task) = serve(|config| {
            (config.listen, config.max_connections_per_address) = ((all, 0).into(), 4);
            config.trusted_proxies = trusted.then(|| own.to_string().parse().unwrap()).into_iter().collect();
        });
        let mut connections = Vec::new();
        for _ in 0..12 {
            let mut stream = TcpStream::connect((from, address.port())).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"HTTP/1.1 200", "who comes is never refused for what others do");
            connections.push(stream);
        }
        let mut open = 0;
        for mut stream in connections {
            let again = async {
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
                let mut rest = vec![0; 2048];
                let mut got = Vec::new();
                // The rest of the first answer may come before the second.
                while String::from_utf8_lossy(&got).matches("HTTP/1.1 200").count() < 1 {
                    let count = stream.read(&mut rest).await.ok().filter(|count| *count > 0)?;
                    got.extend_from_slice(&rest[..count]);
                }
                Some(())
            };
            open += usize::from(again.await.is_some());
        }
        assert_eq!(open, if from == own && !trusted && !own.is_loopback() { 4 } else { 12 }, "{from} {trusted}");
        shutdown.cancel();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_no_other() {
    let (address, shutdown, task) = serve(|_| {});
    let url = |name| format!("http://{address}/live/cam1/{name}");
    let client = reqwest::Client::new();
    let (slow, bug) = tokio::join!(client.get(url("slow")).send(), client.get(url("bug")).send());
    assert!(slow.unwrap().status() == 200 && bug.is_err());
    assert_eq!(client.get(url("slow")).send().await.unwrap().status(), 200);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded() {
    let (address, shutdown, task) = serve(|c| c.max_connections = 1);
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503"));
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"]["code"], "full");
    drop(first);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn silent_and_slow_clients_are_dropped() {
    let (address, shutdown, task) = serve(|c| c.header_timeout = Duration::from_millis(50));
    // Nothing at all; half an HTTP/1.1 head.
    for start in ["", "GET /healthz HTTP/1.1\r\nHost:"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{start:?}");
    }
    // Garbage is answered or closed, and others go on.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&[0xFF; 100]).await.unwrap();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(reqwest::get(format!("http://{address}/healthz")).await.unwrap().status(), StatusCode::OK);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_running_request_ends_before_shutdown() {
    let (address, shutdown, task) = serve(|_| {});
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /live/cam1/slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.unwrap();
    shutdown.cancel();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("slow"), "{answer}");
    task.await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (address, shutdown, task) = serve(|_| {});
    let config = HttpConfig { listen: address, ..HttpConfig::default() };
    let error = HttpServer::bind(&config, axum::Router::new(), HttpMetrics::default(), shutdown.clone()).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("http.listen"), "{error}");
    shutdown.cancel();
    task.await.unwrap();
}
