//! From RTP payloads to access units (RFC 6184 sections 5.6 to 5.8).

use bytes::Bytes;

use super::avcc::{avcc_nals, put_nal};
use super::facts::payload_facts;
use super::nal::{NalType, is_recovery_point, pps_id, sps_id};
use crate::codec::depacketizer::{MAX_UNIT, Outputs, reset};
use crate::codec::sequence::{Order, Sequence};
use crate::codec::{Depacketized, Format};

/// Longest parameter set that is remembered: what an `avcC` can hold.
const MAX_PARAMETER_SET: usize = 65_535;

/// Assembles access units from packetization modes 0 and 1. Parameter sets, access unit delimiters and filler data are taken
/// out of the units; changed parameter sets come out as [`Depacketized::Format`] before the unit they came with.
#[derive(Debug)]
pub struct Depacketizer {
    sequence: Sequence,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    /// Parameter sets changed since the last `Format` was given out.
    changed: bool,
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
        let (sps, pps) = match format {
            Format::H264 { sps, pps } => (sps.clone(), pps.clone()),
            _ => (Vec::new(), Vec::new()),
        };
        Self {
            sequence: Sequence::default(),
            sps,
            pps,
            changed: false,
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
            if self.changed && !self.sps.is_empty() && !self.pps.is_empty() {
                self.changed = false;
                self.outputs.push(Depacketized::Format(Format::H264 { sps: self.sps.clone(), pps: self.pps.clone() }));
            }
            self.outputs.push_unit(timestamp, self.key, &self.data);
        }
        self.clear();
    }

    fn clear(&mut self) {
        reset(&mut self.data);
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
            NalType::FuA => return self.take_fragment(payload),
            _ if self.fragment.is_some() => return None,
            NalType::StapA => {
                let (mut len, mut nals) = (1, 0);
                for nal in avcc_nals(&payload[1..], 2) {
                    len += 2 + nal.len();
                    nals += 1;
                    self.take_nal(nal)?;
                }
                // Trailing zeros are harmless padding; anything else was cut short.
                return (nals > 0 && payload[len..].iter().all(|byte| *byte == 0)).then_some(());
            }
            // STAP-B, MTAP, FU-B belong to the interleaved mode, which nobody offers.
            NalType::Other(0 | 25..=31) => return None,
            _ => {}
        }
        self.take_nal(payload)
    }

    fn take_nal(&mut self, nal: &[u8]) -> Option<()> {
        let kind = NalType::of(*nal.first()?);
        match kind {
            NalType::Aud | NalType::Filler => return Some(()),
            NalType::Sps => {
                self.sps_in_band = true;
                self.changed |= remember(&mut self.sps, nal, sps_id);
                return Some(());
            }
            NalType::Pps => {
                self.changed |= remember(&mut self.pps, nal, pps_id);
                return Some(());
            }
            _ => {}
        }
        if self.data.len() + 4 + nal.len() > MAX_UNIT {
            return None;
        }
        self.note(kind, nal);
        put_nal(&mut self.data, nal);
        Some(())
    }

    fn note(&mut self, kind: NalType, nal: &[u8]) {
        // A recovery point counts only with parameter sets beside it: that is how packetizers mark a unit as a place to start at.
        self.key |= kind == NalType::Idr || (kind == NalType::Sei && self.sps_in_band && is_recovery_point(nal));
    }

    /// FU-A (section 5.8).
    fn take_fragment(&mut self, payload: &[u8]) -> Option<()> {
        let (&[indicator, fu], body) = payload.split_first_chunk::<2>()?;
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

/// Keeps a parameter set in place of the one with the same id; whether anything changed.
fn remember(sets: &mut Vec<Bytes>, nal: &[u8], id_of: fn(&[u8]) -> Option<u8>) -> bool {
    // The ids bound the number: 32 SPSs, 256 PPSs. One without a readable id is not usable.
    let Some(id) = id_of(nal).filter(|_| nal.len() <= MAX_PARAMETER_SET) else { return false };
    match sets.iter_mut().find(|known| id_of(known) == Some(id)) {
        Some(known) if known[..] == *nal => return false,
        Some(known) => *known = Bytes::copy_from_slice(nal),
        None => sets.push(Bytes::copy_from_slice(nal)),
    }
    true
}
