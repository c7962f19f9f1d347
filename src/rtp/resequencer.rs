//! RTP packets in order.
//!
//! In: RTP packets (RFC 3550), maybe late by a retransmission. Out: their payloads in the order of their sequence numbers;
//! a gap is left where a packet stays away too long.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::batch::{BatchPacket, RtpBatch, UnitFacts};

/// Packets held while one is missing: a second of 2 Mbit/s. Beyond it, the missing one is given up.
const MAX_HELD: usize = 256;
/// A missing packet is given up after so much media time: a retransmission over a slow link takes two round trips of 100 ms.
const MAX_WAIT_NS: i64 = 200_000_000;

/// One packet's facts and payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Sequence number.
    pub seq: u16,
    pub timestamp: u32,
    pub marker: bool,
    /// With the first packet of a unit: what its source knows.
    pub unit: Option<UnitFacts>,
    /// Without header and padding; not empty.
    pub payload: Bytes,
}

impl Packet {
    /// Of a batch. `None` where it is none, or has no payload.
    fn of(buffer: &Bytes, packet: BatchPacket<'_>) -> Option<Self> {
        let rtp = packet.rtp()?;
        let start = packet.range().start as usize + rtp.header_len();
        let end = start + rtp.payload().len();
        if start >= end || end > buffer.len() {
            return None;
        }
        Some(Self {
            seq: rtp.sequence_number(),
            timestamp: rtp.timestamp(),
            marker: rtp.marker(),
            unit: packet.unit,
            payload: buffer.slice(start..end),
        })
    }

    /// The packets of a batch that have a payload.
    pub(crate) fn all(batch: &RtpBatch) -> impl Iterator<Item = Self> + '_ {
        batch.iter().filter_map(|packet| Self::of(batch.buffer(), packet))
    }
}

/// Puts packets in order.
#[derive(Debug)]
pub(crate) struct Resequencer {
    wait: u32,
    next: Option<i64>,
    /// The next one, which came when nothing was held: as a rule, all of them.
    ready: Option<Packet>,
    held: BTreeMap<i64, Packet>,
}

impl Resequencer {
    /// For a clock rate in Hz.
    pub(crate) fn new(rate: u32) -> Self {
        Self { wait: (i64::from(rate) * MAX_WAIT_NS / 1_000_000_000) as u32, next: None, ready: None, held: BTreeMap::new() }
    }

    /// Takes a packet; [`Self::pop`] until `None` afterwards.
    pub(crate) fn push(&mut self, packet: Packet) {
        let next = *self.next.get_or_insert(i64::from(packet.seq));
        let seq = next + i64::from(packet.seq.wrapping_sub(next as u16).cast_signed());
        if seq == next && self.held.is_empty() && self.ready.is_none() {
            self.ready = Some(packet);
        } else if seq >= next && !(seq == next && self.ready.is_some()) {
            self.held.insert(seq, packet);
        } else if next - seq > 1000 {
            // Not late: the numbering began anew.
            self.held.clear();
            self.ready = None;
            self.next = Some(seq);
            self.held.insert(seq, packet);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Packet> {
        if let Some(packet) = self.ready.take() {
            self.next = self.next.map(|next| next + 1);
            return Some(packet);
        }
        let (&seq, first) = self.held.first_key_value()?;
        let next = self.next?;
        let (_, last) = self.held.last_key_value()?;
        let waited = last.timestamp.wrapping_sub(first.timestamp);
        if seq != next && self.held.len() < MAX_HELD && waited < self.wait {
            return None;
        }
        self.next = Some(seq + 1);
        self.held.pop_first().map(|(_, packet)| packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(seq: u16, timestamp: u32) -> Packet {
        Packet { seq, timestamp, marker: true, unit: None, payload: Bytes::from_static(b"x") }
    }

    fn run(packets: &[(u16, u32)]) -> Vec<u16> {
        let mut order = Resequencer::new(1000);
        let mut out = Vec::new();
        for (seq, timestamp) in packets {
            order.push(packet(*seq, *timestamp));
            out.extend(std::iter::from_fn(|| order.pop()).map(|packet| packet.seq));
        }
        out
    }

    #[test]
    fn order_is_restored_across_the_wrap() {
        assert_eq!(run(&[(65534, 0), (0, 2), (65535, 1), (1, 3), (1, 3), (65534, 0)]), [65534, 65535, 0, 1]);
    }

    #[test]
    fn a_missing_packet_is_given_up() {
        assert_eq!(run(&[(1, 0), (3, 100), (4, 200)]), [1]);
        assert_eq!(run(&[(1, 0), (3, 100), (4, 200), (5, 300)]), [1, 3, 4, 5]);
        assert_eq!(run(&[(30_000, 0), (5, 100)]), [30_000, 5]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let batch = RtpBatch::of_packets([bytes]);
            let _ = Packet::all(&batch).count();
        }
    }
}
