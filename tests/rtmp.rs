//! RTMP in, everything out: what a person with OBS or ffmpeg gets, seen by real players.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use common::{Process, Server, Source, decode, ffprobe, get, node, publish, request, wait_for};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn assert_plays(seen: &Value, at_least: f64) {
    assert!(seen["error"].is_null() || seen["played"].as_f64() > Some(0.0), "{seen:#}");
    assert!(number(&seen["played"]) >= at_least, "{seen:#}");
    assert_eq!((&seen["width"], &seen["height"]), (&Value::from(640), &Value::from(360)), "{seen:#}");
    assert_eq!(seen["errors"], Value::from(Vec::<Value>::new()), "{seen:#}");
}

#[test]
fn a_browser_sees_and_hears_it_by_webrtc() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let seen = node("whep.mjs", &[&server.url("/live/cam1/whep"), "4"]);
    assert_eq!(seen["status"], 201, "{seen:#}");
    assert_plays(&seen, 3.0);
    assert!(number(&seen["fps"]) > 20.0, "{seen:#}");
    assert_eq!(seen["stats"]["video"]["plis"], 0, "the key-frame cache made asking unnecessary: {seen:#}");
    assert!(number(&seen["sound"]["rms"]) > 0.01, "{seen:#}");
    assert!((number(&seen["sound"]["hertz"]) - 440.0).abs() < 20.0, "the tone as it was sent: {seen:#}");
    assert_eq!(seen["ended"], 200, "{seen:#}");
    let info = server.api("/api/v1/streams/live/cam1");
    assert_eq!(info["derived"][0]["what"], "AAC → Opus", "{info:#}");
    assert_eq!(info["publisher"]["protocol"], "rtmp");
}

#[test]
fn hls_js_dash_js_and_shaka_play_it_from_another_origin() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    for (player, file) in [("hls", "index.m3u8"), ("shaka", "index.m3u8"), ("dash", "manifest.mpd"), ("shaka", "manifest.mpd")] {
        let seen = node("play.mjs", &[player, &server.url(&format!("/live/cam1/{file}")), "6"]);
        assert_plays(&seen, 4.0);
        assert!(number(&seen["audioBytes"]) > 0.0, "{player} {file}: {seen:#}");
        assert_eq!(seen["outside"], Value::from(Vec::<Value>::new()), "{player} asked a stranger: {seen:#}");
        let protocol = if file == "index.m3u8" { "hls" } else { "dash" };
        let viewers = &server.api("/api/v1/streams/live/cam1")["viewers"]["by_protocol"];
        assert!(viewers[protocol].as_u64() >= Some(1), "{player} {file}: {viewers}");
        if player == "hls" {
            assert!(number(&seen["latency"]) < 3.0, "low latency is in use: {seen:#}");
        }
    }
}

#[test]
fn ffmpeg_mpv_and_vlc_play_it() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    for file in ["index.m3u8", "manifest.mpd"] {
        let url = server.url(&format!("/live/cam1/{file}"));
        let (good, complaints) = decode(&url, 3);
        assert!(good, "ffmpeg {file}: {complaints}");
        let out = std::process::Command::new("timeout")
            .args(["40", "mpv", "--no-config", "--vo=null", "--ao=null", "--length=2", "--msg-level=all=info", &url])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains("VO: [null] 640x360") && text.contains("AO: [null] 48000Hz"), "mpv {file}: {text}");
    }
    let rtmp = server.rtmp_url("live/cam1");
    let (good, complaints) = decode(&rtmp, 3);
    assert!(good, "ffmpeg over RTMP: {complaints}");
    // VLC refuses to run as root.
    let vlc = ["cvlc", "--vout", "dummy", "--aout", "dummy", "-vv", "--run-time", "4"];
    let is_root = std::process::Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    let prefix: &[&str] = if is_root { &["40", "runuser", "-u", "nobody", "--"] } else { &["40"] };
    let out = std::process::Command::new("timeout")
        .args(prefix)
        .args(vlc)
        .args([&server.url("/live/cam1/index.m3u8"), "vlc://quit"])
        .env("HOME", server.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(text.contains("Received first picture") || text.contains("decoder wait done") || text.contains("Buffering 100"), "vlc: {text}");
}

#[test]
fn the_recording_downloads_while_it_grows_and_plays_afterwards() {
    let server = Server::start();
    let mut publisher = publish(&server.rtmp_url("live/cam1"), Source { seconds: 12, ..Default::default() });
    server.wait_live("live/cam1", 2);
    let list = server.url("/api/v1/recordings");
    let first = || get(&list).and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok()).map(|page| page["items"][0].clone());
    wait_for("four seconds to be recorded", || first().is_some_and(|item| item["duration"].as_f64() > Some(4.0)), || server.log());
    let item = first().unwrap();
    assert_eq!((&item["path"], &item["live"]), (&Value::from("live/cam1"), &Value::from(true)), "{item:#}");
    let mp4 = server.url(item["urls"]["mp4"].as_str().unwrap());
    let growing = server.dir.path().join("growing.mp4");
    let (status, head, body) = request("GET", &mp4, &[]).unwrap();
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("accept-ranges: bytes") && head.contains("content-disposition: attachment"), "{head}");
    std::fs::write(&growing, &body).unwrap();
    let (good, complaints) = decode(growing.to_str().unwrap(), 60);
    assert!(good && complaints.is_empty(), "{complaints}");
    // A download that broke off is resumed from the very same file.
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let range = format!("Range: bytes=1000-{}", body.len() - 1);
    let (status, head, rest) = request("GET", &mp4, &["-H", &range, "-H", &format!("If-Range: {etag}")]).unwrap();
    assert_eq!(status, 206, "{head}");
    assert!(rest == body[1000..], "the rest of the same snapshot");
    let (status, head, body) = request("GET", &mp4, &["-H", "Range: bytes=-0"]).unwrap();
    assert!(status == 416 && head.contains("content-range: bytes */") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["code"], "range_not_satisfiable");

    assert!(publisher.wait());
    wait_for("the recording to end", || first().is_some_and(|item| item["live"] == false), || server.log());
    let seen = ffprobe(&mp4);
    let duration: f64 = seen["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((11.0..=13.0).contains(&duration), "{seen:#}");
    let frames: u32 = seen["streams"][0]["nb_read_packets"].as_str().unwrap().parse().unwrap();
    assert!((350..=360).contains(&frames), "{frames} of 360 pictures");
    let item = first().unwrap();
    for url in ["mp4", "hls", "dash"] {
        let url = server.url(item["urls"][url].as_str().unwrap());
        let (good, complaints) = decode(&url, 60);
        assert!(good, "{url}: {complaints}");
    }
    let seen = node("play.mjs", &["hls", &server.url(item["urls"]["hls"].as_str().unwrap()), "3"]);
    assert_plays(&seen, 2.0);
    let seen = node("play.mjs", &["dash", &server.url(item["urls"]["dash"].as_str().unwrap()), "3"]);
    assert_plays(&seen, 2.0);
}

#[test]
fn b_frames_are_taken_out_for_webrtc() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source { b_frames: 2, ..Default::default() });
    server.wait_live("live/cam1", 2);
    // Seen with the first picture, which may come a moment after the tracks.
    let info = || server.api("/api/v1/streams/live/cam1");
    wait_for("B-frames to be seen", || info()["tracks"][0]["b_frames"] == true, || format!("{:#}", info()));
    let seen = node("whep.mjs", &[&server.url("/live/cam1/whep"), "5"]);
    assert_plays(&seen, 4.0);
    assert!(number(&seen["fps"]) > 20.0, "the full frame rate: {seen:#}");
    let info = server.api("/api/v1/streams/live/cam1");
    let derived: Vec<&str> = info["derived"].as_array().unwrap().iter().filter_map(|track| track["what"].as_str()).collect();
    assert!(derived.contains(&"H.264 without B-frames"), "{info:#}");
    let warnings: Vec<&str> = info["warnings"].as_array().unwrap().iter().filter_map(|warning| warning["code"].as_str()).collect();
    assert!(warnings.contains(&"b_frames"), "{info:#}");
    // HLS needs no transcoding for them.
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
}

#[test]
fn b_frames_are_dropped_where_that_is_wanted() {
    let server = Server::start_with("[webrtc]\nb_frames = \"drop\"\n");
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source { b_frames: 2, b_pyramid: false, ..Default::default() });
    server.wait_live("live/cam1", 2);
    let seen = node("whep.mjs", &[&server.url("/live/cam1/whep"), "5"]);
    assert_plays(&seen, 4.0);
    assert!(number(&seen["fps"]) > 5.0, "a lower frame rate, but no standstill: {seen:#}");
    assert!(number(&seen["stats"]["video"]["plis"]) <= 1.0, "{seen:#}");
    let derived = server.api("/api/v1/streams/live/cam1")["derived"].to_string();
    assert!(!derived.contains("B-frames"), "{derived}");
}

#[test]
fn b_frames_that_others_refer_to_can_only_be_transcoded() {
    let server = Server::start_with("[webrtc]\nb_frames = \"drop\"\n");
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source { b_frames: 2, ..Default::default() });
    server.wait_live("live/cam1", 2);
    let seen = node("whep.mjs", &[&server.url("/live/cam1/whep"), "5"]);
    assert_plays(&seen, 4.0);
    assert!(number(&seen["fps"]) > 20.0, "{seen:#}");
}

#[test]
fn audio_alone_and_video_alone_work() {
    let server = Server::start();
    let _audio = publish(&server.rtmp_url("live/radio"), Source { video: false, ..Default::default() });
    let _video = publish(&server.rtmp_url("live/silent"), Source { audio: false, ..Default::default() });
    server.wait_live("live/radio", 1);
    server.wait_live("live/silent", 1);
    for path in ["radio", "silent"] {
        for file in ["index.m3u8", "manifest.mpd"] {
            let (good, complaints) = decode(&server.url(&format!("/live/{path}/{file}")), 3);
            assert!(good, "{path} {file}: {complaints}");
        }
    }
    let seen = node("whep.mjs", &[&server.url("/live/silent/whep"), "3"]);
    assert_plays(&seen, 2.0);
}

#[test]
fn what_browsers_cant_decode_is_told_and_where_possible_mended() {
    let server = Server::start();
    let ffmpeg = |codec: &[&str], path: &str| {
        let url = server.rtmp_url(path);
        let input = ["-hide_banner", "-loglevel", "warning", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15", "-t", "120"];
        Process::start("ffmpeg", &[&input[..], codec, &["-g", "30", "-f", "flv", &url]].concat())
    };
    let mut sorenson = ffmpeg(&["-c:v", "flv1"], "live/old");
    let _chroma = ffmpeg(&["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv422p", "-profile:v", "high422"], "live/rich");
    server.wait_live("live/rich", 1);
    let (good, complaints) = decode(&server.url("/live/rich/index.m3u8"), 3);
    assert!(good, "{complaints}");
    let (_, playlist) = get(&server.url("/live/rich/index.m3u8")).unwrap();
    assert!(playlist.contains("avc1.42"), "constrained baseline: {playlist}");
    let codes =
        |info: &Value| info["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(codes(&server.api("/api/v1/streams/live/rich")), ["video_format"]);
    // Nothing of it can be carried: it is listed all the same, and stays.
    let info = server.api("/api/v1/streams/live/old");
    assert_eq!((codes(&info), info["tracks"].as_array().unwrap().len()), (vec!["video_codec".to_owned()], 0), "{info:#}");
    assert!(info["warnings"][0]["message"].as_str().unwrap().contains("Sorenson"), "{info:#}");
    assert!(sorenson.is_running());
}

#[test]
fn keys_and_tokens_are_asked_for() {
    let server = Server::start_with(
        "[stream]\npublish_keys = [{ paths = \"live/*\", secret = \"k1\" }]\nviewer_tokens = [{ paths = \"live/cam1\", secret = \"t1\" }]\n",
    );
    let mut refused = publish(&server.rtmp_url("live/cam1"), Source { seconds: 5, ..Default::default() });
    assert!(!refused.wait(), "no key, no stream");
    let _publisher = publish(&server.rtmp_url("live/cam1?token=k1"), Source::default());
    wait_for("the playlist", || get(&server.url("/live/cam1/index.m3u8?token=t1")).map(|(status, _)| status) == Some(200), || server.log());
    assert_eq!(get(&server.url("/live/cam1/index.m3u8")).unwrap().0, 401);
    assert_eq!(get(&server.url("/live/cam1/index.m3u8?token=no")).unwrap().0, 403);
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8?token=t1"), 2);
    assert!(good, "the token goes on to segments: {complaints}");
    assert_eq!(get(&server.url("/api/v1/streams")).unwrap().1, "{\"items\":[],\"next\":null}", "what may not be watched is not listed");
    let listed: Value = serde_json::from_str(&get(&server.url("/api/v1/recordings?token=t1")).unwrap().1).unwrap();
    let mp4 = server.url(listed["items"][0]["urls"]["mp4"].as_str().unwrap());
    assert_eq!(get(&mp4).unwrap().0, 401);
    let hls = server.url(listed["items"][0]["urls"]["hls"].as_str().unwrap());
    let (good, complaints) = decode(&format!("{hls}?token=t1"), 1);
    assert!(good, "the token goes on in recordings too: {complaints}");
    for url in [&mp4, &hls] {
        let (status, head, _) = request("GET", &format!("{url}?token=t1"), &[]).unwrap();
        assert_eq!(status, 200, "{url}");
        assert!(head.contains("cache-control: private, "), "shared caches would give it to everybody: {head}");
    }
}
