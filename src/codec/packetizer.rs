//! RTP payloads without knowing the codec: making them, and what can be seen of one without assembling frames.

use super::payload::{Payload, PayloadFacts};
use super::{AccessUnit, Codec, Format, aac, h264, opus, vp8};

/// Turns access units of one codec into RTP payloads, without allocating per packet.
///
/// Packets of one picture are of equal size but for the last where the payload format allows it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Packetizer {
    /// RFC 6184.
    H264(h264::Packetizer),
    /// RFC 7741.
    Vp8(vp8::Packetizer),
    /// RFC 3640, AAC-hbr.
    Aac(aac::Packetizer),
    /// RFC 7587.
    Opus(opus::Packetizer),
}

impl Packetizer {
    /// For a codec. `mtu` is the most bytes an RTP *payload* may have (without the RTP header and its extensions), 64 to 65495.
    pub fn new(codec: Codec, mtu: usize) -> Self {
        match codec {
            Codec::H264 => Self::H264(h264::Packetizer::new(mtu)),
            Codec::Vp8 => Self::Vp8(vp8::Packetizer::new(mtu)),
            Codec::Aac => Self::Aac(aac::Packetizer::new(mtu)),
            Codec::Opus => Self::Opus(opus::Packetizer::new(mtu)),
        }
    }

    /// Gives the payloads of `unit`, in order, to `out`. All of them have the RTP timestamp of `unit.pts`. `format` gives the
    /// parameter sets that go in band. Returns how many payloads came out: 0 where the unit is empty, damaged from
    /// its first byte on, or (audio only) larger than the payload format can carry.
    pub fn packetize(&mut self, unit: &AccessUnit, format: &Format, out: &mut dyn FnMut(Payload<'_>)) -> usize {
        match self {
            Self::H264(packetizer) => packetizer.packetize(unit, format, out),
            Self::Vp8(packetizer) => packetizer.packetize(unit, out),
            Self::Aac(packetizer) => packetizer.packetize(unit, out),
            Self::Opus(packetizer) => packetizer.packetize(unit, out),
        }
    }
}

/// Width and height in pixels, where an RTP payload has it: H.264's parameter sets, the beginning of a key frame of VP8. For key frames
/// only: parameter sets take a few microseconds to read.
pub(crate) fn payload_resolution(codec: Codec, payload: &[u8]) -> Option<(u32, u32)> {
    match codec {
        Codec::H264 => h264::payload_resolution(payload),
        Codec::Vp8 => vp8::payload_resolution(payload),
        Codec::Aac | Codec::Opus => None,
    }
}

/// What can be seen of an RTP payload by itself. Never fails: garbage has no facts.
pub fn payload_facts(codec: Codec, payload: &[u8]) -> PayloadFacts {
    match codec {
        Codec::H264 => h264::payload_facts(payload),
        Codec::Vp8 => vp8::payload_facts(payload),
        Codec::Aac | Codec::Opus => {
            PayloadFacts { key_frame_start: !payload.is_empty(), disposable: false, starts_frame: !payload.is_empty() }
        }
    }
}
