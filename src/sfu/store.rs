//! The packets of one producer that are still of use: the key-frame cache and the retransmission history, in one ring.
//!
//! In: packets in the order they came. Out: the same packets by index, and where the last key frame began. Consumers
//! are cursors into it, so neither starting one nor retransmitting to it costs memory per consumer.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::rtp::batch::UnitFacts;

/// How long packets stay for retransmissions when the key-frame cache doesn't hold them anyway: a NACK comes back within
/// one round trip, and a receiver gives up a packet after about a second.
const HISTORY: Duration = Duration::from_millis(1500);
/// Most packets held, whatever their size: 10 s of 16 Mbit/s in packets of 1200 bytes.
const MAX_PACKETS: usize = 16_384;

/// One packet with what forwarding has to know of it.
#[derive(Debug, Clone)]
pub(super) struct StoredPacket {
    /// Where the RTP packet lies, as the producer sent it, without SRTP; packets of one batch share it.
    pub buffer: Bytes,
    /// Its place in `buffer`.
    pub range: Range<u32>,
    /// With the first packet of a unit: what the source knows of it.
    pub unit: Option<UnitFacts>,
    /// Its sequence number, extended over the wraps.
    pub seq: u64,
    pub timestamp: u32,
    /// When it came.
    pub arrival: Instant,
    /// Where the payload begins in the packet.
    pub payload_start: u16,
    /// Where the payload ends in the packet (padding follows).
    pub payload_end: u16,
    /// The marker bit: the last packet of a picture, or the first of a talkspurt.
    pub marker: bool,
    /// Decoding can begin with this packet.
    pub key_frame_start: bool,
    /// Nobody refers to the picture it belongs to.
    pub disposable: bool,
}

impl StoredPacket {
    /// The whole RTP packet.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.range.start as usize..self.range.end as usize).unwrap_or_default()
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.bytes().get(usize::from(self.payload_start)..usize::from(self.payload_end)).unwrap_or_default()
    }
}

/// Bounds of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreLimits {
    /// How old the beginning of the key-frame cache may become.
    pub max_age: Duration,
    /// How many bytes are held at most.
    pub max_bytes: usize,
}

/// The ring. Indexes count all packets that ever came, from 0.
#[derive(Debug)]
pub(super) struct PacketStore {
    ring: VecDeque<StoredPacket>,
    /// Index of the packet at the front of the ring.
    first: u64,
    /// Index of the first packet of the last key frame, if all since then is here.
    key_frame: Option<u64>,
    /// Where the unit begins that the last packet is of. Kept, not looked for: thousands of packets may be stamped the same.
    unit_start: u64,
    bytes: usize,
    limits: StoreLimits,
}

impl PacketStore {
    pub(super) fn new(limits: StoreLimits) -> Self {
        Self { ring: VecDeque::new(), first: 0, key_frame: None, unit_start: 0, bytes: 0, limits }
    }

    /// Appends a packet and lets old ones go. Returns the index of the packet.
    pub(super) fn push(&mut self, packet: StoredPacket) -> u64 {
        let (now, key_frame_start) = (packet.arrival, packet.key_frame_start);
        let index = self.end();
        self.bytes += packet.bytes().len();
        self.ring.push_back(packet);
        if index == self.first || self.is_other_unit(index) {
            self.unit_start = index;
        }
        if key_frame_start {
            self.key_frame = Some(self.unit_start.max(self.first));
        }
        self.evict(now);
        index
    }

    /// Whether the packet with this index is of another unit than the one before it: parameter sets stand before the picture under the same
    /// timestamp. Where the source says what begins a unit, another picture may be stamped the same.
    fn is_other_unit(&self, index: u64) -> bool {
        let timestamp = |index| self.get(index).map(|packet| packet.timestamp);
        self.begins_unit(index) || index.checked_sub(1).and_then(timestamp) != timestamp(index)
    }

    fn begins_unit(&self, index: u64) -> bool {
        self.get(index).is_some_and(|packet| packet.unit.is_some())
    }

    fn evict(&mut self, now: Instant) {
        if let Some(start) = self.key_frame {
            let too_old = self.get(start).is_none_or(|packet| now.saturating_duration_since(packet.arrival) > self.limits.max_age);
            if too_old {
                self.key_frame = None;
            }
        }
        while let Some(front) = self.ring.front() {
            let over = self.bytes > self.limits.max_bytes || self.ring.len() > MAX_PACKETS;
            let expired = now.saturating_duration_since(front.arrival) > HISTORY;
            let cached = self.key_frame.is_some_and(|start| self.first >= start);
            if !over && (cached || !expired) {
                break;
            }
            if cached {
                // The key frame itself has to go: what is left can't be decoded from.
                self.key_frame = None;
            }
            self.bytes -= front.bytes().len();
            self.ring.pop_front();
            self.first += 1;
        }
    }

    /// The packet with this index, if it is still here.
    pub(super) fn get(&self, index: u64) -> Option<&StoredPacket> {
        self.ring.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The index of the packet with this extended sequence number. Packets lie almost in order of their sequence numbers, so
    /// the search begins where it would be without loss and reordering.
    pub(super) fn find(&self, seq: u64) -> Option<u64> {
        /// How many places beside the expected one are searched on each side: losses and reordering within the history.
        const SEARCH: u64 = 512;
        let last = self.ring.back()?;
        let expected = (self.end() - 1).saturating_sub(last.seq.saturating_sub(seq));
        let is_it = |index: &u64| self.get(*index).is_some_and(|packet| packet.seq == seq);
        // Lost packets move the real place behind the expected one.
        let behind = (expected..(expected + SEARCH).min(self.end())).find(is_it);
        behind.or_else(|| (expected.saturating_sub(SEARCH).max(self.first)..expected).rev().find(is_it))
    }

    /// The index that the next packet will get.
    pub(super) fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    /// The oldest index still here (equals [`Self::end`] if there is none).
    pub(super) fn begin(&self) -> u64 {
        self.first
    }

    /// Where the last key frame begins, if everything since then is here.
    pub(super) fn key_frame(&self) -> Option<u64> {
        self.key_frame
    }

    /// Where the oldest key frame begins that is here as a whole; all that came since is here too.
    pub(super) fn oldest_key_frame(&self) -> Option<u64> {
        let newest = self.key_frame?;
        // Of the picture at the front of the ring the beginning may be gone.
        let is_whole = |start: &u64| *start > self.first || self.first == 0 || self.begins_unit(*start);
        let mut start = self.first;
        for index in self.first..newest {
            if self.is_other_unit(index) {
                start = index;
            }
            if self.get(index).is_some_and(|packet| packet.key_frame_start) && is_whole(&start) {
                return Some(start);
            }
        }
        Some(newest)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes held from the last key frame on; 0 without one. Walks the ring: for statistics only.
    #[cfg(test)]
    pub(super) fn cached_bytes(&self) -> usize {
        let Some(start) = self.key_frame else { return 0 };
        self.ring.iter().skip((start - self.first) as usize).map(|packet| packet.bytes().len()).sum()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a virtual clock has to begin somewhere
mod tests {
    use super::*;

    const LIMITS: StoreLimits = StoreLimits { max_age: Duration::from_secs(10), max_bytes: 10_000 };

    fn packet(t: Instant, seq: u64, timestamp: u32, key: bool, len: usize) -> StoredPacket {
        StoredPacket {
            buffer: Bytes::from(vec![0; len]),
            range: 0..len as u32,
            unit: None,
            seq,
            timestamp,
            arrival: t,
            payload_start: 12,
            payload_end: len as u16,
            marker: false,
            key_frame_start: key,
            disposable: false,
        }
    }

    #[test]
    fn a_key_frame_begins_with_its_parameter_sets() {
        let (t, mut store) = (Instant::now(), PacketStore::new(LIMITS));
        for (seq, timestamp, key) in [(1, 1, false), (2, 2, false), (3, 2, true), (4, 2, true), (5, 3, false)] {
            store.push(packet(t, seq, timestamp, key, 100));
        }
        assert_eq!(store.key_frame(), Some(1));
        assert_eq!(store.cached_bytes(), 400);
    }

    #[test]
    fn a_key_frame_begins_with_its_own_unit() {
        // Of each packet: its timestamp, whether its source says that a unit begins with it, whether decoding can begin with it.
        let (picture, more, key, slice) = ((true, false), (false, false), (true, true), (false, true));
        type Packets<'a> = &'a [(u32, (bool, bool))];
        let tables: [(Packets<'_>, u64); 5] = [
            // A picture, and a key frame with the same stamp: its parameter sets, then two slices.
            (&[(1, picture), (2, picture), (2, more), (2, key), (2, slice), (2, slice)], 3),
            // Sets that nobody could begin with stand before it.
            (&[(2, picture), (2, picture), (2, slice)], 1),
            // The next picture has the stamp of the key frame, too.
            (&[(2, key), (2, slice), (2, picture)], 0),
            // Its source says nothing: the stamp tells.
            (&[(1, more), (2, more), (2, slice)], 1),
            (&[(2, more), (2, slice), (3, more)], 0),
        ];
        for (packets, begin) in tables {
            let (t, mut store) = (Instant::now(), PacketStore::new(LIMITS));
            for (seq, (timestamp, (begins, key))) in packets.iter().enumerate() {
                let unit = begins.then_some(UnitFacts { composition: 0, key: *key, disposable: false });
                store.push(StoredPacket { unit, ..packet(t, seq as u64, *timestamp, *key, 100) });
            }
            assert_eq!(store.key_frame(), Some(begin), "{packets:?}");
        }
    }

    #[test]
    fn the_oldest_key_frame_is_whole() {
        // Of each packet: its timestamp, whether its source says that a unit begins with it, whether decoding can begin with it.
        let (picture, more, key, slice) = ((true, false), (false, false), (true, true), (false, true));
        type Packets<'a> = &'a [(u32, (bool, bool))];
        // How many packets are kept, the oldest and the last key frame among them.
        let tables: [(Packets<'_>, usize, Option<u64>, Option<u64>); 7] = [
            (&[(1, key), (2, key), (3, key)], 9, Some(0), Some(2)),
            (&[(1, picture), (2, key), (2, slice), (3, picture), (4, key), (5, picture)], 9, Some(1), Some(4)),
            // Its source says nothing: sets stand before it.
            (&[(1, more), (2, more), (2, slice), (3, slice)], 9, Some(1), Some(3)),
            (&[(2, more), (2, slice), (3, slice)], 9, Some(0), Some(2)),
            // Of the first one the beginning is gone, or may be.
            (&[(1, key), (1, slice), (2, key), (3, key)], 3, Some(2), Some(3)),
            (&[(1, more), (2, slice), (3, slice), (4, slice)], 3, Some(2), Some(3)),
            (&[(1, key), (2, picture), (3, picture)], 2, None, None),
        ];
        for (packets, kept, oldest, last) in tables {
            let (t, mut store) = (Instant::now(), PacketStore::new(StoreLimits { max_bytes: kept * 100, ..LIMITS }));
            for (seq, (timestamp, (begins, key))) in packets.iter().enumerate() {
                let unit = begins.then_some(UnitFacts { composition: 0, key: *key, disposable: false });
                store.push(StoredPacket { unit, ..packet(t, seq as u64, *timestamp, *key, 100) });
            }
            assert_eq!((store.oldest_key_frame(), store.key_frame()), (oldest, last), "{packets:?} {kept}");
        }
    }

    #[test]
    fn history_goes_by_age_but_the_cache_stays() {
        let (t, mut store) = (Instant::now(), PacketStore::new(LIMITS));
        store.push(packet(t, 1, 1, false, 100));
        store.push(packet(t, 2, 2, true, 100));
        store.push(packet(t + Duration::from_secs(5), 3, 3, false, 100));
        assert_eq!((store.begin(), store.key_frame()), (1, Some(1)));
        store.push(packet(t + Duration::from_secs(11), 4, 4, false, 100));
        assert_eq!((store.begin(), store.key_frame(), store.end()), (3, None, 4));
        assert!(store.get(2).is_none() && store.get(3).is_some());
    }

    #[test]
    fn packets_are_found_by_sequence_number() {
        let (t, mut store) = (Instant::now(), PacketStore::new(LIMITS));
        let sent = [5, 6, 9, 8, 7, 12, 13, 70_000, 69_999];
        for seq in sent {
            store.push(packet(t, seq, 0, false, 10));
        }
        for (index, seq) in sent.into_iter().enumerate() {
            assert_eq!(store.find(seq), Some(index as u64), "{seq}");
        }
        assert_eq!((store.find(10), store.find(4), store.find(80_000)), (None, None, None));
    }

    #[test]
    fn bytes_are_bounded_and_a_cut_cache_is_none() {
        let (t, mut store) = (Instant::now(), PacketStore::new(LIMITS));
        store.push(packet(t, 0, 0, true, 100));
        for n in 1..100 {
            store.push(packet(t, n, n as u32, false, 1000));
            assert!(store.bytes() <= LIMITS.max_bytes);
        }
        assert_eq!(store.key_frame(), None);
        store.push(packet(t, 100, 100, true, 1000));
        assert_eq!(store.key_frame(), Some(100));
    }

    /// Once each of them cost a walk over all before it: 134 million steps for as many as a store takes.
    #[test]
    fn where_all_packets_are_stamped_the_same() {
        let t = Instant::now();
        let mut store = PacketStore::new(StoreLimits { max_bytes: usize::MAX, ..LIMITS });
        for seq in 0..MAX_PACKETS as u64 {
            store.push(packet(t, seq, 7, true, 1));
            assert_eq!((store.key_frame(), store.oldest_key_frame()), (Some(0), Some(0)));
        }
        // The oldest ones are gone: what is left of them is no beginning.
        store.push(packet(t, MAX_PACKETS as u64, 7, true, 1));
        assert_eq!((store.key_frame(), store.oldest_key_frame()), (None, None));
    }
}
