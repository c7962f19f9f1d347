//! What reports are made of (RFC 3550 section 6.4).

use crate::base::NtpTime;
use crate::rtp::packet::be32;

/// Bytes of a report block.
pub(super) const BLOCK_LEN: usize = 24;
/// The most that the 24-bit signed count of lost packets can say.
const MAX_LOST: i32 = 0x7F_FFFF;

/// The sender's part of a sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// The wall clock at which the report was sent.
    pub ntp: NtpTime,
    /// The same instant in RTP timestamp units of the stream.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Bytes of payload sent, without headers and padding.
    pub octets: u32,
}

impl SenderInfo {
    /// From its 20 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            ntp: NtpTime(u64::from(be32(bytes, 0)) << 32 | u64::from(be32(bytes, 4))),
            rtp_timestamp: be32(bytes, 8),
            packets: be32(bytes, 12),
            octets: be32(bytes, 16),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ntp.0.to_be_bytes());
        for field in [self.rtp_timestamp, self.packets, self.octets] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// What a receiver says of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// Of which stream.
    pub ssrc: u32,
    /// Fraction lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; negative with duplicates. 24 bits on the wire: clamped when written.
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest_seq: u32,
    /// Interarrival jitter in RTP timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's NTP time; 0 without one.
    pub last_sr: u32,
    /// Time since that sender report came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8]) -> Self {
        let loss = be32(bytes, 4);
        Self {
            ssrc: be32(bytes, 0),
            fraction_lost: (loss >> 24) as u8,
            cumulative_lost: (loss << 8) as i32 >> 8,
            highest_seq: be32(bytes, 8),
            jitter: be32(bytes, 12),
            last_sr: be32(bytes, 16),
            delay_since_last_sr: be32(bytes, 20),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let lost = self.cumulative_lost.clamp(-MAX_LOST - 1, MAX_LOST) as u32 & 0xFF_FFFF;
        let loss = u32::from(self.fraction_lost) << 24 | lost;
        for field in [self.ssrc, loss, self.highest_seq, self.jitter, self.last_sr, self.delay_since_last_sr] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }

    /// Round trip time, from the middle 32 bits of the NTP time at which this block came (RFC 3550 section 6.4.1): 1/65536 s
    /// arrival − LSR − DLSR. `None` if the other side has seen no sender report, or the numbers don't make sense.
    pub fn round_trip(&self, arrival: NtpTime) -> Option<std::time::Duration> {
        if self.last_sr == 0 {
            return None;
        }
        let units = arrival.middle().wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr) as i32;
        // A little below zero is rounding; far below zero or beyond a minute is nonsense.
        (-66..60 << 16).contains(&units).then(|| std::time::Duration::from_micros((units.max(0) as u64 * 1_000_000) >> 16))
    }
}

/// The report blocks of a report.
#[derive(Debug, Clone, Copy)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    pub(super) fn parse(bytes: &'a [u8], count: u8) -> Option<Self> {
        bytes.get(..BLOCK_LEN * usize::from(count)).map(Self)
    }

    /// Each of them, at most 31.
    pub fn iter(self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.0.chunks_exact(BLOCK_LEN).map(ReportBlock::parse)
    }
}
