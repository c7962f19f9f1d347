//! Sound that changes its format while pictures go on: within a GOP, at a key frame, several times, to what isn't carried.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use common::av::onsets;
use common::flv::{Clip, Publisher, Tag, make};
use common::hls::{Playlist, parse};
use common::recorded::{finished_mp4, packets, recording, video_frames};
use common::{Process, Server, decode, get, node, wait_for};

/// Pictures between key frames, and seconds.
const GOP: u32 = 120;
const SECONDS: u32 = 14;

/// What a sound track is from a time on (ms), and up to when: a clip's sound with its header, or something else.
enum Sound<'a> {
    Of(&'a [Tag]),
    /// Only the header, and what comes is as before.
    Header(&'a [u8]),
    /// Frames in another codec.
    Mp3,
    Nothing,
}

/// The pictures of `clip`, and sound that is something else from each time on.
fn with_sound(clip: &[Tag], parts: &[(u32, Sound<'_>)]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = clip.iter().filter(|tag| tag.kind != 8).cloned().collect();
    let mut now: &[Tag] = clip;
    let mut mp3 = false;
    for (index, (from, sound)) in parts.iter().enumerate() {
        let until = parts.get(index + 1).map_or(u32::MAX, |next| next.0);
        match sound {
            Sound::Of(other) => {
                (now, mp3) = (other, false);
                tags.extend(now.iter().filter(|tag| tag.kind == 8 && tag.is_header()).map(|tag| Tag { ts: *from, ..tag.clone() }));
            }
            Sound::Header(config) => tags.push(Tag { kind: 8, ts: *from, data: [&[0xAF, 0][..], config].concat() }),
            Sound::Mp3 => mp3 = true,
            Sound::Nothing => now = &[],
        }
        let frames = now.iter().filter(|tag| tag.kind == 8 && !tag.is_header() && (*from..until).contains(&tag.ts));
        tags.extend(frames.map(|tag| if mp3 { Tag { data: [&[0x2F][..], &tag.data[2..]].concat(), ..tag.clone() } } else { tag.clone() }));
    }
    // Headers before what comes at the same time.
    tags.sort_by_key(|tag| (tag.ts, !tag.is_header()));
    tags
}

struct Variant {
    name: &'static str,
    tags: Vec<Tag>,
    /// How often another epoch begins. How many pictures may be missing before the first one.
    discontinuities: usize,
    missing: u64,
    /// Of which the publisher is told.
    warning: Option<&'static str>,
    /// How far sound may be from the pictures, in ms; `None` where not all of it is heard.
    apart: Option<f64>,
}

fn sound(audio_rate: u32, channels: u32) -> Vec<Tag> {
    make(Clip { audio_rate, channels, seconds: SECONDS, gop: GOP, ..Default::default() })
}

fn variants() -> Vec<Variant> {
    let stereo = sound(48_000, 2);
    let (mono, cd, surround, half) = (sound(48_000, 1), sound(44_100, 2), sound(48_000, 6), sound(24_000, 2));
    // Signalled as HE-AAC whose core has 24 kHz.
    let he: Vec<Tag> =
        half.iter()
            .map(|tag| {
                if tag.kind == 8 && tag.is_header() { Tag { data: vec![0xAF, 0, 0x2B, 0x11, 0x88, 0], ..tag.clone() } } else { tag.clone() }
            })
            .collect();
    let header = stereo.iter().find(|tag| tag.kind == 8 && tag.is_header()).unwrap().data[2..].to_vec();
    let variant = |name, parts: &[(u32, Sound<'_>)], discontinuities| {
        let tags = with_sound(&stereo, parts);
        Variant { name, tags, discontinuities, missing: 0, warning: None, apart: Some(40.0) }
    };
    use Sound::{Header, Mp3, Nothing, Of};
    let begins = || (0, Of(&stereo));
    let keys = stereo.iter().filter(|tag| tag.kind == 9 && !tag.is_header() && tag.data[0] >> 4 == 1);
    let at_key = keys.map(|tag| tag.ts).find(|ts| *ts > 5000).unwrap();
    vec![
        variant("channels", &[begins(), (5500, Of(&mono))], 1),
        variant("rate", &[begins(), (5500, Of(&cd))], 1),
        variant("there-and-back", &[begins(), (5000, Of(&cd)), (6500, Of(&stereo))], 1),
        // Decoders of HE-AAC are later than those of AAC-LC, and nothing says by how much.
        Variant { apart: Some(60.0), ..variant("profile", &[begins(), (5500, Of(&he))], 1) },
        variant("at-key", &[begins(), (at_key, Of(&mono))], 1),
        variant("repeated", &[begins(), (5500, Header(&header))], 0),
        Variant { warning: Some("audio_header"), ..variant("refused", &[begins(), (5500, Header(&[0xB9, 0x90]))], 0) },
        Variant { warning: Some("audio_codec"), apart: None, ..variant("codec", &[begins(), (5500, Mp3)], 0) },
        Variant { apart: None, ..variant("away", &[begins(), (1500, Nothing), (9500, Of(&stereo))], 0) },
        Variant { apart: None, ..variant("away-changed", &[begins(), (1500, Nothing), (9500, Of(&mono))], 1) },
        Variant { warning: Some("sound_replaced"), apart: None, ..variant("from-surround", &[(0, Of(&surround)), (5500, Of(&stereo))], 1) },
        endless(),
    ]
}

/// One key frame for all: once that is 12 s ago, the pictures are transcoded. What is made begins with a key frame of its own, every 2 s.
fn endless() -> Variant {
    let clip = |channels| make(Clip { channels, seconds: 30, gop: 10_000, ..Default::default() });
    let (stereo, mono) = (clip(2), clip(1));
    let parts = [(0, Sound::Of(&stereo)), (5500, Sound::Of(&mono)), (22_300, Sound::Of(&stereo))];
    let (tags, warning) = (with_sound(&stereo, &parts), Some("key_frame_interval"));
    Variant { name: "endless", tags, discontinuities: 2, missing: 60, warning, apart: Some(80.0) }
}

/// How long nothing is shown between the epochs of a track, in ms.
fn holes(list: &Playlist) -> Vec<f64> {
    let mut ends: Option<f64> = None;
    let mut holes = Vec::new();
    for segment in &list.segments {
        if let (Some(begins), Some(ends)) = (segment.pdt, ends) {
            let day = 86_400_000.0;
            holes.push((begins - ends + day / 2.0).rem_euclid(day) - day / 2.0);
        }
        ends = segment.pdt.or(ends).map(|from| from + segment.duration * 1000.0);
    }
    holes
}

#[test]
fn sound_may_change_its_format_while_pictures_go_on() {
    let server = Server::start();
    let variants = variants();
    let mut publishers: Vec<Publisher> = Vec::new();
    for Variant { name, tags, .. } in &variants {
        publishers.push(Publisher::start(server.rtmp, "live", name, tags.clone(), |ts| ts));
    }
    for Variant { name, warning, .. } in &variants {
        let url = server.url(&format!("/api/v1/streams/live/{name}"));
        let told = || warning.is_none_or(|code| get(&url).is_some_and(|(_, body)| body.contains(&format!("\"{code}\""))));
        wait_for("the publisher to be told", told, || server.log());
    }
    publishers.iter_mut().for_each(Publisher::wait);
    let mut wrong = Vec::new();
    for Variant { name, tags, discontinuities, missing, apart, .. } in &variants {
        let mp4 = finished_mp4(&server, &format!("live/{name}"));
        let (good, complaints) = decode(&mp4, 60);
        // Pictures of two epochs may be nearer to each other than one lasts; ffmpeg's parser reads all by the first parameter sets.
        let remarks = ["non monotonically increasing dts to muxer", "[NULL @", "Last message repeated"];
        let serious = complaints.lines().any(|line| !line.is_empty() && !remarks.iter().any(|remark| line.contains(remark)));
        let (sent, kept) = (video_frames(tags) as u64, packets(&mp4, "video"));
        let spoken = tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header()).count();
        let sound = packets(&mp4, "audio");
        let hls =
            recording(&server, &format!("live/{name}")).unwrap()["urls"]["hls"].as_str().unwrap().replace("index.m3u8", "track-0.m3u8");
        let list = parse(&get(&server.url(&hls)).unwrap().1);
        let holes = holes(&list);
        let seen = onsets(&mp4, 60, server.dir.path());
        eprintln!(
            "{name}: {kept} of {sent} pictures, {sound} of {spoken} frames of sound, holes {holes:.1?}, {} flashes, {} beeps, apart {:.1?}",
            seen.flashes.len(),
            seen.beeps.len(),
            seen.apart()
        );
        if !good || serious {
            wrong.push(format!("{name}: {complaints}"));
        }
        // The last picture of an epoch lasts a moment.
        let first = if *missing > 0 { holes.first().copied().unwrap_or_default() } else { 0.0 };
        let whole = holes.iter().skip(usize::from(*missing > 0)).all(|hole| hole.abs() < 45.0);
        let lost = sent.saturating_sub(kept);
        if kept > sent || lost > *missing || first > (*missing + 1) as f64 * 34.0 || !whole || holes.len() != *discontinuities {
            wrong.push(format!("{name}: {kept} of {sent} pictures, holes {holes:.1?}"));
        }
        let in_sync = |most: f64| seen.apart().len() >= 2 * (SECONDS as usize - 2) && seen.apart().iter().all(|ms| ms.abs() <= most);
        if !apart.is_none_or(in_sync) {
            wrong.push(format!("{name}: {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", server.log());
}

#[test]
fn who_watches_goes_on_where_sound_changes() {
    let server = Server::start();
    let clip = |audio_rate, channels| make(Clip { audio_rate, channels, seconds: 22, gop: GOP, ..Default::default() });
    let (before, after) = (clip(48_000, 2), clip(44_100, 1));
    let tags = with_sound(&before, &[(0, Sound::Of(&before)), (9500, Sound::Of(&after))]);
    let mut publisher = Publisher::start(server.rtmp, "live", "cam1", tags.clone(), |ts| ts);
    server.wait_live("live/cam1", 2);
    let (rtmp, file) = (server.rtmp_url("live/cam1"), server.dir.path().join("played.flv"));
    let args = ["-v", "error", "-nostdin", "-i", &rtmp, "-map", "0", "-c", "copy", "-y", file.to_str().unwrap()];
    let mut player = Process::start("ffmpeg", &args);
    let hls = format!("hls={}", server.url("/live/cam1/index.m3u8"));
    let whep = format!("whep={}", server.url("/live/cam1/whep"));
    let seen = node("through.mjs", &["14", &hls, &whep]);
    eprintln!("{seen:#}");
    publisher.wait();
    player.wait();
    let (sent, played) = (video_frames(&tags) as u64, packets(file.to_str().unwrap(), "video"));
    let (spoken, heard) =
        (tags.iter().filter(|tag| tag.kind == 8 && !tag.is_header()).count() as u64, packets(file.to_str().unwrap(), "audio"));
    eprintln!("by RTMP: {played} of {sent} pictures, {heard} of {spoken} frames of sound");
    // It came in shortly after the first key frame, and may have read that of the cache.
    assert!(
        played + 30 >= sent && heard + 50 >= spoken,
        "{played} of {sent} pictures, {heard} of {spoken} frames of sound\n{}",
        player.output()
    );
    for seen in seen["seen"].as_array().unwrap() {
        assert!(seen["error"].is_null() && seen["lastSecondsFps"].as_f64() >= Some(5.0), "{seen:#}");
        assert!(!seen["events"].to_string().contains("FATAL"), "{seen:#}");
    }
}
