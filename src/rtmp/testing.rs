//! What several tests of RTMP need.

use bytes::Bytes;

use crate::base::{UnixNanos, rescale};
use crate::codec::{AccessUnit, Format, Packetizer, h264};
use crate::rtp::batch::{ClockMapping, RtpBatch};

/// A key picture's second of Unix time, away from 0.
pub(super) const T0: UnixNanos = 1_700_000_000_000_000_000;

/// Makes RTP of access units, as a producer's.
pub(super) struct Source {
    pub format: Format,
    packetizer: Packetizer,
    seq: u16,
    rtp_offset: u32,
    told_clock: bool,
}

impl Source {
    pub(super) fn new(format: Format, rtp_offset: u32) -> Self {
        Self { packetizer: Packetizer::new(format.codec(), 1200), format, seq: 65_530, rtp_offset, told_clock: false }
    }

    pub(super) fn video(record: &str) -> Self {
        let record: Vec<u8> = (0..record.len()).step_by(2).map(|i| u8::from_str_radix(&record[i..i + 2], 16).unwrap()).collect();
        Self::new(h264::AvcConfig::parse(&record).unwrap().into_format(), u32::MAX - 1000)
    }

    pub(super) fn audio() -> Self {
        Self::new(crate::codec::aac::AacConfig::format(Bytes::from_static(&[0x11, 0x90])).unwrap(), 7)
    }

    /// A unit shown `ms` after `T0`.
    pub(super) fn batch(&mut self, ms: i64, key: bool, data: &[u8]) -> RtpBatch {
        let ticks = rescale(ms, 1000, self.format.rtp_clock_rate());
        self.unit(&AccessUnit { pts: ticks, dts: ticks, key, data: Bytes::copy_from_slice(data) })
    }

    /// A unit with its own times, counted from `T0`.
    pub(super) fn unit(&mut self, unit: &AccessUnit) -> RtpBatch {
        let timestamp = self.rtp_offset.wrapping_add(unit.pts as u32);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        self.packetizer.packetize(unit, &self.format, &mut |payload| {
            let mut packet = vec![0x80, 96 | if payload.marker { 0x80 } else { 0 }];
            packet.extend(self.seq.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend([0, 0, 0, 1]);
            payload.write_to(&mut packet);
            self.seq = self.seq.wrapping_add(1);
            packets.push(packet);
        });
        let clock = (!self.told_clock).then_some(ClockMapping { rtp: self.rtp_offset, wallclock: T0 });
        self.told_clock = true;
        RtpBatch::of_packets(packets).with_clock(clock)
    }

    pub(super) fn picture(&mut self, ms: i64, key: bool, len: usize) -> RtpBatch {
        let mut data = (len as u32).to_be_bytes().to_vec();
        data.push(if key { 0x65 } else { 0x41 });
        data.push(0x88);
        data.resize(4 + len, 0x5A);
        self.batch(ms, key, &data)
    }
}
