//! From access units to RTP payloads, packetization mode 1 (RFC 6184 section 6.3).

use bytes::Bytes;

use super::nal::{NalType, ref_idc};
use crate::codec::payload::{MAX_MTU, MIN_MTU, even_fragment};
use crate::codec::{AccessUnit, Format, Payload};

/// Most NAL units of one access unit. Level 6.2 allows some hundreds of slices; more is an attack on our memory, and the
/// rest of such a unit is left out.
const MAX_NALS: usize = 2048;

/// Most NAL units put together in one STAP-A, so that its parts fit an array on the stack. Parameter sets, SEI and a few slices are fewer.
const MAX_STAP: usize = 16;

/// Where a NAL unit lies.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Offset and length in the access unit.
    Unit(usize, usize),
    /// Index in the format's `sps`.
    Sps(usize),
    /// Index in the format's `pps`.
    Pps(usize),
}

/// Makes payloads of H.264: small NAL units of an access unit together (STAP-A), large ones in pieces of equal size (FU-A). Parameter
/// sets go in band before each key frame; access unit delimiters and filler data are left out.
#[derive(Debug)]
pub struct Packetizer {
    mtu: usize,
    places: Vec<Place>,
}

impl Packetizer {
    /// `mtu` is the most bytes of a payload, 64 to 65495.
    pub fn new(mtu: usize) -> Self {
        Self { mtu: mtu.clamp(MIN_MTU, MAX_MTU), places: Vec::new() }
    }

    /// As [`crate::codec::Packetizer::packetize`].
    pub fn packetize(&mut self, unit: &AccessUnit, format: &Format, out: &mut dyn FnMut(Payload<'_>)) -> usize {
        let (sps, pps): (&[Bytes], &[Bytes]) = match format {
            Format::H264 { sps, pps } => (sps, pps),
            _ => (&[], &[]),
        };
        self.collect(unit, sps, pps);
        let source = Source { data: &unit.data, sps, pps };
        let (mut at, mut count) = (0, 0);
        while at < self.places.len() {
            let together = self.together(&source, at);
            let last = at + together == self.places.len();
            let nals = &self.places[at..at + together];
            count += match nals {
                [one] => self.single(source.nal(*one), last, out),
                many => aggregate(&source, many, last, out),
            };
            at += together;
        }
        count
    }

    /// Lists the NAL units to send.
    fn collect(&mut self, unit: &AccessUnit, sps: &[Bytes], pps: &[Bytes]) {
        self.places.clear();
        let data = &unit.data[..];
        let (mut offset, mut key, mut has_sps, mut has_pps) = (0, unit.key, false, false);
        while let Some(head) = data.get(offset..offset + 4) {
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let start = offset + 4;
            let Some(nal) = start.checked_add(len).and_then(|end| data.get(start..end)) else { break };
            offset = start + len;
            let Some(&header) = nal.first() else { continue };
            match NalType::of(header) {
                NalType::Aud | NalType::Filler => continue,
                NalType::Sps => has_sps = true,
                NalType::Pps => has_pps = true,
                NalType::Idr => key = true,
                _ => {}
            }
            if self.places.len() >= MAX_NALS {
                break;
            }
            self.places.push(Place::Unit(start, len));
        }
        if !key || self.places.is_empty() {
            return;
        }
        // Behind what is in band already, an SPS must stand before a PPS.
        let (sps, pps) = (if has_sps { &[] } else { sps }, if has_pps { &[] } else { pps });
        let sps = (0..sps.len().min(32)).filter(|index| !sps[*index].is_empty()).map(Place::Sps);
        let pps_places = (0..pps.len().min(255)).filter(|index| !pps[*index].is_empty()).map(Place::Pps);
        if has_sps {
            // The PPSs go right after the last SPS of the unit, which they refer to.
            let behind =
                self.places.iter().rposition(|place| matches!(place, Place::Unit(start, _) if NalType::of(data[*start]) == NalType::Sps));
            let at = behind.map_or(0, |index| index + 1);
            self.places.splice(at..at, pps_places);
        } else {
            self.places.splice(0..0, sps.chain(pps_places));
        }
    }

    /// How many NAL units from `at` on fit into one payload, at least one.
    fn together(&self, source: &Source<'_>, at: usize) -> usize {
        let mut len = 1;
        let fitting = self.places[at..].iter().take(MAX_STAP).take_while(|place| {
            len += 2 + source.nal(**place).len();
            len <= self.mtu
        });
        fitting.count().max(1)
    }

    /// One NAL unit as it is, or in fragments.
    fn single(&self, nal: &[u8], last: bool, out: &mut dyn FnMut(Payload<'_>)) -> usize {
        if nal.len() <= self.mtu {
            out(Payload { parts: &[nal], marker: last });
            return 1;
        }
        let (indicator, kind, body) = ((nal[0] & 0xE0) | 28, nal[0] & 0x1F, &nal[1..]);
        let size = even_fragment(body.len(), self.mtu - 2);
        let fragments = body.len().div_ceil(size);
        for (index, fragment) in body.chunks(size).enumerate() {
            let (start, end) = (index == 0, index + 1 == fragments);
            let header = [indicator, (u8::from(start) << 7) | (u8::from(end) << 6) | kind];
            out(Payload { parts: &[&header, fragment], marker: last && end });
        }
        fragments
    }
}

/// Where the NAL units are.
struct Source<'a> {
    data: &'a [u8],
    sps: &'a [Bytes],
    pps: &'a [Bytes],
}

impl<'a> Source<'a> {
    fn nal(&self, place: Place) -> &'a [u8] {
        match place {
            Place::Unit(start, len) => &self.data[start..start + len],
            Place::Sps(index) => &self.sps[index],
            Place::Pps(index) => &self.pps[index],
        }
    }
}

/// A STAP-A of several NAL units (section 5.7.1): its header has the highest `nal_ref_idc` of them.
fn aggregate(source: &Source<'_>, places: &[Place], last: bool, out: &mut dyn FnMut(Payload<'_>)) -> usize {
    let mut lengths = [[0u8; 2]; MAX_STAP];
    let (mut importance, mut forbidden) = (0, 0);
    for (place, length) in places.iter().zip(&mut lengths) {
        let nal = source.nal(*place);
        *length = (nal.len() as u16).to_be_bytes();
        importance = importance.max(ref_idc(nal[0]));
        forbidden |= nal[0] & 0x80;
    }
    let header = [forbidden | (importance << 5) | 24];
    let mut parts: [&[u8]; 1 + 2 * MAX_STAP] = [&[]; 1 + 2 * MAX_STAP];
    parts[0] = &header;
    for (index, (place, length)) in places.iter().zip(&lengths).enumerate() {
        parts[1 + 2 * index] = length;
        parts[2 + 2 * index] = source.nal(*place);
    }
    out(Payload { parts: &parts[..1 + 2 * places.len().min(MAX_STAP)], marker: last });
    1
}
