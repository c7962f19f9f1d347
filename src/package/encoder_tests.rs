//! What playlists and manifests promise, kept whatever an encoder does: made-up encoders, through the cuts and the window, looked at after
//! every chunk as a strict player does.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::plenty;
use super::*;
use crate::base::rescale;
use crate::cmaf::{Chunk, Targets, TrackInit};
use crate::codec::{Codec, Format};
use crate::pipeline::host::cut::Cutter;
use crate::pipeline::host::unit::{Placed, Split, Unit};
use crate::pipeline::wire::Cutting;

const MS: i64 = 1_000_000;
const S: i64 = 1000 * MS;
const NOW: i64 = 1_700_000_000 * S;

/// An encoder, and the way from it.
#[derive(Debug, Clone)]
struct Encoder {
    /// Length of a picture, ns; 0 without pictures.
    picture: i64,
    /// Pictures from one key frame to the next.
    gop: u64,
    b_frames: i64,
    /// Length of a frame of sound, ns; 0 without sound.
    frame: i64,
    /// Whether times are whole milliseconds, as in RTMP.
    rounded: bool,
    /// Pictures that are left out: from which on, how many.
    drops: Vec<(u64, u64)>,
    /// How much later than the pictures sound comes, ns.
    sound_later: i64,
    seconds: i64,
}

fn encoder() -> impl Strategy<Value = Encoder> {
    let rate = prop_oneof![
        3 => prop::sample::select(vec![23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0, 120.0, 240.0, 1.0, 15.0, 10.0, 0.2]),
        1 => 0.3f64..144.0,
    ];
    let gop = prop_oneof![Just(1u64), Just(7), Just(50), Just(60), Just(250), 1u64..600, Just(u64::MAX)];
    // Of 8, 12 and 24 kHz no number of frames fills a part: theirs are short, and say that they are independent.
    let rates = [48_000.0, 44_100.0, 96_000.0, 22_050.0, 24_000.0, 12_000.0, 8000.0];
    let sound = prop::sample::select(rates.map(|rate| 1024.0 / rate).to_vec());
    let apart = prop::sample::select(vec![0, 0, 0, 100 * MS, -100 * MS, 900 * MS, -5 * S, 5 * S]);
    (rate, gop, 0i64..4, sound, any::<bool>(), proptest::collection::vec((1u64..1500, 1u64..90), 0..6), apart, 0u8..4).prop_map(
        |(rate, gop, b_frames, sound, rounded, drops, sound_later, kinds)| Encoder {
            picture: if kinds == 3 { 0 } else { (1e9 / rate) as i64 },
            gop,
            // Beside sound no encoder waits seconds for the picture that comes after.
            b_frames: if gop < 8 || (rate < 1.0 && kinds != 2) { 0 } else { b_frames },
            frame: if kinds == 2 { 0 } else { (sound * 1e9) as i64 },
            rounded,
            drops,
            sound_later,
            seconds: 24,
        },
    )
}

/// A slice that says nothing but whether it is IDR.
fn slice(key: bool) -> Bytes {
    // first_mb_in_slice 0, slice_type 7 or 5, pic_parameter_set_id 0.
    let head = if key { [0x65, 0x88, 0xD5] } else { [0x41, 0x9A, 0x55] };
    Bytes::from([&[0, 0, 0, 8], &head[..], &[0x55; 5]].concat())
}

impl Encoder {
    /// Its units with the time each comes, and the track: 0 pictures, 1 sound; without pictures sound is 0.
    fn units(&self) -> Vec<(i64, usize, Unit)> {
        let round = |time: i64| if self.rounded { time / MS * MS } else { time };
        let mut out = Vec::new();
        if self.picture > 0 {
            let depth = i64::from(self.b_frames > 0) * self.picture;
            let count = (self.seconds * S / self.picture) as u64 + 1;
            let (mut at, mut pending) = (0u64, Vec::new());
            // A group of B-frames is coded after the picture that follows it.
            while at < count {
                let key = at.is_multiple_of(self.gop);
                let group = if key { 1 } else { (self.b_frames as u64 + 1).min(self.gop - at % self.gop).min(count - at) };
                pending.push((at + group - 1, key));
                pending.extend((at..at + group - 1).map(|index| (index, false)));
                at += group;
            }
            let dropped = |index: u64| self.drops.iter().any(|(from, many)| (*from..from + many).contains(&index));
            let kept: Vec<(u64, bool)> = pending.into_iter().filter(|(index, key)| *key || !dropped(*index)).collect();
            let mut times: Vec<i64> = kept.iter().map(|(index, _)| round(NOW + *index as i64 * self.picture)).collect();
            times.sort_unstable();
            for (place, (index, key)) in kept.into_iter().enumerate() {
                let pts = round(NOW + index as i64 * self.picture);
                // As `host::order` makes them: the times of presentation in order, one picture later.
                let dts = if depth == 0 { pts } else { place.checked_sub(1).map_or(NOW - depth, |before| times[before]) };
                out.push((dts + depth, 0, Unit { pts, dts, source: Some(dts), duration: 0, key, data: slice(key) }));
            }
        }
        if self.frame > 0 {
            let track = usize::from(self.picture > 0);
            for n in 0..self.seconds * S / self.frame {
                let pts = NOW + n * self.frame;
                let unit = Unit { pts, dts: pts, source: Some(pts), duration: self.frame, key: true, data: Bytes::from_static(b"sound") };
                out.push((pts + self.sound_later, track, unit));
            }
        }
        out.sort_by_key(|(came, track, _)| (*came, *track));
        out
    }

    fn cutter(&self) -> Cutter {
        let cutting = Cutting {
            segment: 2 * S as u64,
            part: 200 * MS as u64,
            first_segment: 0,
            epoch: 0,
            not_before: [i64::MIN; 2],
            given: [i64::MIN; 2],
        };
        let video: &[bool] = match (self.picture > 0, self.frame > 0) {
            (true, true) => &[true, false],
            (true, false) => &[true],
            _ => &[false],
        };
        let mut cutter = Cutter::new(cutting, video);
        if self.picture > 0 {
            // 640x360, constrained baseline.
            let bytes =
                |text: &str| (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect::<Vec<u8>>();
            let (sps, pps) = (bytes("6742c01ed900a02ff97011000003000100000300320f162e48"), bytes("68cb83cb20"));
            cutter.format(0, &Format::H264 { sps: vec![sps.into()], pps: vec![pps.into()] });
        }
        cutter
    }
}

/// Makes chunks as the muxer does: one is whole when the next one begins.
struct Muxer {
    number: u32,
    timescale: u32,
    open: Option<(Chunk, i64)>,
}

impl Muxer {
    fn push(&mut self, placed: &Placed) -> Option<Chunk> {
        let ticks = |time: i64| rescale(time - NOW + 10 * S, 1_000_000_000, self.timescale) as u64;
        if placed.split == Split::None {
            return None;
        }
        let begin = placed.unit.dts;
        let segment = match placed.split {
            Split::Segment(number) => number,
            _ => self.open.as_ref().map_or(0, |(chunk, _)| chunk.segment),
        };
        let first = matches!(placed.split, Split::Segment(_));
        let done = self.open.take().map(|(chunk, since)| Chunk { duration: ticks(begin) - ticks(since), last: first, ..chunk });
        let chunk = Chunk {
            track: self.number,
            epoch: 0,
            segment,
            first,
            last: false,
            end: false,
            independent: placed.unit.key,
            presentation_time: ticks(begin),
            duration: 0,
            wallclock: begin,
            data: Bytes::from_static(b"chunk"),
        };
        self.open = Some((chunk, begin));
        done
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    constants: BTreeMap<(u32, String), String>,
    timeline: BTreeMap<(String, u64), (u64, u64)>,
    durations: BTreeMap<String, String>,
}

fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split([':', ',']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(|value| value.trim_matches('"'))
}

impl Seen {
    fn constant(&mut self, track: u32, name: &str, value: &str) -> Result<(), TestCaseError> {
        let known = self.constants.entry((track, name.to_owned())).or_insert_with(|| value.to_owned());
        prop_assert_eq!(&*known, value, "{} of track {}", name, track);
        Ok(())
    }

    fn playlist(&mut self, track: u32, text: &str) -> Result<(), TestCaseError> {
        let mut parts: Vec<(f64, String, bool)> = Vec::new();
        let (mut target, mut part_target, mut length) = (0.0, 0.0, String::new());
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                self.constant(track, "TARGETDURATION", value)?;
                target = value.parse().unwrap();
            } else if line.starts_with("#EXT-X-SERVER-CONTROL:") || line.starts_with("#EXT-X-PART-INF:") {
                self.constant(track, &line[..16], line)?;
                part_target = attribute(line, "PART-TARGET").map_or(part_target, |value| value.parse().unwrap());
            } else if line.starts_with("#EXT-X-PART:") {
                let uri = attribute(line, "URI").unwrap();
                let known = self.durations.entry(uri.to_owned()).or_insert_with(|| line.to_owned());
                prop_assert_eq!(&*known, line);
                parts.push((attribute(line, "DURATION").unwrap().parse().unwrap(), uri.to_owned(), line.ends_with("INDEPENDENT=YES")));
            } else if let Some(value) = line.strip_prefix("#EXTINF:") {
                value.trim_end_matches(',').clone_into(&mut length);
                prop_assert!(length.parse::<f64>().unwrap().round() <= target, "{} is longer than {}", length, target);
            } else if !line.starts_with('#') {
                let known = self.durations.entry(line.to_owned()).or_insert_with(|| length.clone());
                prop_assert_eq!(&*known, &length, "{}", line);
            }
        }
        let segment = |uri: &str| uri.split('.').next().unwrap().to_owned();
        for (index, (duration, uri, independent)) in parts.iter().enumerate() {
            prop_assert!(*duration <= part_target, "{} lasts {}", uri, duration);
            let last = parts.get(index + 1).is_none_or(|next| segment(&next.1) != segment(uri));
            prop_assert!(*independent || last || *duration >= 0.85 * part_target - 1e-6, "{} lasts {}", uri, duration);
        }
        Ok(())
    }

    fn manifest(&mut self, text: &str) -> Result<(), TestCaseError> {
        let number = |text: &str, name: &str| -> Option<u64> {
            let from = text.find(&format!(" {name}=\""))? + name.len() + 3;
            text[from..].split('"').next()?.parse().ok()
        };
        let longest = text.split("maxSegmentDuration=").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default();
        self.constant(9, "maxSegmentDuration", longest)?;
        for set in text.split("<AdaptationSet ").skip(1) {
            let kind = set.split("contentType=\"").nth(1).unwrap().split('"').next().unwrap();
            prop_assert!(kind == "audio" || !set.contains("startWithSAP"));
            let mut at = number(set, "startNumber").unwrap();
            for entry in set.split("<S ").skip(1) {
                let entry = format!(" {}", entry.split("/>").next().unwrap());
                let (mut time, each) = (number(&entry, "t").unwrap(), number(&entry, "d").unwrap());
                for _ in 0..=number(&entry, "r").unwrap_or(0) {
                    let known = self.timeline.entry((kind.to_owned(), at)).or_insert((time, each));
                    prop_assert_eq!(*known, (time, each), "{} {}", kind, at);
                    (time, at) = (time + each, at + 1);
                }
            }
        }
        Ok(())
    }
}

fn init(number: u32, timescale: u32) -> TrackInit {
    let video = number == 0;
    TrackInit {
        track: number,
        epoch: 0,
        codec: if video { Codec::H264 } else { Codec::Aac },
        codec_string: if video { "avc1.64001f" } else { "mp4a.40.2" }.to_owned(),
        timescale,
        resolution: video.then_some((640, 360)),
        audio: (!video).then_some((48_000, 2)),
        data: Bytes::new(),
    }
}

fn watch(encoder: &Encoder) -> Result<(), TestCaseError> {
    let mut cutter = encoder.cutter();
    let mut window = Window::new(&PackageConfig::default(), Targets::default(), NOW, 0, plenty());
    let muxer = |number| Muxer { number, timescale: if number == 0 { 90_000 } else { 48_000 }, open: None };
    let mut muxers = if encoder.picture > 0 { vec![muxer(0), muxer(1)] } else { vec![muxer(1)] };
    for muxer in &muxers[..usize::from(encoder.picture > 0) + usize::from(encoder.frame > 0)] {
        window.init(init(muxer.number, muxer.timescale));
    }
    let mut seen = Seen::default();
    let mut out = Vec::new();
    let units = encoder.units();
    let mut given = [0usize; 2];
    for (came, track, unit) in units.iter().cloned() {
        given[track] += 1;
        cutter.push(came, track, unit, &mut out);
    }
    cutter.finish(&mut out);
    let mut kept = [0usize; 2];
    let mut last = [i64::MIN; 2];
    for placed in &out {
        prop_assert!(placed.unit.dts > last[placed.track], "decoding times go on");
        last[placed.track] = placed.unit.dts;
        let repeated = placed.unit.data.get(4) == Some(&0x09);
        kept[placed.track] += usize::from(!repeated);
        if let Some(chunk) = muxers[placed.track].push(placed) {
            let track = chunk.track;
            window.chunk(chunk);
            let snapshot = window.snapshot();
            seen.playlist(track, &hls::media(&snapshot, snapshot.track(track).unwrap(), false, ""))?;
            if placed.split != Split::Chunk {
                seen.manifest(&dash::manifest(&snapshot, NOW, "t", ""))?;
            }
        }
    }
    prop_assert_eq!(kept[0], given[0], "pictures");
    // Sound before the first picture is left out.
    prop_assert!(kept[1] + 1 >= given[1], "{} of {} frames of sound", kept[1], given[1]);
    prop_assert_eq!(window.dropped(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn promises_are_kept_whatever_an_encoder_does(encoder in encoder()) {
        watch(&encoder)?;
    }
}

#[test]
fn promises_are_kept_at_the_usual_rates() {
    for rate in [23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0, 120.0, 240.0, 1.0, 0.2, 1.0 / 3.0] {
        for (gop, b_frames, frame) in
            [(1, 0, 0.0), (7, 2, 0.0), (250, 3, 0.0), (60, 0, 1024.0 / 48_000.0), (250, 3, 0.128), (u64::MAX, 2, 1024.0 / 96_000.0)]
        {
            let encoder = Encoder {
                picture: (1e9 / rate) as i64,
                gop,
                b_frames: if rate < 1.0 && frame > 0.0 { 0 } else { b_frames },
                frame: (frame * 1e9) as i64,
                rounded: true,
                drops: vec![(100, 7)],
                sound_later: 0,
                seconds: 24,
            };
            let result = watch(&encoder);
            assert!(result.is_ok(), "{encoder:?}: {result:?}");
        }
    }
}
