//! From RTP payloads back to access units, without knowing the codec.

use super::outputs::Depacketized;
use super::{Codec, Format, aac, h264, opus, vp8};

/// Assembles the access units of one RTP stream.
///
/// Packets must be passed in order of their sequence numbers (a jitter buffer's work); a gap counts as loss. After each [`push`](Self::push)
/// call [`poll`](Self::poll) until it gives `None`: at most a small number of outputs is kept, older ones are left out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Depacketizer {
    /// RFC 6184. Units have 4-byte NAL lengths and no parameter sets: those are in the format.
    H264(h264::Depacketizer),
    /// RFC 7741.
    Vp8(vp8::Depacketizer),
    /// RFC 3640, AAC-hbr.
    Aac(aac::Depacketizer),
    /// RFC 7587.
    Opus(opus::Depacketizer),
}

impl Depacketizer {
    /// For a stream in `format` (for H.264 with the parameter sets known so far, maybe none).
    pub fn new(format: &Format) -> Self {
        match format.codec() {
            Codec::H264 => Self::H264(h264::Depacketizer::new(format)),
            Codec::Vp8 => Self::Vp8(vp8::Depacketizer::new()),
            Codec::Aac => Self::Aac(aac::Depacketizer::new(format)),
            Codec::Opus => Self::Opus(opus::Depacketizer::new()),
        }
    }

    /// Takes the payload of a packet. `timestamp` is its RTP timestamp, extended by the caller so that it never wraps.
    pub fn push(&mut self, payload: &[u8], timestamp: i64, seq: u16, marker: bool) {
        match self {
            Self::H264(depacketizer) => depacketizer.push(payload, timestamp, seq, marker),
            Self::Vp8(depacketizer) => depacketizer.push(payload, timestamp, seq, marker),
            Self::Aac(depacketizer) => depacketizer.push(payload, timestamp, seq, marker),
            Self::Opus(depacketizer) => depacketizer.push(payload, timestamp, seq),
        }
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Depacketized> {
        match self {
            Self::H264(depacketizer) => depacketizer.poll(),
            Self::Vp8(depacketizer) => depacketizer.poll(),
            Self::Aac(depacketizer) => depacketizer.poll(),
            Self::Opus(depacketizer) => depacketizer.poll(),
        }
    }

    /// The stream has ended: puts out the last unit where the sender never set a marker, so that only the next unit would have
    /// shown that it is whole.
    pub fn finish(&mut self) {
        match self {
            Self::H264(depacketizer) => depacketizer.finish(),
            Self::Vp8(depacketizer) => depacketizer.finish(),
            Self::Aac(_) | Self::Opus(_) => {}
        }
    }
}
