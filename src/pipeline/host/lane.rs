//! One track on its way into the muxer: where its parts and segments begin.
//!
//! In: its units in decoding order, and the times at which all tracks are cut. Out: the same units, each with the cut before it, and
//! pictures that repeat the last one where nothing comes for longer than a part may last. Pure.

use std::collections::VecDeque;

use super::unit::{Placed, Split, Unit};
use crate::cmaf::Targets;
use crate::codec::h264::Repeater;

/// A part that is so much shorter than wanted is long enough: times are whole milliseconds at the publisher.
const NEARLY: i64 = 2_000_000;
/// A part must stay below its target by so much: times are rounded to ticks.
const MARGIN: i64 = 100_000;
/// What comes for a time that is taken already follows what is there at this distance, 9 ticks.
const STEP: i64 = 100_000;
/// So long before the next picture, at least, the last one is repeated: no part is shorter than a player can tell.
const APART: i64 = 5_000_000;
/// How far beyond the target duration a segment without a key frame goes before it is cut: 250 pictures at 60 a second are a GOP of 4.17 s.
const NO_KEY_IN: i64 = 170_000_000;
/// So long before its latest end a segment is cut wherever that is: what is left is for the picture before the cut.
const LAST_CHANCE: i64 = 20_000_000;

/// How long a picture lasts if none follows. A chunk must last some time, but what comes next may come at once: the next epoch takes
/// nothing that lies before the end of this one.
const LAST_PICTURE: i64 = 1_000_000;

/// A track that is behind by more segments goes on in the oldest of these.
const CUTS_KEPT: usize = 64;

/// The times at which all tracks are cut.
#[derive(Debug)]
pub(super) struct Cuts {
    targets: Targets,
    first: u64,
    /// Number and time of each segment, oldest first.
    cuts: VecDeque<(u64, i64)>,
}

impl Cuts {
    /// None yet; the first segment's number is `first`.
    pub(super) fn new(targets: Targets, first: u64) -> Self {
        Self { targets, first, cuts: VecDeque::new() }
    }

    /// Time of the oldest one that is known.
    pub(super) fn begin(&self) -> Option<i64> {
        self.cuts.front().map(|(_, time)| *time)
    }

    /// Time of the newest one.
    pub(super) fn last(&self) -> Option<i64> {
        self.cuts.back().map(|(_, time)| *time)
    }

    /// A segment begins.
    pub(super) fn cut(&mut self, time: i64) {
        // One track may be far ahead of another: what belongs to a segment is told by its time.
        let time = self.last().map_or(time, |last| time.max(last + STEP));
        let number = self.cuts.back().map_or(self.first, |(number, _)| number + 1);
        self.cuts.push_back((number, time));
        if self.cuts.len() > CUTS_KEPT {
            self.cuts.pop_front();
        }
    }

    /// Whether a segment that ended at `time` would be as long as wanted.
    pub(super) fn over(&self, time: i64) -> bool {
        self.last().is_none_or(|last| time - last >= self.targets.segment())
    }

    /// Whether a segment that ended at `time` would be long enough.
    pub(super) fn due(&self, time: i64) -> bool {
        // Key frames that are 2 s apart are never exactly so.
        self.last().is_none_or(|last| time - last >= self.targets.segment() - self.targets.segment() / 20)
    }

    fn at(&self, time: i64) -> Option<u64> {
        self.cuts.iter().rev().find(|(_, begin)| *begin <= time).map(|(number, _)| *number)
    }

    fn after(&self, number: u64) -> Option<i64> {
        self.cuts.iter().find(|(known, _)| *known > number).map(|(_, time)| *time)
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    track: usize,
    video: bool,
    /// Decides where all tracks are cut.
    master: bool,
    targets: Targets,
    segment: Option<u64>,
    /// Decoding times.
    segment_start: i64,
    chunk_start: i64,
    last: i64,
    /// How long the segment before was: the one in the making is expected to be as long. When its end is known depends on how tracks come.
    usual: i64,
    /// How long the part in the making is to be, of sound.
    part: i64,
    /// Latest presentation time.
    max_pts: i64,
    /// How much later than it is decoded a key frame is shown at least: after lost pictures, it is more.
    delay: i64,
    /// A picture of which it depends on the next one's time whether a part begins with it.
    pending: Option<Unit>,
    repeater: Option<Repeater>,
    /// A key frame would end a segment that is long enough.
    asks: bool,
    /// It has nothing for a whole segment.
    torn: bool,
    /// Latest presentation time of a key frame or a repetition: it isn't repeated before.
    repeated: i64,
}

impl Lane {
    /// For a track with that number in its job.
    pub(super) fn new(track: usize, video: bool, master: bool, targets: Targets) -> Self {
        // Before everything, and far enough from the end of numbers to be subtracted.
        let none = i64::MIN / 4;
        Self {
            track,
            video,
            master,
            targets,
            segment: None,
            segment_start: none,
            chunk_start: none,
            last: none,
            usual: targets.segment(),
            part: targets.part(),
            max_pts: none,
            delay: -none,
            pending: None,
            repeater: None,
            asks: false,
            torn: false,
            repeated: none,
        }
    }

    /// What makes pictures that repeat the last one.
    pub(super) fn set_repeater(&mut self, repeater: Option<Repeater>) {
        self.repeater = repeater;
    }

    pub(super) fn has_repeater(&self) -> bool {
        self.repeater.is_some()
    }

    /// Up to when its cuts are known: what comes later is decoded later, and shown no earlier than that.
    pub(super) fn known(&self) -> i64 {
        self.last
    }

    /// Whether a key frame would be welcome, since the last call.
    pub(super) fn take_asks(&mut self) -> bool {
        std::mem::take(&mut self.asks)
    }

    /// Whether it had nothing for a whole segment: its numbers don't follow each other, as they have to.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Takes the next unit. False where it can't go on without a key frame.
    pub(super) fn push(&mut self, unit: Unit, cuts: &mut Cuts, out: &mut Vec<Placed>) -> bool {
        match self.video {
            _ if self.torn => true,
            true => self.picture(unit, cuts, out),
            false => {
                self.sound(unit, cuts, out);
                true
            }
        }
    }

    /// Puts out the unit that waits for the next one's time.
    pub(super) fn finish(&mut self, out: &mut Vec<Placed>) {
        if let Some(pending) = self.pending.take() {
            self.emit(pending, Split::None, out);
        }
    }

    fn sound(&mut self, unit: Unit, cuts: &mut Cuts, out: &mut Vec<Placed>) {
        let Some(mut number) = cuts.at(unit.pts + unit.duration / 2) else { return };
        // Whatever the pictures do: they may be late, missing, or decoded long before they are shown.
        if let Some(current) = self.segment.filter(|current| number <= *current)
            && unit.dts + unit.duration - self.segment_start > self.targets.longest_sound()
        {
            if cuts.after(current).is_none() {
                cuts.cut(unit.pts);
            }
            number = current + 1;
        }
        let length = unit.dts - self.chunk_start;
        let split = match self.segment {
            Some(current) if number <= current => {
                let full = length >= self.part - NEARLY || length + unit.duration > self.targets.part_target() - MARGIN;
                if full { Split::Chunk } else { Split::None }
            }
            _ => Split::Segment(number),
        };
        let (begin, frame) = (unit.dts, unit.duration);
        self.emit(unit, split, out);
        if split != Split::None {
            self.part = self.even_part(begin, frame);
        }
    }

    /// How long the part of sound that begins there is to be, so that the last one of its segment is about as long as the others. hls.js up
    /// to 1.7 takes a segment of which 0.2 s are missing for a whole one, if it was completed while the part before these was on its way:
    /// it waits for the next segment's first part then, which doesn't follow what it has, and stands still. The shorter the last part is,
    /// the less time there is to fetch the one before it.
    fn even_part(&self, begin: i64, frame: i64) -> i64 {
        let wanted = self.targets.part();
        if frame <= 0 {
            return wanted;
        }
        let most = (wanted - NEARLY + frame - 1).div_euclid(frame).min((self.targets.part_target() - MARGIN).div_euclid(frame)).max(1);
        let left = (self.segment_start + self.usual - begin + frame / 2).div_euclid(frame);
        // One frame more than expected has room in the last one.
        let parts = (left + 1 + most - 1).div_euclid(most);
        if parts < 2 { wanted } else { (left + parts - 1).div_euclid(parts) * frame }
    }

    fn picture(&mut self, mut unit: Unit, cuts: &mut Cuts, out: &mut Vec<Placed>) -> bool {
        if self.segment.is_none() && !unit.key {
            return false;
        }
        if unit.dts <= self.last {
            unit.dts = self.last + STEP;
            unit.pts = unit.pts.max(unit.dts);
        }
        if let Some(pending) = self.pending.take() {
            let split = if unit.dts - self.chunk_start > self.targets.part_target() - MARGIN { Split::Chunk } else { Split::None };
            self.emit(pending, split, out);
        }
        self.fill(unit.dts, cuts, out);
        self.bridge(&unit, cuts, out);
        self.decide(&unit, cuts);
        let Some(split) = self.split(&unit, cuts) else { return true };
        let length = unit.dts - self.chunk_start;
        if split == Split::None && length >= self.targets.shortest_part() {
            self.pending = Some(unit);
        } else {
            self.emit(unit, split, out);
        }
        true
    }

    /// `None`: it comes before the first segment.
    fn split(&self, unit: &Unit, cuts: &Cuts) -> Option<Split> {
        // Pictures belong to the segment of their key frame: those decoded after it are shown after it, or go with it.
        let mut number = cuts.at(self.time(unit));
        let Some(current) = self.segment else { return number.map(Split::Segment) };
        if self.must_end(unit) && cuts.after(current).is_some() {
            number = number.max(Some(current + 1));
        }
        let full = unit.dts - self.chunk_start >= self.targets.part() - NEARLY;
        Some(match number {
            Some(number) if number > current => Split::Segment(number),
            _ if full => Split::Chunk,
            _ => Split::None,
        })
    }

    /// Since when a picture and those that are decoded after it are shown. What is decoded first may be shown last of them.
    fn time(&self, unit: &Unit) -> i64 {
        unit.pts.min(unit.dts + self.delay)
    }

    /// Whether all tracks are cut at this picture.
    fn decide(&mut self, unit: &Unit, cuts: &mut Cuts) {
        if unit.key {
            self.delay = self.delay.min(unit.pts - unit.dts);
            self.repeated = self.repeated.max(unit.pts);
        }
        if !self.master {
            return;
        }
        let time = self.time(unit);
        if let Some(last) = cuts.last().filter(|last| time <= *last) {
            // It is shown before a segment that was begun already by a picture that is shown seconds after it was decoded. Segments end in
            // time all the same.
            if self.must_end(unit) && self.is_newest(cuts) {
                cuts.cut(last);
            }
            return;
        }
        // Where pictures are far apart, the next one comes too late for the sound.
        while let Some(last) = cuts.last().filter(|last| time - last > self.targets.longest_segment()) {
            cuts.cut(last + self.targets.longest_segment());
        }
        let due = cuts.due(time);
        if due && unit.key {
            return cuts.cut(time);
        }
        self.asks |= due;
        if self.segment.is_none() || self.begins(unit, cuts) {
            return;
        }
        // Nothing before it should be shown after it, if that can be had.
        let length = (unit.dts - self.segment_start).max(cuts.last().map_or(0, |last| time - last));
        let long = length >= self.targets.target_duration() as i64 * 1_000_000_000 + NO_KEY_IN;
        if length >= self.targets.longest_segment() - LAST_CHANCE || (long && unit.pts > self.max_pts) {
            cuts.cut(time);
        }
    }

    /// Whether the segment would be too long with another picture in it.
    fn must_end(&self, unit: &Unit) -> bool {
        self.segment.is_some() && unit.dts - self.segment_start >= self.targets.longest_segment() - LAST_CHANCE
    }

    /// Whether its segment is the newest of all tracks.
    fn is_newest(&self, cuts: &Cuts) -> bool {
        cuts.cuts.back().is_some_and(|(number, _)| Some(*number) == self.segment)
    }

    /// Whether it begins a segment anyway.
    fn begins(&self, unit: &Unit, cuts: &Cuts) -> bool {
        cuts.at(self.time(unit)).zip(self.segment).is_some_and(|(number, current)| number > current)
    }

    /// Repeats the last picture as often as it takes to end parts and segments in time, where the next one comes at `until` (decoding time).
    pub(super) fn fill(&mut self, until: i64, cuts: &mut Cuts, out: &mut Vec<Placed>) {
        while let Some(current) = self.segment.filter(|_| !self.torn) {
            let most = self.targets.part_target() - MARGIN;
            let longest = self.targets.longest_segment();
            let mut at = until;
            if until - self.chunk_start > most {
                at = self.chunk_start + self.targets.part();
            }
            if until - self.segment_start > longest {
                at = at.min(self.segment_start + longest - MARGIN);
            }
            if at >= until {
                return;
            }
            if let Some(pending) = self.pending.take() {
                // What comes next is beyond the part's end, so that one begins with this picture; then there may be nothing to fill.
                let split = if until - self.chunk_start > most { Split::Chunk } else { Split::None };
                self.emit(pending, split, out);
                continue;
            }
            if let Some(cut) = cuts.after(current) {
                at = at.min(cut);
            }
            at = at.min(until - APART).max(self.last + APART);
            if at >= until {
                return;
            }
            let mut pts = at.max(self.repeated + STEP);
            if let Some(last) = cuts.last().filter(|_| at >= self.segment_start + longest - MARGIN) {
                // It ends the segment, which may have begun with a picture that is shown long after it was decoded.
                pts = pts.max(last + STEP);
            }
            let Some(unit) = self.repetition(pts, at) else { return };
            self.decide(&unit, cuts);
            let split = match self.split(&unit, cuts) {
                Some(Split::Segment(number)) => Split::Segment(number),
                _ => Split::Chunk,
            };
            self.emit_repeated(unit, split, out);
        }
    }

    /// Repeats the last picture where the next one is shown so long after it is decoded that a segment in between would have none.
    fn bridge(&mut self, next: &Unit, cuts: &mut Cuts, out: &mut Vec<Placed>) {
        let longest = self.targets.longest_segment();
        while self.master
            && self.is_newest(cuts)
            && let Some(last) = cuts.last().filter(|last| self.time(next) - last > longest)
        {
            self.finish(out);
            let at = self.last + (next.dts - self.last) / 2;
            let pts = at.max(self.repeated + STEP).max(last + longest);
            let Some(unit) = Some(at).filter(|at| *at > self.last).and_then(|at| self.repetition(pts, at)) else { return };
            let Some(time) = Some(self.time(&unit)).filter(|time| *time > last) else { return };
            cuts.cut(time);
            if let Some(number) = cuts.at(time) {
                self.emit_repeated(unit, Split::Segment(number), out);
            }
        }
    }

    /// A picture that looks like what is shown at `pts`, to be decoded at `dts`.
    fn repetition(&mut self, pts: i64, dts: i64) -> Option<Unit> {
        let data = self.repeater.as_mut()?.repeat(pts)?;
        self.repeated = pts;
        Some(Unit { pts, dts, source: None, duration: 0, key: false, data })
    }

    fn emit(&mut self, unit: Unit, split: Split, out: &mut Vec<Placed>) {
        if let Some(repeater) = &mut self.repeater {
            repeater.note(&unit.data, unit.pts);
        }
        self.emit_repeated(unit, split, out);
    }

    fn emit_repeated(&mut self, mut unit: Unit, split: Split, out: &mut Vec<Placed>) {
        if self.video && unit.duration == 0 {
            unit.duration = LAST_PICTURE;
        }
        if let Split::Segment(number) = split {
            self.torn |= self.segment.is_some_and(|current| number > current + 1);
            if self.torn {
                return;
            }
            if self.segment.replace(number).is_some() {
                self.usual = unit.dts - self.segment_start;
            }
            self.segment_start = unit.dts;
        }
        if split != Split::None {
            self.chunk_start = unit.dts;
        }
        self.last = unit.dts;
        self.max_pts = self.max_pts.max(unit.pts);
        out.push(Placed { track: self.track, split, unit });
    }
}
