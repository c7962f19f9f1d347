//! headend's own pages in a real browser, against a real server: what a person sees and does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Server, Source, node, publish, wait_for};
use serde_json::Value;

fn scenario(server: &Server, name: &str) -> Value {
    let seen = node("pages.mjs", &[name, &server.url("/"), "live/cam1"]);
    assert!(seen["error"].is_null(), "{seen:#}");
    assert_eq!(seen["errors"], Value::from(Vec::<Value>::new()), "the console stays clean: {seen:#}");
    for (page, problems) in seen["problems"].as_object().into_iter().flatten() {
        assert_eq!(*problems, Value::from(Vec::<Value>::new()), "{page}");
    }
    seen
}

/// The files below a folder, with their content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let assets = folder.join("assets");
    let entries = [folder, &assets].into_iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file() && path.extension().unwrap() != "sha256");
    paths.map(|path| (path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn the_pages_in_the_repository_are_what_their_sources_make() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
    let made = tempfile::tempdir().unwrap();
    let built = Command::new("node").arg(root.join("build.mjs")).arg(made.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (made, kept) = (files(made.path()), files(&root.join("dist")));
    assert!(
        made.keys().eq(kept.keys()) && made == kept,
        "static/dist is older than its sources; run make pages and commit it: {:?}",
        kept.keys()
    );
}

#[test]
fn the_watch_page_plays_with_sound_and_takes_keys() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let seen = scenario(&server, "watch");
    assert_eq!((&seen["mode"], &seen["muted"], &seen["sound"]), (&"webrtc".into(), &false.into(), &true.into()), "{seen:#}");
    assert!(seen["keys"].as_object().unwrap().values().all(|worked| *worked == true), "{seen:#}");
}

#[test]
fn where_pages_may_not_begin_with_sound_a_button_brings_it() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let seen = scenario(&server, "silent");
    assert_eq!((&seen["before"], &seen["after"], &seen["paused"]), (&true.into(), &false.into(), &false.into()), "{seen:#}");
    assert_eq!(seen["mode"], "webrtc", "{seen:#}");
}

#[test]
fn without_webrtc_the_watch_page_falls_back_to_hls() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let seen = scenario(&server, "fallback");
    // 4 s for a connection to come about, and the loading of the page.
    for case in ["forbidden", "blocked"] {
        assert!(seen[case]["switched"].as_u64() < Some(6500), "{seen:#}");
    }
}

#[test]
fn the_publish_page_makes_a_waiting_watch_page_play() {
    let server = Server::start();
    let seen = scenario(&server, "publish");
    assert_eq!(seen["mode"], "webrtc", "{seen:#}");
}

#[test]
fn the_recording_page_plays_a_finished_recording() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"\n");
    let mut publisher = publish(&server.rtmp_url("live/cam1"), Source { seconds: 4, ..Default::default() });
    assert!(publisher.wait());
    let finished = || server.api("/api/v1/recordings")["items"][0]["state"] == "finished";
    wait_for("the recording to be finished", finished, || server.log());
    let seen = scenario(&server, "recording");
    assert_eq!(seen["download"], 206, "{seen:#}");
    assert!(seen["duration"].as_f64() > Some(2.5), "{seen:#}");
}
