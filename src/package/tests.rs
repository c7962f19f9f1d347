//! Tests of the window, the playlists and the manifest, on made-up chunks: 30 pictures a second, 200 ms parts, 2 s segments.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::{Budget, StreamPath};
use crate::cmaf::{Chunk, Targets, TrackInit};
use crate::codec::Codec;

const S: i64 = 1_000_000_000;
pub(super) const NOW: i64 = 1_700_000_000 * S;

pub(super) fn init(track: u32, epoch: u32) -> TrackInit {
    let video = track == 0;
    TrackInit {
        track,
        epoch,
        codec: if video { Codec::H264 } else { Codec::Aac },
        codec_string: if video { "avc1.64001f" } else { "mp4a.40.2" }.to_owned(),
        timescale: if video { 90_000 } else { 48_000 },
        resolution: video.then_some((1280, 720)),
        audio: (!video).then_some((48_000, 2)),
        data: Bytes::from(format!("init {track} {epoch}")),
    }
}

/// More than enough.
pub(super) fn plenty() -> Memory {
    Memory { share: Budget::new(1 << 40, 0).share(), left: Left::new(usize::MAX) }
}

/// Part `part` (0 to 9) of segment `segment`.
pub(super) fn chunk(track: u32, epoch: u32, segment: u64, part: u64) -> Chunk {
    let timescale = if track == 0 { 90_000 } else { 48_000 };
    let position = segment * 10 + part;
    Chunk {
        track,
        epoch,
        segment,
        first: part == 0,
        last: part == 9,
        end: false,
        independent: part == 0 || track == 1,
        presentation_time: position * timescale / 5,
        duration: timescale / 5,
        wallclock: NOW + position as i64 * S / 5,
        data: Bytes::from(vec![0; if track == 0 { 50_000 } else { 4_000 }]),
    }
}

/// `segments` complete segments and `parts` parts of the next, on both tracks.
pub(super) fn window(segments: u64, parts: u64) -> Window {
    let mut window = Window::new(&PackageConfig::default(), Targets::default(), NOW, 0, plenty());
    window.init(init(0, 0));
    window.init(init(1, 0));
    for position in 0..segments * 10 + parts {
        for track in [0, 1] {
            window.chunk(chunk(track, 0, position / 10, position % 10));
        }
    }
    window
}

pub(super) fn media(snapshot: &Snapshot, track: u32) -> String {
    hls::media(snapshot, snapshot.track(track).unwrap(), false, "")
}

#[test]
fn the_multivariant_playlist_names_both_tracks() {
    let text = hls::multivariant(&window(3, 0).snapshot(), "?token=x");
    let (_, playlist) = m3u8_rs::parse_master_playlist(text.as_bytes()).unwrap();
    assert!(!playlist.independent_segments, "pictures may have GOPs longer than a segment");
    let variant = &playlist.variants[0];
    assert_eq!(variant.uri, "v.m3u8?token=x");
    assert_eq!(variant.codecs.as_deref(), Some("avc1.64001f,mp4a.40.2"));
    assert_eq!(variant.bandwidth, (500_000 + 40_000) * 4, "peak of video and audio together");
    assert_eq!(variant.resolution.map(|r| (r.width, r.height)), Some((1280, 720)));
    assert_eq!(variant.audio.as_deref(), Some("audio"));
    assert_eq!(playlist.alternatives[0].uri.as_deref(), Some("a.m3u8?token=x"));
    assert_eq!(playlist.alternatives[0].channels.as_deref(), Some("2"));
}

/// Lists and manifest of a stream that has captions from a part on, and whatever they would be in among the sound.
fn captioned(segments: u64, from: Option<u64>) -> (Window, String, String) {
    let captions = Bytes::from_static(b"....\x06\x04\x0e\xb5\x001GA94\x03\x42\xff\xfc\x94\x2c\xff\x02\x21\xff\x80");
    let mut window = Window::new(&PackageConfig::default(), Targets::default(), NOW, 0, plenty());
    window.init(init(0, 0));
    window.init(init(1, 0));
    for position in 0..segments * 10 + 3 {
        let picture = chunk(0, 0, position / 10, position % 10);
        let has = from.is_some_and(|from| position >= from);
        window.chunk(if has { Chunk { data: captions.clone(), ..picture } } else { picture });
        window.chunk(Chunk { data: captions.clone(), ..chunk(1, 0, position / 10, position % 10) });
    }
    let snapshot = window.snapshot();
    let texts = (hls::multivariant(&snapshot, ""), dash::manifest(&snapshot, NOW, "", ""));
    (window, texts.0, texts.1)
}

#[test]
fn who_comes_to_a_young_stream_is_told_that_there_are_no_captions() {
    // Whole segments, in which part captions come first, and what is said of them.
    for (segments, from, said) in [
        (1, None, Some("NONE")),
        (2, None, Some("NONE")),
        (3, None, None),
        (9, None, None),
        (1, Some(0), Some("\"captions\"")),
        (2, Some(15), Some("\"captions\"")),
        (9, Some(75), Some("\"captions\"")),
    ] {
        let (mut window, text, _) = captioned(segments, from);
        let attribute = text.split(",CLOSED-CAPTIONS=").nth(1).map(|rest| rest.split([',', '\n']).next().unwrap());
        assert_eq!(attribute, said, "{segments} {from:?}: {text}");
        window.end();
        let text = hls::multivariant(&window.snapshot(), "");
        assert!(!text.contains("CLOSED-CAPTIONS=NONE"), "what has ended is not young");
    }
}

#[test]
fn captions_are_announced() {
    let (_, text, mpd) = captioned(4, Some(33));
    let (_, playlist) = m3u8_rs::parse_master_playlist(text.as_bytes()).unwrap();
    let services: Vec<_> = playlist.alternatives.iter().filter(|other| other.group_id == "captions").collect();
    assert_eq!(services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["CC1", "SERVICE1"], "{text}");
    assert!(text.contains("TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"CC1\",AUTOSELECT=YES,INSTREAM-ID=\"CC1\""), "{text}");
    let found: Vec<&str> = mpd.lines().filter(|line| line.contains("<Accessibility")).map(str::trim).collect();
    let expected = [
        "<Accessibility schemeIdUri=\"urn:scte:dash:cc:cea-608:2015\" value=\"CC1=und\"/>",
        "<Accessibility schemeIdUri=\"urn:scte:dash:cc:cea-708:2015\" value=\"1=lang:und\"/>",
    ];
    assert_eq!(found, expected, "of the pictures, not of the sound");
    let (_, text, mpd) = captioned(4, None);
    assert!(!text.contains("CLOSED-CAPTIONS") && !mpd.contains("Accessibility"), "{text}{mpd}");
}

/// Where lists and manifest send who comes in, in ms behind live: 2 s segments, of which only `keys` begin with a key frame.
fn sent_to(segments: u64, keys: &[u64]) -> (Option<i64>, String) {
    let mut window = Window::new(&PackageConfig::default(), Targets::default(), NOW, 0, plenty());
    window.init(init(0, 0));
    window.init(init(1, 0));
    for position in 0..segments * 10 + 3 {
        let (segment, part) = (position / 10, position % 10);
        window.chunk(Chunk { independent: part == 0 && keys.contains(&segment), ..chunk(0, 0, segment, part) });
        window.chunk(chunk(1, 0, segment, part));
    }
    let snapshot = window.snapshot();
    let (_, playlist) = m3u8_rs::parse_master_playlist(hls::multivariant(&snapshot, "").as_bytes()).unwrap();
    let live = NOW + (segments * 10 + 3) as i64 * S / 5;
    let mpd = dash::manifest(&snapshot, live, "", "");
    let attribute = |from: &str| mpd.split(from).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let delays = format!("{} {}", attribute("suggestedPresentationDelay=\""), attribute("<Latency target=\""));
    window.end();
    assert!(!hls::multivariant(&window.snapshot(), "").contains("EXT-X-START"), "what has ended begins at its beginning");
    (playlist.start.map(|start| (start.time_offset * 1000.0) as i64), delays)
}

#[test]
fn who_comes_in_is_sent_to_a_key_frame() {
    for (segments, keys, offset, delays) in [
        // Everywhere: nobody is sent elsewhere.
        (9, (0..10).collect::<Vec<_>>(), None, "PT6.000S 3000"),
        // Only the first: all the way back. HLS counts from the edge, which is live here.
        (4, vec![0], Some(-8100), "PT8.100S 8100"),
        (8, vec![0], Some(-16_100), "PT16.100S 16100"),
        // HLS players begin three parts behind the edge, in segment 8, and DASH players 3 and 6 s behind it.
        (9, vec![1, 5, 9], Some(-8100), "PT8.100S 8100"),
        (9, vec![0, 4, 8], None, "PT10.100S 2100"),
        (9, vec![0, 4, 7], Some(-4100), "PT4.100S 3000"),
        (9, vec![3, 6], Some(-6100), "PT6.000S 6100"),
        // Who would begin before the last key frame, and has none before that any more.
        (4, vec![3], None, "PT2.100S 2100"),
        (9, vec![], None, "PT6.000S 3000"),
        // Younger than the delay.
        (2, vec![0, 1, 2], None, "PT4.100S 3000"),
    ] {
        assert_eq!(sent_to(segments, &keys), (offset, delays.to_owned()), "{segments} {keys:?}");
    }
}

#[test]
fn audio_alone_is_a_variant_of_its_own() {
    let mut window = Window::new(&PackageConfig::default(), Targets::default(), NOW, 0, plenty());
    window.init(init(1, 0));
    (0..10).for_each(|part| _ = window.chunk(chunk(1, 0, 0, part)));
    let text = hls::multivariant(&window.snapshot(), "");
    let (_, playlist) = m3u8_rs::parse_master_playlist(text.as_bytes()).unwrap();
    assert_eq!((playlist.variants[0].uri.as_str(), playlist.alternatives.len()), ("a.m3u8", 0));
    assert_eq!(playlist.variants[0].codecs.as_deref(), Some("mp4a.40.2"));
    assert!(playlist.independent_segments);
}

#[test]
fn a_media_playlist_in_the_middle_of_a_segment() {
    let snapshot = window(5, 3).snapshot();
    let text = media(&snapshot, 0);
    let (_, playlist) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
    assert_eq!(playlist.media_sequence, 1_700_000_000);
    assert_eq!(playlist.target_duration, 4);
    assert_eq!(playlist.segments.len(), 5);
    assert_eq!(playlist.segments[0].uri, "v-1700000000.m4s");
    assert!((playlist.segments[0].duration - 2.0).abs() < 1e-4);
    assert!(playlist.segments[0].map.as_ref().is_some_and(|map| map.uri == "v-init-1700000000.mp4"));
    for line in [
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0,PART-HOLD-BACK=0.630,HOLD-BACK=12.0",
        "#EXT-X-PART-INF:PART-TARGET=0.210",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z",
        "#EXT-X-PART:DURATION=0.20000,URI=\"v-1700000005.0.m4s\",INDEPENDENT=YES",
        "#EXT-X-PART:DURATION=0.20000,URI=\"v-1700000005.2.m4s\"",
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"v-1700000005.3.m4s\"",
        "#EXT-X-RENDITION-REPORT:URI=\"a.m3u8\",LAST-MSN=1700000005,LAST-PART=2",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("v-1700000005.m4s"), "the segment in the making has no EXTINF");
    let text = media(&window(12, 3).snapshot(), 0);
    assert!(!text.contains("v-1700000009.0.m4s"), "parts only near the end");
    assert!(text.contains("v-1700000010.0.m4s"), "for the last two segments");
}

#[test]
fn a_delta_update_skips_what_is_old() {
    let snapshot = window(20, 0).snapshot();
    let track = snapshot.track(0).unwrap();
    let text = hls::media(&snapshot, track, true, "");
    assert!(text.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=3"), "{text}");
    assert_eq!(text.matches("#EXT-X-MAP:URI=\"v-init-1700000000.mp4\"").count(), 1, "{text}");
    assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
    assert!(text.contains("v-1700000008.m4s") && !text.contains("v-1700000007.m4s"));
}

#[test]
fn a_discontinuity_has_a_new_map() {
    let mut window = window(2, 4);
    window.init(init(0, 1));
    (0..10).for_each(|part| _ = window.chunk(chunk(0, 1, 3, part)));
    window.chunk(chunk(0, 1, 4, 0));
    let text = media(&window.snapshot(), 0);
    let (_, playlist) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
    assert_eq!(playlist.segments.len(), 4, "the segment that broke off is complete now");
    assert!(playlist.segments[3].discontinuity);
    assert_eq!(playlist.segments[3].map.as_ref().map(|map| map.uri.as_str()), Some("v-init-1700000001.mp4"));
    assert!((playlist.segments[2].duration - 0.8).abs() < 1e-4);
}

#[test]
fn the_end_is_told() {
    let mut window = window(2, 4);
    window.end();
    let text = media(&window.snapshot(), 0);
    assert!(text.ends_with("#EXT-X-ENDLIST\n") && !text.contains("PRELOAD") && !text.contains("EXT-X-PART"), "{text}");
    assert!(dash::manifest(&window.snapshot(), NOW, "time", "").contains("type=\"static\""));
}

#[test]
fn the_window_slides_and_keeps_late_segments() {
    let snapshot = window(40, 0).snapshot();
    let track = snapshot.track(0).unwrap();
    assert_eq!(track.listed().len(), 15, "30 s");
    assert_eq!(track.unlisted, 2);
    assert_eq!(track.listed()[0].number, 1_700_000_025);
    assert!(track.segment(1_700_000_024).is_some() && track.segment(1_700_000_022).is_none());
}

#[test]
fn what_does_not_fit_is_left_out_and_counted() {
    let mut window = window(2, 0);
    window.chunk(chunk(3, 0, 2, 0));
    window.chunk(chunk(0, 7, 2, 0));
    window.chunk(chunk(0, 0, 1, 0));
    assert_eq!(window.dropped(), 3);
}

#[test]
fn blocking_reload_is_met_when_the_part_is_there() {
    let snapshot = window(3, 2).snapshot();
    let track = snapshot.track(0).unwrap();
    let first = snapshot.first_number;
    for (msn, part, met) in [
        (None, None, true),
        (Some(first + 2), None, true),
        (Some(first + 3), None, false),
        (Some(first + 3), Some(1), true),
        (Some(first + 3), Some(2), false),
        (Some(first + 1), Some(99), true),
        (Some(first + 2), Some(10), true),
        (Some(first + 4), Some(0), false),
    ] {
        assert_eq!(BlockingReload { msn, part }.is_met(track), met, "{msn:?} {part:?}");
    }
    let between = window(3, 0).snapshot();
    let beyond = BlockingReload { msn: Some(first + 2), part: Some(10) };
    assert!(!beyond.is_met(between.track(0).unwrap()), "it means the first part of the next segment, which isn't there");
    for (msn, part, far) in [
        (first + 5, None, true),
        (first + 4, None, false),
        (first + 4, Some(2), false),
        (first + 4, Some(3), true),
        (first + 3, Some(4), false),
        (first + 3, Some(5), true),
        (first + 3, Some(1 << 63), true),
        (first + 2, Some(1 << 63), false),
        (u64::MAX, Some(usize::MAX), true),
    ] {
        assert_eq!(BlockingReload { msn: Some(msn), part }.is_too_far(track), far, "{msn} {part:?}");
    }
}

#[test]
fn the_manifest_has_a_period_an_epoch_on_one_timeline() {
    let mut window = window(2, 4);
    for track in [0, 1] {
        window.init(init(track, 1));
        // The new epoch's times begin again.
        for part in 0..10 {
            let mut chunk = chunk(track, 1, 3, part);
            chunk.presentation_time = part * if track == 0 { 18_000 } else { 9_600 };
            window.chunk(chunk);
        }
    }
    let text = dash::manifest(&window.snapshot(), NOW + 8 * S, "/api/v1/time?a&b", "?token=x");
    assert_eq!(text.matches("<Period ").count(), 2);
    assert!(text.contains("<Period id=\"1700000000\" start=\"PT0.000S\" duration=\"PT4.802S\">"), "a gap follows: {text}");
    assert!(text.contains("<Period id=\"1700000001\" start=\"PT6.000S\">"), "{text}");
    assert!(text.contains("media=\"v-$Number$.m4s?token=x\" initialization=\"v-init-1700000000.mp4?token=x\""));
    assert!(text.contains("<S t=\"0\" d=\"180000\" r=\"2\"/>"), "what broke off was listed as a whole: {text}");
    assert!(text.contains("value=\"/api/v1/time?a&amp;b\""));
    assert!(text.contains("codecs=\"avc1.64001f\" width=\"1280\" height=\"720\""));
}

#[test]
fn a_period_ends_where_the_next_one_comes_later() {
    let text = |window: &Window, ms: i64| dash::manifest(&window.snapshot(), NOW + ms * 1_000_000, "t", "");
    let mut window = window(2, 4);
    let open = "<Period id=\"1700000000\" start=\"PT0.000S\">";
    // However long nothing comes: what comes next is not known.
    for ms in [4_800, 6_600, 60_000] {
        assert!(text(&window, ms).contains(open), "{ms}: {}", text(&window, ms));
    }
    // The next one comes at once; `the_manifest_has_a_period_an_epoch_on_one_timeline` has one that comes later.
    for track in [0, 1] {
        window.init(init(track, 1));
        (4..8).for_each(|part| _ = window.chunk(Chunk { segment: 3, first: part == 4, last: part == 7, ..chunk(track, 1, 2, part) }));
    }
    let text = text(&window, 5_600);
    assert!(text.contains(open) && text.contains("<Period id=\"1700000001\" start=\"PT4.800S\">"), "{text}");
}

#[test]
fn a_period_has_all_of_its_tracks() {
    let mut window = window(2, 4);
    let periods = |window: &Window| {
        let text = dash::manifest(&window.snapshot(), NOW, "t", "");
        let sets: Vec<usize> = text.split("<Period ").skip(1).map(|period| period.matches("<AdaptationSet ").count()).collect();
        sets
    };
    assert_eq!(periods(&window), [2]);
    window.init(init(0, 1));
    (0..4).for_each(|part| _ = window.chunk(chunk(0, 1, 3, part)));
    assert_eq!(periods(&window), [2], "the sound of the new epoch will come");
    (4..10).for_each(|part| _ = window.chunk(chunk(0, 1, 3, part)));
    assert_eq!(periods(&window), [2, 1], "it doesn't come");
    window.init(init(1, 1));
    (0..10).for_each(|part| _ = window.chunk(chunk(1, 1, 3, part)));
    assert_eq!(periods(&window), [2, 2]);
    // The old epoch leaves the window, first one of its tracks, then the other; its segments are still served.
    for position in 40..210 {
        window.chunk(chunk(0, 1, position / 10, position % 10));
        window.chunk(chunk(1, 1, (position - 4) / 10, (position - 4) % 10));
        assert!(matches!(periods(&window)[..], [2] | [2, 2]), "{position}: {:?}", periods(&window));
    }
    assert_eq!(periods(&window), [2]);
}

#[test]
fn numbers_have_no_holes_where_a_track_has_nothing() {
    // The pictures have nothing of segment 2, and nothing of epoch 1.
    let mut window = window(2, 0);
    for (epoch, segments) in [(1, 2..3), (2, 3..14)] {
        for segment in segments {
            for track in if epoch == 1 { 1..2 } else { 0..2 } {
                if segment < 4 {
                    window.init(init(track, epoch));
                }
                (0..10).for_each(|part| _ = window.chunk(chunk(track, epoch, segment, part)));
            }
            let snapshot = window.snapshot();
            for track in &snapshot.tracks {
                let numbers: Vec<u64> = track.segments.iter().map(|segment| segment.number).collect();
                assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
                assert!(numbers.iter().all(|number| track.segment(*number).is_some_and(|segment| segment.number == *number)));
                // The same discontinuity sequence number for the newest segment, whatever has slid out.
                let text = hls::media(&snapshot, track, false, "");
                let sequence =
                    text.split("DISCONTINUITY-SEQUENCE:").nth(1).and_then(|rest| rest.lines().next()?.parse::<u32>().ok()).unwrap();
                let newest = track.segments.last().unwrap().epoch;
                let base = (NOW / S / 10 % 50_000) as u32;
                assert_eq!(sequence + text.matches("#EXT-X-DISCONTINUITY\n").count() as u32, base + newest, "{text}");
            }
        }
    }
    assert_eq!(window.dropped(), 0);
}

#[test]
fn a_delta_update_skips_no_discontinuity() {
    let mut window = window(2, 0);
    for track in [0, 1] {
        window.init(init(track, 1));
    }
    let mut skips = Vec::new();
    for segment in 2..24 {
        for track in [0, 1] {
            (0..10).for_each(|part| _ = window.chunk(chunk(track, 1, segment, part)));
        }
        let snapshot = window.snapshot();
        let text = hls::media(&snapshot, snapshot.track(0).unwrap(), true, "");
        let first = snapshot.track(0).unwrap().listed()[0].epoch;
        assert_eq!(text.contains("#EXT-X-DISCONTINUITY\n"), first == 0, "{text}");
        skips.push((first, text.contains("#EXT-X-SKIP:")));
    }
    assert!(skips.contains(&(0, false)) && skips.contains(&(1, true)), "{skips:?}");
}

#[test]
fn the_manifest_lists_the_segment_in_the_making_with_its_probable_length() {
    let text = dash::manifest(&window(3, 1).snapshot(), NOW, "t", "");
    assert!(text.contains("<S t=\"0\" d=\"180000\" r=\"3\"/>"), "{text}");
    assert!(text.contains("availabilityTimeOffset=\"1.790\" availabilityTimeComplete=\"false\""), "{text}");
}

fn live() -> Presentation {
    let live = Live::new(PackageConfig { max_wait: Duration::from_secs(5), ..Default::default() }, Targets::default(), 1 << 30);
    let presentation = live.begin(&StreamPath::parse("live/a").unwrap(), NOW);
    presentation.init(init(0, 0));
    (0..13).for_each(|position| _ = presentation.chunk(chunk(0, 0, position / 10, position % 10)));
    presentation
}

#[tokio::test(start_paused = true)]
async fn a_blocked_request_is_answered_when_the_part_comes() {
    let presentation = live();
    let first = presentation.snapshot().first_number;
    let waiting = {
        let presentation = presentation.clone();
        tokio::spawn(async move { presentation.playlist(0, BlockingReload { msn: Some(first + 1), part: Some(3) }, false, "").await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    presentation.chunk(chunk(0, 0, 1, 3));
    let playlist = waiting.await.unwrap().unwrap();
    assert!(playlist.blocking && String::from_utf8_lossy(&playlist.text).contains(&format!("v-{}.3.m4s", first + 1)));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends() {
    let presentation = live();
    let first = presentation.snapshot().first_number;
    let reload = BlockingReload { msn: Some(first + 1), part: Some(3) };
    assert_eq!(presentation.playlist(0, reload, false, "").await.unwrap_err(), Missing::TimedOut);
    let far = BlockingReload { msn: Some(first + 9), part: None };
    assert_eq!(presentation.playlist(0, far, false, "").await.unwrap_err(), Missing::TooFarAhead);
    assert_eq!(presentation.part(0, first, 10).await.unwrap_err(), Missing::NotFound, "a part its segment never had");
    assert_eq!(presentation.part(0, first + 1, 3).await.unwrap_err(), Missing::TimedOut);
    assert_eq!(presentation.playlist(7, BlockingReload::default(), false, "").await.unwrap_err(), Missing::NotFound);
}

#[test]
fn numbers_never_repeat_whatever_the_clock_does() {
    let live = Live::new(PackageConfig::default(), Targets::default(), 1 << 30);
    let path = StreamPath::parse("live/a").unwrap();
    let mut used = 0;
    // When the next publisher comes, how many segments it makes in how many epochs, and whether players of the one before are gone by then.
    for (now, segments, epochs, removed) in [
        (NOW, 9, 1, true),
        (NOW + S, 1, 1, false), // 9 segments in one second: an encoder that breaks off all the time
        (NOW - 3600 * S, 3, 1, true),
        (NOW - 3599 * S, 2, 5, false),
        (NOW + 3600 * S, 1, 1, true),
        (NOW + 3600 * S, 0, 0, true),
        (NOW + 3600 * S, 1, 1, true),
    ] {
        let presentation = live.begin(&path, now);
        let first = presentation.snapshot().first_number;
        assert!(first >= used, "{first} comes again, {used} numbers are used");
        for epoch in 0..epochs {
            presentation.init(init(0, epoch));
            used = used.max(first + u64::from(epoch) + 1);
        }
        for segment in 0..segments {
            (0..10).for_each(|part| _ = presentation.chunk(chunk(0, epochs - 1, segment, part)));
            used = used.max(first + segment + 1);
        }
        let manifest = dash::manifest(&presentation.snapshot(), now, "t", "");
        let start = format!("availabilityStartTime=\"{}\"", crate::base::date_time(if segments > 0 { NOW } else { now }));
        assert!(manifest.contains(&start), "the time is no matter of numbers: {manifest}");
        presentation.end();
        if removed {
            live.remove(&path, &presentation);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_read_while_it_grows() {
    let presentation = live();
    let first = presentation.snapshot().first_number;
    assert!(matches!(presentation.segment(0, first).await.unwrap(), SegmentBody::Complete(segment) if segment.parts.len() == 10));
    let SegmentBody::Growing(mut reader) = presentation.segment(0, first + 1).await.unwrap() else { panic!("complete") };
    for _ in 0..3 {
        assert!(reader.next().await.unwrap().is_some());
    }
    (3..10).for_each(|part| _ = presentation.chunk(chunk(0, 0, 1, part)));
    for _ in 3..10 {
        assert!(reader.next().await.unwrap().is_some());
    }
    assert!(reader.next().await.unwrap().is_none());
    assert_eq!(presentation.segment(0, first + 5).await.err(), Some(Missing::NotFound));
}
