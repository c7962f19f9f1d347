//! What holds whatever happens.
//!
//! In: what was accepted, every chunk and every playlist. Out: sentences about what is broken. What may be missing is named by a
//! [`Reason`] and counted.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::muxer::Sample;
use super::{MS, SECOND};
use crate::base::{MediaKind, UnixNanos};
use crate::cmaf::{Chunk, Targets};
use crate::package::{Snapshot, TrackSnapshot, Window, dash, hls};

/// Why a unit that was accepted is not in the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Pictures that can't be decoded: before the first key frame of an epoch.
    BeforeKeyFrame,
    /// Key frames that came while the stream settled: the first epoch begins with the last one.
    WhileSettling,
    /// Sound before the first segment of an epoch, or behind the last one of the epoch before.
    BetweenEpochs,
    /// Sound whose time is taken already: the grid has no place for it.
    NoPlaceOnGrid,
    /// It was in a child that died, or came while there was none.
    LostWithChild,
    /// The reader was so late that the SFU no longer had it.
    ReaderTooLate,
    /// What lay before the end of the epoch before.
    BeforeEnd,
}

/// What one track gave.
#[derive(Debug, Default)]
struct Lane {
    accepted: Vec<(u64, bool)>,
    /// What chunks had.
    handed: Vec<Bytes>,
    /// Index in `accepted` of what should come next.
    next: usize,
    /// How many were accepted before the first job began to read.
    before_first: Option<usize>,
    epoch: Option<u32>,
    segment: Option<u64>,
    last_dts: Option<UnixNanos>,
    /// Ticks at which the next chunk of this epoch begins, and the decoding time in the chunk's own time.
    chunks: u64,
    ended: Option<bool>,
    made: u64,
}

/// The books of one stream.
#[derive(Debug)]
pub(super) struct Ledger {
    lanes: [Lane; 2],
    pub reasons: BTreeMap<(MediaKind, Reason), u64>,
    pub broken: Vec<String>,
    targets: Targets,
    /// Wall clock until which a loss is known: the child was killed, the reader was late.
    pub excused: Option<Reason>,
    /// Nothing but the truth came so far.
    pub honest: bool,
    listed: Listed,
    /// Whether a unit was accepted in this second, and in how many seconds since the last chunk.
    accepted_now: bool,
    pub busy_seconds: u64,
    parts_fit: bool,
    wavers: bool,
    /// How often playlists were looked at.
    looked: u64,
    pub newest: [Option<UnixNanos>; 2],
}

impl Ledger {
    /// `wavers`: playlists say another TARGETDURATION after a while.
    pub(super) fn new(targets: Targets, parts_fit: bool, wavers: bool) -> Self {
        Self {
            wavers,
            looked: 0,
            lanes: Default::default(),
            reasons: BTreeMap::new(),
            broken: Vec::new(),
            targets,
            excused: None,
            honest: true,
            listed: Listed::default(),
            accepted_now: false,
            busy_seconds: 0,
            parts_fit,
            newest: [None; 2],
        }
    }

    fn fail(&mut self, what: String) {
        if self.broken.len() < 20 {
            self.broken.push(what);
        }
    }

    /// A job begins to read.
    pub(super) fn reads(&mut self) {
        for lane in &mut self.lanes {
            lane.before_first.get_or_insert(lane.accepted.len());
        }
    }

    pub(super) fn accepted(&mut self, kind: MediaKind, number: u64, key: bool) {
        self.accepted_now = true;
        self.lanes[kind as usize].accepted.push((number, key));
    }

    /// A second has passed.
    pub(super) fn busy(&mut self) {
        self.busy_seconds += u64::from(std::mem::take(&mut self.accepted_now));
    }

    /// How many units are recorded, of how many.
    pub(super) fn count(&self) -> [usize; 2] {
        [self.lanes.iter().map(|lane| lane.next).sum(), self.lanes.iter().map(|lane| lane.accepted.len()).sum()]
    }

    /// A chunk goes to its takers.
    pub(super) fn chunk(&mut self, chunk: &Chunk, samples: &[Sample], timescale: u32) {
        let kind = if chunk.track == 0 { MediaKind::Video } else { MediaKind::Audio };
        let name = format!("{kind} chunk of segment {} in epoch {}", chunk.segment, chunk.epoch);
        let (targets, parts_fit) = (self.targets, self.parts_fit);
        self.busy_seconds = 0;
        self.newest[kind as usize] = Some(chunk.wallclock + ns(chunk.duration, timescale));
        let mut broken = Vec::new();
        let lane = &mut self.lanes[kind as usize];
        let same_epoch = lane.epoch == Some(chunk.epoch);
        if lane.epoch.is_some_and(|epoch| epoch > chunk.epoch) {
            broken.push(format!("{name}: the epoch goes back"));
        }
        if chunk.first != lane.segment.is_none_or(|segment| segment != chunk.segment) || lane.segment.is_some_and(|s| s > chunk.segment) {
            broken.push(format!("{name}: after segment {:?}, first is {}", lane.segment, chunk.first));
        }
        if same_epoch && lane.ended.is_some_and(|ended| ended != chunk.first) {
            broken.push(format!("{name}: the one before it said last: {:?}", lane.ended));
        }
        if samples.is_empty() || chunk.duration == 0 {
            broken.push(format!("{name}: {} samples, {} ticks", samples.len(), chunk.duration));
        }
        let length = ns(chunk.duration, timescale);
        if parts_fit && length > targets.part_target() + MS {
            broken.push(format!("{name}: {} ms long, PART-TARGET is {}", length / MS, targets.part_target() / MS));
        }
        let mut gaps = Vec::new();
        for sample in samples {
            if sample.pts < sample.dts {
                broken.push(format!("{name}: a sample is shown {} ns before it is decoded", sample.dts - sample.pts));
            }
            if lane.last_dts.is_some_and(|last| sample.dts <= last) && (same_epoch || kind == MediaKind::Video) {
                let back = lane.last_dts.unwrap_or_default() - sample.dts;
                broken.push(format!("{name}: decoding times go back by {} us", back / 1000));
            }
            lane.last_dts = Some(sample.dts);
            let Some(number) = sample.number else {
                lane.made += 1;
                continue;
            };
            match lane.accepted[lane.next..].iter().position(|(known, _)| *known == number) {
                None if lane.accepted.iter().any(|(known, _)| *known == number) => {
                    broken.push(format!("{name}: unit {number} comes a second time"));
                }
                None => broken.push(format!("{name}: unit {number} was never accepted")),
                Some(skipped) => {
                    if skipped > 0 {
                        let keys = lane.accepted[lane.next..lane.next + skipped].iter().filter(|(_, key)| *key).count();
                        let settling = lane.epoch.is_none() && lane.before_first.is_some_and(|count| lane.next + skipped < count);
                        if settling && sample.key {
                            *self.reasons.entry((kind, Reason::WhileSettling)).or_default() += skipped as u64;
                        } else {
                            gaps.push((skipped as u64, keys, number, sample.key, lane.epoch == Some(chunk.epoch)));
                        }
                    }
                    lane.next += skipped + 1;
                }
            }
            lane.epoch = Some(chunk.epoch);
        }
        lane.epoch = Some(chunk.epoch);
        lane.segment = Some(chunk.segment);
        lane.ended = Some(chunk.last);
        lane.chunks += 1;
        lane.handed.push(chunk.data.clone());
        for (skipped, keys, number, key, within) in gaps {
            self.gap(kind, &name, skipped, keys, number, key, within);
        }
        broken.into_iter().for_each(|what| self.fail(what));
    }

    /// The window had no memory for the newest chunk of a track.
    pub(super) fn left_out(&mut self, track: u32) {
        let kind = if track == 0 { MediaKind::Video } else { MediaKind::Audio };
        self.lanes[kind as usize].handed.pop();
    }

    /// Units are missing before `number`.
    #[allow(clippy::too_many_arguments)]
    fn gap(&mut self, kind: MediaKind, name: &str, skipped: u64, keys: usize, number: u64, key: bool, within: bool) {
        let reason = match (kind, within, self.excused) {
            (MediaKind::Audio, true, _) if !self.honest => Reason::NoPlaceOnGrid,
            (_, _, Some(reason)) => reason,
            (MediaKind::Video, false, _) if keys == 0 => Reason::BeforeKeyFrame,
            (MediaKind::Video, false, _) if !self.honest => Reason::BeforeEnd,
            (MediaKind::Audio, false, _) => Reason::BetweenEpochs,
            _ => {
                let place = if within { "within an epoch" } else { "between epochs" };
                return self.fail(format!("{name}: {skipped} units ({keys} key) are missing before {number} {place}"));
            }
        };
        if kind == MediaKind::Video && !key {
            self.fail(format!("{name}: goes on with {number}, which is no key frame, after {skipped} missing"));
        }
        *self.reasons.entry((kind, reason)).or_default() += skipped;
    }

    /// The newest playlists.
    pub(super) fn playlists(&mut self, window: &Window, wall: UnixNanos) {
        let snapshot = window.snapshot();
        let mut broken = Vec::new();
        self.looked += 1;
        for track in &snapshot.tracks {
            let mut text = hls::media(&snapshot, track, false, "");
            if self.wavers && self.looked > 20 {
                text = text.replace("TARGETDURATION:", "TARGETDURATION:1");
            }
            self.whole(track, &mut broken);
            self.listed.hls(track.track, &text, &snapshot, self.parts_fit, &mut broken);
        }
        // The server gives none before it has media.
        if snapshot.tracks.iter().any(|track| !track.segments.is_empty()) {
            self.listed.dash(&dash::manifest(&snapshot, wall, "/", ""), &mut broken);
        }
        broken.into_iter().for_each(|what| self.fail(what));
    }

    /// The window has the newest chunks of a track, none left out and none twice.
    fn whole(&self, track: &TrackSnapshot, broken: &mut Vec<String>) {
        let kind = if track.track == 0 { MediaKind::Video } else { MediaKind::Audio };
        let lane = &self.lanes[kind as usize];
        let parts = track.segments.iter().rev().flat_map(|segment| segment.parts.iter().rev());
        let mut handed = lane.handed.iter().rev();
        let other = parts.enumerate().find(|(_, part)| handed.next().is_none_or(|handed| part.data != *handed));
        if let Some((back, _)) = other {
            broken.push(format!("the window of track {}: the part {back} before the newest isn't what the segmenter made", track.track));
        }
    }

    /// How far the newest chunk of each track that is published is from the wall clock: in real time, and without a fault, within two
    /// seconds.
    pub(super) fn live_edge(&mut self, published: impl Iterator<Item = MediaKind>, wall: UnixNanos, strict: bool) {
        for kind in published {
            let Some(newest) = self.newest[kind as usize] else { continue };
            let ahead = newest - wall;
            if ahead > 92 * SECOND || (strict && !(-2 * SECOND..2 * SECOND).contains(&ahead)) {
                self.fail(format!("{kind} is {} ms ahead of the wall clock", ahead / MS));
            }
        }
    }
}

fn ns(ticks: u64, timescale: u32) -> i64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(timescale.max(1))) as i64
}

/// What playlists have said.
#[derive(Debug, Default)]
struct Listed {
    /// By name: what was said of it.
    said: HashMap<String, String>,
    sequences: HashMap<u32, (u64, u64)>,
    timelines: HashMap<(String, String, u64), (u64, u64)>,
}

impl Listed {
    fn say(&mut self, name: String, what: &str, broken: &mut Vec<String>) {
        match self.said.get(&name) {
            Some(before) if before != what => broken.push(format!("{name}: {before:?} became {what:?}")),
            Some(_) => {}
            None => {
                self.said.insert(name, what.to_owned());
            }
        }
    }

    fn hls(&mut self, track: u32, text: &str, snapshot: &Snapshot, parts_fit: bool, broken: &mut Vec<String>) {
        let (mut sequence, mut discontinuity, mut index, mut parts) = (0, 0, 0, Vec::<(f64, bool)>::new());
        let (mut date, mut map, mut duration) = ("", "", "");
        let target = snapshot.targets.target_duration() as f64;
        let part_target = snapshot.targets.part_target() as f64 / 1e9;
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-VERSION" | "#EXT-X-TARGETDURATION" | "#EXT-X-SERVER-CONTROL" | "#EXT-X-PART-INF" => {
                    self.say(format!("{track} {tag}"), value, broken);
                }
                "#EXT-X-MEDIA-SEQUENCE" => sequence = value.parse().unwrap_or(0),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                    discontinuity = value.parse().unwrap_or(0);
                    let before = self.sequences.insert(track, (sequence, discontinuity)).unwrap_or_default();
                    if sequence < before.0 || discontinuity < before.1 {
                        broken.push(format!("{track}: sequences {before:?} went back to {sequence}, {discontinuity}"));
                    }
                }
                "#EXT-X-DISCONTINUITY" => discontinuity += 1,
                "#EXT-X-MAP" => map = value,
                "#EXT-X-PROGRAM-DATE-TIME" => date = line,
                "#EXT-X-PART" => {
                    let name = value.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("").to_owned();
                    let seconds: f64 = value.trim_start_matches("DURATION=").split(',').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
                    if parts_fit && seconds > part_target + 0.0005 {
                        broken.push(format!("{name}: {seconds} s, PART-TARGET is {part_target}"));
                    }
                    if let Some((before, false)) = parts.last()
                        && *before < part_target * 0.85 - 0.0025
                        && parts_fit
                    {
                        broken.push(format!("the part before {name} has {before} s, less than 85 % of {part_target}"));
                    }
                    parts.push((seconds, value.contains("INDEPENDENT=YES")));
                    self.say(name, value, broken);
                }
                "#EXTINF" => {
                    duration = value;
                    let seconds: f64 = value.trim_end_matches(',').parse().unwrap_or(0.0);
                    if seconds.round() > target {
                        broken.push(format!("segment {index} of track {track}: {seconds} s, TARGETDURATION is {target}"));
                    }
                    parts.clear();
                }
                _ if !line.starts_with('#') && !line.is_empty() => {
                    let number: u64 = line.split(['-', '.']).nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
                    if number != sequence + index {
                        broken.push(format!("{line} has the media sequence number {}", sequence + index));
                    }
                    self.say(line.to_owned(), &format!("{duration} {date} {map} {discontinuity}"), broken);
                    index += 1;
                }
                _ => {}
            }
        }
    }

    fn dash(&mut self, text: &str, broken: &mut Vec<String>) {
        let attribute = |line: &str, name: &str| -> Option<String> {
            let rest = line.split(&format!(" {name}=\"")).nth(1)?;
            rest.split('"').next().map(str::to_owned)
        };
        let (mut period, mut set, mut number) = (String::new(), String::new(), 0u64);
        for line in text.lines() {
            let is = |tag: &str| line.trim_start().starts_with(&format!("<{tag} "));
            if is("MPD") {
                self.say("availabilityStartTime".into(), &attribute(line, "availabilityStartTime").unwrap_or_default(), broken);
            } else if is("Period") {
                period = attribute(line, "id").unwrap_or_default();
                self.say(format!("Period {period}"), &attribute(line, "start").unwrap_or_default(), broken);
            } else if is("AdaptationSet") {
                set = attribute(line, "id").unwrap_or_default();
            } else if is("SegmentTemplate") {
                number = attribute(line, "startNumber").and_then(|n| n.parse().ok()).unwrap_or(0);
                let name = format!("presentationTimeOffset of {set} in {period}");
                self.say(name, &attribute(line, "presentationTimeOffset").unwrap_or_default(), broken);
            } else if is("S") {
                let read = |name| attribute(line, name).and_then(|n| n.parse::<u64>().ok());
                let (mut time, each) = (read("t").unwrap_or(0), read("d").unwrap_or(0));
                for _ in 0..=read("r").unwrap_or(0) {
                    let before = *self.timelines.entry((period.clone(), set.clone(), number)).or_insert((time, each));
                    if before != (time, each) {
                        broken.push(format!("segment {number} of {set} in period {period}: {before:?} became {:?}", (time, each)));
                    }
                    (time, number) = (time + each, number + 1);
                }
            }
        }
    }
}
