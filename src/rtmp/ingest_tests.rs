use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::rtmp::error::Position;

/// Constrained baseline 640x360, and high 1920x1080 with B-frames.
const BASELINE: &str = "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20";
const HIGH: &str = "01640028ffe1001b67640028acd940780227e5c044000003000400000300f03c60c65801000668eae3cb22c0fdf8f800";
const AAC_48K_STEREO: &[u8] = &[0x11, 0x90];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn media(kind: u8, timestamp: i64, body: Bytes) -> MediaMessage {
    MediaMessage { kind, timestamp, body, at: Position::default() }
}

fn video_header(record: &str) -> MediaMessage {
    media(kind::VIDEO, 0, flv::write_video_header(&hex(record)))
}

/// A picture of one slice: IDR or not.
fn picture(timestamp: i64, composition_ms: i32, idr: bool) -> MediaMessage {
    let data = [0, 0, 0, 3, if idr { 0x65 } else { 0x41 }, 0x88, 0x80];
    media(kind::VIDEO, timestamp, flv::write_picture(idr, composition_ms, &data))
}

fn run(ingest: &mut Ingest, medias: &[MediaMessage]) -> Vec<Action> {
    let mut out = Vec::new();
    medias.iter().for_each(|media| ingest.handle(media, 0, &mut out));
    // A publication's first picture waits until it is known to be whole.
    ingest.finish(&mut out);
    out
}

fn warnings(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().filter_map(|a| if let Action::Warn(warning) = a { Some(warning.code) } else { None }).collect()
}

fn units(actions: &[Action]) -> Vec<(i64, i64, bool)> {
    actions.iter().filter_map(|a| if let Action::Unit(_, unit) = a { Some((unit.pts, unit.dts, unit.key)) } else { None }).collect()
}

#[test]
fn what_comes_twice_is_taken_once_and_told() {
    let frame = |n: i64| media(kind::AUDIO, n * 21, Bytes::from(vec![0xAF, 1, 0x21, 0x10, n as u8]));
    let headers = [video_header(BASELINE), media(kind::AUDIO, 0, flv::write_audio_header(AAC_48K_STEREO))];
    let pictures = (0..10).map(|n| picture(n * 40, 0, n == 0));
    let all: Vec<MediaMessage> = headers.into_iter().chain(pictures).chain((0..20).map(frame)).collect();
    let twice: Vec<MediaMessage> = all.iter().flat_map(|media| [media.clone(), media.clone()]).collect();
    let (once, doubled) = (run(&mut Ingest::new(), &all), run(&mut Ingest::new(), &twice));
    assert_eq!((units(&once).len(), warnings(&once)), (30, vec![]));
    assert_eq!((units(&doubled), warnings(&doubled)), (units(&once), vec!["repeated"]));
}

#[test]
fn sound_in_blocks_that_cant_be_taken_apart_is_told() {
    // An ADTS frame of two raw frames without a table of them.
    let blocks = [&[0xFF, 0xF1, 0x50, 0x80, 0x01, 0x7F, 0xFD][..], &[0x21; 4]].concat();
    let frame = |n: i64| media(kind::AUDIO, n * 43, Bytes::from([&[0xAF, 1][..], &blocks].concat()));
    let actions = run(&mut Ingest::new(), &[frame(0), frame(1), frame(2)]);
    assert_eq!((units(&actions).len(), warnings(&actions)), (0, vec!["audio_blocks"]));
}

#[test]
fn sound_that_is_announced_and_does_not_come_is_warned_of() {
    let announced = media(kind::AUDIO, 0, flv::write_audio_header(AAC_48K_STEREO));
    let frame = |timestamp| media(kind::AUDIO, timestamp, Bytes::from_static(&[0xAF, 1, 0x21, 0x10]));
    let pictures = |until: i64| (0..=until / 40).map(|n| picture(n * 40, 0, n == 0));
    let table: [(&str, Vec<MediaMessage>, bool); 5] = [
        ("none is announced", pictures(9_000).collect(), false),
        ("it comes at once", [announced.clone(), frame(0)].into_iter().chain(pictures(9_000)).collect(), false),
        (
            "it comes late",
            [announced.clone()].into_iter().chain(pictures(4_000)).chain([frame(4_000), picture(9_000, 0, false)]).collect(),
            false,
        ),
        ("it does not come", [announced.clone()].into_iter().chain(pictures(5_200)).collect(), true),
        ("nothing comes", vec![announced], false),
    ];
    for (name, medias, warned) in table {
        let actions = run(&mut Ingest::new(), &[&[video_header(BASELINE)][..], &medias].concat());
        assert_eq!(warnings(&actions), if warned { &["no_sound"][..] } else { &[] }, "{name}");
    }
}

#[test]
fn video_begins_with_its_header_and_changes_with_it() {
    let mut ingest = Ingest::new();
    let actions = run(
        &mut ingest,
        &[picture(0, 0, true), video_header(BASELINE), picture(40, 0, true), video_header(BASELINE), picture(80, 0, false)],
    );
    assert!(matches!(&actions[0], Action::Format(Format::H264 { sps, pps }) if sps.len() == 1 && pps.len() == 1));
    assert_eq!(actions.len(), 3, "{actions:?}");
    assert_eq!(units(&actions), [(3600, 3600, true), (7200, 7200, false)]);
    assert_eq!(ingest.counters().before_header, 1);

    let actions = run(&mut ingest, &[video_header(HIGH), picture(120, 0, true)]);
    assert!(matches!(actions[..], [Action::Format(_), Action::Unit(..)]), "{actions:?}");
}

#[test]
fn parameter_sets_in_band_change_the_format() {
    let mut ingest = Ingest::new();
    run(&mut ingest, &[video_header(BASELINE)]);
    let Ok(h264::AvcConfig { sps, pps, .. }) = h264::AvcConfig::parse(&hex(HIGH)) else { panic!() };
    let mut data = Vec::new();
    for nal in [&sps[0][..], &pps[0], &[0x65, 0x88, 0x80]] {
        data.extend((nal.len() as u32).to_be_bytes());
        data.extend(nal);
    }
    let tag = media(kind::VIDEO, 0, flv::write_picture(true, 0, &data));
    let actions = run(&mut ingest, std::slice::from_ref(&tag));
    assert_eq!(actions[0], Action::Format(Format::H264 { sps, pps }));
    let again = run(&mut ingest, &[MediaMessage { timestamp: 40, ..tag }]);
    assert!(matches!(again[..], [Action::Unit(..)]), "only once: {again:?}");
}

#[test]
fn a_picture_that_nothing_follows_goes_on_after_a_while() {
    // Whether the pictures before came whole or in slices.
    for slices in [false, true] {
        let (mut ingest, mut out) = (Ingest::new(), Vec::new());
        ingest.handle(&video_header(BASELINE), 0, &mut out);
        assert!(!ingest.is_waiting());
        ingest.handle(&picture(0, 0, true), 0, &mut out);
        if slices {
            let slice = [0, 0, 0, 3, 0x65, 0x48, 0x80];
            ingest.handle(&media(kind::VIDEO, 0, flv::write_picture(true, 0, &slice)), 0, &mut out);
        }
        assert!(ingest.is_waiting() && units(&out).is_empty(), "it may be the first slice of more");
        ingest.quiet(&mut out);
        assert_eq!(units(&out), [(0, 0, true)]);
        ingest.handle(&picture(10_000, 0, false), 0, &mut out);
        assert_eq!(ingest.is_waiting(), slices);
        ingest.quiet(&mut out);
        assert_eq!(units(&out), [(0, 0, true), (900_000, 900_000, false)]);
    }
}

#[test]
fn composition_times_are_kept() {
    let mut ingest = Ingest::new();
    // I P B B: decoding order, with two pictures' delay.
    let tags = [video_header(HIGH), picture(0, 80, true), picture(40, 160, false), picture(80, 40, false), picture(120, 40, false)];
    let actions = run(&mut ingest, &tags);
    assert_eq!(units(&actions)[1..3], [(200 * 90, 40 * 90, false), (120 * 90, 80 * 90, false)]);
}

#[test]
fn audio_gets_an_exact_clock() {
    let mut ingest = Ingest::new();
    let frame = |ms| media(kind::AUDIO, ms, flv::write_frame(b"x"));
    let header = media(kind::AUDIO, 0, flv::write_audio_header(AAC_48K_STEREO));
    let actions = run(&mut ingest, &[frame(0), header.clone(), frame(21), frame(43), header, frame(64), frame(85), frame(1000)]);
    assert!(matches!(actions[0], Action::Format(Format::Aac { sample_rate: 48_000, channels: 2, .. })));
    let first = 21 * 48;
    let want = [first, first + 1024, first + 2048, first + 3072, 48_000].map(|t| (t, t, true));
    assert_eq!(units(&actions), want);
    assert_eq!((ingest.counters().before_header, ingest.counters().audio_jumps), (1, 1));
}

#[test]
fn sound_without_a_header_is_found_in_its_wrapping_or_told() {
    let config = aac::AacConfig::parse(AAC_48K_STEREO).unwrap();
    let adts = |frames: &[&[u8]]| -> Bytes {
        frames.iter().flat_map(|f| [&aac::adts::adts_header(&config, f.len()).unwrap()[..], f].concat()).collect()
    };
    let frame = |ms, data: &[u8]| media(kind::AUDIO, ms, flv::write_frame(data));
    // An empty header first, as ffmpeg sends it of ADTS; frames of ADTS, two in one tag.
    let mut ingest = Ingest::new();
    let tags =
        [media(kind::AUDIO, 0, flv::write_audio_header(&[])), frame(0, &adts(&[b"a", b"b"])), frame(43, &adts(&[b"c"])), frame(64, &[])];
    let actions = run(&mut ingest, &tags);
    assert!(matches!(actions[0], Action::Format(Format::Aac { sample_rate: 48_000, channels: 2, .. })), "{actions:?}");
    assert_eq!(units(&actions), [0, 1024, 2048].map(|t| (t, t, true)));
    assert_eq!((actions.len(), ingest.counters()), (4, IngestCounters::default()));
    // Bare frames and no header at all.
    let mut ingest = Ingest::new();
    let tags: Vec<_> = (0..60).map(|n| frame(n * 21, b"!x")).collect();
    assert_eq!(warnings(&run(&mut ingest, &tags)), ["audio_header"]);
    assert_eq!(ingest.counters().before_header, 60);
}

#[test]
fn one_track_of_each_kind_is_carried() {
    let video = |id: u8, packet: u8, rest: &[u8]| {
        let head = [0x96, packet, b'a', b'v', b'c', b'1', id];
        media(kind::VIDEO, 0, [&head[..], rest].concat().into())
    };
    let record = hex(BASELINE);
    let data = [0, 0, 0, 3, 0x65, 0x88, 0x80];
    let mut ingest = Ingest::new();
    let tags = [video(0, 0, &record), video(1, 0, &hex(HIGH)), video(0, 3, &data), video(1, 3, &data), video(2, 3, &data)];
    let actions = run(&mut ingest, &tags);
    assert!(
        matches!(&actions[..], [Action::Warn(w), Action::Format(f), Action::Unit(..)] if w.code == "video_tracks" && f.codec_string() == "avc1.42c01e"),
        "{actions:?}"
    );
    assert_eq!(ingest.counters().unsupported, 3);
}

#[test]
fn what_viewers_would_see_wrong_is_told() {
    let turned_by = |name: &str, degrees: Value| {
        let mut out = Vec::new();
        let mut ingest = Ingest::new();
        let metadata = Value::Object(vec![("width".to_owned(), Value::Number(640.0)), (name.to_owned(), degrees)]);
        ingest.metadata(&metadata, &mut out);
        ingest.metadata(&metadata, &mut out);
        warnings(&out).len()
    };
    let turned = |name: &str, degrees| turned_by(name, Value::Number(degrees));
    let words = ["90", " 270.0 ", "0", "portrait", "NaN"].map(|degrees| turned_by("rotation", Value::text(degrees)));
    assert_eq!(words, [1, 1, 0, 0, 0]);
    assert_eq!([turned("rotation", 90.0), turned("rotate", -90.0), turned("rotation", 0.0), turned("angle", 90.0)], [1, 1, 0, 0]);
    let main = media(kind::AUDIO, 0, flv::write_audio_header(&[0x09, 0x90]));
    assert_eq!(warnings(&run(&mut Ingest::new(), &[main])), ["audio_profile"]);
    let interlaced = "0164001effe100186764001eacd940b424d8088000000300800000190f8a14cb01000668fba3cb22c0fdf8f800";
    assert_eq!(warnings(&run(&mut Ingest::new(), &[video_header(interlaced), picture(0, 0, true)])), ["interlaced"]);
}

#[test]
fn what_cannot_be_carried() {
    let mut ingest = Ingest::new();
    let mp3 = |timestamp| media(kind::AUDIO, timestamp, Bytes::from_static(&[0x2F, 1, 2]));
    let actions = run(&mut ingest, &[mp3(0), mp3(26), video_header(BASELINE), picture(0, 0, true)]);
    assert!(matches!(actions[..], [Action::Warn(_), Action::Format(_), Action::Unit(..)]), "video goes on: {actions:?}");
    let hevc = |timestamp| media(kind::VIDEO, timestamp, Bytes::from_static(b"\x90hvc1abc"));
    let actions = run(&mut ingest, &[hevc(0), hevc(40)]);
    assert!(matches!(&actions[..], [Action::Warn(warning)] if warning.code == "video_codec" && warning.message.contains("H.265")));
    assert_eq!(ingest.counters().unsupported, 4);
}

#[test]
fn damage_is_counted_and_left_out() {
    let overrun = media(kind::VIDEO, 0, flv::write_picture(true, 0, &[0, 0, 1, 0, 0x65, 0x88]));
    let absurd_sps = {
        let mut record = hex(BASELINE);
        record[12..30].fill(0x00);
        media(kind::VIDEO, 0, flv::write_video_header(&record))
    };
    let table = [
        ("NAL length overruns", vec![video_header(BASELINE), overrun], 1),
        ("empty record", vec![media(kind::VIDEO, 0, flv::write_video_header(&[]))], 1),
        ("absurd SPS", vec![absurd_sps], 1),
        ("cut tag", vec![media(kind::VIDEO, 0, Bytes::from_static(&[0x17, 1]))], 1),
        ("bad AudioSpecificConfig", vec![media(kind::AUDIO, 0, flv::write_audio_header(&[0xFF]))], 1),
    ];
    for (name, tags, damaged) in table {
        let mut ingest = Ingest::new();
        let actions = run(&mut ingest, &tags);
        assert_eq!((ingest.counters().damaged, units(&actions).len()), (damaged, 0), "{name}: {actions:?}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(tags in prop::collection::vec((prop::sample::select(vec![8u8, 9]), any::<i32>(), prop::collection::vec(any::<u8>(), 0..40),
                                                           prop::sample::select(vec![&b""[..], b"\x17\0\0\0\0", b"\x17\x01\0\0\0", b"\xaf\0", b"\xaf\x01", b"\x90avc1"])), 0..20)) {
        let mut ingest = Ingest::new();
        let mut out = Vec::new();
        ingest.handle(&video_header(BASELINE), 0, &mut out);
        for (kind, time, body, prefix) in tags {
            let tag = media(kind, i64::from(time), [prefix, &body].concat().into());
            ingest.handle(&tag, 0, &mut out);
        }
    }
}

#[test]
fn a_clock_that_is_wrong_is_put_right_for_pictures_and_sound() {
    for factor in [0.75, 0.8, 0.95, 0.97, 1.03, 1.12, 1.25, 1.33] {
        let mut ingest = Ingest::new();
        let mut out = run(&mut ingest, &[video_header(BASELINE), media(kind::AUDIO, 0, flv::write_audio_header(AAC_48K_STEREO))]);
        let stamp = |ms: f64| (ms * factor).round() as i64;
        // 20 s, in the order of the stamps: a picture every 40 ms, a frame of 1024 samples.
        let mut all: Vec<(f64, bool)> = (0..500).map(|n| (f64::from(n) * 40.0, true)).collect();
        all.extend((0..937).map(|n| (f64::from(n) * 64.0 / 3.0, false)));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (ms, is_picture) in all {
            let tag = if is_picture {
                picture(stamp(ms), stamp(80.0) as i32, ms == 0.0)
            } else {
                media(kind::AUDIO, stamp(ms), flv::write_frame(&[0x21; 8]))
            };
            ingest.handle(&tag, (ms * 1e6) as i64, &mut out);
        }
        let times = |kind: MediaKind, rate: f64| -> Vec<f64> {
            let of = |action: &Action| match action {
                Action::Unit(of, unit) if *of == kind => {
                    Some((unit.dts as f64 * 1000.0 / rate, (unit.pts - unit.dts) as f64 * 1000.0 / rate))
                }
                _ => None,
            };
            let units: Vec<_> = out.iter().filter_map(of).collect();
            assert!(kind == MediaKind::Audio || units[250..].iter().all(|unit| (unit.1 - 80.0).abs() <= 1.0), "{factor}");
            units.into_iter().map(|unit| unit.0).collect()
        };
        let (pictures, sound) = (times(MediaKind::Video, 90_000.0), times(MediaKind::Audio, 48_000.0));
        assert!(sound.iter().enumerate().all(|(n, ms)| (ms - n as f64 * 64.0 / 3.0).abs() < 20.0), "{factor}: {sound:?}");
        // Pictures follow once that is known, by and by.
        assert!(pictures.iter().enumerate().skip(250).all(|(n, ms)| (ms - n as f64 * 40.0).abs() < 20.0), "{factor}: {pictures:?}");
        assert_eq!(warnings(&out), ["clock_rate"], "{factor}");
    }
}
