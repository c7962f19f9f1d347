//! The recording of a stream: what went into the recorder, and whether a player gets the same out of it.
//!
//! In: what the segmenter says, crashes. Out: what is broken. It is read as players read it: the playlist of each track with its segments,
//! and the MP4 by its sample tables. Everything that was handed over is in both exactly once and in order; after a crash everything up
//! to the first byte that was lost.

use std::path::Path;

use super::muxer::Sample;
use super::random::Random;
use crate::base::{UnixNanos, seeded};
use crate::cmaf::{Boxes, Targets, read_fragment, read_init};
use crate::pipeline::SegmenterEvent;
use crate::record::RecordEvent;
use crate::record::testing::{Lengths, Recorder, Shelf};

/// What was handed over of one track.
#[derive(Debug, Default)]
struct Lane {
    begun: bool,
    samples: Vec<Sample>,
    /// After each chunk: its epoch, how long the files are, how many samples there are.
    chunks: Vec<(u32, Lengths, usize)>,
}

/// The recording of one stream.
pub(super) struct Recording {
    recorder: Recorder,
    /// The first segment in it.
    from: Option<u64>,
    lanes: [Lane; 2],
    wants_lengths: bool,
    twice: bool,
}

impl Recording {
    /// `crashes`: whether [`Recording::crash`] will be called. `twice`: what comes after a reconnect is handed over twice.
    pub(super) fn new(targets: Targets, random: &mut Random, crashes: bool, twice: bool) -> Self {
        // Where it crashes, all is in one recording.
        let longest = if crashes || random.chance(70) { u64::MAX } else { random.range(1000, 12_000) as u64 };
        let recorder = Recorder::new(targets.target_duration(), longest, seeded(random.next()));
        Self { recorder, from: None, lanes: Default::default(), wants_lengths: crashes, twice }
    }

    /// The segmenter says this; in it are these samples.
    pub(super) fn handle(&mut self, event: &SegmenterEvent, samples: &[Sample], wall: UnixNanos) {
        match event {
            SegmenterEvent::Init(init) => self.recorder.handle(RecordEvent::Init(init.clone()), wall),
            SegmenterEvent::Chunk(chunk) => {
                self.recorder.handle(RecordEvent::Chunk(chunk.clone()), wall);
                if self.twice && chunk.epoch > 0 {
                    self.recorder.handle(RecordEvent::Chunk(chunk.clone()), wall);
                }
                let Some(lane) = self.lanes.get_mut(chunk.track as usize) else { return };
                // A recording begins with a segment on each track.
                if chunk.first && chunk.independent && chunk.segment >= *self.from.get_or_insert(chunk.segment) {
                    lane.begun = true;
                }
                if lane.begun {
                    lane.samples.extend(samples);
                    if self.wants_lengths {
                        let lengths = self.recorder.lengths(chunk.track, chunk.epoch).unwrap_or_default();
                        lane.chunks.push((chunk.epoch, lengths, lane.samples.len()));
                    }
                }
            }
            SegmenterEvent::End => self.recorder.handle(RecordEvent::End, wall),
        }
    }

    /// How many samples of each track are in it.
    pub(super) fn count(&self) -> usize {
        self.lanes.iter().map(|lane| lane.samples.len()).sum()
    }

    /// The machine dies: what is there afterwards?
    pub(super) fn crash(&self, random: &mut Random, wall: UnixNanos, broken: &mut Vec<String>) {
        let mut left: Vec<(String, u64)> = Vec::new();
        let shelf = self.recorder.crash(wall, |name, path| {
            if name.starts_with("index-") || self.is_newest(name) {
                left.push((name.to_owned(), hurt(path, random)));
            }
        });
        let left = |name: &str| left.iter().find(|(other, _)| other == name).map_or(u64::MAX, |(_, len)| *len);
        let whole = |track: usize| {
            let lane = &self.lanes[track];
            let index = left(&format!("index-{track}"));
            let is_whole = |(epoch, lengths, _): &&(u32, Lengths, usize)| {
                lengths.index <= index && lengths.data <= left(&format!("track-{track}-e{epoch}.mp4"))
            };
            lane.chunks.iter().take_while(is_whole).last().map_or(0, |(_, _, samples)| *samples)
        };
        let wanted = [0, 1].map(|track| &self.lanes[track].samples[..whole(track)]);
        compare(&shelf, wanted, wall, "after a crash", broken);
    }

    /// Whether this is the file that a track's samples go into now: those before it are safe.
    fn is_newest(&self, name: &str) -> bool {
        let newest = |(track, lane): (usize, &Lane)| lane.chunks.last().map(|(epoch, ..)| format!("track-{track}-e{epoch}.mp4"));
        self.lanes.iter().enumerate().filter_map(newest).any(|newest| newest == name)
    }

    /// The stream is over.
    pub(super) fn end(self, wall: UnixNanos, broken: &mut Vec<String>) {
        let shelf = self.recorder.end(wall);
        compare(&shelf, [&self.lanes[0].samples, &self.lanes[1].samples], wall, "at the end", broken);
    }
}

/// Damages the end of a file: nothing, a cut, or zeros where bytes should be. Says how much of it is as it was.
fn hurt(path: &Path, random: &mut Random) -> u64 {
    let before = std::fs::read(path).unwrap();
    let mut after = before.clone();
    let at = match random.range(0, 4) {
        0 => before.len(),
        1 => random.range(0, before.len() as i64 + 1) as usize,
        _ => before.len() - (random.range(0, 3000) as usize).min(before.len()),
    };
    if random.chance(50) {
        after[at..].fill(0)
    } else {
        after.truncate(at)
    }
    std::fs::write(path, &after).unwrap();
    before.iter().zip(&after).take_while(|(before, after)| before == after).count() as u64
}

/// Whether playlists and MP4 have these samples of each track, and nothing else.
fn compare(shelf: &Shelf, wanted: [&[Sample]; 2], wall: UnixNanos, when: &str, broken: &mut Vec<String>) {
    let (mut listed, mut laid_out): ([Vec<Sample>; 2], [Vec<Sample>; 2]) = Default::default();
    for (id, tracks) in shelf.recordings() {
        for track in tracks.into_iter().filter(|track| *track < 2) {
            if let Err(why) = playlist(shelf, &id, track, wall, &mut listed[track as usize]) {
                broken.push(format!("the recording's playlist of track {track} {when}: {why}"));
            }
        }
        match shelf.get(&format!("{id}.mp4"), wall) {
            None => broken.push(format!("the recording has no MP4 {when}")),
            Some(file) => {
                if mp4(&file, &mut laid_out).is_none() {
                    broken.push(format!("the recording's MP4 can't be read {when}"));
                }
            }
        }
    }
    for (view, found) in [("playlist", &listed), ("MP4", &laid_out)] {
        for (track, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let place = found.iter().zip(wanted).position(|(found, wanted)| found != wanted).unwrap_or(found.len().min(wanted.len()));
            if let (None, None) = (found.get(place), wanted.get(place)) {
                continue;
            }
            let show = |of: &[Sample]| of.get(place).map_or("nothing".to_owned(), |sample| format!("unit {:?}", sample.number));
            let (counts, found, wanted) = ((found.len(), wanted.len()), show(found), show(wanted));
            broken.push(format!("the recording's {view} of track {track} {when} has {found} at {place}, not {wanted} {counts:?}"));
        }
    }
}

/// Reads a track by its playlist, as players do.
fn playlist(shelf: &Shelf, id: &str, track: u32, wall: UnixNanos, out: &mut Vec<Sample>) -> Result<(), String> {
    // Nothing of it was written before the machine died.
    let Some(text) = shelf.get(&format!("{id}/track-{track}.m3u8"), wall) else { return Ok(()) };
    let text = String::from_utf8_lossy(&text).into_owned();
    let (mut target, mut length) = (0.0, 0.0);
    for line in text.lines() {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => target = value.parse().unwrap_or(0.0),
            "#EXTINF" => length = value.trim_end_matches(',').parse::<f64>().unwrap_or(f64::MAX),
            "#EXT-X-MAP" => {
                let name = value.trim_start_matches("URI=\"").trim_end_matches('"');
                let init = shelf.get(&format!("{id}/{name}"), wall).ok_or(format!("{name} is not there"))?;
                read_init(&init).map_err(|error| format!("{name}: {error}"))?;
            }
            _ if line.starts_with('#') || line.is_empty() => {}
            name => {
                if length.round() > target {
                    return Err(format!("{name} has {length} s, TARGETDURATION is {target}"));
                }
                let bytes = shelf.get(&format!("{id}/{name}"), wall).ok_or(format!("{name} is not there"))?;
                fragments(&bytes, out).ok_or(format!("{name} can't be read"))?;
            }
        }
    }
    Ok(())
}

/// The samples of fragments one after the other.
fn fragments(mut bytes: &[u8], out: &mut Vec<Sample>) -> Option<()> {
    while !bytes.is_empty() {
        out.extend(super::muxer::samples(bytes)?);
        bytes = bytes.get(read_fragment(bytes, Default::default()).ok()?.end..)?;
    }
    Some(())
}

fn words(bytes: &[u8], from: usize) -> Vec<u32> {
    bytes.get(from..).unwrap_or_default().chunks_exact(4).map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))).collect()
}

/// The samples of a progressive MP4 by its tables: sizes, chunks, and which samples are in which chunk (ISO/IEC 14496-12 section 8.7).
fn mp4(file: &[u8], out: &mut [Vec<Sample>; 2]) -> Option<()> {
    let moov = Boxes::find(file, b"moov", "file").ok()?;
    for trak in Boxes::new(moov.payload).filter_map(Result::ok).filter(|item| item.name.0 == *b"trak") {
        let mdia = Boxes::find(trak.payload, b"mdia", "trak").ok()?;
        let sound = Boxes::find(mdia.payload, b"hdlr", "mdia").ok()?.payload.get(8..12)? == b"soun";
        let minf = Boxes::find(mdia.payload, b"minf", "mdia").ok()?;
        let stbl = Boxes::find(minf.payload, b"stbl", "minf").ok()?.payload;
        let table = |name: &[u8; 4]| Boxes::find_optional(stbl, name).ok().flatten().map(|found| found.payload);
        let sizes = table(b"stsz")?;
        let (same, count) = (*words(sizes, 4).first()?, *words(sizes, 8).first()? as usize);
        let sizes = if same > 0 { vec![same; count] } else { words(sizes, 12) };
        let offsets: Vec<u64> = match table(b"co64") {
            Some(wide) => words(wide, 8).chunks_exact(2).map(|pair| u64::from(pair[0]) << 32 | u64::from(pair[1])).collect(),
            None => words(table(b"stco")?, 8).into_iter().map(u64::from).collect(),
        };
        let runs = words(table(b"stsc")?, 8);
        let mut sizes = sizes.into_iter();
        for (chunk, offset) in offsets.iter().enumerate() {
            let in_chunk = runs.chunks_exact(3).take_while(|run| run[0] as usize <= chunk + 1).last()?[1];
            let mut at = *offset as usize;
            for size in sizes.by_ref().take(in_chunk as usize) {
                out[usize::from(sound)].push(Sample::read(file.get(at..at + size as usize)?)?);
                at += size as usize;
            }
        }
        sizes.next().is_none().then_some(())?;
    }
    Some(())
}
