//! WHIP in, WHEP out, by a real browser: codecs, reconnects, takeovers, and what RFC 9725 says about sessions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)] // a test says what is wrong by failing

mod common;

use common::{Process, Server, Source, decode, get, node, node_in_background, publish, request, signal, wait_for};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn media_playlist(server: &Server) -> String {
    get(&server.url("/live/cam1/v.m3u8")).map(|(_, text)| text).unwrap_or_default()
}

fn info(server: &Server) -> Value {
    get(&server.url("/api/v1/streams/live/cam1")).and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
}

/// A browser that publishes `live/cam1`, once media flows.
fn whip(server: &Server, codec: &str) -> Process {
    let publisher = node_in_background("publish.mjs", &[&server.url("/live/cam1/whip"), "60", codec]);
    wait_for("the browser to publish", || publisher.output().contains("publishing"), || publisher.output() + &server.log());
    publisher
}

/// A browser that watches `live/cam1` and never connects twice, once it sees pictures.
fn whep(server: &Server) -> Process {
    let viewer = node_in_background("stay.mjs", &[&server.url("/live/cam1/whep")]);
    wait_for("the viewer to see it", || viewer.output().contains("playing"), || viewer.output() + &server.log());
    viewer
}

fn pictures(viewer: &Process) -> u32 {
    viewer.output().lines().rev().find_map(|line| line.strip_prefix("pictures ")?.parse().ok()).unwrap_or(0)
}

fn publishing(server: &Server) -> bool {
    !info(server)["publisher"].is_null()
}

/// Lets the publisher end in order.
fn end(server: &Server, publisher: &Process) {
    signal(publisher.pid(), "TERM");
    wait_for("the publisher to end", || publisher.output().contains("deleted 200"), || publisher.output());
    assert!(!publishing(server), "DELETE is answered once it is over");
}

fn plays_everywhere(codec: &str, derived: &[&str]) {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"\n");
    let publisher = whip(&server, codec);
    server.wait_live("live/cam1", 2);
    let seen = node("whep.mjs", &[&server.url("/live/cam1/whep"), "2"]);
    assert!(number(&seen["played"]) > 1.5 && number(&seen["fps"]) > 10.0, "{seen:#}");
    assert_eq!((&seen["width"], &seen["height"]), (&Value::from(640), &Value::from(360)), "{seen:#}");
    assert!(number(&seen["stats"]["audio"]["packets"]) > 50.0 && seen["ended"] == 200, "{seen:#}");
    assert!(number(&seen["sound"]["rms"]) >= 0.0 && seen["errors"] == Value::from(Vec::<Value>::new()), "{seen:#}");
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
    let seen = node("play.mjs", &["hls", &server.url("/live/cam1/index.m3u8"), "4"]);
    assert!(number(&seen["played"]) > 3.0 && number(&seen["audioBytes"]) > 0.0, "{seen:#}");
    let info = info(&server);
    assert_eq!((&info["publisher"]["protocol"], &info["tracks"][0]["codec"]), (&Value::from("whip"), &Value::from(codec.to_lowercase())));
    let made: Vec<&str> = info["derived"].as_array().unwrap().iter().filter_map(|d| d["what"].as_str()).collect();
    assert_eq!(made, derived, "{info:#}");
    end(&server, &publisher);
    let ended = || get(&server.url("/api/v1/streams/live/cam1")).map(|(status, _)| status) == Some(404);
    wait_for("the stream to end after the reconnect window", ended, || server.log());
}

#[test]
fn a_browsers_h264_plays_everywhere() {
    plays_everywhere("H264", &["Opus → AAC"]);
}

#[test]
fn a_browsers_vp8_plays_everywhere() {
    plays_everywhere("VP8", &["VP8 → H.264", "Opus → AAC"]);
}

#[test]
fn a_browser_that_publishes_again_finds_its_viewers() {
    let server = Server::start();
    let first = whip(&server, "H264");
    let viewer = whep(&server);
    wait_for("a playlist", || media_playlist(&server).contains("#EXTINF"), || server.log());
    end(&server, &first);
    let _second = whip(&server, "H264");
    let before = pictures(&viewer);
    wait_for("the viewer to see it again", || pictures(&viewer) > before + 40, || viewer.output() + &server.log());
    assert_eq!(info(&server)["viewers"]["by_protocol"]["webrtc"], 1, "the same session");
    wait_for("the discontinuity in HLS", || media_playlist(&server).contains("#EXT-X-DISCONTINUITY\n"), || media_playlist(&server));
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
    let derived = info(&server)["derived"].clone();
    assert_eq!(derived.as_array().map(Vec::len), Some(1), "the one transcode goes on: {derived:#}");
}
