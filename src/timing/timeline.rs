//! Puts a publisher's media clock on the wall clock, once for all its tracks: mends jumps and stamps that go back, follows clocks that
//! are off, and holds whoever sends faster than real time.
//!
//! In: decoding and presentation times as the publisher stamps them, with the time of arrival. Out: times on the wall clock, of which
//! the decoding time always rises and the presentation time never lies before it. Pure.

use std::time::Duration;

use super::drift::Drift;
use crate::base::{UnixNanos, rescale};

const NANOS: u32 = 1_000_000_000;
const MS: i64 = 1_000_000;
/// How far a decoding time may step ahead of the time that passed since the unit before, in ns: above what buffering in an encoder or a
/// network does, and what is not in the future is no jump at all (a backlog). More is a jump, unless another track is there already
/// or the track always steps so far.
const MAX_STEP_AHEAD: i64 = 1_000 * MS;
/// A unit that would lie no further ahead of its arrival is no jump: stamps are older than their arrival, give or take some jitter.
const NOT_AHEAD: i64 = 500 * MS;
/// Longest regular step of a track that is believed without another track beside it: a picture a minute.
const MAX_CADENCE: i64 = 60_000 * MS;
/// Furthest a decoding time may step back and still count as sloppy stamping rather than a new timeline, in ns.
const MAX_STEP_BACK: i64 = 500 * MS;
/// How far a track's first unit may lie from the time of arrival on the timeline of the tracks before it, in ns: files and muxers
/// interleave sound and pictures up to ten seconds apart.
const MAX_START_SKEW: i64 = 11_000 * MS;
/// What counters of milliseconds wrap by: 24 bits (FLV written without its extension byte), 31 and 32 bits (RTMP), and 33 bits of
/// 90 kHz (MPEG-TS). In ns.
const WRAPS: [i64; 4] = [(1 << 24) * MS, (1 << 31) * MS, (1 << 32) * MS, (1 << 33) / 90 * MS + (1 << 33) % 90 * MS / 90];
/// Composition offsets beyond this are nonsense, in ns: 16 pictures (the most H.264 can reorder) at 2 a second.
const MAX_COMPOSITION: i64 = 8_000 * MS;
/// So many units in a row whose stamps don't go on, over more than [`MAX_STEP_BACK`], are an encoder that doesn't stamp, no sloppy one.
const STANDS_STILL: u32 = 3;
/// What a step is taken for until two units are known, in ns.
const USUAL_STEP: i64 = 33 * MS;
/// Longest usual step that a mended stamp is moved by the half of, in ns.
const MAX_USUAL_STEP: i64 = 200 * MS;

/// What was mended so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mended {
    /// Stamps that did not lie behind the one before.
    pub steps_back: u64,
    /// Timelines that began anew: jumps and wraps.
    pub jumps: u64,
    /// Composition offsets that were negative or absurd.
    pub compositions: u64,
    /// By how much the timeline was moved to stay with the wall clock, in ns: positive where the publisher is slow.
    pub drift: i64,
    /// How often the publisher was left unread because it was ahead of the wall clock.
    pub waits: u64,
}

/// Where a unit lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Presentation time in ticks of the track's clock since 1970.
    pub pts: i64,
    /// Decoding time in the same ticks.
    pub dts: i64,
    /// How long the publisher should be left unread, so that it doesn't run away from the wall clock.
    pub wait: Duration,
}

/// Where one track stands.
#[derive(Debug, Clone, Copy)]
struct TrackTime {
    /// Wall clock minus media clock, in ns, without drift.
    offset: i64,
    /// The one before the last jump: a single stamp that is far off is followed by ones that are right.
    offset_before: Option<i64>,
    /// Media time of the last unit, in ns.
    last_media: i64,
    /// The last step of the media time, in ns, where it went forward.
    last_step: Option<i64>,
    /// Usual step of the media time, in ns.
    usual_step: i64,
    /// When the last unit came.
    last_arrival: UnixNanos,
    /// The last unit whose stamp went on: its media time, when it came, and where it was put before `shift`, in ns.
    went_on: (i64, UnixNanos, i64),
    /// Units since then.
    still: u32,
    /// Where its decoding time was put, in ns.
    last_dts: UnixNanos,
    /// Where its latest presentation time was put, in ns.
    shown: UnixNanos,
    /// How much earlier pictures are decoded than stamped, because some are shown before their decoding time. In ns.
    shift: i64,
}

impl TrackTime {
    /// What comes from here on lies so much later.
    fn move_by(&mut self, shift: i64) {
        self.offset = self.offset.saturating_add(shift);
        self.went_on.2 = self.went_on.2.saturating_add(shift);
    }
}

/// One publication's timeline. Tracks are named by small numbers, as given by [`Timeline::add_track`].
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    tracks: Vec<Option<TrackTime>>,
    /// No unit may be put before this: where the publisher before a reconnect ended.
    floor: UnixNanos,
    /// The latest decoding time of all tracks.
    furthest: Option<UnixNanos>,
    drift: Drift,
    mended: Mended,
}

impl Timeline {
    /// Begins a timeline on which nothing comes before `floor`.
    pub(crate) fn starting_after(floor: UnixNanos) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(crate) fn add_track(&mut self) -> usize {
        self.tracks.push(None);
        self.tracks.len() - 1
    }

    /// Where the next unit may lie at the earliest, if another publisher goes on from here: behind what is shown last of all tracks. Behind
    /// what is decoded last its first key frame would lie among pictures of before, and be taken for one of them.
    pub(crate) fn end(&self) -> UnixNanos {
        let ends = self.tracks.iter().flatten().map(|at| at.last_dts.max(at.shown).saturating_add(at.usual_step));
        ends.max().unwrap_or(self.floor)
    }

    /// What was mended so far, on all tracks.
    pub(crate) fn mended(&self) -> Mended {
        self.mended
    }

    /// The publisher has ended, and somebody waits for its place: what is left of it isn't held to the wall clock any more.
    pub(crate) fn hurry(&mut self) {
        self.drift.hurry();
    }

    /// Places a unit of `track` with these times in ticks of `rate` (Hz) that came at `now`.
    pub(crate) fn place(&mut self, track: usize, rate: u32, dts: i64, pts: i64, now: UnixNanos) -> Placed {
        let media = rescale(dts, rate, NANOS);
        let known = self.tracks.get(track).copied().flatten();
        let mut at = match known {
            Some(at) => self.follow(track, at, media, now),
            None => self.begin(track, media, now),
        };
        let composition = self.composition(&mut at, rescale(pts.saturating_sub(dts), rate, NANOS));
        let mut wall = media.saturating_add(at.offset).saturating_sub(at.shift);
        if known.is_some() && wall <= at.last_dts {
            // Half a usual step: the picture is seen, and the timeline is soon where the stamps are. But time that stands still does not
            // run ahead of the clock.
            self.mended.steps_back += 1;
            let room = now.saturating_sub(at.last_dts).clamp(1, (at.usual_step / 2).max(1));
            wall = at.last_dts.saturating_add(room);
        }
        let advance = self.furthest.map_or(0, |furthest| wall.saturating_sub(furthest).max(0));
        self.furthest = Some(self.furthest.map_or(wall, |furthest| furthest.max(wall)));
        let correction = self.drift.observe(wall.saturating_sub(now), advance, now);
        self.move_by(correction.shift);
        self.mended.waits += u64::from(correction.wait > 0);
        let ticks = rescale(wall, NANOS, rate);
        // Rounded to ticks, it still has to rise.
        let ticks = if known.is_some() { ticks.max(rescale(at.last_dts, NANOS, rate).saturating_add(1)) } else { ticks };
        at.last_dts = wall.max(rescale(ticks, rate, NANOS));
        at.shown = at.shown.max(at.last_dts.saturating_add(composition));
        at.move_by(correction.shift);
        (at.last_media, at.last_arrival) = (media, now);
        if let Some(slot) = self.tracks.get_mut(track) {
            *slot = Some(at);
        }
        let wait = Duration::from_nanos(u64::try_from(correction.wait).unwrap_or_default());
        Placed { pts: ticks.saturating_add(rescale(composition, NANOS, rate).max(0)), dts: ticks, wait }
    }

    /// The first unit of a track.
    fn begin(&self, track: usize, media: i64, now: UnixNanos) -> TrackTime {
        let expected = now.max(self.floor);
        let offset = self.other_offset_near(track, media, expected, MAX_START_SKEW).unwrap_or(expected.saturating_sub(media));
        TrackTime {
            offset,
            offset_before: None,
            last_media: media,
            last_step: None,
            usual_step: USUAL_STEP,
            last_arrival: now,
            went_on: (media, now, media.saturating_add(offset)),
            still: 0,
            last_dts: i64::MIN,
            shown: i64::MIN,
            shift: 0,
        }
    }

    /// The next unit of a track: the offset stays the same until the publisher's clock jumps; then all tracks that jump together get the
    /// same new one.
    fn follow(&mut self, track: usize, mut at: TrackTime, media: i64, now: UnixNanos) -> TrackTime {
        let step = media.saturating_sub(at.last_media);
        let passed = now.saturating_sub(at.last_arrival).max(0);
        let regular = |last: i64| step <= MAX_CADENCE && step.abs_diff(last) <= last.unsigned_abs() / 5;
        // After a stall, media from before it comes in a burst: what does not lie in the future is no jump either.
        let most = if at.still >= STANDS_STILL { MAX_STEP_BACK } else { MAX_STEP_AHEAD };
        let not_ahead = step <= passed.saturating_add(most)
            || media.saturating_add(at.offset) <= now.saturating_add(NOT_AHEAD)
            || at.last_step.is_some_and(regular)
            || self.other_is_at(track, at.offset, media);
        let jumps = step < -MAX_STEP_BACK || !not_ahead;
        if jumps {
            self.mended.jumps += 1;
            let expected = at.last_dts.saturating_add(at.shift).saturating_add(passed.max(1));
            let near = |offset: i64| media.saturating_add(offset).abs_diff(expected) <= MAX_STEP_BACK.unsigned_abs();
            let wrapped = WRAPS.iter().map(|wrap| at.offset.saturating_add(*wrap)).find(|offset| near(*offset));
            let before = at.offset_before.filter(|offset| near(*offset));
            let offset = wrapped
                .or(before)
                .or_else(|| self.other_offset_near(track, media, expected, MAX_STEP_BACK))
                .unwrap_or(expected.saturating_sub(media));
            (at.offset_before, at.offset) = (Some(at.offset), offset);
            self.drift.forget();
        } else if step > 0 {
            let usual = step.min(MAX_USUAL_STEP);
            at.usual_step = if at.last_step.is_none() { usual } else { at.usual_step + (usual - at.usual_step) / 8 };
        }
        at.last_step = (step > 0).then_some(step);
        if jumps || media > at.went_on.0 {
            (at.went_on, at.still) = ((media, now, media.saturating_add(at.offset)), 0);
            return at;
        }
        at.still += 1;
        let since = now.saturating_sub(at.went_on.1);
        if at.still >= STANDS_STILL && since > MAX_STEP_BACK {
            // Time passes all the same. Where the stamps go on one day, they do so from here, or from where they were.
            self.mended.steps_back += 1;
            let offset = at.went_on.2.saturating_add(since).saturating_sub(media);
            (at.offset_before, at.offset) = (at.offset_before.or(Some(at.offset)), offset);
        }
        at
    }

    /// A composition offset that can be used: not absurd, and not negative, since decoding is moved ahead by the most negative one.
    fn composition(&mut self, at: &mut TrackTime, composition: i64) -> i64 {
        if composition.unsigned_abs() > MAX_COMPOSITION.unsigned_abs() {
            self.mended.compositions += 1;
            return at.shift;
        }
        if composition < -at.shift {
            self.mended.compositions += 1;
            at.shift = -composition;
        }
        composition + at.shift
    }

    /// All tracks stay together.
    fn move_by(&mut self, shift: i64) {
        if shift != 0 {
            self.mended.drift = self.mended.drift.saturating_add(shift);
            for at in self.tracks.iter_mut().flatten() {
                at.move_by(shift);
                at.offset_before = at.offset_before.map(|offset| offset.saturating_add(shift));
            }
        }
    }

    /// Whether another track of the same clock has come as far as `media`.
    fn other_is_at(&self, track: usize, offset: i64, media: i64) -> bool {
        let others = self.tracks.iter().enumerate().filter(|(index, _)| *index != track).filter_map(|(_, at)| *at);
        others.into_iter().any(|at| at.offset == offset && at.last_media.saturating_add(MAX_STEP_AHEAD) >= media)
    }

    /// An offset of another track that would put `media` near `expected`: tracks that jumped together stay in sync.
    fn other_offset_near(&self, track: usize, media: i64, expected: UnixNanos, within: i64) -> Option<i64> {
        self.tracks
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != track)
            .filter_map(|(_, at)| at.map(|at| at.offset))
            .find(|offset| (media.saturating_add(*offset)).abs_diff(expected) <= within.unsigned_abs())
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
