//! A real nginx in front that serves headend below a folder: pages, players and addresses hold there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use common::nginx::Nginx;
use common::{Server, Source, free_port, node, publish, request, wait_for};

/// nginx at a free port that passes `/media/` on, with these lines in its `location`.
fn in_front(server: &Server, lines: &str) -> (Nginx, String) {
    let port = free_port();
    let site = format!(
        "server {{ listen 127.0.0.1:{port}; location /media/ {{ proxy_pass http://127.0.0.1:{}/; proxy_http_version 1.1; proxy_buffering off; {lines} }} }}\n",
        server.http
    );
    let nginx = Nginx::start(&site);
    let base = format!("http://127.0.0.1:{port}/media/");
    let ready = || request("GET", &format!("{base}readyz"), &[]).is_some_and(|(status, ..)| status == 200);
    wait_for("nginx", ready, || nginx.output());
    (nginx, base)
}

fn text(url: &str) -> String {
    let (status, head, body) = request("GET", url, &[]).unwrap();
    assert_eq!(status, 200, "{url}: {head}");
    String::from_utf8(body).unwrap()
}

#[test]
fn below_a_folder_of_a_trusted_proxy() {
    let server = Server::start_http("trusted_proxies = [\"127.0.0.0/8\"]");
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let (_nginx, base) = in_front(
        &server,
        "proxy_set_header X-Forwarded-Prefix /media; proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host live.example.net; proxy_set_header X-Forwarded-For 203.0.113.7;",
    );
    let manifest = text(&format!("{base}live/cam1/manifest.mpd"));
    assert!(manifest.contains("value=\"https://live.example.net/media/api/v1/time\""), "{manifest}");
    let recordings: serde_json::Value = serde_json::from_str(&text(&format!("{base}api/v1/recordings"))).unwrap();
    assert!(recordings["items"][0]["urls"]["mp4"].as_str().unwrap().starts_with("/media/vod/"), "{recordings}");
    let (_, head, _) = request("GET", &format!("{base}live/cam1.m3u8"), &[]).unwrap();
    assert!(head.contains("307") && head.contains("location: ../live/cam1/index.m3u8"), "{head}");
    // What a player plays, and a browser's session with the address that it was given.
    assert!(common::decode(&format!("{base}live/cam1/stream.m3u8"), 1).0);
    let seen = node("whep.mjs", &[&format!("{base}live/cam1/whep"), "1"]);
    assert!(seen["location"].as_str().unwrap().starts_with("/media/live/cam1/whep/"), "{seen:#}");
    assert!(seen["stats"]["video"]["frames"].as_u64() > Some(5), "{seen:#}");
    wait_for("the client's own address in the log", || server.log().contains("203.0.113.7"), || server.log());
}

/// It says nothing of itself, and nobody has configured it: everything that is read works all the same.
#[test]
fn pages_below_a_folder_nobody_told_of() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let (_nginx, base) = in_front(&server, "");
    let (_, head, _) = request("GET", &format!("{base}live/cam1"), &[]).unwrap();
    assert!(head.contains("308") && head.contains("location: ../live/cam1/"), "{head}");
    assert!(text(&format!("{base}live/cam1/")).contains("../../static/"));
    let seen = node("pages.mjs", &["watch", &base, "live/cam1"]);
    assert!(seen["error"].is_null() && seen["errors"] == serde_json::json!([]), "{seen:#}");
    assert_eq!(seen["mode"], "webrtc", "{seen:#}");
}
