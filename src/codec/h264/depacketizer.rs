//! From RTP payloads to access units (RFC 6184 sections 5.6 to 5.8).

use super::avcc::put_nal;
use super::facts::payload_facts;
use super::nal::NalType;
use super::sets::ParameterSets;
use crate::codec::outputs::{MAX_UNIT, Outputs, reset};
use crate::codec::sequence::{Order, Sequence};
use crate::codec::{Depacketized, Format};

/// Bytes of a decoding order number.
const DON: usize = 2;
/// NAL unit types of RFC 6184's interleaved mode.
const STAP_B: u8 = 25;
const MTAP16: u8 = 26;
const MTAP24: u8 = 27;
const FU_B: u8 = 29;

/// Assembles access units from packetization modes 0 and 1. Only slices and
/// supplemental information stay in the units; changed parameter sets come out as [`Depacketized::Format`] before the unit they came with.
#[derive(Debug)]
pub struct Depacketizer {
    sequence: Sequence,
    sets: ParameterSets,
    /// Parameter sets changed since the last `Format` was put out.
    changed: bool,
    /// A `Format` can be put out with any unit, because there was none before.
    waiting: bool,
    /// Picture parameter sets that changed with the unit in work: where no key frame makes them part of a format they stay in band.
    loose: Vec<u8>,
    /// Timestamp of the unit in work.
    timestamp: Option<i64>,
    data: Vec<u8>,
    /// Where in `data` the fragmented NAL unit in work begins (its length).
    fragment: Option<usize>,
    key: bool,
    sps_in_band: bool,
    /// The unit in work cannot become whole.
    damaged: bool,
    /// The sender sets the marker at the end of units, as it should.
    markers: bool,
    outputs: Outputs,
}

impl Depacketizer {
    /// For a stream whose parameter sets known so far are in `format`.
    pub fn new(format: &Format) -> Self {
        Self {
            sequence: Sequence::default(),
            sets: ParameterSets::of(format),
            changed: false,
            waiting: !ParameterSets::of(format).is_complete(),
            loose: Vec::new(),
            timestamp: None,
            data: Vec::new(),
            fragment: None,
            key: false,
            sps_in_band: false,
            damaged: false,
            markers: false,
            outputs: Outputs::default(),
        }
    }

    /// As [`crate::codec::Depacketizer::push`].
    pub fn push(&mut self, payload: &[u8], timestamp: i64, seq: u16, marker: bool) {
        let order = self.sequence.follow(seq);
        if order == Order::Late {
            return;
        }
        let first = self.timestamp.is_none_or(|current| current != timestamp);
        if order == Order::Gap {
            // The unit in work lacks its end; what follows of it is useless.
            self.outputs.push(Depacketized::Lost);
            self.damaged = true;
        }
        let joining = self.timestamp.is_none();
        if first {
            self.end_unit();
            self.timestamp = Some(timestamp);
            // Without a gap this is the first packet of its unit, whatever it looks like; after one, or where we join, it must look so.
            self.damaged = (order == Order::Gap || joining) && !payload_facts(payload).starts_frame;
        }
        if !self.damaged && self.take(payload).is_none() {
            self.damaged = true;
            self.outputs.push(Depacketized::Lost);
        }
        if marker {
            self.markers = true;
            self.end_unit();
        }
    }

    /// As [`crate::codec::Depacketizer::poll`].
    pub fn poll(&mut self) -> Option<Depacketized> {
        self.outputs.pop()
    }

    /// As [`crate::codec::Depacketizer::finish`].
    pub fn finish(&mut self) {
        self.damaged |= self.markers;
        self.end_unit();
    }

    fn end_unit(&mut self) {
        let Some(timestamp) = self.timestamp.filter(|_| !self.data.is_empty()) else {
            self.clear();
            return;
        };
        if self.fragment.is_some() && !self.damaged {
            self.damaged = true;
            self.outputs.push(Depacketized::Lost);
        }
        if !self.damaged {
            // Parameter sets stand before pictures at which decoding can start: that is how packetizers mark those that are no IDR pictures.
            let key = self.key || self.sps_in_band;
            if self.changed && (key || self.waiting) && self.sets.is_complete() {
                (self.changed, self.waiting) = (false, false);
                self.outputs.push(Depacketized::Format(self.sets.format(None, &[])));
            } else if !self.loose.is_empty() {
                self.data.splice(0..0, self.loose.drain(..));
            }
            self.outputs.push_unit(timestamp, key, &self.data);
        }
        self.clear();
    }

    fn clear(&mut self) {
        reset(&mut self.data);
        reset(&mut self.loose);
        self.fragment = None;
        self.key = false;
        self.sps_in_band = false;
        self.damaged = false;
    }

    /// Takes a payload into the unit in work; `None` where that damages the unit.
    fn take(&mut self, payload: &[u8]) -> Option<()> {
        // An empty payload is padding (a probe for bandwidth).
        let Some(&indicator) = payload.first() else { return Some(()) };
        match NalType::of(indicator) {
            NalType::FuA => self.take_fragment(indicator, payload.get(1..)?, 0),
            // FU-B begins with a decoding order number, which matters only where NAL units are interleaved: nobody offers that mode.
            NalType::Other(FU_B) => self.take_fragment(indicator, payload.get(1..)?, DON),
            // Reserved, or left to applications: not ours, and no reason to lose the picture.
            NalType::Other(0 | 30 | 31) => Some(()),
            _ if self.fragment.is_some() => None,
            NalType::StapA => self.take_aggregate(&payload[1..], 0),
            NalType::Other(STAP_B) => self.take_aggregate(payload.get(1 + DON..)?, 0),
            // The difference in decoding order, and of timestamps, stands before each NAL unit.
            NalType::Other(MTAP16) => self.take_aggregate(payload.get(1 + DON..)?, 3),
            NalType::Other(MTAP24) => self.take_aggregate(payload.get(1 + DON..)?, 4),
            _ => self.take_nal(payload),
        }
    }

    /// NAL units behind their lengths and `before` more bytes each.
    fn take_aggregate(&mut self, mut rest: &[u8], before: usize) -> Option<()> {
        let mut nals = 0;
        // Trailing zeros are harmless padding; anything else was cut short.
        while !rest.iter().all(|byte| *byte == 0) {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (nal, after) = if length == 0 { (&[][..], after) } else { after.get(before..)?.split_at_checked(length)? };
            rest = after;
            if !nal.is_empty() {
                nals += 1;
                self.take_nal(nal)?;
            }
        }
        (nals > 0).then_some(())
    }

    fn take_nal(&mut self, nal: &[u8]) -> Option<()> {
        let kind = NalType::of(*nal.first()?);
        match kind {
            NalType::Sps => {
                self.sps_in_band = true;
                self.changed |= self.sets.remember(nal);
                return Some(());
            }
            NalType::Pps => {
                if self.sets.remember(nal) {
                    self.changed = true;
                    if self.loose.len() + nal.len() > MAX_UNIT {
                        return None;
                    }
                    put_nal(&mut self.loose, nal);
                }
                return Some(());
            }
            // Delimiters, filler data, and what decoders don't know.
            _ if !kind.is_carried() => return Some(()),
            _ => {}
        }
        if self.data.len() + 4 + nal.len() > MAX_UNIT {
            return None;
        }
        self.key |= kind == NalType::Idr;
        put_nal(&mut self.data, nal);
        Some(())
    }

    /// FU-A and FU-B (section 5.8); `before` bytes stand before the body.
    fn take_fragment(&mut self, indicator: u8, payload: &[u8], before: usize) -> Option<()> {
        let (&fu, body) = payload.split_first()?;
        let body = body.get(before..)?;
        let (start, end) = (fu & 0x80 != 0, fu & 0x40 != 0);
        let header = (indicator & 0xE0) | (fu & 0x1F);
        if start != self.fragment.is_none() || self.data.len() + 5 + body.len() > MAX_UNIT {
            return None;
        }
        if start {
            self.fragment = Some(self.data.len());
            self.data.extend_from_slice(&[0, 0, 0, 0, header]);
        }
        self.data.extend_from_slice(body);
        if end {
            self.end_fragment()?;
        }
        Some(())
    }

    fn end_fragment(&mut self) -> Option<()> {
        let at = self.fragment.take()?;
        let kind = NalType::of(*self.data.get(at + 4)?);
        match kind {
            NalType::Slice | NalType::Partition | NalType::Idr => {
                let len = u32::try_from(self.data.len() - at - 4).ok()?;
                self.data.get_mut(at..at + 4)?.copy_from_slice(&len.to_be_bytes());
                self.key |= kind == NalType::Idr;
                Some(())
            }
            // Others are seldom fragmented: treat them as if they had come whole.
            _ => {
                let nal = self.data.split_off(at);
                self.take_nal(&nal[4..])
            }
        }
    }
}
