//! From RTP payloads back to access units, without knowing the codec.

use super::{AccessUnit, Codec, Format, aac, h264, opus, vp8};

/// What comes out of a [`Depacketizer`], in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Depacketized {
    /// The format of the units that follow is another one than before (new parameter sets in band).
    Format(Format),
    /// Packets are missing before the units that follow; damaged units were left out.
    Lost,
    /// A whole access unit. `pts` is the RTP timestamp as passed in; `dts` the same, because RTP has no other.
    Unit(AccessUnit),
}

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

    /// The stream has ended: gives out the last unit where the sender never set a marker, so that only the next unit would have
    /// shown that it is whole.
    pub fn finish(&mut self) {
        match self {
            Self::H264(depacketizer) => depacketizer.finish(),
            Self::Vp8(depacketizer) => depacketizer.finish(),
            Self::Aac(_) | Self::Opus(_) => {}
        }
    }
}

/// Most outputs kept for a caller that doesn't poll. One packet makes at most 64 (an AAC packet full of tiny frames);
/// the rest is slack, so that only a caller that forgot to poll loses any.
const MAX_OUTPUTS: usize = 256;

/// Outputs waiting to be polled.
#[derive(Debug, Default)]
pub(super) struct Outputs(std::collections::VecDeque<Depacketized>);

impl Outputs {
    /// Adds one; the oldest gives way where the bound is reached. `Lost` twice in a row is once.
    pub(super) fn push(&mut self, output: Depacketized) {
        if output == Depacketized::Lost && self.0.back() == Some(&Depacketized::Lost) {
            return;
        }
        if self.0.len() >= MAX_OUTPUTS {
            self.0.pop_front();
        }
        self.0.push_back(output);
    }

    /// Adds a unit that is presented when it is decoded.
    pub(super) fn push_unit(&mut self, timestamp: i64, key: bool, data: &[u8]) {
        let data = bytes::Bytes::copy_from_slice(data);
        self.push(Depacketized::Unit(AccessUnit { pts: timestamp, dts: timestamp, key, data }));
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Depacketized> {
        self.0.pop_front()
    }
}

/// Largest access unit that is put together. 8 MiB is four seconds of 16 Mbit/s in one picture, twice what any level allows at
/// sensible rates; a sender that never ends a fragmented NAL unit cannot make us hold more.
pub(super) const MAX_UNIT: usize = 8 << 20;

/// An assembly buffer that grew beyond this by an unusual unit is given back afterwards.
const KEEP_CAPACITY: usize = 1 << 20;

/// Empties an assembly buffer for the next unit.
pub(super) fn reset(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEEP_CAPACITY {
        buffer.shrink_to(KEEP_CAPACITY);
    }
}
