//! What publishers say of time, from end to end: clocks that are wrong, pictures that are shown seconds after they were decoded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use common::av::onsets;
use common::flv::{Clip, Publisher, Tag, make};
use common::hls::Client;
use common::recorded::{finished_mp4, packets, video_frames, wait_duration};
use common::{Server, decode, get, node};

/// Milliseconds of the day.
fn time_of_day() -> f64 {
    common::flv::unix_ms() % 86_400_000.0
}

#[test]
fn a_clock_that_is_wrong_costs_nothing() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    let tags = make(Clip { seconds: 20, gop: 60, b_frames: 2, ..Default::default() });
    let pictures: Vec<Tag> = tags.iter().filter(|tag| tag.kind != 8).cloned().collect();
    // How fast stamps run, in percent, and whether there is sound.
    let clocks =
        [(100, true), (75, true), (80, true), (95, true), (97, true), (103, true), (125, true), (133, true), (75, false), (125, false)];
    let path = |(percent, sound): (u32, bool)| format!("{percent}{}", if sound { "" } else { "-silent" });
    let mut publishers: Vec<Publisher> = clocks
        .iter()
        .map(|clock| {
            let (percent, mut tags) = (clock.0, if clock.1 { tags.clone() } else { pictures.clone() });
            tags.iter_mut()
                .filter(|tag| tag.kind == 9 && !tag.is_header())
                .for_each(|tag| set_composition(tag, composition(tag) * percent / 100));
            Publisher::start(server.rtmp, "live", &path(*clock), tags, move |ts| ts * percent / 100)
        })
        .collect();
    wait_duration(&server, "live/100", 16.0);
    let mut broken = Vec::new();
    let mut check = |good: bool, what: String| {
        eprintln!("{}{what}", if good { "" } else { "NOT GOOD: " });
        if !good {
            broken.push(what);
        }
    };
    let mut client = Client::new(server.http);
    for clock in clocks {
        let name = format!("live/{}", path(clock));
        for track in if clock.1 { &["v", "a"][..] } else { &["v"] } {
            let list = client.playlist(&format!("/{name}/{track}.m3u8"));
            let (began, mut edge) = (list.segments[0].pdt.unwrap(), 0.0);
            edge += list.segments.iter().filter(|segment| !segment.uri.is_empty()).map(|segment| segment.duration).sum::<f64>();
            let open = list.segments.iter().filter(|segment| segment.uri.is_empty()).flat_map(|segment| &segment.parts);
            edge += open.map(|part| part.0).sum::<f64>();
            let late = (time_of_day() - began) / 1000.0 - edge;
            let discontinuities = list.segments.last().unwrap().discontinuity - list.segments[0].discontinuity;
            // Pictures alone are followed once they are late, and a part of 200 ms is in the making.
            let most = if clock.1 { 1.5 } else { 2.5 };
            check(
                late.abs() < most && discontinuities == 0,
                format!("{name} {track}: {late:.2} s late, {discontinuities} discontinuities"),
            );
        }
        let warnings = server.api(&format!("/api/v1/streams/{name}"))["warnings"].to_string();
        let expected = match clock {
            (100, _) => None,
            (_, true) => Some("clock_rate"),
            (75, false) => Some("slow"),
            _ => Some("fast"),
        };
        check(expected.map_or(!warnings.contains("clock_rate"), |code| warnings.contains(code)), format!("{name} is told {warnings}"));
    }
    publishers.iter_mut().for_each(Publisher::wait);
    let spoken = tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header()).count() as u64;
    for clock in clocks {
        let mp4 = finished_mp4(&server, &format!("live/{}", path(clock)));
        let (good, complaints) = decode(&mp4, 60);
        // Pictures that are nearer to each other than a frame: ffmpeg's null output remarks on them.
        let harmless =
            |line: &str| line.is_empty() || line.contains("non monotonically increasing dts to muxer") || line.contains("message repeated");
        let serious = complaints.lines().any(|line| !harmless(line));
        let (seen, heard) = (packets(&mp4, "video"), packets(&mp4, "audio"));
        let sent = (video_frames(&tags) as u64, if clock.1 { spoken } else { 0 });
        // Where time stretches, a picture is repeated now and then.
        let all = (sent.0..sent.0 + 10).contains(&seen) && heard.abs_diff(sent.1) <= 2;
        check(good && !serious && all, format!("{clock:?}: {seen} pictures, {heard} frames of {sent:?}: {complaints}"));
        if clock.1 {
            let mut onsets = onsets(&mp4, 60, server.dir.path());
            // Until it is known and mended, pictures are up to 0.2 s off.
            onsets.flashes.retain(|at| *at > 9.5);
            onsets.beeps.retain(|at| *at > 9.5);
            onsets.assert_in_sync(&format!("{clock:?}"), 8, 15.0);
        }
    }
    assert!(broken.is_empty(), "{broken:#?}\n{}", server.log());
}

/// How much later than decoded a picture is shown, in ms.
fn composition(tag: &Tag) -> u32 {
    u32::from_be_bytes([0, tag.data[2], tag.data[3], tag.data[4]])
}

fn set_composition(tag: &mut Tag, ms: u32) {
    tag.data[2..5].copy_from_slice(&ms.to_be_bytes()[1..]);
}

#[test]
fn segments_end_in_time_whatever_pictures_say_of_when_they_are_shown() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    let tags = make(Clip { seconds: 16, gop: 30, ..Default::default() });
    // From which picture on, for how many, pictures are shown so much later, in ms.
    let late = [(30, 1, 7000), (30, 1000, 7000), (45, 1, 7000), (60, 1, 2900), (0, 1, 7000), (0, 1000, 5000)];
    let mut publishers = Vec::new();
    for (n, (from, count, ms)) in late.into_iter().enumerate() {
        let mut tags = tags.clone();
        let pictures = tags.iter_mut().filter(|tag| tag.kind == 9 && !tag.is_header());
        pictures.skip(from).take(count).for_each(|tag| set_composition(tag, ms));
        publishers.push(Publisher::start(server.rtmp, "live", &format!("cam{n}"), tags, |ts| ts));
    }
    (0..late.len()).for_each(|n| wait_duration(&server, &format!("live/cam{n}"), 12.0));
    let mut broken = Vec::new();
    let mut client = Client::new(server.http);
    for (n, how) in late.iter().enumerate() {
        for track in ["v", "a"] {
            let list = client.playlist(&format!("/live/cam{n}/{track}.m3u8"));
            let longest = list.segments.iter().map(|segment| segment.duration).fold(0.0, f64::max);
            eprintln!("{how:?} {track}: {longest} s of {}", list.target);
            broken.extend((longest.round() > list.target).then(|| format!("{how:?} {track}: {longest} s")));
            broken.extend(
                (list.segments.last().unwrap().discontinuity > list.segments[0].discontinuity).then(|| format!("{how:?} {track}: torn")),
            );
        }
    }
    publishers.iter_mut().for_each(Publisher::wait);
    for (n, how) in late.iter().enumerate() {
        let mp4 = finished_mp4(&server, &format!("live/cam{n}"));
        let (seen, sent) = (packets(&mp4, "video"), video_frames(&tags) as u64);
        let heard = packets(&mp4, "audio");
        eprintln!("{how:?}: {seen} of {sent} pictures, {heard} frames of sound");
        broken.extend((!(sent..sent + 60).contains(&seen)).then(|| format!("{how:?}: {seen} of {sent} pictures")));
    }
    assert!(broken.is_empty(), "{broken:#?}\n{}", server.log());
}

#[test]
fn sound_that_comes_late_is_recorded_whole() {
    let server = Server::start_with("[stream]\nreconnect_window = \"1s\"");
    let tags = make(Clip { seconds: 24, gop: 60, ..Default::default() });
    // How much later sound comes than its stamps say, in ms, and whether its header does, too.
    let publishers = [(300, true), (2600, true), (4000, true), (4000, false), (8000, true)];
    let mut running = Vec::new();
    for (late, header) in publishers {
        let due = |tag: &Tag| if tag.kind == 8 && (header || !tag.is_header()) { tag.ts + late } else { tag.ts };
        let mut timed: Vec<(u32, Tag)> = tags.iter().map(|tag| (due(tag), tag.clone())).collect();
        timed.sort_by_key(|(due, _)| *due);
        // Both end together: else the sound alone is taken for a publisher that is slow.
        timed.retain(|(due, _)| *due <= 24_000);
        running.push(Publisher::start_timed(server.rtmp, "live", &format!("{late}-{header}"), timed, |ts| ts));
    }
    server.wait_live("live/8000-true", 1);
    let plays =
        [format!("hls={}", server.url("/live/8000-true/index.m3u8")), format!("dash={}", server.url("/live/8000-true/manifest.mpd"))];
    // They are there before the sound is.
    let seen = node("through.mjs", &["19", &plays[0], &plays[1]]);
    eprintln!("{seen:#}");
    let master = get(&server.url("/live/8000-true/index.m3u8")).unwrap().1;
    let manifest = get(&server.url("/live/8000-true/manifest.mpd")).unwrap().1;
    eprintln!("{master}\n{manifest}");
    running.iter_mut().for_each(Publisher::wait);
    let pictures = video_frames(&tags) as u64;
    let mut broken = Vec::new();
    for (late, header) in publishers {
        let sound = tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header() && tag.ts + late <= 24_000).count() as u64;
        let path = format!("live/{late}-{header}");
        let mp4 = finished_mp4(&server, &path);
        let (good, complaints) = decode(&mp4, 60);
        let (seen, heard) = (packets(&mp4, "video"), packets(&mp4, "audio"));
        eprintln!("{path}: {seen} of {pictures} pictures, {heard} of {sound} frames of sound, {complaints:?}");
        if !good || !complaints.is_empty() || seen + 2 < pictures || heard + 3 < sound || heard > sound + 3 {
            broken.push(path.clone());
        }
        let apart = onsets(&mp4, 60, server.dir.path()).apart();
        eprintln!("{path}: {apart:.1?}");
        if apart.len() < 20 || apart.iter().any(|ms| ms.abs() > 15.0) {
            broken.push(format!("{path} apart"));
        }
    }
    assert!(broken.is_empty(), "{broken:?} {}", server.log());
    assert!(master.contains("TYPE=AUDIO") && manifest.contains("audio/mp4"), "{master} {manifest}");
    for seen in seen["seen"].as_array().unwrap() {
        assert!(seen["error"].is_null() && seen["lastSecondsFps"].as_f64() > Some(10.0), "{seen:#}");
        assert!(!seen["events"].to_string().contains("FATAL"), "{seen:#}");
    }
}
