//! From frames to RTP payloads and back (RFC 7741).

use super::descriptor::{Descriptor, MAX_LEN, PictureId};
use super::frame_info;
use crate::codec::outputs::{MAX_UNIT, Outputs, reset};
use crate::codec::payload::{MAX_MTU, MIN_MTU, even_fragment};
use crate::codec::sequence::{Order, Sequence};
use crate::codec::{AccessUnit, Depacketized, Payload};

/// Makes payloads of equal size, each with a 15-bit PictureID, without regard to partitions.
#[derive(Debug)]
pub struct Packetizer {
    mtu: usize,
    picture_id: u16,
}

impl Packetizer {
    /// `mtu` is the most bytes of a payload, 64 to 65495.
    pub fn new(mtu: usize) -> Self {
        Self { mtu: mtu.clamp(MIN_MTU, MAX_MTU), picture_id: 0 }
    }

    /// As [`crate::codec::Packetizer::packetize`].
    pub fn packetize(&mut self, unit: &AccessUnit, out: &mut dyn FnMut(Payload<'_>)) -> usize {
        let data = &unit.data[..];
        if data.is_empty() {
            return 0;
        }
        let picture_id = Some(PictureId::Long(self.picture_id));
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        // The descriptor has 4 bytes with a PictureID of 15 bits.
        let size = even_fragment(data.len(), self.mtu - 4);
        let count = data.len().div_ceil(size);
        for (index, fragment) in data.chunks(size).enumerate() {
            let mut bytes = [0; MAX_LEN];
            let len = Descriptor { start: index == 0, picture_id, ..Descriptor::default() }.write(&mut bytes);
            out(Payload { parts: &[&bytes[..len], fragment], marker: index + 1 == count });
        }
        count
    }
}

/// Assembles frames.
#[derive(Debug, Default)]
pub struct Depacketizer {
    sequence: Sequence,
    timestamp: Option<i64>,
    data: Vec<u8>,
    damaged: bool,
    /// The sender sets the marker at the end of frames, as it should.
    markers: bool,
    outputs: Outputs,
}

impl Depacketizer {
    /// For any VP8 stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`crate::codec::Depacketizer::push`].
    pub fn push(&mut self, payload: &[u8], timestamp: i64, seq: u16, marker: bool) {
        let order = self.sequence.follow(seq);
        if order == Order::Late {
            return;
        }
        if order == Order::Gap {
            self.damage();
        }
        if self.timestamp.is_none_or(|current| current != timestamp) {
            self.end_frame();
            self.timestamp = Some(timestamp);
            self.damaged = false;
        }
        if !self.damaged && self.take(payload).is_none() {
            // A piece before the beginning of its frame: we joined in the middle, or a gap was reported already.
            if !self.data.is_empty() {
                self.damage();
            }
            self.damaged = true;
        }
        if marker {
            self.markers = true;
            self.end_frame();
        }
    }

    /// As [`crate::codec::Depacketizer::poll`].
    pub fn poll(&mut self) -> Option<Depacketized> {
        self.outputs.pop()
    }

    /// As [`crate::codec::Depacketizer::finish`].
    pub fn finish(&mut self) {
        self.damaged |= self.markers;
        self.end_frame();
    }

    fn end_frame(&mut self) {
        if let Some(timestamp) = self.timestamp.filter(|_| !self.data.is_empty() && !self.damaged) {
            match frame_info(&self.data) {
                Some(info) => self.outputs.push_unit(timestamp, info.key, &self.data),
                None => self.outputs.push(Depacketized::Lost),
            }
        }
        reset(&mut self.data);
    }

    fn damage(&mut self) {
        self.damaged = true;
        self.outputs.push(Depacketized::Lost);
    }

    fn take(&mut self, payload: &[u8]) -> Option<()> {
        // An empty payload is padding.
        if payload.is_empty() {
            return Some(());
        }
        let (descriptor, piece) = Descriptor::parse(payload)?;
        let begins = descriptor.start && descriptor.partition == 0;
        if begins != self.data.is_empty() || self.data.len() + piece.len() > MAX_UNIT {
            return None;
        }
        self.data.extend_from_slice(piece);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn units(depacketizer: &mut Depacketizer) -> Vec<AccessUnit> {
        std::iter::from_fn(|| depacketizer.poll())
            .filter_map(|output| match output {
                Depacketized::Unit(unit) => Some(unit),
                _ => None,
            })
            .collect()
    }

    fn frame(index: usize, body: &[u8]) -> AccessUnit {
        let (pts, key) = (index as i64 * 3000, index == 0);
        let head: &[u8] = if key { &[0x50, 0x2B, 0, 0x9D, 1, 0x2A, 0x80, 2, 0xE0, 1] } else { &[0x31, 0, 0] };
        AccessUnit { pts, dts: pts, key, data: Bytes::from([head, body].concat()) }
    }

    proptest! {
        #[test]
        fn round_trip(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4000), 1..8), mtu in 0usize..1500,
            lose in any::<prop::sample::Index>(), markers in any::<bool>(),
        ) {
            let (mut packetizer, mut whole, mut lossy) = (Packetizer::new(mtu), Depacketizer::new(), Depacketizer::new());
            let frames: Vec<_> = bodies.iter().enumerate().map(|(index, body)| frame(index, body)).collect();
            let mut packets = Vec::new();
            for unit in &frames {
                let mut sizes = Vec::new();
                packetizer.packetize(unit, &mut |payload| {
                    let mut bytes = Vec::new();
                    payload.write_to(&mut bytes);
                    sizes.push(bytes.len());
                    packets.push((bytes, unit.pts, payload.marker && markers));
                });
                let (last, equal) = sizes.split_last().unwrap();
                prop_assert!(equal.iter().all(|size| *size == sizes[0] && size >= last && *size <= mtu.max(MIN_MTU)));
            }
            let lost = lose.index(packets.len());
            for (index, (bytes, pts, marker)) in packets.iter().enumerate() {
                let seq = 65_530u16.wrapping_add(index as u16);
                whole.push(bytes, *pts, seq, *marker);
                if index != lost {
                    lossy.push(bytes, *pts, seq, *marker);
                }
            }
            whole.finish();
            prop_assert_eq!(units(&mut whole), &frames[..]);
            let got = units(&mut lossy);
            prop_assert!(got.iter().all(|unit| frames.contains(unit) && unit.pts != packets[lost].1));
        }

        #[test]
        fn never_panics(packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), 0i64..4, any::<bool>()), 0..20)) {
            let mut depacketizer = Depacketizer::new();
            for (seq, (payload, timestamp, marker)) in (0..).zip(&packets) {
                depacketizer.push(payload, *timestamp, seq, *marker);
            }
        }
    }
}
