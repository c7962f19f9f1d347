//! One input of a job: RTP packets become access units on the wall clock.

use std::collections::VecDeque;

use crate::base::wrap::TimestampExtender;
use crate::base::{UnixNanos, rescale};
use crate::codec::{AccessUnit, Codec, Depacketized, Depacketizer, Format, h264};
use crate::rtp::batch::{ClockMapping, RtpBatch, UnitFacts};
use crate::rtp::resequencer::{Packet, Resequencer};
use crate::timing::{MediaClock, Order, TooShallow};

use super::caps;
use super::grid::{Grid, Place, silent_aac};
use super::unit::Unit;

/// Pictures whose time differs from those before by more are on another timeline: longer than any picture of a live stream lasts.
const JUMP_FORWARD: i64 = 10_000_000_000;
/// The same, backwards: more than any reordering.
const JUMP_BACK: i64 = 2_000_000_000;
/// A key frame is asked for at most this often (media time); the SFU bounds it again for all who ask.
const KEY_REQUEST_INTERVAL: i64 = 500_000_000;

/// Why an input can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    /// Another format.
    #[error("the format changed")]
    Format,
    /// Another timeline.
    #[error("the timestamps jumped by {0} ms")]
    Jump(i64),
    /// A track has nothing for a whole segment.
    #[error("a track has nothing for a whole segment")]
    Gap,
    /// More reordering than known.
    #[error("pictures are reordered more than the stream said (by {0})")]
    Reorder(u8),
    /// The parameter sets are no good.
    #[error("unusable parameter sets: {0}")]
    BadFormat(String),
}

/// One input.
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
    last_pts: Option<i64>,
    needs_key: bool,
    key_asked: Option<i64>,
    key_request: bool,
    /// A unit has gone out: the format is fixed.
    begun: bool,
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

impl Input {
    /// For a format; `at_least`: pictures known to be held back for reordering.
    pub(crate) fn new(format: Format, at_least: u8) -> Self {
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
            grid: Grid::default(),
            last_pts: None,
            needs_key: format.codec() == Codec::H264 || format.codec() == Codec::Vp8,
            key_asked: None,
            key_request: false,
            begun: false,
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
                self.drain(out)?;
            }
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<Unit>) -> Result<(), Ended> {
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
                        && !(-JUMP_BACK..JUMP_FORWARD).contains(&(pts - last))
                    {
                        return Err(Ended::Jump((pts - last) / 1_000_000));
                    }
                    self.last_pts = Some(pts);
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
        caps::caps(&format).map_err(|error| Ended::BadFormat(error.to_string()))?;
        self.order = Order::new(depth(&format), self.at_least);
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
        let put = |pts, dts, (key, data)| out.push(Unit { pts, dts, duration: 0, key, data });
        if let Some(facts) = facts {
            let composition = rescale(i64::from(facts.composition), self.format.rtp_clock_rate(), 1_000_000_000);
            self.order.push_known(pts, pts - composition, (key, data), put);
            return Ok(());
        }
        self.order.push(pts, (key, data), put).map_err(|TooShallow(depth)| Ended::Reorder(depth))
    }

    fn sound(&mut self, pts: i64, data: bytes::Bytes, out: &mut Vec<Unit>) -> Result<(), Ended> {
        let Some(duration) = caps::unit_duration(&self.format, &data).filter(|duration| *duration > 0) else {
            return Ok(());
        };
        let silence = match &self.format {
            Format::Aac { config, channels, .. } if caps::is_aac_lc(config) => silent_aac(*channels),
            _ => None,
        };
        match self.grid.place(pts, duration, silence.is_some()) {
            Place::Jump => return Err(Ended::Jump((pts - self.last_pts.unwrap_or(pts)) / 1_000_000)),
            Place::Drop => {}
            Place::At { mut at, silence: count } => {
                let mut put = |data| {
                    out.push(Unit { pts: at, dts: at, duration, key: true, data });
                    at += duration;
                };
                if let Some(silence) = silence {
                    (0..count).for_each(|_| put(silence.clone()));
                }
                put(data);
            }
        }
        Ok(())
    }

    /// The stream has ended: gives what was held back.
    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) -> Result<(), Ended> {
        self.depacketizer.finish();
        self.drain(out)
    }
}
