//! The window of a presentation at one moment: immutable, shared by every request that is answered from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::captions::Captions;
use crate::base::{MediaKind, UnixNanos, rescale};
use crate::cmaf::{Targets, TrackInit};

/// Nanoseconds per second.
pub(super) const NANOS: u32 = 1_000_000_000;

/// A presentation at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Media sequence number of the presentation's first segment, see [`first_number`](super::name::first_number).
    pub first_number: u64,
    /// When its first sample was captured; before there is one, when it began.
    pub began: UnixNanos,
    /// The bounds that its segments and parts keep.
    pub targets: Targets,
    /// Nothing more will come.
    pub ended: bool,
    /// What pictures have carried of captions.
    pub captions: Captions,
    /// Video first.
    pub tracks: Vec<TrackSnapshot>,
    /// Each epoch in the window, oldest first.
    pub epochs: Vec<Epoch>,
}

/// A stretch between two discontinuities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// As in `Chunk::epoch`.
    pub epoch: u32,
    /// When its first sample was captured.
    pub begin: UnixNanos,
}

/// One track at one moment.
#[derive(Debug, Clone)]
pub struct TrackSnapshot {
    /// As in `Chunk::track`.
    pub track: u32,
    /// The initializations of the epochs in the window, oldest first.
    pub inits: Vec<Arc<TrackInit>>,
    /// The segments in the window, oldest first; the last one may be incomplete.
    pub segments: Vec<Arc<Segment>>,
    /// Its epoch is over, and the next one hasn't begun: nobody knows with which initialization it goes on.
    pub between: bool,
    /// How many of the oldest segments are no longer listed, but still served to whoever is late.
    pub unlisted: usize,
    /// Highest bit rate of a complete segment so far, bit/s.
    pub peak_bitrate: u64,
    /// Bit rate over the complete segments so far, bit/s.
    pub average_bitrate: u64,
}

/// A segment, complete or in the making.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Media sequence number: one more than that of the segment before.
    pub number: u64,
    /// As in `Chunk::epoch`.
    pub epoch: u32,
    /// When its first sample was captured.
    pub wallclock: UnixNanos,
    /// When its earliest sample is shown, in the track's timescale.
    pub presentation_time: u64,
    /// Sum of the durations of its parts, in the track's timescale.
    pub duration: u64,
    /// Ticks per second.
    pub timescale: u32,
    pub parts: Vec<Part>,
    /// Whether no part will follow.
    pub complete: bool,
    /// Time and duration in a DASH timeline, once it is in there: they never change.
    pub timeline: Option<(u64, u64)>,
    pub recall: Recall,
}

/// Whether a segment's readers are to let it go. Shared by all copies of the segment.
#[derive(Debug, Clone, Default)]
pub struct Recall(Arc<AtomicBool>);

impl Recall {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A part (a CMAF chunk).
#[derive(Debug, Clone)]
pub struct Part {
    /// In the track's timescale.
    pub duration: u64,
    /// Begins with a sync sample.
    pub independent: bool,
    pub data: Bytes,
}

impl Segment {
    /// Duration in ns.
    pub fn duration_nanos(&self) -> i64 {
        ticks_to_nanos(self.duration, self.timescale)
    }

    /// When its last sample so far ends.
    pub(super) fn end(&self) -> UnixNanos {
        self.wallclock + self.duration_nanos()
    }

    /// Bytes of all its parts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.data.len()).sum()
    }
}

impl TrackSnapshot {
    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.inits.last().map_or(MediaKind::Video, |init| init.codec.kind())
    }

    pub fn listed(&self) -> &[Arc<Segment>] {
        self.segments.get(self.unlisted..).unwrap_or_default()
    }

    pub fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        let first = self.segments.first()?.number;
        self.segments.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub fn init(&self, epoch: u32) -> Option<&Arc<TrackInit>> {
        self.inits.iter().find(|init| init.epoch == epoch)
    }

    /// Number and part index of what will come next.
    pub fn next(&self) -> (u64, usize) {
        match self.segments.last() {
            Some(segment) if segment.complete => (segment.number + 1, 0),
            Some(segment) => (segment.number, segment.parts.len()),
            None => (0, 0),
        }
    }

    /// Whether the last segment is complete, but a playlist shows its parts only: until the next one's first part is there, or nothing more
    /// will come. Clients can't know which part is the last one (RFC 8216bis section 6.2.5.2). hls.js up to 1.7 takes a segment of which 0.2 s are
    /// missing for a whole one, if it is listed as such while the part before these is on its way, and stands still for as long as its parts
    /// are listed: so it has another part's time to fetch that. Not so of the only one: players that don't take parts have to find something.
    pub(super) fn ends_later(&self) -> bool {
        self.segments.last().is_some_and(|last| last.complete) && self.complete() > 1
    }

    /// How many complete segments are listed.
    pub fn complete(&self) -> usize {
        self.listed().iter().filter(|segment| segment.complete).count()
    }
}

/// With fewer whole segments Shaka 5.2 can't look for captions: it fails for good, since it takes the segment in the making for one of them.
const SEGMENTS_TO_PROBE: usize = 3;

impl Snapshot {
    /// Whether the presentation is so young that players can't find out whether there are captions, and need it announced.
    pub fn is_young(&self) -> bool {
        !self.ended
            && self
                .video()
                .is_some_and(|track| track.segments.iter().filter(|segment| segment.complete).nth(SEGMENTS_TO_PROBE - 1).is_none())
    }

    /// The track of pictures.
    pub(super) fn video(&self) -> Option<&TrackSnapshot> {
        self.tracks.iter().find(|track| track.kind() == MediaKind::Video)
    }

    pub fn track(&self, track: u32) -> Option<&TrackSnapshot> {
        self.tracks.iter().find(|known| known.track == track)
    }

    /// The first number beyond those of its segments and initializations.
    pub fn unused_number(&self) -> u64 {
        let of_track = |track: &TrackSnapshot| {
            let segments = track.segments.last().map_or(0, |last| last.number + 1);
            let inits = track.inits.iter().map(|init| self.first_number + u64::from(init.epoch) + 1).max();
            segments.max(inits.unwrap_or(0))
        };
        self.tracks.iter().map(of_track).max().unwrap_or(0)
    }
}

pub(super) fn ticks_to_nanos(ticks: u64, timescale: u32) -> i64 {
    rescale(i64::try_from(ticks).unwrap_or(i64::MAX), timescale, NANOS)
}
