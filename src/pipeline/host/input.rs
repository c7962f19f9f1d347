//! One input of a job: RTP packets become access units on the wall clock.

use std::collections::VecDeque;

use crate::base::wrap::TimestampExtender;
use crate::base::{UnixNanos, rescale};
use crate::codec::aac::{self, AacConfig};
use crate::codec::{AccessUnit, Codec, Depacketized, Depacketizer, Format, FormatError, h264};
use crate::rtp::batch::{ClockMapping, RtpBatch, UnitFacts};
use crate::rtp::resequencer::{Packet, Resequencer};
use crate::timing::{MediaClock, Order, TooShallow};

use super::caps;
use super::grid::{Grid, Place};
use super::unit::Unit;

/// Pictures whose time differs from those before by more are on another timeline: longer than any picture of a live stream lasts.
const JUMP_FORWARD: i64 = 10_000_000_000;
/// The same, backwards: more than any reordering.
const JUMP_BACK: i64 = 2_000_000_000;
/// A key frame is asked for at most this often (media time); the SFU bounds it again for all who ask.
const KEY_REQUEST_INTERVAL: i64 = 500_000_000;

/// How much of a step forward may be more than the time that passed: what a network holds up.
const HELD_UP: i64 = 2_000_000_000;

/// Whether a source's time makes a jump with a unit that is so much later than the one before. `passed`: the time between their arrivals.
/// Somebody who shares a screen on which nothing moves sends a picture now and then: there as much time passes as is stepped over.
fn is_jump(step: i64, passed: Option<i64>) -> bool {
    let waited = passed.is_some_and(|passed| step <= passed + HELD_UP);
    step < -JUMP_BACK || (step >= JUMP_FORWARD && !waited)
}

/// A first picture isn't held any longer once the other track is so much further, in ns: the next one is seconds away.
const ALONE: i64 = 1_000_000_000;
/// Nothing is shown so long before the first key frame, in ns: its time is wrong where the next picture says so. All before it would be lost.
const LONG_BEFORE: i64 = 2_000_000_000;
/// How long a picture lasts where nobody knows, in ns.
const PICTURE: i64 = 40_000_000;

/// Why an input can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the format changed")]
    Format,
    /// Another timeline.
    #[error("the timestamps jumped by {0} ms")]
    Jump(i64),
    /// A track has nothing for a whole segment.
    #[error("a track has nothing for a whole segment")]
    Gap,
    /// A track that had nothing so far.
    #[error("sound has joined the pictures")]
    Joined,
    /// More reordering than known.
    #[error("pictures are reordered more than the stream said (by {0})")]
    Reorder(u8),
    /// The parameter sets are no good.
    #[error("unusable parameter sets: {0}")]
    BadFormat(FormatError),
}

/// The first picture, which lasts until the second one comes. Where none comes, somebody has to say how long that is: the muxer would write
/// a picture of no length, and recordings don't keep what has none.
#[derive(Debug)]
enum First {
    NotYet,
    Held(Unit),
    Gone,
}

impl First {
    /// Holds the first of the pictures that `out` has from `from` on as long as it is the only one.
    fn hold(&mut self, from: usize, out: &mut Vec<Unit>) {
        *self = match (std::mem::replace(self, Self::Gone), out.len().saturating_sub(from)) {
            (Self::NotYet, 1) => out.pop().map_or(Self::NotYet, Self::Held),
            (waits, 0) => waits,
            (Self::Held(mut first), _) => {
                let next = &out[from];
                if first.pts.saturating_sub(next.pts) > LONG_BEFORE {
                    first.pts = first.dts.saturating_add(next.pts.saturating_sub(next.dts));
                }
                out.insert(from, first);
                Self::Gone
            }
            _ => Self::Gone,
        };
    }

    /// Gives the picture that is held, once another track has come to `time` and it is alone.
    fn release(&mut self, time: i64) -> Option<Unit> {
        let alone = matches!(self, Self::Held(only) if time.saturating_sub(only.pts) >= ALONE);
        match std::mem::replace(self, Self::Gone) {
            Self::Held(only) if alone => Some(only),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// How long a picture lasts whose successor never comes, in ns.
fn usual_length(format: &Format) -> i64 {
    let Format::H264 { sps, .. } = format else { return PICTURE };
    let fps = sps.first().and_then(|sps| h264::parse_sps(sps).ok()?.fps).filter(|fps| (1.0..=240.0).contains(fps));
    fps.map_or(PICTURE, |fps| (1e9 / fps) as i64)
}

#[derive(Debug)]
pub(crate) struct Input {
    format: Format,
    /// The parameter sets are known.
    ready: bool,
    at_least: u8,
    depacketizer: Depacketizer,
    resequencer: Resequencer,
    timestamps: TimestampExtender,
    /// What the source said of the unit in work and of the one before it, by RTP timestamp.
    facts: VecDeque<(i64, UnitFacts)>,
    clock: MediaClock,
    order: Order<(bool, bytes::Bytes)>,
    grid: Grid,
    /// A frame of it in which nothing is heard.
    silence: Option<bytes::Bytes>,
    last_pts: Option<i64>,
    /// When the unit of that time came.
    last_arrived: Option<UnixNanos>,
    needs_key: bool,
    key_asked: Option<i64>,
    key_request: bool,
    /// A unit has gone out: the format is fixed.
    begun: bool,
    first: First,
}

fn depth(format: &Format) -> Option<u8> {
    match format {
        Format::H264 { sps, .. } => {
            let info = h264::parse_sps(sps.first()?).ok()?;
            if info.may_reorder() { info.max_reorder.map(|depth| depth.min(16) as u8) } else { Some(0) }
        }
        _ => Some(0),
    }
}

fn silence(format: &Format) -> Option<bytes::Bytes> {
    let Format::Aac { config, .. } = format else { return None };
    aac::silence(&AacConfig::parse(config).ok()?)
}

impl Input {
    /// For a format; `at_least`: pictures known to be held back for reordering; `beside`: there are pictures, and all is cut with them.
    pub(crate) fn new(format: Format, at_least: u8, beside: bool) -> Self {
        let format = caps::completed(format);
        let rate = format.rtp_clock_rate();
        Self {
            ready: !matches!(&format, Format::H264 { sps, pps } if sps.is_empty() || pps.is_empty()),
            at_least,
            depacketizer: Depacketizer::new(&format),
            resequencer: Resequencer::new(rate),
            timestamps: TimestampExtender::new(),
            facts: VecDeque::new(),
            clock: MediaClock::new(rate),
            order: Order::new(depth(&format), at_least),
            grid: Grid::new(beside),
            silence: silence(&format),
            last_pts: None,
            last_arrived: None,
            needs_key: format.codec() == Codec::H264 || format.codec() == Codec::Vp8,
            key_asked: None,
            key_request: false,
            begun: false,
            first: First::NotYet,
            format,
        }
    }

    /// Its format, with the parameter sets once they are known.
    pub(crate) fn format(&self) -> &Format {
        &self.format
    }

    /// Whether a key frame should be asked for, since the last call.
    pub(crate) fn take_key_request(&mut self) -> bool {
        std::mem::take(&mut self.key_request)
    }

    /// Pictures can only go on at a key frame.
    pub(crate) fn need_key(&mut self) {
        self.needs_key = true;
        self.ask_for_key();
    }

    /// A key frame would be welcome; not more often than makes sense.
    pub(crate) fn ask_for_key(&mut self) {
        let now = self.last_pts.unwrap_or(0);
        if self.key_asked.is_none_or(|asked| (now - asked).abs() >= KEY_REQUEST_INTERVAL) {
            self.key_asked = Some(now);
            self.key_request = true;
        }
    }

    /// Takes packets; `arrived` is the wall clock, in case that nobody knows better. Appends units to `out`.
    pub(crate) fn push(&mut self, batch: &RtpBatch, arrived: UnixNanos, out: &mut Vec<Unit>) -> Result<(), Ended> {
        if let Some(mapping) = batch.clock {
            self.clock.map(mapping).map_err(|jump| Ended::Jump(jump.0 / 1_000_000))?;
        }
        for packet in Packet::all(batch) {
            if !self.clock.is_anchored() {
                let _ = self.clock.map(ClockMapping { rtp: packet.timestamp, wallclock: arrived });
            }
            self.resequencer.push(packet);
            while let Some(packet) = self.resequencer.pop() {
                let timestamp = self.timestamps.extend(packet.timestamp);
                if let Some(unit) = packet.unit {
                    self.facts.truncate(1);
                    self.facts.push_front((timestamp, unit));
                }
                self.depacketizer.push(&packet.payload, timestamp, packet.seq, packet.marker);
                self.drain(Some(arrived), out)?;
            }
        }
        Ok(())
    }

    fn drain(&mut self, arrived: Option<UnixNanos>, out: &mut Vec<Unit>) -> Result<(), Ended> {
        while let Some(output) = self.depacketizer.poll() {
            match output {
                Depacketized::Format(format) => self.set_format(format)?,
                Depacketized::Lost if self.format.kind() == crate::base::MediaKind::Video => self.need_key(),
                Depacketized::Lost => {}
                Depacketized::Unit(unit) => {
                    let Some(pts) = self.clock.time(unit.pts as u32) else { continue };
                    let facts = self.facts.iter().find(|(timestamp, _)| *timestamp == unit.pts).map(|(_, facts)| *facts);
                    // Where the source knows its times, it has mended its jumps.
                    if facts.is_none()
                        && let Some(last) = self.last_pts
                        && is_jump(pts - last, self.last_arrived.zip(arrived).map(|(before, now)| now - before))
                    {
                        return Err(Ended::Jump((pts - last) / 1_000_000));
                    }
                    (self.last_pts, self.last_arrived) = (Some(pts), arrived);
                    match self.format.codec() {
                        Codec::H264 | Codec::Vp8 => self.picture(pts, unit, facts, out)?,
                        Codec::Aac | Codec::Opus => self.sound(pts, unit.data, out)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn set_format(&mut self, format: Format) -> Result<(), Ended> {
        if format == self.format {
            return Ok(());
        }
        if self.begun {
            return Err(Ended::Format);
        }
        caps::caps(&format).map_err(Ended::BadFormat)?;
        self.order = Order::new(depth(&format), self.at_least);
        self.silence = silence(&format);
        self.format = format;
        self.ready = true;
        Ok(())
    }

    fn picture(&mut self, pts: i64, unit: AccessUnit, facts: Option<UnitFacts>, out: &mut Vec<Unit>) -> Result<(), Ended> {
        let (key, data) = (facts.map_or(unit.key, |facts| facts.key), unit.data);
        if self.needs_key {
            if !key || !self.ready {
                self.ask_for_key();
                return Ok(());
            }
            self.needs_key = false;
            self.order.restart();
        }
        self.begun = true;
        let from = out.len();
        let put = |pts, dts, (key, data)| out.push(Unit { pts, dts, source: Some(dts), duration: 0, key, data });
        if let Some(facts) = facts {
            let composition = rescale(i64::from(facts.composition), self.format.rtp_clock_rate(), 1_000_000_000);
            self.order.push_known(pts, pts - composition, (key, data), put);
        } else {
            self.order.push(pts, (key, data), put).map_err(|TooShallow(depth)| Ended::Reorder(depth))?;
        }
        self.first.hold(from, out);
        Ok(())
    }

    fn sound(&mut self, pts: i64, data: bytes::Bytes, out: &mut Vec<Unit>) -> Result<(), Ended> {
        let Some(duration) = caps::unit_duration(&self.format, &data).filter(|duration| *duration > 0) else {
            return Ok(());
        };
        match self.grid.place(pts, duration, self.silence.is_some()) {
            Place::Jump => return Err(Ended::Jump((pts - self.last_pts.unwrap_or(pts)) / 1_000_000)),
            Place::Drop => {}
            Place::At { mut at, silence: count } => {
                let mut put = |source, data| {
                    out.push(Unit { pts: at, dts: at, source, duration, key: true, data });
                    at += duration;
                };
                if let Some(silence) = &self.silence {
                    (0..count).for_each(|_| put(None, silence.clone()));
                }
                put(Some(pts), data);
            }
        }
        Ok(())
    }

    /// Another input has come to `time`: a first picture that nothing follows goes on.
    pub(crate) fn other_is_at(&mut self, time: i64, out: &mut Vec<Unit>) {
        if let Some(only) = self.first.release(time) {
            out.push(Unit { duration: usual_length(&self.format), ..only });
        }
    }

    /// The stream has ended: gives what was held back.
    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) -> Result<(), Ended> {
        self.depacketizer.finish();
        let drained = self.drain(None, out);
        if let Some(only) = self.first.release(i64::MAX) {
            out.push(Unit { duration: usual_length(&self.format), ..only });
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_picture_is_held_until_the_second_comes() {
        let unit = |n: i64| Unit { pts: n, dts: n, source: Some(n), duration: 0, key: n == 0, data: bytes::Bytes::new() };
        // How many pictures come with each step, how many of all are out after it.
        for steps in [&[(1, 0), (0, 0), (1, 2), (1, 3)][..], &[(2, 2), (1, 3)], &[(0, 0), (1, 0), (3, 4)]] {
            let (mut first, mut out, mut came) = (First::NotYet, Vec::new(), 0);
            for (count, gone) in steps {
                let from = out.len();
                out.extend((came..came + count).map(unit));
                came += count;
                first.hold(from, &mut out);
                assert_eq!(out, (0..*gone).map(unit).collect::<Vec<_>>(), "{steps:?}");
            }
        }
    }

    #[test]
    fn a_first_picture_is_shown_no_later_than_those_that_follow_it() {
        let unit = |dts: i64, pts: i64| Unit { pts, dts, source: Some(dts), duration: 0, key: dts == 0, data: bytes::Bytes::new() };
        // When the first two pictures are shown, in ms, and when the first one is in the end. The second is decoded at 40 ms.
        for (first, second, shown) in [(0, 40, 0), (80, 160, 80), (7_000, 40, 0), (7_000, 120, 80), (7_000, 7_040, 7_000), (900, 120, 900)]
        {
            let (mut held, mut out) = (First::NotYet, vec![unit(0, first * 1_000_000)]);
            held.hold(0, &mut out);
            out.push(unit(40_000_000, second * 1_000_000));
            held.hold(0, &mut out);
            assert_eq!(out, [unit(0, shown * 1_000_000), unit(40_000_000, second * 1_000_000)], "{first} {second}");
        }
    }

    #[test]
    fn a_first_picture_is_not_held_while_sound_goes_on() {
        let unit = |n: i64| Unit { pts: n, dts: n, source: Some(n), duration: 0, key: n == 0, data: bytes::Bytes::new() };
        let mut first = First::NotYet;
        assert_eq!(first.release(ALONE), None, "there is none");
        let mut out = vec![unit(5)];
        first.hold(0, &mut out);
        for (time, given) in [(-ALONE, None), (5, None), (4 + ALONE, None), (5 + ALONE, Some(unit(5))), (5 + 2 * ALONE, None)] {
            assert_eq!(first.release(time), given, "{time}");
        }
        out.push(unit(9));
        first.hold(0, &mut out);
        assert_eq!(out, [unit(9)], "the next one is a picture as all others");
    }

    #[test]
    fn the_only_picture_lasts_as_long_as_its_stream_says() {
        let sps = |sps: &'static [u8]| Format::H264 { sps: vec![bytes::Bytes::from_static(sps)], pps: Vec::new() };
        let fps_30: &[u8] =
            &[0x67, 0x64, 0, 0x1f, 0xac, 0xb2, 0, 0xa0, 0x0b, 0x76, 2, 0x20, 0, 0, 3, 0, 0x20, 0, 0, 7, 0x91, 0xe3, 6, 0x49];
        assert_eq!((usual_length(&sps(fps_30)) + 500_000) / 1_000_000, 33);
        assert_eq!((usual_length(&sps(&[])), usual_length(&Format::Vp8)), (PICTURE, PICTURE));
    }

    #[test]
    fn a_pause_is_no_jump() {
        const S: i64 = 1_000_000_000;
        for (step, passed, jump) in [
            (S / 30, Some(S / 30), false),
            (9 * S, None, false),
            (10 * S, None, true),
            (10 * S, Some(0), true),
            (15 * S, Some(15 * S), false),
            (3600 * S, Some(3600 * S - S), false),
            (15 * S, Some(12 * S), true),
            // Held up on its way, or come in one burst.
            (11 * S, Some(30 * S), false),
            (-S, Some(S), false),
            (-3 * S, Some(20 * S), true),
        ] {
            assert_eq!(is_jump(step, passed), jump, "{step} {passed:?}");
        }
    }
}
