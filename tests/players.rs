//! hls.js, dash.js and Shaka over what a server does in the middle of a stream: an epoch ends, the next begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::time::Duration;

use common::captions::captioned;
use common::flv::{Clip, Publisher, make};
use common::recorded::{finished_mp4, recording};
use common::{Server, children_of, decode, get, node, signal, wait_for};

/// Two at a time: a small machine plays no more.
const PLAYERS: [[(&str, &str); 2]; 2] =
    [[("hls", "index.m3u8"), ("dash", "manifest.mpd")], [("shaka", "index.m3u8"), ("shaka", "manifest.mpd")]];
/// The part of a segment of 2 s that is announced when the child is killed, for each pair of players; what would come from there to the
/// next key frame is missing. Early for hls.js and dash.js. For Shaka less than a second is to be missing: 5.2.12 over HLS takes more out of its
/// timeline, but goes on counting what is available by the clock. That lies ahead of its timeline from then on, and the parser takes the
/// length of what it has left for the length of the window (`determineDuration_`): each update of the playlist can put more segments out
/// of it. Once there are none, it stops with a TypeError ("Result of the Symbol.iterator method is not an object"), and no playlist brings
/// it back. A viewer of Shaka over HLS who was there when the publisher went for 3 s loses the stream the same way. Only EXT-X-GAP for the lost
/// time kept Shaka from that; but with it the test of a returning publisher failed in 4 of 5 runs: in three hls.js 1.7.4 stood still for good.
const PARTS: [u32; 2] = [2, 6];

fn playlist(server: &Server) -> String {
    playlist_of(server, "v")
}

fn playlist_of(server: &Server, track: &str) -> String {
    get(&server.url(&format!("/live/cam1/{track}.m3u8"))).map(|(_, text)| text).unwrap_or_default()
}

fn kill_the_child(server: &Server, part: u32) {
    let announced = format!(".{part}.m4s\"");
    let due = || playlist(server).lines().any(|line| line.starts_with("#EXT-X-PRELOAD-HINT") && line.ends_with(&announced));
    wait_for("the middle of a segment", due, || server.log());
    children_of(server.pid()).into_iter().for_each(|pid| signal(pid, "KILL"));
}

#[test]
fn players_get_over_a_killed_pipeline_child() {
    let clip = make(Clip { seconds: 60, gop: 60, b_frames: 2, ..Default::default() });
    for (players, part) in PLAYERS.into_iter().zip(PARTS) {
        let server = Server::start();
        let _publisher = Publisher::start(server.rtmp, "live", "cam1", clip.clone(), |ts| ts);
        server.wait_live("live/cam1", 2);
        wait_for("segments", || playlist(&server).matches("#EXTINF").count() >= 4, || server.log());
        let plays = players.map(|(player, file)| format!("{player}={}", server.url(&format!("/live/cam1/{file}"))));
        let seen = std::thread::scope(|scope| {
            let seen = scope.spawn(|| node("through.mjs", &["24", &plays[0], &plays[1]]));
            // dash.js and Shaka are seconds behind: it comes to them in the middle.
            std::thread::sleep(Duration::from_secs(8));
            kill_the_child(&server, part);
            seen.join().unwrap()
        });
        eprintln!("{seen:#}");
        for track in ["v", "a"] {
            let list = playlist_of(&server, track);
            // The next child got it right the first time.
            assert_eq!(list.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{list}");
        }
        for seen in seen["seen"].as_array().unwrap() {
            assert!(seen["error"].is_null(), "{seen:#}");
            assert!(seen["lastSecondsFps"].as_f64() >= Some(15.0), "the picture moves afterwards: {seen:#}");
            // Shaka tells of everything that it asks for again: a part that was announced and died with the child (1001, a status of 404).
            let fatal = |event: &str| event.contains("FATAL") && !(seen["player"] == "shaka" && event == "FATAL 1001");
            assert!(!seen["events"].as_array().unwrap().iter().any(|event| fatal(event.as_str().unwrap())), "{seen:#}");
            assert!(seen["longestGapMs"].as_f64() < Some(6000.0), "{seen:#}");
        }
    }
}

#[test]
fn players_that_come_while_nobody_publishes_see_the_publisher_return() {
    let server = Server::start_with("[stream]\nreconnect_window = \"30s\"");
    let clip = |seconds| make(Clip { seconds, gop: 60, b_frames: 2, ..Default::default() });
    let (before, after) = (clip(8), clip(40));
    // Not Shaka over HLS, which stops for what is said at `PARTS`. Not dash.js: it plays what is there and waits for more of that Period; a
    // @duration for it let more of those who came go on, and all stop who had been there for longer.
    let players: [&[(&str, &str)]; 2] = [&PLAYERS[0][..1], &PLAYERS[1][1..]];
    for (name, players) in ["cam1", "cam2"].into_iter().zip(players) {
        Publisher::start(server.rtmp, "live", name, before.clone(), |ts| ts).wait();
        let mut args = vec!["22".to_owned()];
        args.extend(players.iter().map(|(player, file)| format!("{player}={}", server.url(&format!("/live/{name}/{file}")))));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // Longer than a low-latency player's delay, so that what is live for it is no longer there.
        std::thread::sleep(Duration::from_secs(4));
        let seen = std::thread::scope(|scope| {
            let seen = scope.spawn(|| node("through.mjs", &args));
            std::thread::sleep(Duration::from_secs(5));
            let _publisher = Publisher::start(server.rtmp, "live", name, after.clone(), |ts| ts);
            seen.join().unwrap()
        });
        eprintln!("{seen:#}");
        for seen in seen["seen"].as_array().unwrap() {
            assert!(seen["error"].is_null() && !seen["events"].to_string().contains("FATAL"), "{seen:#}");
            assert!(seen["lastSecondsFps"].as_f64() >= Some(15.0), "the picture moves afterwards: {seen:#}");
        }
    }
}

#[test]
fn hls_js_that_comes_in_just_behind_a_segments_start_plays_on() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 40, gop: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("segments", || playlist(&server).matches("#EXTINF").count() >= 4, || server.log());
    // In the second part of sound, each is 171 ms long. Whether it went wrong hung on how durations were rounded; then it stood still for as
    // long as parts are listed, 4 s. That near to live three players at once are what two cores bear without a pause.
    let seen = node("inside.mjs", &[&server.url("/live/cam1/index.m3u8"), "0.25", "3"]);
    eprintln!("{seen:#}");
    for seen in seen["seen"].as_array().unwrap() {
        assert!(seen["played"].as_f64() > Some(6.0), "of 8 s: {seen:#}");
    }
}

#[test]
fn hls_js_plays_on_over_a_long_way() {
    let server = Server::start();
    // At 24 pictures a second the last part of a segment is the shortest: 125 ms.
    let clip = |fps, gop| make(Clip { seconds: 45, gop, fps, ..Default::default() });
    let _publishers =
        [("24", 48), ("30", 60)].map(|(fps, gop)| Publisher::start(server.rtmp, "live", &format!("at{fps}"), clip(fps, gop), |ts| ts));
    let plays = ["24", "30"].map(|fps| format!("hls={}", server.url(&format!("/live/at{fps}/index.m3u8"))));
    for fps in ["24", "30"] {
        server.wait_live(&format!("live/at{fps}"), 2);
    }
    // A segment's last part is announced while the one before is on its way: it stood still for 4.6 s, at every third segment or so.
    let seen = node("through.mjs", &["20,100", &plays[0], &plays[1]]);
    eprintln!("{seen:#}");
    for seen in seen["seen"].as_array().unwrap() {
        assert!(seen["longestGapMs"].as_u64() < Some(2000) && seen["lastSecondsFps"].as_f64() > Some(10.0), "{seen:#}");
    }
}

#[test]
fn shaka_that_comes_between_two_segments_plays() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 75, gop: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("segments", || playlist(&server).contains("#EXTINF"), || server.log());
    let sequence = || playlist(&server).lines().find(|line| line.starts_with("#EXT-X-MEDIA-SEQUENCE:")).map(str::to_owned);
    let first = sequence();
    // The lists of pictures and sound begin with different segments at times. Shaka gets over that with the next update; what it then plays
    // first comes from a delta update.
    wait_for("the window to slide", || sequence() != first, || server.log());
    let seen = node("boundary.mjs", &[&server.url("/live/cam1/index.m3u8"), "6", "9"]);
    eprintln!("{seen:#}");
    for seen in seen["seen"].as_array().unwrap() {
        assert!(seen["frames"].as_u64() >= Some(30) && seen["events"].as_array().is_some_and(Vec::is_empty), "{seen:#}");
    }
}

#[test]
fn the_watch_page_comes_within_a_second_of_live() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 45, gop: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("segments", || playlist(&server).contains("#EXTINF"), || server.log());
    let seen = node("latency.mjs", &[&server.url("/live/cam1/"), "20"]);
    eprintln!("{seen}");
    // It aims at 0.8 s, and each stall on a busy machine adds a quarter.
    let allowed = 1000.0 + 250.0 * seen["stalls"].as_f64().unwrap();
    let best = seen["delays"].as_array().unwrap().iter().filter_map(|delay| delay.as_f64()).fold(f64::INFINITY, f64::min);
    assert!(best <= allowed, "{seen}");
}

/// Plays everything at once for so many seconds; `when` tells what went before.
fn play(server: &Server, seconds: &str, plays: &[(&str, &str)], when: &str) -> Vec<serde_json::Value> {
    let mut args = vec![seconds.to_owned()];
    args.extend(plays.iter().map(|(player, file)| format!("{player}={}", server.url(&format!("/live/cam1/{file}")))));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let seen = node("through.mjs", &args);
    eprintln!("{when}: {seen:#}");
    seen["seen"].as_array().unwrap().clone()
}

/// Nothing that a player can't get over.
fn assert_plays(seen: &serde_json::Value) {
    assert!(seen["error"].is_null() && !seen["events"].to_string().contains("FATAL"), "{seen:#}");
}

/// Players that come in show pictures soon, and go on.
fn come_in(server: &Server, players: &[(&str, &str)]) {
    for seen in play(server, "9", players, "in the middle") {
        assert_plays(&seen);
        assert!(seen["firstPictureMs"].as_f64() < Some(5000.0) && seen["lastSecondsFps"].as_f64() >= Some(15.0), "{seen:#}");
    }
}

/// Where there are fewer than three whole segments Shaka took the segment in the making for one in which it could look for captions, and failed.
#[test]
fn shaka_comes_to_a_stream_that_has_just_begun() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 40, gop: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("the first segment", || playlist(&server).contains("#EXTINF"), || server.log());
    for seen in play(&server, "6", &PLAYERS[1], "in the first seconds") {
        assert_plays(&seen);
        assert!(seen["firstPictureMs"].as_f64() < Some(5000.0), "{seen:#}");
    }
}

/// Also in a stream's first seconds, in which Shaka can't look for them itself.
#[test]
fn players_find_the_captions() {
    let server = Server::start();
    let clip = captioned(make(Clip { seconds: 40, gop: 60, ..Default::default() }));
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", clip, |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("the first segment", || playlist(&server).contains("#EXTINF"), || server.log());
    let urls = ["index.m3u8", "manifest.mpd"].map(|file| server.url(&format!("/live/cam1/{file}")));
    let seen = node("captions.mjs", &["14", &urls[0], &urls[1]]);
    eprintln!("{seen:#}");
    for seen in seen["seen"].as_array().unwrap() {
        assert_plays(seen);
        assert_eq!(seen["offered"], serde_json::json!(["CC1"]), "{seen:#}");
        assert!(seen["said"].to_string().contains("HELLO"), "{seen:#}");
    }
}

/// One key frame in a minute: who comes in is there within seconds, and who is there stays.
#[test]
fn players_come_into_the_middle_of_long_gops() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 70, gop: 1800, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("segments", || playlist(&server).contains("#EXTINF"), || server.log());
    // Here from the beginning, also when the pictures begin to be transcoded. The only key frame leaves the live edge at once.
    for seen in play(&server, "26", &PLAYERS[0], "from the beginning") {
        assert_plays(&seen);
        assert!(seen["firstPictureMs"].as_f64() < Some(5000.0) && seen["longestGapMs"].as_f64() < Some(3000.0), "{seen:#}");
        assert!(seen["lastSecondsFps"].as_f64() >= Some(15.0), "{seen:#}");
    }
    assert_eq!(playlist(&server).matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{}", playlist(&server));
    for players in [&PLAYERS[0][..], &PLAYERS[1][1..]] {
        come_in(&server, players);
    }
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
    let made = server.api("/api/v1/streams/live/cam1")["derived"][0]["what"].clone();
    assert_eq!(made, "H.264 with a key frame every 2 s");
}

/// What comes behind an epoch was once announced as if it belonged to that epoch: Shaka decoded it by the old parameter sets, and failed.
#[test]
fn shaka_over_hls_goes_on_in_the_next_epoch() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 60, gop: 1800, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("segments", || playlist(&server).contains("#EXTINF"), || server.log());
    // Here from the beginning, and when the pictures begin to be transcoded.
    for seen in play(&server, "32", &PLAYERS[1][..1], "from one epoch to the next") {
        assert_plays(&seen);
        assert!(seen["firstPictureMs"].as_f64() < Some(3000.0) && seen["lastSecondsFps"].as_f64() >= Some(15.0), "{seen:#}");
    }
    assert_eq!(playlist(&server).matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{}", playlist(&server));
}

/// A key frame every 8.3 s (OBS by default): who comes in far behind the last one begins there, and doesn't stand still before the next one.
#[test]
fn players_come_in_far_behind_a_key_frame() {
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 60, gop: 250, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    let far = || {
        let (_, list) = get(&server.url("/live/cam1/index.m3u8")).unwrap_or_default();
        let offset = list.split("TIME-OFFSET=-").nth(1).and_then(|rest| rest.split(',').next()?.parse::<f64>().ok());
        playlist(&server).matches("#EXTINF").count() >= 4 && offset.is_some_and(|offset| (5.5..7.0).contains(&offset))
    };
    wait_for("a place far behind a key frame", far, || server.log());
    for seen in play(&server, "9", &PLAYERS[0], "far behind a key frame") {
        assert_plays(&seen);
        assert!(seen["firstPictureMs"].as_f64() < Some(3000.0) && seen["longestGapMs"].as_f64() < Some(2000.0), "{seen:#}");
        assert!(seen["lastSecondsFps"].as_f64() >= Some(15.0), "{seen:#}");
    }
    wait_for("a place far behind a key frame", far, || server.log());
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
}

/// No key frame but the first (intra refresh): browsers begin with nothing else, so one has to be made for who comes in.
#[test]
fn players_come_in_where_no_key_frame_comes_again() {
    let server = Server::start();
    let more = ["-x264-params", "intra-refresh=1:keyint=30"];
    let clip = make(Clip { seconds: 45, gop: 30, more: &more, ..Default::default() });
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", clip, |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("a second epoch", || playlist(&server).contains("#EXT-X-DISCONTINUITY\n"), || server.log());
    for players in [&PLAYERS[0][..], &PLAYERS[1][1..]] {
        come_in(&server, players);
    }
}

/// Over HLS Shaka begins anew with every part that it takes for shifted by a millisecond, and loses the pictures up to the next key frame.
#[test]
fn shaka_over_hls_comes_in_where_no_key_frame_comes_again() {
    let server = Server::start();
    let more = ["-x264-params", "intra-refresh=1:keyint=30"];
    let clip = make(Clip { seconds: 45, gop: 30, more: &more, ..Default::default() });
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", clip, |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("a second epoch", || playlist(&server).contains("#EXT-X-DISCONTINUITY\n"), || server.log());
    come_in(&server, &PLAYERS[1][..1]);
}

/// Buffers that GStreamer took from there within ten seconds, as television boxes and kiosks do.
fn gstreamer(url: &str) -> usize {
    let play = ["-v", "uridecodebin", &format!("uri={url}"), "!", "fakesink", "silent=false", "sync=false"].map(str::to_owned);
    let output = std::process::Command::new("timeout").args(["10", "gst-launch-1.0"]).args(play).output().unwrap();
    String::from_utf8_lossy(&output.stdout).matches("chain").count()
}

#[test]
fn gstreamer_plays_live_and_recorded() {
    let server = Server::start();
    let mut publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 40, gop: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("segments", || playlist(&server).matches("#EXTINF").count() >= 4, || server.log());
    for name in ["index.m3u8", "manifest.mpd"] {
        let seen = gstreamer(&server.url(&format!("/live/cam1/{name}")));
        // dashdemux waited for each segment for as long as its Period began behind the presentation's beginning, a minute, and took none.
        assert!(seen >= 100, "{name}: {seen} buffers\n{}", server.log());
    }
    publisher.wait();
    finished_mp4(&server, "live/cam1");
    let urls = recording(&server, "live/cam1").unwrap()["urls"].clone();
    for way in ["hls", "dash"] {
        let seen = gstreamer(&server.url(urls[way].as_str().unwrap()));
        assert!(seen >= 1000, "{way} of the recording: {seen} buffers");
    }
}
