//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use super::write::packet;
use super::{FMT_TRANSPORT_CC, RTPFB};
use crate::rtp::packet::{be16, be32};

/// Length before the chunks: two SSRCs, base sequence number, count, reference time, feedback count.
const HEADER_LEN: usize = 16;
/// A delta unit, in microseconds.
const DELTA_US: i64 = 250;
/// A unit of the reference time, in deltas: 64 ms.
const REFERENCE_DELTAS: i64 = 256;
/// Most packets in one feedback: with two bytes of delta and 2/7 of a chunk word each it stays below 1200 bytes.
const MAX_STATUSES: usize = 450;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Which packets came, and when.
#[derive(Debug, Clone, Copy)]
pub struct TransportFeedback<'a> {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    /// The first transport-wide sequence number.
    pub base_seq: u16,
    /// How many packets it speaks of, 1 to 65535.
    pub status_count: u16,
    /// When, in units of 64 ms of the reporter's clock; 24 bits, signed, wraps.
    pub reference_time: i32,
    /// Counts the feedback packets, wraps.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    /// From a packet's body. `None` if it ends inside the chunks.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        if body.len() < HEADER_LEN {
            return None;
        }
        let status_count = be16(body, 10);
        let rest = &body[HEADER_LEN..];
        let (mut covered, mut chunks) = (0, 0);
        while covered < usize::from(status_count) {
            covered += chunk_len(be16(rest.get(chunks..chunks + 2)?, 0));
            chunks += 2;
        }
        let word = be32(body, 12);
        Some(Self {
            sender_ssrc: be32(body, 0),
            media_ssrc: be32(body, 4),
            base_seq: be16(body, 8),
            status_count,
            reference_time: word as i32 >> 8,
            feedback_count: word as u8,
            chunks: &rest[..chunks],
            deltas: &rest[chunks..],
        })
    }

    /// Each packet: transport-wide sequence number, and for those that came the arrival in microseconds of the reporter's clock
    /// (which wraps with `reference_time`, after 12 days). Ends early where deltas are missing.
    pub fn statuses(&self) -> PacketStatuses<'a> {
        PacketStatuses {
            chunks: self.chunks,
            in_chunk: 0,
            deltas: self.deltas,
            seq: self.base_seq,
            left: self.status_count,
            ticks: i64::from(self.reference_time) * REFERENCE_DELTAS,
        }
    }
}

/// How many packets a chunk speaks of.
fn chunk_len(chunk: u16) -> usize {
    match chunk >> 14 {
        0b10 => 14,
        0b11 => 7,
        // A run of length 0 would never end the walk over the chunks; the chunks themselves do.
        _ => usize::from(chunk & 0x1FFF),
    }
}

fn symbol(chunk: u16, index: usize) -> u8 {
    match chunk >> 14 {
        0b10 => (chunk >> (13 - index) & 1) as u8,
        0b11 => (chunk >> (12 - 2 * index) & 3) as u8,
        _ => (chunk >> 13 & 3) as u8,
    }
}

/// Iterates over a feedback's packets.
#[derive(Debug, Clone)]
pub struct PacketStatuses<'a> {
    chunks: &'a [u8],
    in_chunk: usize,
    deltas: &'a [u8],
    seq: u16,
    left: u16,
    /// Of 250 µs.
    ticks: i64,
}

impl Iterator for PacketStatuses<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let chunk = loop {
            let chunk = be16(self.chunks.get(..2)?, 0);
            if self.in_chunk < chunk_len(chunk) {
                break chunk;
            }
            self.chunks = &self.chunks[2..];
            self.in_chunk = 0;
        };
        let delta = match symbol(chunk, self.in_chunk) {
            SMALL_DELTA => {
                let delta = i64::from(*self.deltas.first()?);
                self.deltas = &self.deltas[1..];
                Some(delta)
            }
            LARGE_DELTA => {
                let delta = i64::from(be16(self.deltas.get(..2)?, 0) as i16);
                self.deltas = &self.deltas[2..];
                Some(delta)
            }
            // 3 is reserved and says nothing on arrival.
            _ => None,
        };
        self.in_chunk += 1;
        self.left -= 1;
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        self.ticks += delta.unwrap_or(0);
        Some((seq, delta.map(|_| self.ticks * DELTA_US)))
    }
}

/// Appends a feedback for the packets from `base_seq` on, of which `arrivals` has the arrival in microseconds of any clock of ours
/// that does not go back (or `None`). Gives how many of them it speaks of: at most 450, and it stops before a delta of more than 8 s
/// and behind the last one that arrived. If none of the first 450 arrived nothing is written, and 0 given.
pub(crate) fn write_transport_feedback(
    out: &mut Vec<u8>,
    sender_ssrc: u32,
    media_ssrc: u32,
    base_seq: u16,
    feedback_count: u8,
    arrivals: &[Option<i64>],
) -> usize {
    let arrivals = &arrivals[..arrivals.len().min(MAX_STATUSES)];
    let Some(first) = arrivals.iter().flatten().next() else { return 0 };
    let reference = first.div_euclid(DELTA_US * REFERENCE_DELTAS);
    let mut symbols = [NOT_RECEIVED; MAX_STATUSES];
    let mut deltas = [0i16; MAX_STATUSES];
    let mut count = 0;
    // Rounded against the time as decoded, so that errors don't add up.
    let mut ticks = reference * REFERENCE_DELTAS;
    for arrival in arrivals {
        if let Some(arrival) = arrival {
            let Ok(delta) = i16::try_from((arrival + DELTA_US / 2).div_euclid(DELTA_US) - ticks) else { break };
            symbols[count] = if (0..256).contains(&delta) { SMALL_DELTA } else { LARGE_DELTA };
            deltas[count] = delta;
            ticks += i64::from(delta);
        }
        count += 1;
    }
    // Trailing losses are not known to be losses yet.
    while count > 0 && symbols[count - 1] == NOT_RECEIVED {
        count -= 1;
    }
    let (symbols, start) = (&symbols[..count], out.len());
    let mut padding = 0;
    packet(out, RTPFB, FMT_TRANSPORT_CC, |out| {
        out.extend_from_slice(&sender_ssrc.to_be_bytes());
        out.extend_from_slice(&media_ssrc.to_be_bytes());
        out.extend_from_slice(&base_seq.to_be_bytes());
        out.extend_from_slice(&(count as u16).to_be_bytes());
        out.extend_from_slice(&((reference as u32) << 8 | u32::from(feedback_count)).to_be_bytes());
        write_chunks(out, symbols);
        for (symbol, delta) in symbols.iter().zip(deltas) {
            match *symbol {
                SMALL_DELTA => out.push(delta as u8),
                LARGE_DELTA => out.extend_from_slice(&delta.to_be_bytes()),
                _ => {}
            }
        }
        padding = (4 - (out.len() - start) % 4) % 4;
    });
    if padding > 0 {
        out[start] |= 0x20;
        if let Some(last) = out.last_mut() {
            *last = padding as u8;
        }
    }
    count
}

fn write_chunks(out: &mut Vec<u8>, mut symbols: &[u8]) {
    while let Some(first) = symbols.first().copied() {
        let run = symbols.iter().take_while(|symbol| **symbol == first).count();
        let ones = symbols.iter().take(14).take_while(|symbol| **symbol <= SMALL_DELTA).count();
        // A run pays from the length on that a vector of the same kind could not hold.
        let (chunk, len) = if run >= 14 || run == symbols.len() || (run >= 7 && ones < 14) {
            (u16::from(first) << 13 | run as u16, run)
        } else if ones == 14 || ones == symbols.len() {
            let bits = symbols.iter().take(14).enumerate().fold(0, |bits, (i, symbol)| bits | u16::from(*symbol) << (13 - i));
            (0x8000 | bits, ones)
        } else {
            let bits = symbols.iter().take(7).enumerate().fold(0, |bits, (i, symbol)| bits | u16::from(*symbol) << (12 - 2 * i));
            (0xC000 | bits, symbols.len().min(7))
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        symbols = &symbols[len..];
    }
}
