//! Recordings end to end: real CMAF in, files and views out, with crashes in between.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use crate::base::StreamPath;
use crate::cmaf::testing::{Cut, audio, ffprobe, video};
use crate::cmaf::{Chunk, TrackInit, read_fragment, read_init};
use crate::codec::Codec;

use super::catalogue::Catalogue;
use super::driver::reading::Reading;
use super::driver::recover;
use super::driver::store::Store;
use super::id::RecordingId;
use super::request::{VodBody, VodReader, VodRequest, VodResponse};
use super::retention::StopReason;
use super::session::{RecordEvent, Room, Session};
use super::testing::block_on;
use super::{Meta, RecordError, State};

const NOW: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
/// Of segments of 2 s.
const TARGET_DURATION: u64 = 4;

/// What a segmenter would say about these epochs, segments being two seconds long.
fn events(epochs: &[Vec<(Codec, &Cut)>]) -> Vec<RecordEvent> {
    let mut out = Vec::new();
    let mut base = 0;
    for (epoch, tracks) in epochs.iter().enumerate() {
        let epoch = epoch as u32;
        let mut chunks = Vec::new();
        for (track, (codec, cut)) in tracks.iter().enumerate() {
            let track = track as u32;
            let init = read_init(&cut.init).unwrap();
            out.push(RecordEvent::Init(TrackInit {
                track,
                epoch,
                codec: *codec,
                codec_string: init.codec_string.clone(),
                timescale: init.timescale,
                resolution: init.resolution,
                audio: init.audio,
                data: cut.init.clone(),
            }));
            let mut mine: Vec<Chunk> = Vec::new();
            for data in &cut.chunks {
                let fragment = read_fragment(data, init.defaults).unwrap();
                let nanos = (u128::from(fragment.decode_time) * 1_000_000_000 / u128::from(init.timescale)) as i64;
                let segment = base + ((nanos + SECOND / 20) / (2 * SECOND)) as u64;
                let first = mine.last().is_none_or(|before| before.segment != segment);
                if let Some(before) = mine.last_mut().filter(|_| first) {
                    before.last = true;
                }
                mine.push(Chunk {
                    track,
                    epoch,
                    segment,
                    first,
                    last: false,
                    end: false,
                    independent: fragment.samples[0].sync,
                    presentation_time: fragment.decode_time,
                    duration: fragment.duration(),
                    wallclock: NOW + nanos,
                    data: data.clone(),
                });
            }
            mine.last_mut().unwrap().last = true;
            chunks.extend(mine);
        }
        chunks.sort_by_key(|c| (c.segment, c.wallclock, c.track));
        base = chunks.last().unwrap().segment + 1;
        out.extend(chunks.into_iter().map(RecordEvent::Chunk));
    }
    out
}

mod crash;
mod disk;
mod downloads;
mod driver;
mod pools;
mod retention;

/// No two sessions of a test name their recordings alike.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

struct House {
    dir: tempfile::TempDir,
    store: Store,
    catalogue: Arc<Catalogue>,
    room: Arc<Room>,
    reading: Reading,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        let catalogue = Arc::new(Catalogue::default());
        let reading = Reading::new(store.clone(), catalogue.clone());
        Self { dir, store, catalogue, room: Arc::default(), reading }
    }

    fn session(&self, max_ms: u64) -> Session {
        self.session_of(0..=max_ms)
    }

    fn session_of(&self, lengths: RangeInclusive<u64>) -> Session {
        let path = StreamPath::parse("live/cam1").unwrap();
        let chance = crate::base::seeded(SESSIONS.fetch_add(1, Ordering::Relaxed));
        Session::new(self.store.clone(), self.catalogue.clone(), self.room.clone(), path, lengths, TARGET_DURATION, chance)
    }

    fn record(&self, events: &[RecordEvent]) -> RecordingId {
        let mut session = self.session(u64::MAX);
        // Ids sort by time, so that the newest is the one made last.
        let now = NOW + self.catalogue.totals().0 as i64 * SECOND;
        events.iter().for_each(|event| session.handle(event.clone(), now));
        session.end(NOW + 10 * SECOND);
        self.newest().id.clone()
    }

    fn newest(&self) -> Meta {
        let page = self.catalogue.list(None, None, 1).unwrap();
        (*self.catalogue.meta(page.items[0].id.as_str()).unwrap()).clone()
    }

    fn get(&self, path: &str) -> Result<VodResponse, RecordError> {
        self.answer(VodRequest { path: path.to_owned(), ..VodRequest::default() }, NOW + 10 * SECOND)
    }

    fn answer(&self, request: VodRequest, now: i64) -> Result<VodResponse, RecordError> {
        block_on(self.reading.answer(request, now))
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(bytes(self.get(path).unwrap())).unwrap()
    }
}

fn bytes(response: VodResponse) -> Vec<u8> {
    let out = match response.body {
        VodBody::Bytes(bytes) => bytes.to_vec(),
        VodBody::File(reader) => read(reader),
        VodBody::Parts(parts) => parts.into_iter().flat_map(|(_, reader)| read(reader)).collect(),
    };
    assert_eq!(out.len() as u64, response.content_length);
    out
}

fn read(mut reader: VodReader) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(block) = reader.next_block().unwrap() {
        assert!(block.len() <= super::request::BLOCK);
        out.extend_from_slice(&block);
    }
    out
}

/// Frames that come out of ffmpeg without a word of complaint.
fn decode(input: &Path, stream: &str) -> usize {
    let out = Command::new("ffmpeg")
        .args(["-v", "warning", "-nostdin", "-xerror", "-i"])
        .arg(input)
        .args(["-map", stream, "-fps_mode", "passthrough", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    assert!(out.stderr.is_empty() && out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().filter(|l| !l.starts_with('#')).count()
}

fn two_tracks(seconds: u32) -> (Cut, Cut) {
    (video("320x180", seconds, 0, ""), audio("aac", 44_100, seconds as f32))
}

#[test]
fn a_track_may_begin_before_the_one_that_comes_first() {
    let house = House::new();
    let (picture, sound) = two_tracks(4);
    let mut events = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    // Of the sound there is the second segment only, and it comes first: an encoder stamps it seconds ahead of the pictures.
    events.retain(|event| !matches!(event, RecordEvent::Chunk(chunk) if chunk.track == 1 && chunk.segment == 0));
    events.sort_by_key(|event| matches!(event, RecordEvent::Chunk(chunk) if chunk.track == 0));
    let id = house.record(&events);
    let file = house.dir.path().join("out.mp4");
    std::fs::write(&file, bytes(house.get(&format!("{id}.mp4")).unwrap())).unwrap();
    assert_eq!(decode(&file, "0:v"), 120);
    assert!(decode(&file, "0:a") >= 80);
}

#[test]
fn a_recording_is_listed_and_plays() {
    let house = House::new();
    let (picture, sound) = two_tracks(4);
    let id = house.record(&events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]));
    let item = house.catalogue.get(id.as_str()).unwrap();
    assert_eq!((item.live, item.state, item.path.as_str(), item.tracks.len()), (false, State::Finished, "live/cam1", 2));
    assert!((item.duration - 4.0).abs() < 0.1, "{}", item.duration);
    assert_eq!(item.started_at, "2023-11-14T22:13:20.000Z");
    let on_disk = house.store.size(&id) - std::fs::metadata(house.store.dir(&id).join("meta.json")).unwrap().len();
    assert_eq!(item.bytes, on_disk);

    let response = house.get(&format!("{id}.mp4")).unwrap();
    assert_eq!((response.status, response.content_type, response.accept_ranges), (200, "video/mp4", true));
    assert_eq!(response.content_disposition.as_deref(), Some("attachment; filename=\"live-cam1-2023-11-14T22-13-20Z.mp4\""));
    let file = house.dir.path().join("out.mp4");
    std::fs::write(&file, bytes(response)).unwrap();
    assert_eq!(decode(&file, "0:v"), 120);
    assert!(decode(&file, "0:a") >= 172);
    let etag = house.get(&format!("{id}.mp4")).unwrap().etag;
    let again = VodRequest { path: format!("{id}.mp4"), if_none_match: etag, ..VodRequest::default() };
    assert_eq!(house.answer(again, NOW).unwrap().status, 304);
    let playlist = house.get(&format!("{id}/track-0.m3u8")).unwrap();
    assert_eq!((playlist.status, playlist.content_type), (200, "application/vnd.apple.mpegurl"));
    let again = VodRequest { path: format!("{id}/track-0.m3u8"), if_none_match: playlist.etag, ..VodRequest::default() };
    assert_eq!(house.answer(again, NOW).unwrap().status, 304);
    let read = mp4::Mp4Reader::read_header(std::fs::File::open(&file).unwrap(), std::fs::metadata(&file).unwrap().len()).unwrap();
    assert_eq!((read.tracks().len(), read.sample_count(1).unwrap()), (2, 120));
}

/// Fetches what a playlist refers to and puts it beside it.
fn export(house: &House, id: &RecordingId, dir: &Path, text: &str) {
    let is_name = |word: &&str| word.starts_with("track-") && !word.contains('$');
    for name in text.split(|c: char| c.is_whitespace() || c == '"').filter(is_name) {
        let body = bytes(house.get(&format!("{id}/{name}")).unwrap());
        std::fs::write(dir.join(name), &body).unwrap();
        if name.ends_with(".m3u8") {
            export(house, id, dir, &String::from_utf8(body).unwrap());
        }
    }
}

#[test]
fn hls_of_two_epochs() {
    let house = House::new();
    let ((v1, a1), v2, a2) = (two_tracks(4), video("640x360", 3, 0, ""), audio("aac", 44_100, 3.0));
    let id = house.record(&events(&[vec![(Codec::H264, &v1), (Codec::Aac, &a1)], vec![(Codec::H264, &v2), (Codec::Aac, &a2)]]));
    let main = house.text(&format!("{id}/index.m3u8"));
    let parsed = m3u8_rs::parse_master_playlist_res(main.as_bytes()).unwrap();
    assert_eq!((parsed.variants.len(), parsed.alternatives.len()), (1, 1));
    assert_eq!(parsed.variants[0].resolution.unwrap().width, 640);
    assert!(parsed.variants[0].codecs.as_deref().unwrap().ends_with(",mp4a.40.2"));
    let dir = house.dir.path().join("hls");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("index.m3u8"), &main).unwrap();
    export(&house, &id, &dir, &main);
    for track in 0..2 {
        let text = house.text(&format!("{id}/track-{track}.m3u8"));
        let list = m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap();
        assert!(list.end_list && list.segments.len() == 4, "{text}");
        let discontinuities: Vec<_> = list.segments.iter().map(|s| s.discontinuity).collect();
        assert_eq!(discontinuities, [false, false, true, false]);
        assert!((list.segments.iter().map(|s| s.duration).sum::<f32>() - 7.0).abs() < 0.1);
        assert!(text.contains("#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20"));
    }
    let index = dir.join("index.m3u8");
    assert_eq!(ffprobe(&index, "-select_streams v -count_packets -show_entries stream=nb_read_packets").last().unwrap(), "210");
}

#[test]
fn dash_is_parsed_and_plays() {
    let house = House::new();
    let (picture, sound) = two_tracks(4);
    let one = vec![(Codec::H264, &picture), (Codec::Aac, &sound)];
    let id = house.record(&events(std::slice::from_ref(&one)));
    let text = house.text(&format!("{id}/manifest.mpd"));
    let mpd = dash_mpd_core::parse(&text).unwrap();
    assert_eq!((mpd.mpdtype.as_deref(), mpd.periods.len(), mpd.periods[0].adaptations.len()), (Some("static"), 1, 2));
    assert!((mpd.mediaPresentationDuration.unwrap().as_secs_f64() - 4.0).abs() < 0.1);
    let dir = house.dir.path().join("dash");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("manifest.mpd"), &text).unwrap();
    for track in 0..2 {
        export(&house, &id, &dir, &house.text(&format!("{id}/track-{track}.m3u8")));
    }
    let manifest = dir.join("manifest.mpd");
    assert_eq!(decode(&manifest, "0:v"), 120);
    assert!(decode(&manifest, "0:a") >= 170);

    let id = house.record(&events(&[one.clone(), one]));
    let mpd = dash_mpd_core::parse(&house.text(&format!("{id}/manifest.mpd"))).unwrap();
    assert_eq!(mpd.periods.len(), 2);
    assert!((mpd.periods[1].start.unwrap().as_secs_f64() - 4.0).abs() < 0.1);
    assert!((mpd.mediaPresentationDuration.unwrap().as_secs_f64() - 8.0).abs() < 0.2);
}

#[test]
fn pixels_that_are_not_square_are_told() {
    let house = House::new();
    for (filter, resolution, sar) in [("-vf setsar=4/3", "RESOLUTION=427x180", "4:3"), ("", "RESOLUTION=320x180", "1:1")] {
        let id = house.record(&events(&[vec![(Codec::H264, &video("320x180", 1, 0, filter))]]));
        let playlist = house.text(&format!("{id}/index.m3u8"));
        assert!(playlist.contains(resolution), "{playlist}");
        let manifest = house.text(&format!("{id}/manifest.mpd"));
        assert!(manifest.contains("width=\"320\" height=\"180\"") && manifest.contains(&format!("sar=\"{sar}\"")), "{manifest}");
    }
}

#[test]
fn a_live_recording_grows_and_old_snapshots_stay() {
    let house = House::new();
    let (picture, sound) = two_tracks(6);
    let events = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    let mut session = house.session(u64::MAX);
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    let clock = std::cell::Cell::new(NOW);
    let get = |request: VodRequest| house.answer(request, clock.get()).unwrap();
    let target = |id: &RecordingId| match house.get(&format!("{id}/track-0.m3u8")) {
        Ok(response) => String::from_utf8(bytes(response)).unwrap().contains("#EXT-X-TARGETDURATION:4\n"),
        Err(error) => matches!(error, RecordError::Empty),
    };
    for (count, event) in events.iter().enumerate() {
        session.handle(event.clone(), NOW);
        session.report();
        if count % 7 != 6 {
            continue;
        }
        clock.set(clock.get() + 6 * SECOND);
        let id = house.newest().id;
        assert!(target(&id), "it can't follow what comes");
        let path = format!("{id}.mp4");
        let whole = get(VodRequest { path: path.clone(), ..VodRequest::default() });
        let etag = whole.etag.clone().unwrap();
        let whole = bytes(whole);
        seen.push((etag, whole));
        let at_once = get(VodRequest { path: path.clone(), ..VodRequest::default() });
        assert_eq!(at_once.etag.as_deref(), Some(&*seen.last().unwrap().0));
        for (etag, whole) in &seen {
            // Resumed with If-Range: the rest of that very file.
            let request =
                VodRequest { path: path.clone(), range: Some("bytes=1000-".into()), if_range: Some(etag.clone()), ..VodRequest::default() };
            let part = get(request);
            assert_eq!((part.status, part.etag.as_ref()), (206, Some(etag)));
            assert!(bytes(part) == whole[1000..]);
            let matched = get(VodRequest { path: path.clone(), if_match: Some(etag.clone()), ..VodRequest::default() });
            assert!(bytes(matched) == *whole);
        }
        assert!(house.catalogue.get(id.as_str()).unwrap().live);
        // Seeking without a name goes on in what was served last.
        let seek = get(VodRequest { path: path.clone(), range: Some("bytes=500-".into()), ..VodRequest::default() });
        assert_eq!(seek.etag.as_deref(), Some(&*seen.last().unwrap().0));
        let unknown = get(VodRequest {
            path: path.clone(),
            range: Some("bytes=5-".into()),
            if_range: Some("\"1-0x999999\"".into()),
            ..VodRequest::default()
        });
        assert_eq!(unknown.status, 200);
        let refused = house.answer(VodRequest { path, if_match: Some("\"no\"".into()), ..VodRequest::default() }, NOW);
        assert!(matches!(refused, Err(RecordError::PreconditionFailed)));
    }
    assert!(seen.len() >= 3 && seen.windows(2).all(|w| w[0].1.len() < w[1].1.len()));
    let id = house.newest().id;
    let playlist = house.text(&format!("{id}/track-0.m3u8"));
    assert!(playlist.contains("#EXT-X-TARGETDURATION:4\n"), "{playlist}");
    assert!(playlist.contains("TYPE:EVENT") && !playlist.contains("ENDLIST"), "{playlist}");
    let mpd = dash_mpd_core::parse(&house.text(&format!("{id}/manifest.mpd"))).unwrap();
    assert_eq!((mpd.mpdtype.as_deref(), mpd.UTCTiming.len()), (Some("dynamic"), 1));
    assert!(house.store.delete(&RecordingId::new(5, &mut crate::base::seeded(1))).is_err());

    session.end(NOW);
    assert!(target(&id), "nor change with the end");
    let (etag, last) = seen.last().unwrap();
    let after = get(VodRequest { path: format!("{id}.mp4"), if_match: Some(etag.clone()), ..VodRequest::default() });
    assert!(bytes(after) == *last, "the same snapshot after the end");
    let file = house.dir.path().join("part.mp4");
    std::fs::write(&file, &seen[0].1).unwrap();
    assert!(decode(&file, "0:v") > 10);
}

#[test]
fn any_range_of_a_recording_is_a_slice() {
    let house = House::new();
    let (picture, sound) = two_tracks(3);
    let id = house.record(&events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]));
    let whole = bytes(house.get(&format!("{id}.mp4")).unwrap());
    proptest!(ProptestConfig::with_cases(48), |(start in 0..whole.len(), len in 1usize..600_000)| {
        let end = (start + len).min(whole.len());
        let range = Some(format!("bytes={start}-{}", end - 1));
        let response = house.answer(VodRequest { path: format!("{id}.mp4"), range, ..VodRequest::default() }, NOW).unwrap();
        prop_assert_eq!(response.status, 206);
        let wanted = format!("bytes {start}-{}/{}", end - 1, whole.len());
        prop_assert_eq!(response.content_range.as_deref(), Some(wanted.as_str()));
        prop_assert!(bytes(response) == whole[start..end]);
    });
    let beyond = VodRequest { path: format!("{id}.mp4"), range: Some(format!("bytes={}-", whole.len())), ..VodRequest::default() };
    let response = house.answer(beyond, NOW).unwrap();
    assert_eq!((response.status, response.content_range), (416, Some(format!("bytes */{}", whole.len()))));
}

#[test]
fn hostile_names_are_not_found() {
    let house = House::new();
    let (picture, _) = two_tracks(2);
    let id = house.record(&events(&[vec![(Codec::H264, &picture)]]));
    for name in [
        "",
        "/",
        ".mp4",
        "../../etc/passwd",
        "..%2f.mp4",
        &format!("{id}"),
        &format!("{id}/"),
        &format!("{id}/meta.json"),
        &format!("{id}/../x"),
        &format!("{id}/track-0-e0.mp4"),
        &format!("{id}/track-9.m3u8"),
        &format!("{id}/track-0-e9-init.mp4"),
        &format!("{id}/track-0-e0-t1.m4s"),
        &format!("{id}/track-+0.m3u8"),
        &format!("{id}/track-99999999999.m3u8"),
        &format!("{id}/track--e-t.m4s"),
        "aaaaaaaaaaaaaaaaaaaaaaaaaa.mp4",
        "aaaaaaaaaaaaaaaaaaaaaaaaaa/index.m3u8",
    ] {
        assert!(matches!(house.get(name), Err(RecordError::NotFound)), "{name}");
    }
}

#[test]
fn a_long_recording_goes_on_in_the_next() {
    let house = House::new();
    let (picture, sound) = two_tracks(8);
    let mut session = house.session(3000);
    for event in events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]) {
        session.handle(event, NOW);
    }
    session.end(NOW);
    let items = house.catalogue.list(None, None, 10).unwrap().items;
    assert_eq!(items.len(), 2);
    let mut frames = 0;
    for item in &items {
        assert!((item.duration - 4.0).abs() < 0.15, "{}", item.duration);
        let file = house.dir.path().join("out.mp4");
        std::fs::write(&file, bytes(house.get(&format!("{}.mp4", item.id)).unwrap())).unwrap();
        frames += decode(&file, "0:v");
    }
    assert_eq!(frames, 240);
}

/// Whatever a track's segments begin with, and however far it is behind the others.
#[test]
fn nothing_is_lost_where_one_recording_follows_another() {
    let (picture, sound) = two_tracks(8);
    let usual = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    let chunk_of = |event: &RecordEvent| if let RecordEvent::Chunk(chunk) = event { Some(chunk.clone()) } else { None };
    let seconds = |track| {
        let chunks = usual.iter().filter_map(chunk_of).filter(|chunk| chunk.track == track);
        chunks.map(|chunk| chunk.duration).sum::<u64>() as f64 / if track == 0 { 90_000.0 } else { 44_100.0 }
    };
    // Segments of pictures that are cut inside a GOP; how many segments pictures come late.
    for (name, inside, late) in [
        ("usual", 9..9, 0),
        ("one cut", 2..3, 0),
        ("two cuts", 2..4, 0),
        ("late by one", 9..9, 1),
        ("late by two", 9..9, 2),
        ("both", 2..4, 2),
    ] {
        let house = House::new();
        let mut session = house.session(3000);
        let mut events = usual.clone();
        for event in &mut events {
            if let RecordEvent::Chunk(chunk) = event {
                chunk.independent &= chunk.track > 0 || !inside.contains(&chunk.segment);
            }
        }
        events.sort_by_key(|event| chunk_of(event).map(|chunk| chunk.segment + if chunk.track == 0 { late } else { 0 }));
        events.into_iter().for_each(|event| session.handle(event, NOW));
        session.end(NOW);
        let items = house.catalogue.list(None, None, 10).unwrap().items;
        assert!(items.len() > 1, "{name}");
        for track in [0, 1] {
            let texts = items.iter().filter_map(|item| house.get(&format!("{}/track-{track}.m3u8", item.id)).ok());
            let texts: Vec<String> = texts.map(|response| String::from_utf8(bytes(response)).unwrap()).collect();
            let lengths = texts
                .iter()
                .flat_map(|text| text.lines())
                .filter_map(|line| line.strip_prefix("#EXTINF:")?.trim_end_matches(',').parse::<f64>().ok());
            let (sum, wanted): (f64, f64) = (lengths.sum(), seconds(track));
            assert!((sum - wanted).abs() < 0.001, "{name}: {sum} s of track {track} are recorded, {wanted} came");
        }
    }
}

#[test]
fn no_room_stops_recording_and_room_starts_it_again() {
    let house = House::new();
    let (picture, sound) = two_tracks(4);
    let all = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    let mut session = house.session(u64::MAX);
    let half = all.len() / 2;
    all[..half].iter().for_each(|e| session.handle(e.clone(), NOW));
    house.room.set(Some(StopReason::DiskFull));
    session.handle(all[half].clone(), NOW);
    let item = house.catalogue.get(house.newest().id.as_str()).unwrap();
    assert_eq!(item.state, State::Failed);
    assert!(item.error.unwrap().contains("min_free_bytes"));
    assert!(house.get(&format!("{}.mp4", item.id)).is_ok(), "what was written plays");
    house.room.set(None);
    let later = all[half + 1..].iter().cloned().map(|event| match event {
        RecordEvent::Chunk(chunk) => RecordEvent::Chunk(Chunk { segment: chunk.segment + 100, ..chunk }),
        other => other,
    });
    later.for_each(|e| session.handle(e, NOW + SECOND));
    session.end(NOW + 2 * SECOND);
    assert_eq!(house.catalogue.list(None, None, 10).unwrap().items.len(), 2);
}

#[test]
fn a_disk_that_fails_does_not_stop_the_stream() {
    let house = House::new();
    let (picture, _) = two_tracks(4);
    let all = events(&[vec![(Codec::H264, &picture)]]);
    let file = house.dir.path().join("not-a-folder");
    std::fs::write(&file, "x").unwrap();
    let path = StreamPath::parse("live/cam1").unwrap();
    let mut session = Session::new(
        Store::new(file),
        house.catalogue.clone(),
        house.room.clone(),
        path,
        0..=u64::MAX,
        TARGET_DURATION,
        crate::base::seeded(1),
    );
    all.iter().for_each(|e| session.handle(e.clone(), NOW));
    session.end(NOW);
    assert!(house.catalogue.list(None, None, 10).unwrap().items.is_empty());
}

#[test]
fn edit_lists_and_reordering_keep_sync() {
    let flags = "-movflags +frag_keyframe+delay_moov+default_base_moof -frag_duration 500000";
    let picture = crate::cmaf::testing::ffmpeg_cmaf(&format!(
        "-f lavfi -i testsrc2=size=320x180:rate=30 -t 4 -c:v libx264 -preset ultrafast -bf 2 -g 60 -keyint_min 60 -sc_threshold 0 \
         -pix_fmt yuv420p -video_track_timescale 90000 {flags}"
    ));
    let sound = crate::cmaf::testing::ffmpeg_cmaf(&format!("-f lavfi -i sine=frequency=440:sample_rate=48000 -t 4 -c:a aac {flags}"));
    assert!(read_init(&picture.init).unwrap().presentation_shift < 0);
    assert_eq!(read_init(&sound.init).unwrap().presentation_shift, -1024);
    let house = House::new();
    let one = vec![(Codec::H264, &picture), (Codec::Aac, &sound)];
    let id = house.record(&events(&[one.clone(), one]));
    let file = house.dir.path().join("out.mp4");
    std::fs::write(&file, bytes(house.get(&format!("{id}.mp4")).unwrap())).unwrap();
    assert_eq!(decode(&file, "0:v"), 240);
    let times = |stream: &str| -> Vec<f64> {
        let lines = ffprobe(&file, &format!("-select_streams {stream} -show_entries frame=best_effort_timestamp_time"));
        lines.iter().map(|l| l.split(',').next().unwrap().parse().unwrap()).collect()
    };
    let (v, a) = (times("v"), times("a"));
    assert!(v[0].abs() < 0.005 && a[0].abs() < 0.03, "{} {}", v[0], a[0]);
    assert!(v.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] < 0.1));
    // The second epoch begins where both tracks of the first are over, in sync again.
    assert!((v[120] - 4.0).abs() < 0.06, "{}", v[120]);
    let last = (v[239] + 1.0 / 30.0) - (a[a.len() - 1] + 1024.0 / 48_000.0);
    assert!(last.abs() < 0.05, "{last}");
}

#[test]
fn chunks_that_are_not_cmaf_are_left_out() {
    let house = House::new();
    let (picture, _) = two_tracks(4);
    let mut all = events(&[vec![(Codec::H264, &picture)]]);
    if let RecordEvent::Chunk(chunk) = &mut all[4] {
        chunk.data = Bytes::from_static(b"\0\0\0\x09moof!garbage");
    }
    let id = house.record(&all);
    assert_eq!(house.catalogue.get(id.as_str()).unwrap().state, State::Finished);
    let frames = bytes(house.get(&format!("{id}.mp4")).unwrap());
    assert!(frames.len() > 10_000);
}

#[test]
fn a_hole_on_all_tracks_is_a_discontinuity() {
    let house = House::new();
    let (picture, sound) = two_tracks(8);
    let all: Vec<_> = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]])
        .into_iter()
        .filter(|e| !matches!(e, RecordEvent::Chunk(c) if c.segment == 1))
        .collect();
    let id = house.record(&all);
    for track in 0..2 {
        let text = house.text(&format!("{id}/track-{track}.m3u8"));
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    }
    let mpd = dash_mpd_core::parse(&house.text(&format!("{id}/manifest.mpd"))).unwrap();
    assert_eq!(mpd.periods.len(), 2);
}
