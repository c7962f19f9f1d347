//! RTP payload format of AAC, mode AAC-hbr (RFC 3640 section 3.3.6): AU headers with 13 bits of size and 3 of index.

use super::config::AacConfig;
use crate::codec::outputs::{Outputs, reset};
use crate::codec::payload::{MAX_MTU, MIN_MTU, even_fragment};
use crate::codec::sequence::{Order, Sequence};
use crate::codec::{AccessUnit, Depacketized, Format, Payload};

/// AU-headers-length and one AU header.
const HEADER_LEN: usize = 4;

/// Largest frame: what 13 bits can say. AAC allows 768 bytes per channel, 6144 for 8.
const MAX_FRAME: usize = 0x1FFF;

/// Most AU headers of one packet that are read; a packet holds seldom more than a few frames.
const MAX_AUS: usize = 64;

/// The parameters of `a=fmtp` (RFC 3640 section 4.1).
pub(crate) fn rtp_fmtp(config: &[u8]) -> Vec<(&'static str, String)> {
    let hex = config.iter().map(|byte| format!("{byte:02x}")).collect();
    let duration = AacConfig::parse(config).map_or(1024, |config| config.frame_duration());
    vec![
        ("streamtype", "5".to_owned()),
        ("profile-level-id", "1".to_owned()),
        ("mode", "AAC-hbr".to_owned()),
        ("config", hex),
        ("sizeLength", "13".to_owned()),
        ("indexLength", "3".to_owned()),
        ("indexDeltaLength", "3".to_owned()),
        ("constantDuration", duration.to_string()),
    ]
}

/// Makes payloads of one frame each; frames that are larger than the MTU go out in fragments.
#[derive(Debug)]
pub struct Packetizer {
    mtu: usize,
}

impl Packetizer {
    /// `mtu` is the most bytes of a payload, 64 to 65495.
    pub fn new(mtu: usize) -> Self {
        Self { mtu: mtu.clamp(MIN_MTU, MAX_MTU) }
    }

    /// As [`crate::codec::Packetizer::packetize`]. Frames above 8191 bytes give nothing.
    pub fn packetize(&mut self, unit: &AccessUnit, out: &mut dyn FnMut(Payload<'_>)) -> usize {
        let data = &unit.data[..];
        if data.is_empty() || data.len() > MAX_FRAME {
            return 0;
        }
        // Every fragment tells the size of the whole frame (section 3.2.3.1).
        let [high, low] = ((data.len() as u16) << 3).to_be_bytes();
        let header = [0, 16, high, low];
        let size = even_fragment(data.len(), self.mtu - HEADER_LEN);
        let count = data.len().div_ceil(size);
        for (index, fragment) in data.chunks(size).enumerate() {
            out(Payload { parts: &[&header, fragment], marker: index + 1 == count });
        }
        count
    }
}

/// Takes frames out of payloads.
#[derive(Debug)]
pub struct Depacketizer {
    sequence: Sequence,
    frame_duration: i64,
    /// Timestamp and size of the fragmented frame in work.
    fragment: Option<(i64, usize)>,
    data: Vec<u8>,
    outputs: Outputs,
}

impl Depacketizer {
    /// For a stream in `format`, whose configuration tells how long a frame lasts.
    pub fn new(format: &Format) -> Self {
        let config = match format {
            Format::Aac { config, .. } => AacConfig::parse(config).ok(),
            _ => None,
        };
        let frame_duration = config.map_or(1024, |config| i64::from(config.frame_duration()));
        Self { sequence: Sequence::default(), frame_duration, fragment: None, data: Vec::new(), outputs: Outputs::default() }
    }

    /// As [`crate::codec::Depacketizer::push`].
    pub fn push(&mut self, payload: &[u8], timestamp: i64, seq: u16, _marker: bool) {
        match self.sequence.follow(seq) {
            Order::Late => return,
            Order::Gap => self.damage(),
            Order::Next => {}
        }
        if !payload.is_empty() && self.take(payload, timestamp).is_none() {
            self.damage();
        }
    }

    /// As [`crate::codec::Depacketizer::poll`].
    pub fn poll(&mut self) -> Option<Depacketized> {
        self.outputs.pop()
    }

    fn damage(&mut self) {
        self.fragment = None;
        reset(&mut self.data);
        self.outputs.push(Depacketized::Lost);
    }

    fn take(&mut self, payload: &[u8], timestamp: i64) -> Option<()> {
        let (&bits, rest) = payload.split_first_chunk::<2>()?;
        let bits = usize::from(u16::from_be_bytes(bits));
        let (headers, mut rest) = rest.split_at_checked(bits.div_ceil(8))?;
        if bits == 0 || bits % 16 != 0 || bits / 16 > MAX_AUS {
            return None;
        }
        let header = |bytes: &[u8]| (usize::from(bytes[0]) << 5 | usize::from(bytes[1] >> 3), i64::from(bytes[1] & 7));
        let (first, _) = header(headers);
        if headers.len() == 2 && first > rest.len() {
            return self.take_fragment(rest, timestamp, first);
        }
        if let Some((current, _)) = self.fragment {
            // The last fragment may be so long that it looks like none: the frame's size decides.
            if current == timestamp && headers.len() == 2 {
                return self.take_fragment(rest, timestamp, first);
            }
            self.damage();
        }
        // The index of the first frame is 0; a delta above 0 skips frames (interleaving, or left out ones).
        let mut index = 0;
        for (number, bytes) in headers.chunks_exact(2).enumerate() {
            let (len, delta) = header(bytes);
            index += if number == 0 { 0 } else { delta + 1 };
            let (frame, after) = rest.split_at_checked(len)?;
            rest = after;
            if !frame.is_empty() {
                self.outputs.push_unit(timestamp + index * self.frame_duration, true, frame);
            }
        }
        Some(())
    }

    fn take_fragment(&mut self, fragment: &[u8], timestamp: i64, size: usize) -> Option<()> {
        if self.fragment.is_some_and(|known| known != (timestamp, size)) {
            self.damage();
        }
        self.fragment = Some((timestamp, size));
        self.data.extend_from_slice(fragment);
        if self.data.len() > size {
            return None;
        }
        if self.data.len() == size {
            self.outputs.push_unit(timestamp, true, &self.data);
            self.fragment = None;
            reset(&mut self.data);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn format() -> Format {
        AacConfig::format(Bytes::from_static(&[0x12, 0x10])).unwrap()
    }

    fn units(depacketizer: &mut Depacketizer) -> Vec<(i64, Vec<u8>)> {
        std::iter::from_fn(|| depacketizer.poll())
            .filter_map(|output| match output {
                Depacketized::Unit(unit) => Some((unit.pts, unit.data.to_vec())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn several_frames_in_a_packet() {
        let mut depacketizer = Depacketizer::new(&format());
        // Three frames of 2, 1 and 3 bytes; the third skips one.
        depacketizer.push(&[0, 48, 0, 16, 0, 8, 0, 25, 1, 2, 3, 4, 5, 6], 1000, 65_535, true);
        assert_eq!(units(&mut depacketizer), [(1000, vec![1, 2]), (2024, vec![3]), (4072, vec![4, 5, 6])]);
        depacketizer.push(&[0, 16, 0, 8, 9], 5096, 0, true);
        assert_eq!(units(&mut depacketizer), [(5096, vec![9])]);
    }

    #[test]
    fn damage_is_told() {
        let mut depacketizer = Depacketizer::new(&format());
        let table: [&[u8]; 5] = [&[0], &[0, 0, 1], &[0, 15, 0, 8, 1], &[0, 32, 0, 8, 0, 80, 1, 2], &[0xFF, 0xFF, 1]];
        for (seq, payload) in (0..).zip(table) {
            depacketizer.push(payload, 0, seq, true);
            assert!(std::iter::from_fn(|| depacketizer.poll()).any(|output| output == Depacketized::Lost), "{payload:x?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..2000), 1..8), mtu in 0usize..1500, lose in any::<prop::sample::Index>()) {
            let (mut packetizer, mut whole, mut lossy) = (Packetizer::new(mtu), Depacketizer::new(&format()), Depacketizer::new(&format()));
            let (mut packets, mut expected) = (Vec::new(), Vec::new());
            for (index, frame) in frames.iter().enumerate() {
                let pts = index as i64 * 1024;
                let unit = AccessUnit { pts, dts: pts, key: true, data: Bytes::copy_from_slice(frame) };
                packetizer.packetize(&unit, &mut |payload| {
                    assert!(payload.len() <= mtu.max(MIN_MTU));
                    let mut bytes = Vec::new();
                    payload.write_to(&mut bytes);
                    packets.push((bytes, pts, payload.marker));
                });
                expected.push((pts, frame.clone()));
            }
            let lost = lose.index(packets.len());
            for (index, (bytes, pts, marker)) in packets.iter().enumerate() {
                let seq = 65_530u16.wrapping_add(index as u16);
                whole.push(bytes, *pts, seq, *marker);
                if index != lost {
                    lossy.push(bytes, *pts, seq, *marker);
                }
            }
            prop_assert_eq!(units(&mut whole), &expected[..]);
            let lost_pts = packets[lost].1;
            expected.retain(|(pts, _)| *pts != lost_pts);
            prop_assert_eq!(units(&mut lossy), expected);
        }

        #[test]
        fn never_panics(packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<i32>(), any::<bool>()), 0..20)) {
            let mut depacketizer = Depacketizer::new(&format());
            for (seq, (payload, timestamp, marker)) in (0..).zip(&packets) {
                depacketizer.push(payload, i64::from(*timestamp), seq, *marker);
                prop_assert!(depacketizer.data.len() <= MAX_FRAME);
            }
        }
    }
}
