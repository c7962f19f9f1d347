//! Where segments and chunks are cut: at the same times on every track.
//!
//! In: access units of all tracks of a job, each track in order. Out: the same units, each with the cut to be made before it.
//! The first video track decides; what the publisher sends earlier than the other track's units of the same time waits for them, so that
//! all are cut at the same times. Pure: no clock, no GStreamer.

use std::collections::VecDeque;

use super::lane::{Cuts, Lane};
use super::unit::{Placed, Unit};
use crate::base::{MediaKind, UnixNanos};
use crate::cmaf::Targets;
use crate::codec::Format;
use crate::codec::h264::Repeater;
use crate::pipeline::wire::Cutting;

/// A track of which nothing came for so long has stopped, and nobody waits for it: longer than any encoder holds back, and as long as
/// players bear.
const STOPPED: i64 = 2_000_000_000;
/// At the beginning sound waits longer, for the first key frame, and pictures for the first sound; then they go on alone.
const HOLD_START: i64 = 3_000_000_000;
/// Sound that begins no later than this behind the first segment is only late, and belongs into it.
const REACHES_BACK: i64 = 1_000_000_000;
/// Sound that joins pictures waits at most so long for their next key frame.
const JOIN_WITHIN: i64 = 10_000_000_000;
/// Longest anything waits: publishers were seen to send sound and pictures 10 s apart.
const HOLD_MAX: i64 = 12_000_000_000;
/// Pictures wait for sound that is so much later, no earlier: sound that is being transcoded is 200 ms behind.
const SOUND_BEHIND: i64 = 500_000_000;
/// Most units that wait: 40 s of sound at 96 kHz, more than a key-frame cache or a stalled uplink lets come at once.
const HELD_MAX: usize = 4096;
/// Most bytes that wait: 12 s of 16 Mbit/s.
const HELD_BYTES: usize = 24 << 20;
/// Pictures that are so far apart are expected to be: they are repeated before the next one is overdue.
const SLOW: i64 = 400_000_000;
/// How much later than expected the next of such pictures may come.
const SLOW_LATE: i64 = 300_000_000;

/// Nothing on any track for longer is a stall: packets come in rounds of up to 100 ms, and sound in frames of up to 128 ms.
const QUIET: i64 = 300_000_000;
/// The same unit has times that differ by less in different jobs: both are rounded to ticks of 90 kHz, from wherever each job began to read.
const SAME: i64 = 25_000;

#[derive(Debug)]
struct Track {
    video: bool,
    lane: Lane,
    /// When each came, and what.
    held: VecDeque<(i64, Unit)>,
    held_bytes: usize,
    /// When a unit came last.
    arrived: Option<i64>,
    /// Where the newest one ends (pictures: begins), and how far it was from the one before.
    newest: i64,
    step: i64,
}

/// Decides about the cuts of one job.
#[derive(Debug)]
pub(crate) struct Cutter {
    tracks: Vec<Track>,
    targets: Targets,
    cuts: Cuts,
    not_before: [UnixNanos; 2],
    given: [UnixNanos; 2],
    /// Tracks that need a key frame to go on.
    wants_key: Vec<usize>,
    /// The time of sound that came after the pictures had gone on without.
    joins: Option<i64>,
    over: bool,
    awake: Awake,
}

impl Cutter {
    /// For tracks of which `video` tells which are pictures.
    pub(crate) fn new(cutting: Cutting, video: &[bool]) -> Self {
        let duration = std::time::Duration::from_nanos;
        let targets = Targets::new(duration(cutting.segment), duration(cutting.part));
        let mut cutter = Self {
            tracks: Vec::with_capacity(video.len()),
            targets,
            cuts: Cuts::new(targets, cutting.first_segment),
            not_before: cutting.not_before,
            given: cutting.given,
            wants_key: Vec::new(),
            joins: None,
            over: false,
            awake: Awake::default(),
        };
        video.iter().for_each(|video| cutter.join(*video));
        cutter
    }

    /// Another track, beside those there are: of pictures, or of sound. What comes of it goes into the segments of its time.
    pub(crate) fn join(&mut self, video: bool) {
        let (index, first) = (self.tracks.len(), self.master().is_none());
        self.tracks.push(Track {
            video,
            lane: Lane::new(index, video, video && first, self.targets),
            held: VecDeque::new(),
            held_bytes: 0,
            arrived: None,
            newest: i64::MIN,
            step: 0,
        });
    }

    /// The format of a track, once it is known.
    pub(crate) fn format(&mut self, track: usize, format: &Format) {
        if let (Some(track), Format::H264 { sps, pps }) = (self.tracks.get_mut(track), format)
            && !track.lane.has_repeater()
        {
            track.lane.set_repeater(Repeater::new(sps, pps));
        }
    }

    /// The time at which the first segment begins.
    pub(crate) fn begin(&self) -> Option<i64> {
        self.cuts.begin()
    }

    /// Tracks that need a key frame to go on, since the last call.
    pub(crate) fn take_wants_key(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.wants_key)
    }

    /// Tracks on which a key frame would be welcome now, to end a segment, since the last call.
    pub(crate) fn take_asks(&mut self) -> Vec<usize> {
        (0..self.tracks.len()).filter(|track| self.tracks[*track].lane.take_asks()).collect()
    }

    /// Whether a track has nothing for a whole segment, so that nothing of it can follow in this epoch.
    pub(crate) fn is_torn(&self) -> bool {
        self.tracks.iter().any(|track| track.lane.is_torn())
    }

    /// Whether a track has joined that had nothing when the others went on: they have to begin anew, together. This is at a key frame, so that
    /// the next epoch has all pictures.
    pub(crate) fn is_joined(&self) -> bool {
        self.over
    }

    /// Takes a unit that came at `now` (ns of any clock that goes on evenly); appends what may go on now.
    pub(crate) fn push(&mut self, now: i64, track: usize, unit: Unit, out: &mut Vec<Placed>) {
        let now = self.awake.at(now);
        let state = &mut self.tracks[track];
        let kind = if state.video { MediaKind::Video } else { MediaKind::Audio } as usize;
        let is_given = match unit.source {
            Some(source) if self.given[kind] > i64::MIN => source <= self.given[kind] + SAME,
            _ => unit.pts + unit.duration / 2 < self.not_before[kind],
        };
        if is_given || self.over {
            return;
        }
        if self.is_late(track, &unit) {
            self.joins.get_or_insert(unit.pts);
            return;
        }
        let state = &mut self.tracks[track];
        if state.video
            && let Some(joins) = self.joins
            && (unit.key || unit.pts >= joins + JOIN_WITHIN)
        {
            self.over = true;
            return;
        }
        let end = unit.dts + unit.duration;
        state.step = if state.newest == i64::MIN { 0 } else { end - state.newest };
        state.newest = state.newest.max(end);
        state.arrived = Some(now);
        state.held_bytes += unit.data.len();
        state.held.push_back((now, unit));
        self.release(now, out);
    }

    /// Gives what is still held, at the end.
    pub(crate) fn finish(&mut self, out: &mut Vec<Placed>) {
        // Pictures first: they know the cuts.
        for video in [true, false] {
            for track in 0..self.tracks.len() {
                while self.tracks[track].video == video && self.pass(track, out) {}
                if self.tracks[track].video == video {
                    self.tracks[track].lane.finish(out);
                }
            }
        }
    }

    /// Whether this is sound of which the pictures before it, which went on without, had nothing: nor had an epoch before given it.
    fn is_late(&self, track: usize, unit: &Unit) -> bool {
        let state = &self.tracks[track];
        let begun = self.master().and_then(|_| self.cuts.begin());
        let given = self.not_before[MediaKind::Audio as usize].max(self.given[MediaKind::Audio as usize]);
        !state.video && state.arrived.is_none() && begun.is_some_and(|begin| unit.pts > begin.max(given) + REACHES_BACK)
    }

    fn master(&self) -> Option<usize> {
        self.tracks.iter().position(|track| track.video)
    }

    /// Lets the oldest held unit of a track go on. False where there is none.
    fn pass(&mut self, track: usize, out: &mut Vec<Placed>) -> bool {
        let state = &mut self.tracks[track];
        let Some((_, unit)) = state.held.pop_front() else { return false };
        state.held_bytes -= unit.data.len();
        if !state.lane.push(unit, &mut self.cuts, out) {
            self.wants_key.push(track);
        }
        true
    }

    fn release(&mut self, now: i64, out: &mut Vec<Placed>) {
        loop {
            let mut passed = false;
            for track in 0..self.tracks.len() {
                while self.may_pass(track, now) {
                    passed |= self.pass(track, out);
                }
            }
            if !passed {
                break;
            }
        }
        self.repeat(now, out);
    }

    /// Whether a track's oldest held unit may go on. Where sound goes on without pictures, it decides about the cuts.
    fn may_pass(&mut self, track: usize, now: i64) -> bool {
        let state = &self.tracks[track];
        let Some((came, front)) = state.held.front() else { return false };
        let waited = now - came;
        let patient = waited < HOLD_MAX && state.held.len() < HELD_MAX && state.held_bytes < HELD_BYTES;
        if state.video {
            let dts = front.dts;
            // Whatever is sent ahead of the first sound is no use to wait with.
            let begins = self.cuts.begin().is_none() && waited < HOLD_START && state.newest - dts < HOLD_START;
            let behind = |other: &Track| match other.arrived {
                _ if other.video => false,
                Some(_) => other.comes(now) && other.newest < dts - SOUND_BEHIND,
                None => begins,
            };
            return !(patient && self.tracks.iter().any(behind));
        }
        let (begin, middle) = (front.pts, front.pts + front.duration / 2);
        if let Some(master) = self.master().map(|master| &self.tracks[master]) {
            if master.lane.known() >= middle || (self.cuts.last().is_some() && !self.cuts.due(middle)) {
                return true;
            }
            let expected = if master.arrived.is_none() { waited < HOLD_START } else { master.comes(now) };
            if patient && expected {
                return false;
            }
        }
        if self.cuts.over(middle) {
            self.cuts.cut(begin);
        }
        true
    }

    /// Where sound goes on and no picture comes, the last one stays: its time goes on, too.
    fn repeat(&mut self, now: i64, out: &mut Vec<Placed>) {
        let Some(master) = self.master() else { return };
        let heard = self.tracks.iter().filter(|track| !track.video && track.comes(now)).map(|track| track.newest).max();
        let state = &mut self.tracks[master];
        let (Some(heard), Some(arrived)) = (heard, state.arrived) else { return };
        let slow = state.step >= SLOW;
        if state.held.is_empty() && now - arrived >= if slow { SLOW } else { STOPPED } {
            // Not to the end of the sound: where that is sent ahead of the pictures, the next one may be of any time since the last.
            let until = heard.min(state.newest + (now - arrived) - SLOW_LATE);
            state.lane.fill(until, &mut self.cuts, out);
        }
    }
}

impl Track {
    /// Whether its units come, as far as one can know.
    fn comes(&self, now: i64) -> bool {
        self.arrived.is_some_and(|arrived| now - arrived < STOPPED)
    }
}

/// A clock that stands still while nothing comes on any track: an uplink that stalls is no track that has stopped, and of its backlog
/// one track's part comes first.
#[derive(Debug, Default)]
struct Awake {
    last: Option<i64>,
    time: i64,
}

impl Awake {
    fn at(&mut self, now: i64) -> i64 {
        let passed = self.last.map_or(0, |last| now.saturating_sub(last));
        self.last = Some(now);
        self.time += passed.clamp(0, QUIET);
        self.time
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
