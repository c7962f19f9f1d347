//! Opus (RFC 6716): packet facts, RTP payload format (RFC 7587).
//!
//! In: Opus packets, RTP payloads. Out: the same in the other layout, durations and channels.

use super::outputs::Outputs;
use super::payload::{MAX_MTU, MIN_MTU};
use super::sequence::{Order, Sequence};
use super::{AccessUnit, Depacketized, Payload};

/// Longest packet in samples of 48 kHz: 120 ms (RFC 6716 section 3.2).
const MAX_DURATION: u32 = 5760;

/// Duration of a packet in samples of 48 kHz, 120 to 5760 (RFC 6716 section 3.1). `None` where the packet is empty or breaks
/// the rules.
pub fn packet_duration(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3F),
    };
    Some(frame * frames).filter(|duration| (1..=MAX_DURATION).contains(duration))
}

/// Channels of a packet by its TOC byte, 1 or 2. `None` where the packet is empty.
pub fn packet_channels(packet: &[u8]) -> Option<u8> {
    packet.first().map(|toc| if toc & 4 == 0 { 1 } else { 2 })
}

/// The parameters of `a=fmtp` (RFC 7587 section 6.1).
pub(crate) fn rtp_fmtp(channels: u8) -> Vec<(&'static str, String)> {
    let mut list = vec![("minptime", "10".to_owned()), ("useinbandfec", "1".to_owned())];
    if channels == 2 {
        list.extend([("stereo", "1".to_owned()), ("sprop-stereo", "1".to_owned())]);
    }
    list
}

/// Makes payloads: a packet is a payload.
#[derive(Debug)]
pub struct Packetizer {
    mtu: usize,
}

impl Packetizer {
    /// `mtu` is the most bytes of a payload, 64 to 65495.
    pub fn new(mtu: usize) -> Self {
        Self { mtu: mtu.clamp(MIN_MTU, MAX_MTU) }
    }

    /// As [`crate::codec::Packetizer::packetize`]. Packets above the MTU give nothing, because the format has no fragments.
    pub fn packetize(&mut self, unit: &AccessUnit, out: &mut dyn FnMut(Payload<'_>)) -> usize {
        if unit.data.is_empty() || unit.data.len() > self.mtu {
            return 0;
        }
        // The marker would mean the beginning of a talk spurt (RFC 7587 section 4.1); a live source is one long one.
        out(Payload { parts: &[&unit.data], marker: false });
        1
    }
}

/// Takes packets out of payloads.
#[derive(Debug, Default)]
pub struct Depacketizer {
    sequence: Sequence,
    outputs: Outputs,
}

impl Depacketizer {
    /// For any Opus stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`crate::codec::Depacketizer::push`]; the marker has no use.
    pub fn push(&mut self, payload: &[u8], timestamp: i64, seq: u16) {
        match self.sequence.follow(seq) {
            Order::Late => return,
            Order::Gap => self.outputs.push(Depacketized::Lost),
            Order::Next => {}
        }
        if packet_duration(payload).is_some() {
            self.outputs.push_unit(timestamp, true, payload);
        } else if !payload.is_empty() {
            self.outputs.push(Depacketized::Lost);
        }
    }

    /// As [`crate::codec::Depacketizer::poll`].
    pub fn poll(&mut self) -> Option<Depacketized> {
        self.outputs.pop()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let table: [(&[u8], Option<u32>, Option<u8>); 11] = [
            (&[], None, None),
            (&[0xFC, 1], Some(960), Some(2)),        // CELT 20 ms, one frame, stereo (libopus's usual)
            (&[0x78, 1], Some(960), Some(1)),        // hybrid 20 ms
            (&[0x70, 1], Some(480), Some(1)),        // hybrid 10 ms
            (&[0x18, 1], Some(2880), Some(1)),       // SILK 60 ms
            (&[0x19, 1], Some(5760), Some(1)),       // two of them
            (&[0xE0, 1], Some(120), Some(1)),        // CELT 2.5 ms
            (&[0xFF, 0x03, 1], Some(2880), Some(2)), // three frames of 20 ms
            (&[0xFF], None, Some(2)),
            (&[0xFF, 0x00], None, Some(2)),
            (&[0xFF, 0x07], None, Some(2)), // 140 ms
        ];
        for (packet, duration, channels) in table {
            assert_eq!((packet_duration(packet), packet_channels(packet)), (duration, channels), "{packet:x?}");
        }
    }

    #[test]
    fn loss_is_told() {
        let mut depacketizer = Depacketizer::new();
        let unit = |pts| AccessUnit { pts, dts: pts, key: true, data: Bytes::from_static(&[0xFC, 1]) };
        for (seq, timestamp) in [(65_535, 0), (0, 960), (2, 2880), (1, 1920)] {
            depacketizer.push(&[0xFC, 1], timestamp, seq);
        }
        let all: Vec<_> = std::iter::from_fn(|| depacketizer.poll()).collect();
        assert_eq!(all, [Depacketized::Unit(unit(0)), Depacketized::Unit(unit(960)), Depacketized::Lost, Depacketized::Unit(unit(2880))]);
    }

    proptest! {
        #[test]
        fn never_panics(data in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = packet_duration(&data);
            let mut depacketizer = Depacketizer::new();
            depacketizer.push(&data, 0, 0);
        }
    }
}
