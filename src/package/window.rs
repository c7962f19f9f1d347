//! The sliding window of one presentation: takes chunks, gives snapshots, keeps to its bounds.
//!
//! In: track initializations and chunks in order. Out: a [`Snapshot`] whenever asked. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::config::PackageConfig;
use super::left::Left;
use super::name::first_number;
use super::snapshot::{Epoch, Part, Recall, Segment, Snapshot, TrackSnapshot, ticks_to_nanos};
use crate::base::{MediaKind, Share, UnixNanos};
use crate::cmaf::{Chunk, Targets, TrackInit};

/// Fewest complete segments listed, whatever the window's length: players start three segments from the end.
const MIN_SEGMENTS: usize = 4;
/// Fewest complete segments of a track where there is no memory for more: players still find a beginning.
const MIN_IN_NEED: usize = 1;
/// Segments kept after they were taken off the playlists, for players that are about to fetch them (RFC 8216 section 6.2.2).
const UNLISTED_SEGMENTS: usize = 2;
/// Most parts in one segment: ten minutes without a key frame at 200 ms. Beyond it the segment takes no more parts.
const MAX_PARTS: usize = 3000;
/// Most tracks of a presentation.
const MAX_TRACKS: usize = 4;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What a window has of the memory that is for all of them.
#[derive(Debug)]
pub(crate) struct Memory {
    pub share: Share,
    /// Where its segments go.
    pub left: Left,
}

/// The window of one presentation.
#[derive(Debug)]
pub(crate) struct Window {
    snapshot: Snapshot,
    window: i64,
    max_bytes: usize,
    /// Bytes of all segments.
    held: usize,
    memory: Memory,
    /// By track: bytes and ns of all complete segments so far.
    totals: Vec<(u64, i64)>,
    /// By track: the segmenter's number of its newest segment.
    newest: Vec<Option<u64>>,
    /// Chunks left out because they didn't fit (unknown track or epoch, too many parts, no memory).
    dropped: u64,
}

impl Window {
    /// An empty window of a presentation that begins at `now`; `unused` is beyond all numbers of those before it.
    pub(crate) fn new(config: &PackageConfig, targets: Targets, now: UnixNanos, unused: u64, memory: Memory) -> Self {
        Self {
            snapshot: Snapshot { first_number: first_number(now, targets, unused), began: now, targets, ..Default::default() },
            window: nanos(config.window),
            max_bytes: config.max_bytes,
            held: 0,
            memory,
            totals: Vec::new(),
            newest: Vec::new(),
            dropped: 0,
        }
    }

    /// The window now. Cheap: segments are shared.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// Bytes of all its segments.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Chunks left out so far.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A track begins, or goes on with another initialization.
    pub(crate) fn init(&mut self, init: TrackInit) {
        let track = match self.snapshot.tracks.iter_mut().position(|known| known.track == init.track) {
            Some(at) => at,
            None if self.snapshot.tracks.len() < MAX_TRACKS => {
                let at = self.snapshot.tracks.partition_point(|known| known.track < init.track);
                self.snapshot.tracks.insert(
                    at,
                    TrackSnapshot {
                        track: init.track,
                        inits: Vec::new(),
                        segments: Vec::new(),
                        between: false,
                        unlisted: 0,
                        peak_bitrate: 0,
                        average_bitrate: 0,
                    },
                );
                self.totals.insert(at, (0, 0));
                self.newest.insert(at, None);
                at
            }
            None => {
                self.dropped += 1;
                return;
            }
        };
        self.complete_last(track);
        self.snapshot.tracks[track].between = false;
        let inits = &mut self.snapshot.tracks[track].inits;
        inits.retain(|known| known.epoch != init.epoch);
        inits.push(Arc::new(init));
    }

    /// The next chunk of a track. False where there is no memory for it, though all that can be let go is gone.
    pub(crate) fn chunk(&mut self, chunk: Chunk) -> bool {
        let Some(at) = self.snapshot.tracks.iter().position(|known| known.track == chunk.track) else {
            self.dropped += 1;
            return true;
        };
        let Some(timescale) = self.snapshot.tracks[at].init(chunk.epoch).map(|init| init.timescale.max(1)) else {
            self.dropped += 1;
            return true;
        };
        let last = self.snapshot.tracks[at].segments.last();
        let continues = last.is_some_and(|last| self.newest[at] == Some(chunk.segment) && last.epoch == chunk.epoch && !last.complete);
        if !continues && self.newest[at].is_some_and(|newest| newest >= chunk.segment) {
            self.dropped += 1; // a number never comes twice
            return true;
        }
        // Without a hole where the track had nothing for a segment of the others: players count (RFC 8216bis section 4.4.3.2), and may
        // not think that the same number is the same time on other tracks (section 6.3.2).
        let number = last.map_or(self.snapshot.first_number + chunk.segment, |last| last.number + 1);
        if !self.make_room(chunk.data.len(), (!continues).then_some(at)) {
            // What comes behind a hole is of no use: the segment ends before it.
            self.newest[at] = Some(chunk.segment);
            self.complete_last(at);
            self.dropped += 1;
            return false;
        }
        if self.newest.iter().all(Option::is_none) {
            self.snapshot.began = chunk.wallclock;
        }
        if self.snapshot.epochs.last().is_none_or(|last| last.epoch < chunk.epoch) {
            self.snapshot.epochs.push(Epoch { epoch: chunk.epoch, begin: chunk.wallclock });
        }
        if !continues {
            self.newest[at] = Some(chunk.segment);
            self.complete_last(at);
            self.snapshot.tracks[at].segments.push(Arc::new(Segment {
                number,
                epoch: chunk.epoch,
                wallclock: chunk.wallclock,
                presentation_time: chunk.presentation_time,
                duration: 0,
                timescale,
                parts: Vec::new(),
                complete: false,
                timeline: None,
                recall: Recall::default(),
            }));
            plan(&mut self.snapshot.tracks[at].segments);
        }
        let is_video = self.snapshot.tracks[at].kind() == MediaKind::Video;
        if is_video {
            self.snapshot.captions.note(&chunk.data);
        }
        let track = &mut self.snapshot.tracks[at];
        let Some(segment) = track.segments.last_mut().map(Arc::make_mut) else { return true };
        if segment.parts.len() >= MAX_PARTS {
            self.dropped += 1;
            return true;
        }
        self.held += chunk.data.len();
        segment.duration += chunk.duration;
        segment.parts.push(Part { duration: chunk.duration, independent: chunk.independent, data: chunk.data });
        track.between = chunk.end;
        if chunk.last {
            self.complete_last(at);
        }
        self.slide(at);
        self.memory.share.set(self.held);
        true
    }

    /// Nothing more will come.
    pub(crate) fn end(&mut self) {
        for at in 0..self.snapshot.tracks.len() {
            self.complete_last(at);
            self.snapshot.tracks[at].between = true;
        }
        self.snapshot.ended = true;
    }

    fn complete_last(&mut self, at: usize) {
        let track = &mut self.snapshot.tracks[at];
        let Some(last) = track.segments.last_mut().filter(|last| !last.complete) else { return };
        let last = Arc::make_mut(last);
        last.complete = true;
        let (bytes, duration) = (last.bytes() as u64, last.duration_nanos());
        settle(&mut track.segments);
        let totals = &mut self.totals[at];
        totals.0 += bytes;
        totals.1 += duration;
        // A stub of a segment (the stream began or broke off) says nothing about the bit rate a player must be able to take.
        if duration >= NANOS_PER_SECOND / 2 {
            track.peak_bitrate = track.peak_bitrate.max(bitrate(bytes, duration));
        }
        track.average_bitrate = bitrate(totals.0, totals.1);
    }

    /// Takes off what is beyond the window's length.
    fn slide(&mut self, at: usize) {
        let track = &mut self.snapshot.tracks[at];
        let mut listed: i64 = track.listed().iter().map(|segment| segment.duration_nanos()).sum();
        while track.complete() > MIN_SEGMENTS {
            let Some(oldest) = track.listed().first().map(|segment| segment.duration_nanos()) else { break };
            if listed - oldest < self.window {
                break;
            }
            listed -= oldest;
            track.unlisted += 1;
        }
        while self.snapshot.tracks[at].unlisted > UNLISTED_SEGMENTS {
            self.remove_oldest(at);
        }
    }

    /// Lets the oldest segments go, until there is memory for so many bytes. False where none can go. Each track keeps one, unless it `begins`
    /// another.
    fn make_room(&mut self, bytes: usize, begins: Option<usize>) -> bool {
        while self.held + bytes > self.max_bytes || !self.memory.share.has_room(bytes) {
            let tracks = self.snapshot.tracks.iter().enumerate().filter(|(at, track)| {
                let whole = track.segments.iter().filter(|segment| segment.complete).count();
                whole > if begins == Some(*at) { 0 } else { MIN_IN_NEED }
            });
            let oldest = tracks.min_by_key(|(_, track)| track.segments.first().map(|segment| segment.wallclock)).map(|(at, _)| at);
            let Some(at) = oldest else { return false };
            self.remove_oldest(at);
            self.memory.share.set(self.held);
        }
        true
    }

    fn remove_oldest(&mut self, at: usize) {
        let track = &mut self.snapshot.tracks[at];
        if track.segments.is_empty() {
            return;
        }
        let oldest = track.segments.remove(0);
        self.held -= oldest.bytes();
        self.memory.left.leave([oldest]);
        track.unlisted = track.unlisted.saturating_sub(1);
        let oldest_epoch = track.segments.first().map_or(0, |segment| segment.epoch);
        track.inits.retain(|init| init.epoch >= oldest_epoch);
        let oldest_epoch =
            self.snapshot.tracks.iter().filter_map(|track| track.segments.first()).map(|segment| segment.epoch).min().unwrap_or(0);
        self.snapshot.epochs.retain(|epoch| epoch.epoch >= oldest_epoch);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.memory.left.leave(std::mem::take(&mut self.snapshot.tracks).into_iter().flat_map(|track| track.segments));
    }
}

/// Segments whose lengths differ by no more, in ns, are as long as the ones before: the next one is expected to be so, too.
const REGULAR: i64 = 50_000_000;

/// Puts the segment in the making into the timeline, if the ones before show how long it will be. What is in there never changes.
fn plan(segments: &mut [Arc<Segment>]) {
    let [.., before, last, open] = segments else { return };
    let near = |a: u64, b: u64| ticks_to_nanos(a.abs_diff(b), open.timescale) <= REGULAR;
    let Some(time) = last.timeline.map(|(time, duration)| time + duration) else { return };
    let regular = before.epoch == last.epoch && last.epoch == open.epoch && near(before.duration, last.duration);
    let end = open.presentation_time + last.duration;
    if regular && near(time, open.presentation_time) && end > time {
        Arc::make_mut(open).timeline = Some((time, end - time));
    }
}

/// Puts the segment that is complete now into the timeline, if it isn't there: behind the one before it, up to its end.
fn settle(segments: &mut [Arc<Segment>]) {
    let Some((last, before)) = segments.split_last_mut() else { return };
    if last.timeline.is_none() {
        let before = before.last().filter(|before| before.epoch == last.epoch).and_then(|before| before.timeline);
        let time = before.map_or(last.presentation_time, |(time, duration)| time + duration);
        let end = last.presentation_time + last.duration;
        Arc::make_mut(last).timeline = Some((time, end.saturating_sub(time).max(1)));
    }
}

fn bitrate(bytes: u64, duration: i64) -> u64 {
    if duration <= 0 { 0 } else { (u128::from(bytes) * 8 * NANOS_PER_SECOND as u128 / duration as u128) as u64 }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
