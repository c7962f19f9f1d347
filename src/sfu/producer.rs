//! One track that comes in: what is known of it and its recent packets.
//!
//! In: RTP packets without SRTP, in the order they came. Out: the packets in a [`PacketStore`], facts and statistics,
//! and whether the source should be asked for a key frame.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::id::{ProducerId, RouterId};
use super::ortc::{ProducerRtp, RtpParameters};
use super::store::{PacketStore, StoreLimits, StoredPacket};
use super::types::ProducerStats;
use crate::base::wrap::SeqExtender;
use crate::base::{MediaKind, UnixNanos};
use crate::codec::{Codec, payload_facts, payload_resolution};
use crate::rtp::batch::{ClockMapping, RtpBatch, UnitFacts};
use crate::rtp::clock::SenderClock;
use crate::rtp::packet::RtpPacket;
use crate::rtp::rate::RateMeter;

/// One key-frame request per producer in this time, however many viewers ask: a key frame for one serves all, and each costs bit rate.
pub(super) const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// How often a request is repeated while no key frame comes (the PLI or the key frame got lost).
const MAX_REPEATS: u8 = 5;
/// Packets older than the newest by more than this are not taken: nobody's jitter buffer waits for them.
const WINDOW: u64 = 1024;
/// Packets from the network are copied into blocks of this size, so that one allocation serves dozens of them.
const BLOCK: usize = 64 * 1024;

/// Where the packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Direct,
    /// A copy of a producer on another worker.
    Pipe,
    /// A transport of this worker, by slab key.
    Network(usize),
    /// A transport that has closed: its consumers wait for a producer that replaces this one.
    Gone,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Stored,
    /// Seen before, or too old.
    Duplicate,
    /// Not RTP.
    Garbage,
}

/// A track that comes in.
#[derive(Debug)]
pub(super) struct Producer {
    pub id: ProducerId,
    pub router: RouterId,
    /// Where its packets come from.
    pub source: Source,
    /// Whether it stays, silent, when its transport closes.
    pub outlives_transport: bool,
    pub parameters: RtpParameters,
    /// The parsed form of `parameters`.
    pub rtp: ProducerRtp,
    pub store: PacketStore,
    /// Slab keys of its consumers.
    pub consumers: Vec<usize>,
    clock: SenderClock,
    told: Option<ClockMapping>,
    clock_version: u32,
    /// Whether packets came since the consumers were last served.
    pub dirty: bool,
    seen: SeenWindow,
    extender: SeqExtender,
    block: BytesMut,
    packets: u64,
    bytes: u64,
    frames: u64,
    key_frames: u64,
    /// Whether the unit that the newest packet of a batch belongs to is disposable.
    disposable: bool,
    resolution: Option<(u32, u32)>,
    last_timestamp: Option<u32>,
    last_key_timestamp: Option<u32>,
    rate: RateMeter,
    requests: KeyFrameRequests,
}

impl Producer {
    /// One that has seen nothing.
    pub(super) fn new(
        id: ProducerId,
        router: RouterId,
        source: Source,
        parameters: RtpParameters,
        rtp: ProducerRtp,
        limits: StoreLimits,
    ) -> Self {
        let clock_rate = rtp.clock_rate;
        Self {
            id,
            router,
            source,
            outlives_transport: false,
            parameters,
            rtp,
            store: PacketStore::new(limits),
            consumers: Vec::new(),
            clock: SenderClock::new(clock_rate),
            told: None,
            clock_version: 0,
            dirty: false,
            seen: SeenWindow::default(),
            extender: SeqExtender::new(),
            block: BytesMut::new(),
            packets: 0,
            bytes: 0,
            frames: 0,
            key_frames: 0,
            disposable: false,
            resolution: None,
            last_timestamp: None,
            last_key_timestamp: None,
            rate: RateMeter::default(),
            requests: KeyFrameRequests::default(),
        }
    }

    /// Audio or video.
    pub(super) fn kind(&self) -> MediaKind {
        self.rtp.codec.kind()
    }

    pub(super) fn codec(&self) -> Codec {
        self.rtp.codec
    }

    /// Takes a packet out of a buffer that is used again.
    pub(super) fn push_copied(&mut self, now: Instant, wallclock: UnixNanos, packet: &[u8]) -> Taken {
        if self.block.capacity() - self.block.len() < packet.len() {
            self.block = BytesMut::with_capacity(BLOCK.max(packet.len()));
        }
        self.block.extend_from_slice(packet);
        let bytes = self.block.split().freeze();
        // Of a single packet nobody can tell whether its picture is disposable: sources that have such pictures give them whole.
        let range = 0..bytes.len() as u32;
        self.push(now, wallclock, &bytes, range, None, false)
    }

    /// Takes a batch, whose units' facts say what its source knows. Gives how many packets were taken and not.
    pub(super) fn push_batch(&mut self, now: Instant, wallclock: UnixNanos, batch: &RtpBatch) -> (usize, usize) {
        let mut stored = 0;
        for packet in batch.iter() {
            if let Some(unit) = packet.unit {
                self.disposable = unit.disposable && self.kind() == MediaKind::Video;
            }
            let taken = self.push(now, wallclock, batch.buffer(), packet.range(), packet.unit, self.disposable);
            stored += usize::from(taken == Taken::Stored);
        }
        (stored, batch.len() - stored)
    }

    fn push(
        &mut self,
        now: Instant,
        wallclock: UnixNanos,
        buffer: &Bytes,
        range: Range<u32>,
        unit: Option<UnitFacts>,
        disposable: bool,
    ) -> Taken {
        let bytes = buffer.get(range.start as usize..range.end as usize).unwrap_or_default();
        let Ok(packet) = RtpPacket::parse(bytes) else { return Taken::Garbage };
        let (timestamp, marker) = (packet.timestamp(), packet.marker());
        let seq = self.extender.peek(packet.sequence_number());
        if !self.seen.insert(seq) {
            return Taken::Duplicate;
        }
        self.extender.extend(packet.sequence_number());
        let key = unit.map_or_else(|| payload_facts(self.rtp.codec, packet.payload()).key_frame_start, |unit| unit.key);
        let payload_start = packet.header_len();
        let payload_end = payload_start + packet.payload().len();
        let (Ok(payload_start), Ok(payload_end)) = (u16::try_from(payload_start), u16::try_from(payload_end)) else {
            return Taken::Garbage;
        };
        let key_frame_start = self.kind() == MediaKind::Video && key;
        let another_key_frame = self.note_timestamp(timestamp, key_frame_start);
        self.packets += 1;
        self.bytes += bytes.len() as u64;
        self.rate.add(now, bytes.len());
        // Until a sender report says better, a packet was captured when it came.
        self.clock.observe(timestamp, wallclock);
        self.store.push(StoredPacket {
            seq,
            timestamp,
            arrival: now,
            payload_start: payload_start.min(payload_end),
            payload_end,
            marker,
            key_frame_start,
            disposable,
            buffer: buffer.clone(),
            range,
            unit,
        });
        if another_key_frame {
            self.resolution = self.key_frame_resolution().or(self.resolution);
        }
        Taken::Stored
    }

    /// What the parameter sets in front of the newest key frame say, or its own header.
    fn key_frame_resolution(&self) -> Option<(u32, u32)> {
        let packets = (self.store.key_frame()?..self.store.end()).filter_map(|index| self.store.get(index));
        let payload = |packet: &StoredPacket| payload_resolution(self.rtp.codec, packet.payload());
        packets.into_iter().find_map(payload)
    }

    /// Whether another key frame begins.
    fn note_timestamp(&mut self, timestamp: u32, key_frame_start: bool) -> bool {
        if self.last_timestamp != Some(timestamp) {
            self.frames += 1;
            self.last_timestamp = Some(timestamp);
        }
        let another_key_frame = key_frame_start && self.last_key_timestamp != Some(timestamp);
        if another_key_frame {
            self.last_key_timestamp = Some(timestamp);
            self.key_frames += 1;
        }
        if key_frame_start {
            self.requests.answered();
        }
        another_key_frame
    }

    /// Notes the capture time of an RTP timestamp.
    pub(super) fn set_clock(&mut self, clock: ClockMapping) {
        if self.told != Some(clock) {
            self.told = Some(clock);
            self.clock.set(clock.rtp, clock.wallclock);
            self.clock_version = self.clock_version.wrapping_add(1);
        }
    }

    /// The RTP timestamp that a capture at `wallclock` would have.
    pub(super) fn timestamp_at(&self, wallclock: UnixNanos) -> Option<u32> {
        self.clock.rtp(wallclock)
    }

    /// When something with this RTP timestamp was captured.
    pub(super) fn captured_at(&self, timestamp: u32) -> Option<UnixNanos> {
        self.clock.time(timestamp)
    }

    /// Counts changes of what is known of the capture times.
    pub(super) fn clock_version(&self) -> u32 {
        self.clock_version
    }

    /// Somebody needs a key frame. Whether the source is to be asked now; if not, [`Self::poll_key_frame_request`] says so later.
    pub(super) fn request_key_frame(&mut self, now: Instant) -> bool {
        self.kind() == MediaKind::Video && self.requests.ask(now)
    }

    /// When [`Self::poll_key_frame_request`] should be called, if it should.
    pub(super) fn key_frame_request_due(&self) -> Option<Instant> {
        self.requests.due()
    }

    /// Whether the source is to be asked (again) now.
    pub(super) fn poll_key_frame_request(&mut self, now: Instant) -> bool {
        self.requests.poll(now)
    }

    /// Statistics; what only the network side knows is left at its default.
    pub(super) fn stats(&mut self, now: Instant) -> ProducerStats {
        ProducerStats {
            packets: self.packets,
            bitrate: self.rate.bits_per_second(now),
            key_frames: self.key_frames,
            frames: self.frames,
            resolution: self.resolution,
            #[cfg(test)]
            key_frame_requests: self.requests.sent,
            ..ProducerStats::default()
        }
    }
}

/// Which of the last [`WINDOW`] sequence numbers were there.
#[derive(Debug)]
struct SeenWindow {
    bits: [u64; (WINDOW / 64) as usize],
    highest: Option<u64>,
}

impl Default for SeenWindow {
    fn default() -> Self {
        Self { bits: [0; (WINDOW / 64) as usize], highest: None }
    }
}

impl SeenWindow {
    /// Whether it is new and not too old.
    fn insert(&mut self, seq: u64) -> bool {
        match self.highest {
            Some(highest) if seq + WINDOW <= highest => return false,
            Some(highest) if seq > highest => {
                if seq - highest >= WINDOW {
                    self.bits.fill(0);
                } else {
                    for between in highest + 1..=seq {
                        self.set(between, false);
                    }
                }
                self.highest = Some(seq);
            }
            None => self.highest = Some(seq),
            Some(_) => {
                let slot = seq % WINDOW;
                if self.bits[(slot / 64) as usize] & (1 << (slot % 64)) != 0 {
                    return false;
                }
            }
        }
        self.set(seq, true);
        true
    }

    fn set(&mut self, seq: u64, value: bool) {
        let slot = seq % WINDOW;
        let (word, bit) = (&mut self.bits[(slot / 64) as usize], 1u64 << (slot % 64));
        if value { *word |= bit } else { *word &= !bit }
    }
}

/// Throttles key-frame requests and repeats unanswered ones.
#[derive(Debug, Default)]
struct KeyFrameRequests {
    last: Option<Instant>,
    wanted: bool,
    repeats: u8,
    sent: u64,
}

impl KeyFrameRequests {
    fn ask(&mut self, now: Instant) -> bool {
        self.wanted = true;
        self.repeats = 0;
        self.poll(now)
    }

    fn due(&self) -> Option<Instant> {
        let last = self.last?;
        self.wanted.then(|| last + KEY_FRAME_REQUEST_INTERVAL)
    }

    fn poll(&mut self, now: Instant) -> bool {
        if !self.wanted || self.due().is_some_and(|due| now < due) {
            return false;
        }
        if self.repeats > MAX_REPEATS {
            self.wanted = false;
            return false;
        }
        self.repeats += 1;
        self.sent += 1;
        self.last = Some(now);
        true
    }

    fn answered(&mut self) {
        self.wanted = false;
    }
}
