//! RTP packets that belong together, in one buffer, with what their source knows of the units in them.
//!
//! In: packets, written one after the other. Out: the same packets by place, without an allocation for each. This is what runs
//! between producers, workers and everything that reads packets in this process.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::packet::RtpPacket;
use crate::base::UnixNanos;

/// An RTP timestamp and the capture time it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMapping {
    /// RTP timestamp as in the packets of this producer.
    pub rtp: u32,
    /// The capture time of it.
    pub wallclock: UnixNanos,
}

/// What the source of an access unit knows of it and RTP can't say. Sources that are RTP themselves (WebRTC) don't know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitFacts {
    /// Presentation minus decoding time in ticks of the RTP clock, not negative (ISO/IEC 14496-12 section 8.6.1.3).
    pub composition: i32,
    /// Decoding can begin with it.
    pub key: bool,
    /// Nobody refers to it: it can be left out whole.
    pub disposable: bool,
}

/// Where a packet lies in its batch's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: u32,
    end: u32,
    unit: Option<UnitFacts>,
}

/// RTP packets of one producer that belong together (an access unit, or what one wake-up brought), in order. Cheap to clone but for the
/// list of places.
#[derive(Debug, Clone, Default)]
pub struct RtpBatch {
    buffer: Bytes,
    places: Vec<Place>,
    /// An RTP timestamp and the capture time it stands for, as an RTCP sender report says. Given with the first batch,
    /// and whenever it changes.
    pub clock: Option<ClockMapping>,
}

/// One packet of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchPacket<'a> {
    /// The whole RTP packet.
    pub bytes: &'a [u8],
    /// With the first packet of a unit: what its source knows.
    pub unit: Option<UnitFacts>,
    start: u32,
}

impl<'a> BatchPacket<'a> {
    /// The packet, if it is one.
    pub fn rtp(&self) -> Option<RtpPacket<'a>> {
        RtpPacket::parse(self.bytes).ok()
    }

    /// Where it lies in [`RtpBatch::buffer`].
    pub fn range(&self) -> Range<u32> {
        self.start..self.start + self.bytes.len() as u32
    }
}

impl RtpBatch {
    /// A batch of packets that lie in `buffer` already, each with the facts of the unit that begins with it. Places outside the buffer
    /// are left out.
    pub fn of_places(buffer: Bytes, places: impl IntoIterator<Item = (Range<u32>, Option<UnitFacts>)>) -> Self {
        let len = buffer.len();
        let inside = |range: &Range<u32>| range.start <= range.end && range.end as usize <= len;
        let places = places.into_iter().filter(|(range, _)| inside(range));
        let places = places.map(|(range, unit)| Place { start: range.start, end: range.end, unit }).collect();
        Self { buffer, places, clock: None }
    }

    /// A batch of copies of packets of which nothing more is known.
    pub fn of_packets<P: AsRef<[u8]>>(packets: impl IntoIterator<Item = P>) -> Self {
        let mut writer = BatchWriter::default();
        packets.into_iter().for_each(|packet| writer.packet(None, |buffer| buffer.extend_from_slice(packet.as_ref())));
        writer.finish()
    }

    /// The same with a clock mapping.
    pub fn with_clock(self, clock: Option<ClockMapping>) -> Self {
        Self { clock, ..self }
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The buffer in which all packets lie; packets that were split off lie in it, too.
    pub fn buffer(&self) -> &Bytes {
        &self.buffer
    }

    /// The packets in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = BatchPacket<'_>> + DoubleEndedIterator {
        self.places.iter().map(|place| BatchPacket {
            bytes: self.buffer.get(place.start as usize..place.end as usize).unwrap_or_default(),
            unit: place.unit,
            start: place.start,
        })
    }

    /// Takes off the packets from place `at` on. The clock mapping stays here.
    pub fn split_off(&mut self, at: usize) -> Self {
        let places = self.places.split_off(at.min(self.places.len()));
        Self { buffer: self.buffer.clone(), places, clock: None }
    }

    /// Leaves out the first `count` packets.
    pub fn skip_front(&mut self, count: usize) {
        self.places.drain(..count.min(self.places.len()));
    }
}

impl PartialEq for RtpBatch {
    /// By packets and facts, wherever they lie.
    fn eq(&self, other: &Self) -> bool {
        let contents = |packet: BatchPacket<'_>| (packet.bytes.to_vec(), packet.unit);
        self.clock == other.clock && self.iter().map(contents).eq(other.iter().map(contents))
    }
}

impl Eq for RtpBatch {}

/// Writes a batch.
#[derive(Debug, Default)]
pub struct BatchWriter {
    buffer: BytesMut,
    places: Vec<Place>,
}

impl BatchWriter {
    /// With room for so many bytes and packets.
    pub fn with_capacity(bytes: usize, packets: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(bytes), places: Vec::with_capacity(packets) }
    }

    /// Appends a packet, which `write` appends to the buffer. `unit`: the facts of the unit that begins with it.
    pub fn packet(&mut self, unit: Option<UnitFacts>, write: impl FnOnce(&mut BytesMut)) {
        let start = self.buffer.len();
        write(&mut self.buffer);
        // Batches are bounded far below 4 GiB by the units and runs that they are made of.
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(self.buffer.len())) {
            self.places.push(Place { start, end, unit });
        }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The batch, without a clock mapping.
    pub fn finish(self) -> RtpBatch {
        RtpBatch { buffer: self.buffer.freeze(), places: self.places, clock: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: UnitFacts = UnitFacts { composition: 3000, key: true, disposable: false };

    fn contents(batch: &RtpBatch) -> Vec<(&[u8], bool)> {
        batch.iter().map(|packet| (packet.bytes, packet.unit.is_some())).collect()
    }

    #[test]
    fn packets_keep_their_places_and_facts() {
        let mut writer = BatchWriter::with_capacity(10, 3);
        for (bytes, unit) in [(&b"one"[..], Some(FACTS)), (b"", None), (b"three", None)] {
            writer.packet(unit, |buffer| buffer.extend_from_slice(bytes));
        }
        assert_eq!(writer.bytes(), 8);
        let mut batch = writer.finish().with_clock(Some(ClockMapping { rtp: 1, wallclock: 2 }));
        assert_eq!(contents(&batch), [(&b"one"[..], true), (b"", false), (b"three", false)]);
        let again = RtpBatch::of_places(batch.buffer().clone(), batch.iter().map(|packet| (packet.range(), packet.unit)));
        assert_eq!(contents(&again), contents(&batch));
        let rest = batch.split_off(1);
        assert_eq!((contents(&batch), batch.clock.is_some()), (vec![(&b"one"[..], true)], true));
        assert_eq!((contents(&rest), rest.clock), (vec![(&b""[..], false), (b"three", false)], None));
        let mut rest = rest;
        rest.skip_front(1);
        assert_eq!(contents(&rest), [(&b"three"[..], false)]);
        assert!(batch.split_off(7).is_empty());
        rest.skip_front(7);
        assert!(rest.is_empty());
    }

    #[test]
    fn places_outside_the_buffer_are_left_out() {
        let batch = RtpBatch::of_places(Bytes::from_static(b"abc"), [(0..2, None), (2..4, None), (3..3, None)]);
        assert_eq!(contents(&batch), [(&b"ab"[..], false), (b"", false)]);
    }
}
