//! The media path from end to end: sound and picture stay together, whatever publishers do to their streams.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::path::Path;
use std::time::Duration;

use common::av::{Onsets, onsets};
use common::flv::{Clip, Connection, Publisher, Tag, join, make};
use common::hls::Client;
use common::recorded::{finished_mp4, packets, recording, video_frames, wait_duration};
use common::{Server, decode, get, node, wait_for};
use serde_json::Value;

/// All complete segments of a track that are listed, behind their initialization. One discontinuity at most is expected.
fn download(server: &Server, path: &str, track: &str, into: &Path) -> usize {
    let mut client = Client::new(server.http);
    let list = client.playlist(&format!("/{path}/{track}.m3u8"));
    let first = &list.segments[0];
    let mut bytes = client.file(&format!("/{path}/{}", first.map));
    let mut count = 0;
    for segment in list.segments.iter().filter(|segment| !segment.uri.is_empty() && segment.map == first.map) {
        bytes.extend(client.file(&format!("/{path}/{}", segment.uri)));
        count += 1;
    }
    std::fs::write(into, bytes).unwrap();
    count
}

/// Whether the picture moved to the end, for a player of through.mjs.
fn assert_got_through(seen: &Value, fps: f64) {
    assert_eq!(seen["error"], Value::Null, "{seen:#}");
    assert!(seen["lastSecondsFps"].as_f64() >= Some(fps), "{seen:#}");
    assert!(!seen["events"].to_string().contains("FATAL"), "{seen:#}");
}

#[test]
fn sound_and_picture_stay_together_on_every_way_out() {
    let server = Server::start();
    for (path, b_frames) in [("plain", 0), ("reordered", 2)] {
        let tags = make(Clip { b_frames, seconds: 24, ..Default::default() });
        let mut publisher = Publisher::start(server.rtmp, "live", path, tags, |ts| ts);
        let path = format!("live/{path}");
        server.wait_live(&path, 2);
        wait_duration(&server, &path, 9.0);
        // LL-HLS, each track by itself: only its own decode times hold them together.
        let dir = server.dir.path();
        let (video, audio) = (dir.join("v.mp4"), dir.join("a.mp4"));
        assert!(download(&server, &path, "v", &video) >= 3 && download(&server, &path, "a", &audio) >= 3);
        let (video, audio) = (onsets(video.to_str().unwrap(), 30, dir), onsets(audio.to_str().unwrap(), 30, dir));
        Onsets { flashes: video.flashes, beeps: audio.beeps, complaints: String::new() }.assert_in_sync(
            &format!("{path} segments"),
            4,
            5.0,
        );
        // ffmpeg may read the beginning of a live manifest twice, and decodes sound from the middle then.
        onsets(&server.url(&format!("/{path}/manifest.mpd")), 5, dir).assert_in_sync(&format!("{path} DASH"), 3, 10.0);
        onsets(&server.url(&format!("/{path}/index.m3u8")), 15, dir).assert_in_sync(&format!("{path} HLS"), 3, 5.0);
        // Where a browser puts the segments, exactly: playing them, it would add its own jitter.
        let seen = node("mse.mjs", &[&server.url(&format!("/{path}"))]);
        eprintln!("{path} in a browser: {seen}");
        let offset = |track: &str| seen[track]["offset"].as_f64().unwrap();
        assert!((offset("v") - offset("a")).abs() <= 2.0, "{seen:#}"); // playlists have whole milliseconds
        for track in ["v", "a"] {
            assert!(seen[track]["ranges"] == 1 && seen[track]["longer"].as_f64().unwrap().abs() <= 2.0, "{seen:#}");
        }
        publisher.wait();
        let mp4 = finished_mp4(&server, &path);
        let seen = onsets(&mp4, 60, dir);
        assert_eq!(seen.complaints, "");
        seen.assert_in_sync(&format!("{path} MP4"), 20, 5.0);
        let urls = recording(&server, &path).unwrap()["urls"].clone();
        for way in ["hls", "dash"] {
            onsets(&server.url(urls[way].as_str().unwrap()), 60, dir).assert_in_sync(&format!("{path} VOD {way}"), 20, 5.0);
        }
    }
}

/// `cargo test --test media -- --ignored` on a machine with nothing else to do: a browser that is short of processor time holds back
/// sound and pictures by different times.
#[test]
#[ignore = "needs a quiet machine"]
fn sound_and_picture_stay_together_by_webrtc() {
    let server = Server::start();
    for (path, b_frames) in [("plain", 0), ("reordered", 2)] {
        let tags = make(Clip { b_frames, seconds: 26, ..Default::default() });
        let _publisher = Publisher::start(server.rtmp, "live", path, tags, |ts| ts);
        server.wait_live(&format!("live/{path}"), 2);
        let seen = node("sync.mjs", &["whep", &server.url(&format!("/live/{path}/whep")), "18"]);
        eprintln!("{path} by WebRTC: {seen}");
        assert!(seen["apart"].as_array().is_some_and(|apart| apart.len() >= 3), "{seen:#}");
        assert!(seen["median"].as_f64().is_some_and(|ms| ms.abs() <= 60.0), "{seen:#}");
    }
}

/// What a publisher does in the middle of its stream.
struct Change {
    name: &'static str,
    tags: Vec<Tag>,
    rewrite: fn(u32) -> u32,
    /// Whether players must be told of a discontinuity. Jumps of the clock alone are mended: the timeline goes on as time does.
    discontinuity: bool,
}

/// Milliseconds of an unchanged stream before a change.
const BEFORE: u32 = 8000;

fn changes() -> Vec<Change> {
    let clip = |size, audio_rate, seconds| make(Clip { size, audio_rate, seconds, ..Default::default() });
    // Long enough for a browser that takes its time to start: it is to see the stream after the change, too.
    let after = 14;
    let plain = clip("320x180", 48000, BEFORE / 1000 + after);
    let change = |name, tags, rewrite, discontinuity| Change { name, tags, rewrite, discontinuity };
    vec![
        change("size", join(&[clip("320x180", 48000, 8), clip("480x270", 48000, after)]), |ts| ts, true),
        change("rate", join(&[clip("320x180", 48000, 8), clip("320x180", 44100, after)]), |ts| ts, true),
        change("ahead", plain.clone(), |ts| if ts < BEFORE { ts } else { ts + 3_600_000 }, false),
        change("zero", plain.clone(), |ts| if ts < BEFORE { ts + 500_000 } else { ts - BEFORE }, false),
        change("wrap", plain, |ts| ts.wrapping_sub(BEFORE), false),
    ]
}

#[test]
fn publishers_may_change_in_the_middle_of_their_stream() {
    // Two streams, and four players of them, at a time: with ten, hls.js got so little of a small machine that it left out a part and stood.
    changes().chunks(2).for_each(watch_changes);
}

fn watch_changes(changes: &[Change]) {
    let server = Server::start();
    let mut publishers = Vec::new();
    let mut plays = Vec::new();
    for change in changes {
        publishers.push(Publisher::start(server.rtmp, "live", change.name, change.tags.clone(), change.rewrite));
        let path = format!("live/{}", change.name);
        plays.push(format!("whep={}", server.url(&format!("/{path}/whep"))));
        plays.push(format!("hls={}", server.url(&format!("/{path}/index.m3u8"))));
    }
    let mut args = vec!["13"];
    args.extend(plays.iter().map(String::as_str));
    for change in changes {
        server.wait_live(&format!("live/{}", change.name), 2);
    }
    let seen = node("through.mjs", &args);
    eprintln!("{seen:#}");
    for change in changes {
        let list = get(&server.url(&format!("/live/{}/v.m3u8", change.name))).unwrap().1;
        // It may have left the list by now.
        let told = list.contains("#EXT-X-DISCONTINUITY\n") || list.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n");
        assert!(told || !change.discontinuity, "{}: {list}\n{}", change.name, server.log());
    }
    publishers.iter_mut().for_each(Publisher::wait);
    let dir = server.dir.path();
    for change in changes {
        let mp4 = finished_mp4(&server, &format!("live/{}", change.name));
        let (good, complaints) = decode(&mp4, 60);
        // Where two epochs meet, pictures may be nearer to each other than a frame: ffmpeg's null output remarks on it.
        let serious = complaints.lines().any(|line| !line.is_empty() && !line.contains("non monotonically increasing dts to muxer"));
        assert!(good && !serious, "{}: {complaints}", change.name);
        let (sent, kept) = (video_frames(&change.tags) as u64, packets(&mp4, "video"));
        let (spoken, heard) = (change.tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header()).count() as u64, packets(&mp4, "audio"));
        eprintln!("{}: {kept} of {sent} pictures, {heard} of {spoken} frames of sound", change.name);
        assert!(heard + 3 >= spoken, "{}: {heard} of {spoken} frames of sound", change.name);
        onsets(&mp4, 60, dir).assert_in_sync(&format!("{} MP4", change.name), 6, 40.0); // ffmpeg's dump begins anew with another size
        assert!(kept + 2 >= sent, "{}: {kept} of {sent} pictures", change.name);
    }
    for seen in seen["seen"].as_array().unwrap() {
        assert_got_through(seen, 5.0);
    }
}

#[test]
fn a_publisher_that_returns_continues_its_recording() {
    let server = Server::start();
    // Made beforehand, so that the publisher is away as long as is said below.
    let (tags, longer) = (make(Clip { seconds: 9, ..Default::default() }), make(Clip { seconds: 14, ..Default::default() }));
    let mut publisher = Publisher::start(server.rtmp, "live", "cam1", tags.clone(), |ts| ts);
    server.wait_live("live/cam1", 2);
    let plays = [format!("hls={}", server.url("/live/cam1/index.m3u8")), format!("dash={}", server.url("/live/cam1/manifest.mpd"))];
    let viewer = std::thread::spawn(move || node("through.mjs", &["26", &plays[0], &plays[1]]));
    publisher.wait();
    // Most of the reconnect window, and more than any of the players has buffered.
    std::thread::sleep(Duration::from_secs(6));
    Publisher::start(server.rtmp, "live", "cam1", longer.clone(), |ts| ts).wait();
    let seen = viewer.join().unwrap();
    eprintln!("{seen:#}");
    let mp4 = finished_mp4(&server, "live/cam1");
    let (good, complaints) = decode(&mp4, 60);
    assert!(good && complaints.is_empty(), "{complaints}");
    onsets(&mp4, 60, server.dir.path()).assert_in_sync("MP4 over a reconnect", 15, 60.0); // where it returns, sound before the first picture is lost
    let (sent, kept) = ((video_frames(&tags) + video_frames(&longer)) as u64, packets(&mp4, "video"));
    assert!(kept + 2 >= sent, "{kept} of {sent} pictures");
    assert_eq!(server.api("/api/v1/recordings")["items"].as_array().unwrap().len(), 1, "one recording");
    for seen in seen["seen"].as_array().unwrap() {
        assert_eq!(seen["error"], Value::Null, "{seen:#}");
        assert!(!seen["events"].to_string().contains("FATAL"), "{seen:#}");
        assert!(seen["frames"].as_u64() > Some(150) && seen["lastSecondsFps"].as_f64() > Some(10.0), "{seen:#}");
    }
}

#[test]
fn a_publisher_that_is_gone_at_once_leaves_a_recording_of_all() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    // Pictures, how far their key frames are apart, whether there is sound. The last one is megabytes ahead of what is read when it goes.
    let publishers = [(1, 30, false), (1, 30, true), (9, 1, true), (9, 30, false), (400, 30, true), (1500, 1, true)];
    for (n, (pictures, gop, sound)) in publishers.into_iter().enumerate() {
        let (frames, gop, url) = (pictures.to_string(), gop.to_string(), format!("rtmp://127.0.0.1:{}/live/cam{n}", server.rtmp));
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30"]);
        if sound {
            ffmpeg.args(["-f", "lavfi", "-i", "sine=440:r=48000", "-c:a", "aac", "-shortest"]);
        }
        ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", &gop, "-frames:v", &frames, "-f", "flv", &url]);
        assert!(ffmpeg.status().unwrap().success());
    }
    for (n, (pictures, gop, sound)) in publishers.into_iter().enumerate() {
        let mp4 = finished_mp4(&server, &format!("live/cam{n}"));
        assert_eq!(packets(&mp4, "video"), pictures, "with key frames every {gop}");
        assert!(pictures < 9 || (packets(&mp4, "audio") > 0) == sound, "{pictures} with sound: {sound}");
        let (good, complaints) = decode(&mp4, 60);
        assert!(good && complaints.is_empty(), "{complaints}");
    }
}

/// A file of clips that is pushed at once: its format has changed several times before anybody has read the first picture.
#[test]
fn every_change_of_a_file_that_is_pushed_at_once_is_recorded() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    let clip = |size, channels| make(Clip { size, channels, seconds: 2, ..Default::default() });
    let (small, large) = (clip("320x180", 2), clip("480x270", 2));
    let tags = join(&[small.clone(), large.clone(), small.clone(), large, small]);
    let mut publisher = Connection::publish(server.rtmp, "live", "cam1");
    tags.iter().for_each(|tag| publisher.send(tag));
    drop(publisher);
    let mp4 = finished_mp4(&server, "live/cam1");
    let sound = tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header()).count() as u64;
    assert_eq!(packets(&mp4, "video"), video_frames(&tags) as u64, "{}", server.log());
    // Where clips meet, sound may be a frame longer or shorter than the pictures.
    assert!(packets(&mp4, "audio") + 5 >= sound, "{} of {sound} frames of sound", packets(&mp4, "audio"));
    let (good, complaints) = decode(&mp4, 60);
    let serious = complaints.lines().any(|line| !line.is_empty() && !line.contains("non monotonically increasing dts to muxer"));
    assert!(good && !serious, "{complaints}");
}

/// Its only key frame is gone from the cache by then.
#[test]
fn rtmp_players_come_into_a_long_gop() {
    let server = Server::start();
    let tags = make(Clip { size: "160x90", fps: "15", gop: 9999, seconds: 40, ..Default::default() });
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", tags, |ts| ts);
    wait_duration(&server, "live/cam1", 18.0);
    let player = ["-v", "error", "-nostdin", "-t", "2", "-i", &server.rtmp_url("live/cam1"), "-map", "0:v:0", "-f", "null", "-"];
    assert!(std::process::Command::new("ffmpeg").args(player).status().unwrap().success(), "{}", server.log());
}

/// An encoder whose microphone isn't there announces sound and sends none, or sends it later.
#[test]
fn pictures_do_not_wait_for_sound_that_was_only_announced() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    let tags = make(Clip { seconds: 12, ..Default::default() });
    let publish = |key, sound_from: u32| {
        let kept = |tag: &&Tag| tag.kind == 9 || tag.is_header() || tag.ts >= sound_from;
        Publisher::start(server.rtmp, "live", key, tags.iter().filter(kept).cloned().collect(), |ts| ts)
    };
    let mut publishers = [publish("never", u32::MAX), publish("later", 6_000)];
    let mut client = Client::new(server.http);
    wait_for("pictures", || client.get("/live/never/v.m3u8").0 == 200 && client.get("/live/later/v.m3u8").0 == 200, || server.log());
    assert_eq!(client.get("/live/never/a.m3u8").0, 404);
    assert!(publishers.iter().all(|publisher| !publisher.is_over()), "the playlists are there while they publish");
    let warnings = || server.api("/api/v1/streams/live/never")["warnings"].to_string();
    wait_for("the warning", || warnings().contains("no_sound"), || server.log());
    assert!(!warnings().contains("no_segments"), "{}", warnings());
    publishers.iter_mut().for_each(Publisher::wait);
    for (key, sound) in [("never", 0), ("later", 200)] {
        let mp4 = finished_mp4(&server, &format!("live/{key}"));
        assert_eq!(packets(&mp4, "video"), video_frames(&tags) as u64, "{key}");
        assert!(packets(&mp4, "audio") >= sound, "{key}: {}", packets(&mp4, "audio"));
        let (good, complaints) = decode(&mp4, 60);
        assert!(good, "{key}: {complaints}");
    }
}

#[test]
fn a_publisher_that_sends_as_fast_as_it_can_takes_nothing_from_the_others() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    let tags = make(Clip { seconds: 8, ..Default::default() });
    let mut publisher = Publisher::start(server.rtmp, "live", "cam1", tags.clone(), |ts| ts);
    server.wait_live("live/cam1", 2);
    // A quarter of an hour of pictures in no time, to each worker: also to the one that reads the first publisher. What never ends a chunk must
    // not end the child that it shares with others. With sound beside them time passes, since its samples are counted: that one is held.
    let all: Vec<Tag> = (0..100).flat_map(|_| tags.iter().map(|tag| Tag { ts: 0, ..tag.clone() })).collect();
    let pictures: Vec<Tag> = all.iter().filter(|tag| tag.kind == 9).cloned().collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let floods: Vec<Publisher> =
        (0..workers).map(|n| Publisher::start(server.rtmp, "live", &format!("flood{n}"), pictures.clone(), |ts| ts)).collect();
    let _held = Publisher::start(server.rtmp, "live", "held", all, |ts| ts);
    publisher.wait();
    let mp4 = finished_mp4(&server, "live/cam1");
    let (sent, kept) = (video_frames(&tags) as u64, packets(&mp4, "video"));
    assert_eq!(kept, sent, "pictures kept of those that were sent");
    floods.into_iter().for_each(|mut flood| flood.wait());
    let (_, metrics) = get(&server.url("/metrics")).unwrap();
    assert!(metrics.contains("headend_pipeline_children_died_total 0\n"), "{}", server.log());
}

#[test]
fn every_usual_rate_and_format_passes() {
    let server = Server::start();
    let clips: [(&str, Clip<'_>); 9] = [
        ("24", Clip { fps: "24", gop: 48, ..Default::default() }),
        ("25-mono", Clip { fps: "25", gop: 50, audio_rate: 44100, channels: 1, ..Default::default() }),
        ("29-97", Clip { fps: "30000/1001", gop: 60, ..Default::default() }),
        ("50", Clip { fps: "50", gop: 100, ..Default::default() }),
        ("60", Clip { fps: "60", gop: 120, ..Default::default() }),
        (
            "variable",
            Clip {
                gop: 40,
                more: &["-vf", "select='not(mod(n,7)*mod(n,11)*mod(n,3))+lt(mod(n,30),4)'", "-vsync", "vfr"],
                ..Default::default()
            },
        ),
        ("surround", Clip { channels: 6, ..Default::default() }),
        ("long-gop", Clip { gop: 250, more: &["-force_key_frames", "0,8.3"], seconds: 17, ..Default::default() }),
        (
            "huge",
            Clip { size: "1920x1080", gop: 15, fps: "15", more: &["-crf", "12", "-vf", "noise=alls=60"], seconds: 4, ..Default::default() },
        ),
    ];
    let mut publishers = Vec::new();
    for (name, clip) in clips {
        let seconds = clip.seconds.max(10);
        let tags = make(Clip { seconds, ..clip });
        let largest = tags.iter().map(|tag| tag.data.len()).max().unwrap_or(0);
        eprintln!("{name}: largest frame {largest} bytes");
        if name == "huge" {
            assert!(largest > 1_000_000, "{largest}");
        }
        publishers.push((name, tags));
    }
    let mut running: Vec<Publisher> =
        publishers.iter().map(|(name, tags)| Publisher::start(server.rtmp, "live", name, tags.clone(), |ts| ts)).collect();
    std::thread::sleep(Duration::from_secs(5));
    // In the middle of a GOP of 8.3 s: WebRTC begins at once, from the cache.
    let seen = node("through.mjs", &["4", &format!("whep={}", server.url("/live/long-gop/whep"))]);
    eprintln!("{seen:#}");
    assert!(seen["seen"][0]["firstPictureMs"].as_f64() < Some(3000.0), "{seen:#}");
    let dir = server.dir.path();
    running.iter_mut().for_each(Publisher::wait);
    for (name, tags) in &publishers {
        let mp4 = finished_mp4(&server, &format!("live/{name}"));
        let (good, complaints) = decode(&mp4, 60);
        assert!(good && complaints.is_empty(), "{name}: {complaints}");
        let (sent, kept) = (video_frames(tags) as u64, packets(&mp4, "video"));
        eprintln!("{name}: {kept} of {sent} pictures");
        assert!(kept + 2 >= sent, "{name}: {kept} of {sent} pictures");
        let sound = (tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header()).count() as u64, packets(&mp4, "audio"));
        // Sound that comes before the first picture is lost.
        assert!(sound.1 + 3 >= sound.0, "{name}: {sound:?} frames of sound");
        if *name != "huge" {
            onsets(&mp4, 60, dir).assert_in_sync(name, 8, 15.0); // with 29.97 pictures a second, the flashes drift away from the beeps
        }
    }
}

/// The strictest LL-HLS player there could be: takes every part at the moment it is announced. Gives latencies in ms.
fn follow(server: &Server, path: &str, track: &str, seconds: u64, publisher: &Publisher) -> Vec<f64> {
    let mut client = Client::new(server.http);
    let base = format!("/{path}");
    let file = format!("{base}/{track}.m3u8");
    let mut list = client.playlist(&file);
    let began = list.segments[0].pdt.unwrap(); // joined early: the stream's first segment is still listed
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    let mut latencies = Vec::new();
    let mut media: Vec<u8> = client.file(&format!("{base}/{}", list.segments[0].map));
    let mut segments: std::collections::BTreeMap<u64, Vec<u8>> = Default::default();
    let mut missed: std::collections::BTreeSet<u64> = Default::default();
    let mut known: std::collections::BTreeMap<u64, common::hls::Segment> = Default::default();
    while std::time::Instant::now() < end {
        // Between two segments nothing is promised: what comes is the next one's first part.
        let (msn, part) = if list.hint.is_some() { list.next() } else { (list.next().0 + 1, 0) };
        let hint = list.hint.clone().unwrap_or_else(|| format!("{track}-{msn}.{part}.m4s"));
        let asked = std::time::Instant::now();
        let bytes = client.file(&format!("{base}/{hint}"));
        let at = common::flv::unix_ms();
        assert!(asked.elapsed() < Duration::from_millis(2500), "a stall of {:?}", asked.elapsed());
        segments.entry(msn).or_default().extend(&bytes);
        let next = client.playlist(&format!("{file}?_HLS_msn={msn}&_HLS_part={part}"));
        assert!(next.next() > (msn, part), "blocking reload gave {:?} for {:?}", next.next(), (msn, part));
        let delta = client.playlist(&format!("{file}?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES"));
        for segment in &delta.segments {
            if let Some(whole) =
                next.segments.iter().find(|whole| whole.number == segment.number && whole.duration > 0.0 && segment.duration > 0.0)
            {
                assert_eq!(
                    (&whole.uri, whole.pdt, whole.discontinuity),
                    (&segment.uri, segment.pdt, segment.discontinuity),
                    "the delta update"
                );
            }
        }
        let named = next.segments.iter().find(|segment| segment.number == msn).unwrap();
        assert_eq!(named.parts[part].1, hint, "the hint was kept");
        // On a machine that is too busy, parts come faster than they are asked for.
        if named.parts.len() > part + 1 || (next.next().0 > msn && next.next().1 > 0) {
            missed.extend(msn..=next.next().0);
        }
        // When the part's last picture was sent, by the media clock.
        let shown = named.pdt.unwrap() - began + named.parts[..=part].iter().map(|part| part.0 * 1000.0).sum::<f64>();
        let sent = publisher.sent.lock().unwrap();
        let last = sent.iter().rev().find(|(ts, _)| f64::from(*ts - sent[0].0) < shown - 5.0).unwrap();
        latencies.push(at - last.1);
        drop(sent);
        assert!(next.sequence >= list.sequence && next.discontinuity_sequence >= list.discontinuity_sequence);
        for segment in &next.segments {
            let target = if next.part_target > 0.0 { next.part_target } else { panic!("no part target") };
            assert!(segment.parts.iter().all(|part| part.0 <= target + 1e-4), "{segment:?} beyond {target}");
            assert!(segment.duration.round() <= next.target, "{segment:?} beyond {}", next.target);
            // All parts but independent ones and the last of a segment: at least 85 % of the target (RFC 8216bis 4.4.4.9).
            let last = segment.parts.len().saturating_sub(usize::from(!segment.uri.is_empty()));
            let short = segment.parts.iter().take(last).filter(|part| !part.2 && part.0 < 0.85 * target).count();
            assert!(short == 0, "parts shorter than 85 % of {target}: {segment:?}");
        }
        for pair in next.segments.windows(2) {
            if let (Some(a), Some(b)) = (pair[0].pdt, pair[1].pdt) {
                assert!((b - a - pair[0].duration * 1000.0).abs() <= 1.01, "PDT and EXTINF: {pair:?}");
            }
        }
        for segment in next.segments.iter().filter(|segment| !segment.uri.is_empty()) {
            if let Some(before) = known.insert(segment.number, segment.clone()) {
                assert_eq!(
                    (&before.uri, before.pdt, before.duration, before.discontinuity),
                    (&segment.uri, segment.pdt, segment.duration, segment.discontinuity)
                );
            }
        }
        for (uri, msn, part) in &next.reports {
            let other = client.playlist(&format!("{base}/{uri}"));
            let newest = other.next();
            assert!(
                newest.0 >= *msn && newest.0 <= msn + 1 && (newest.0 > *msn || newest.1 as u64 > *part),
                "report {msn}/{part}, in truth {newest:?}"
            );
        }
        list = next;
    }
    // Whole segments are their parts, and decode.
    let (first, last) = (*segments.keys().next().unwrap(), *segments.keys().last().unwrap());
    for (number, parts) in &segments {
        if *number == first || *number == last || missed.contains(number) {
            continue; // not seen from the beginning, or not to the end
        }
        let whole = client.file(&format!("{base}/{}", known[number].uri));
        assert!(whole == *parts, "segment {number} is not the sum of its parts");
        media.extend(parts);
    }
    let file = server.dir.path().join(format!("{track}-followed.mp4"));
    std::fs::write(&file, media).unwrap();
    let (good, complaints) = decode(file.to_str().unwrap(), 120);
    assert!(good && complaints.is_empty(), "{complaints}");
    latencies.sort_by(f64::total_cmp);
    latencies
}

fn follow_for(seconds: u64) {
    let server = Server::start();
    let tags = make(Clip { seconds: seconds as u32 + 12, ..Default::default() });
    let publisher = Publisher::start(server.rtmp, "live", "cam1", tags, |ts| ts);
    server.wait_live("live/cam1", 2);
    wait_for("a segment", || get(&server.url("/live/cam1/v.m3u8")).is_some_and(|(_, text)| text.contains("#EXTINF")), || server.log());
    let (audio, video) = std::thread::scope(|scope| {
        let audio = scope.spawn(|| follow(&server, "live/cam1", "a", seconds, &publisher));
        let video = follow(&server, "live/cam1", "v", seconds, &publisher);
        (audio.join().unwrap(), video)
    });
    let at = |latencies: &[f64], share: f64| latencies[(latencies.len() as f64 * share) as usize];
    eprintln!(
        "LL-HLS, sent to downloadable, ms: p50 {:.0}, p95 {:.0}, max {:.0} of {} parts",
        at(&video, 0.5),
        at(&video, 0.95),
        at(&video, 0.999),
        video.len()
    );
    assert!(at(&video, 0.5) < 150.0, "{video:.0?}");
    assert!(video.len() as u64 > seconds * 4 && audio.len() as u64 > seconds * 4);
}

#[test]
fn a_strict_low_latency_player_finds_nothing_wrong() {
    follow_for(8);
}

/// `cargo test --test media -- --ignored`
#[test]
#[ignore = "half a minute of hls.js beside the strict player"]
fn low_latency_hls_for_longer() {
    follow_for(30);
    let server = Server::start();
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 90, gop: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    let plays: Vec<String> = [("hls", "index.m3u8"), ("dash", "manifest.mpd"), ("shaka", "manifest.mpd"), ("shaka", "index.m3u8")]
        .map(|(player, file)| format!("{player}={}", server.url(&format!("/live/cam1/{file}"))))
        .to_vec();
    for play in plays {
        let seen = node("through.mjs", &["15", &play]);
        eprintln!("{seen:#}");
        assert_got_through(&seen["seen"][0], 20.0);
        assert_eq!(seen["seen"][0]["stalls"], 0, "{seen:#}");
    }
}
