use super::*;
use crate::rtmp::flv::{AudioTag, VideoTag, read_audio, read_video};
use crate::rtmp::testing::Source;

const BASELINE: &str = "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20";
const HIGH: &str = "01640028ffe1001b67640028acd940780227e5c044000003000400000300f03c60c65801000668eae3cb22c0fdf8f800";

/// What tags are: `V` header, `K` key picture, `P` picture, `A` header, `a` frame; with their times.
fn shape(tags: &[Tag]) -> (String, Vec<u32>) {
    let letter = |tag: &Tag| match tag.kind {
        kind::VIDEO => match read_video(&tag.body).unwrap() {
            VideoTag::SequenceHeader(_) => 'V',
            VideoTag::Picture { key: true, .. } => 'K',
            VideoTag::Picture { .. } => 'P',
            _ => '?',
        },
        _ => match read_audio(&tag.body).unwrap() {
            AudioTag::SequenceHeader(_) => 'A',
            _ => 'a',
        },
    };
    (tags.iter().map(letter).collect(), tags.iter().map(|t| t.timestamp).collect())
}

fn both() -> (Egress, Source, Source) {
    let (video, audio) = (Source::video(BASELINE), Source::audio());
    let mut egress = Egress::new(100_000);
    egress.set_track(video.format.clone());
    egress.set_track(audio.format.clone());
    (egress, video, audio)
}

#[test]
fn begins_with_headers_at_a_key_frame_and_keeps_tracks_in_sync() {
    let (mut egress, mut video, mut audio) = both();
    let mut out = Vec::new();
    assert!(egress.needs_key_frame());
    egress.handle(MediaKind::Audio, &audio.batch(960, true, b"before"), 0, &mut out);
    egress.handle(MediaKind::Audio, &audio.batch(1010, true, b"within"), 0, &mut out);
    egress.handle(MediaKind::Video, &video.picture(960, false, 30), 0, &mut out);
    assert_eq!(out, []);
    egress.handle(MediaKind::Video, &video.picture(1000, true, 5000), 0, &mut out);
    egress.handle(MediaKind::Video, &video.picture(1040, false, 30), 0, &mut out);
    egress.handle(MediaKind::Audio, &audio.batch(1031, true, b"x"), 0, &mut out);
    assert_eq!(shape(&out), ("VKAaPa".into(), vec![0, 0, 10, 10, 40, 31]));
    assert!(!egress.needs_key_frame());
    let Ok(VideoTag::Picture { data, .. }) = read_video(&out[1].body) else { panic!() };
    assert_eq!(data.len(), 5004);
}

#[test]
fn audio_alone_begins_by_itself() {
    let mut audio = Source::audio();
    let mut egress = Egress::new(100_000);
    egress.set_track(audio.format.clone());
    let mut out = Vec::new();
    (0..3).for_each(|i| egress.handle(MediaKind::Audio, &audio.batch(500 + i * 20, true, b"x"), 0, &mut out));
    assert_eq!(shape(&out), ("Aaaa".into(), vec![0, 0, 20, 40]));
}

#[test]
fn audio_does_not_wait_for_video_for_ever() {
    let (mut egress, mut video, mut audio) = both();
    let mut out = Vec::new();
    (0..300).for_each(|i| egress.handle(MediaKind::Audio, &audio.batch(1000 + i * 20, true, b"x"), 0, &mut out));
    assert_eq!(out.len(), 301);
    out.clear();
    egress.handle(MediaKind::Video, &video.picture(7000, true, 30), 0, &mut out);
    assert_eq!(shape(&out), ("VK".into(), vec![6000, 6000]));
}

#[test]
fn a_slow_player_goes_on_at_a_key_frame() {
    let (mut egress, mut video, mut audio) = both();
    let mut out = Vec::new();
    // backlog, key frame, whether it is sent
    let table = [
        (0, true, true),
        (100_000, false, true),
        (100_001, false, false),
        (10, false, false),
        (60_000, true, false),
        (0, false, false),
        (50_000, true, true),
        (60_000, false, true),
    ];
    for (i, (backlog, key, sent)) in table.into_iter().enumerate() {
        let before = out.len();
        egress.handle(MediaKind::Video, &video.picture(i as i64 * 40, key, 30), backlog, &mut out);
        assert_eq!(out.len() > before, sent, "{i}");
    }
    assert_eq!(egress.dropped(), 4);
    out.clear();
    egress.handle(MediaKind::Audio, &audio.batch(300, true, b"x"), 100_001, &mut out);
    egress.handle(MediaKind::Audio, &audio.batch(320, true, b"x"), 100_000, &mut out);
    assert_eq!(shape(&out), ("Aa".into(), vec![320, 320]));
}

#[test]
fn loss_waits_for_a_key_frame() {
    let (mut egress, mut video, _) = both();
    let mut out = Vec::new();
    egress.handle(MediaKind::Video, &video.picture(0, true, 30), 0, &mut out);
    video.picture(40, false, 30);
    egress.handle(MediaKind::Video, &video.picture(80, false, 30), 0, &mut out);
    egress.handle(MediaKind::Video, &video.picture(120, false, 30), 0, &mut out);
    assert!(egress.needs_key_frame());
    egress.handle(MediaKind::Video, &video.picture(160, true, 30), 0, &mut out);
    assert_eq!(shape(&out), ("VKK".into(), vec![0, 0, 160]));
}

#[test]
fn a_player_that_wants_less_gets_less() {
    let (mut egress, mut video, mut audio) = both();
    let mut out = Vec::new();
    egress.handle(MediaKind::Video, &video.picture(0, true, 30), 0, &mut out);
    egress.set_wanted(false, false);
    egress.handle(MediaKind::Video, &video.picture(40, true, 30), 0, &mut out);
    egress.handle(MediaKind::Audio, &audio.batch(40, true, b"x"), 0, &mut out);
    egress.set_wanted(true, true);
    egress.handle(MediaKind::Video, &video.picture(80, false, 30), 0, &mut out);
    egress.handle(MediaKind::Audio, &audio.batch(80, true, b"x"), 0, &mut out);
    egress.handle(MediaKind::Video, &video.picture(120, true, 30), 0, &mut out);
    assert_eq!(shape(&out), ("VKAaK".into(), vec![0, 0, 80, 80, 120]));
}

#[test]
fn another_format_sends_another_header() {
    let (mut egress, mut video, _) = both();
    let mut out = Vec::new();
    egress.handle(MediaKind::Video, &video.picture(0, true, 30), 0, &mut out);
    let mut other = Source::video(HIGH);
    egress.set_track(other.format.clone());
    egress.handle(MediaKind::Video, &other.picture(40, false, 30), 0, &mut out);
    egress.handle(MediaKind::Video, &other.picture(80, true, 30), 0, &mut out);
    assert_eq!(shape(&out), ("VKVK".into(), vec![0, 0, 80, 80]));
}

#[test]
fn sound_goes_on_in_another_format() {
    let mut audio = Source::audio();
    let mut egress = Egress::new(100_000);
    egress.set_track(audio.format.clone());
    let mut out = Vec::new();
    for n in 0..6 {
        if n == 3 {
            egress.set_sound(Format::Aac { config: bytes::Bytes::from_static(&[0x12, 0x08]), sample_rate: 44_100, channels: 1 });
        }
        // Only the first batch tells the clock.
        let batch = audio.batch(n * 20, true, b"x");
        let clock = batch.clock.filter(|_| n == 0);
        egress.handle(MediaKind::Audio, &batch.with_clock(clock), 0, &mut out);
    }
    assert_eq!(shape(&out), ("AaaaAaaa".into(), vec![0, 0, 20, 40, 60, 60, 80, 100]));
}

#[test]
fn decoding_times_rise_and_never_pass_presentation() {
    let mut video = Source::video(HIGH);
    let mut egress = Egress::new(100_000);
    egress.set_track(video.format.clone());
    let mut out = Vec::new();
    // I P B B P B B … at 25 fps, in decoding order.
    let order: Vec<i64> = (0..20).flat_map(|i| if i == 0 { vec![0] } else { vec![i * 3, i * 3 - 2, i * 3 - 1] }).collect();
    for n in &order {
        egress.handle(MediaKind::Video, &video.picture(1000 + n * 40, *n == 0, 30), 0, &mut out);
    }
    let mut last = -1;
    for (tag, n) in out[1..].iter().zip(&order) {
        let Ok(VideoTag::Picture { composition_ms, .. }) = read_video(&tag.body) else { panic!() };
        assert!(i64::from(tag.timestamp) > last, "{n}");
        last = i64::from(tag.timestamp);
        assert_eq!(last + i64::from(composition_ms), n * 40);
        assert!((0..=240).contains(&composition_ms), "{n} {composition_ms}");
    }
    assert_eq!(out.len(), 1 + order.len());
}
