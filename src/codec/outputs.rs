//! What comes out of payloads, kept within bounds until somebody asks for it.

use super::access_unit::AccessUnit;
use super::format::Format;

/// What comes out of a [`super::Depacketizer`], in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Depacketized {
    /// The format of the units that follow is another one than before (new parameter sets in band).
    Format(Format),
    /// Packets are missing before the units that follow; damaged units were left out.
    Lost,
    /// A whole access unit. `pts` is the RTP timestamp as passed in; `dts` the same, because RTP has no other.
    Unit(AccessUnit),
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
