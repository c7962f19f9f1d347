//! One RTP payload: its parts, its bounds, and what it shows of its frame.

/// One RTP payload, in parts that are to be written one after the other into the packet.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    /// The parts, borrowed from the access unit, the format and the packetizer.
    pub parts: &'a [&'a [u8]],
    /// The RTP marker bit.
    pub marker: bool,
}

impl Payload<'_> {
    /// All parts together, in bytes; at most the packetizer's `mtu`.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is nothing in it (no packetizer makes such).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the payload to `buffer`.
    pub fn write_to(&self, buffer: &mut impl bytes::BufMut) {
        for part in self.parts {
            buffer.put_slice(part);
        }
    }
}

/// Smallest `mtu` that packetizers work with: below it, headers would outweigh what they carry. Smaller ones are raised to it.
pub(super) const MIN_MTU: usize = 64;

/// Largest payload a UDP datagram over IPv4 can carry beside the IP, UDP and RTP headers. Larger `mtu`s are lowered to it.
pub(super) const MAX_MTU: usize = 65_535 - 20 - 8 - 12;

/// Cuts `len` bytes into the fewest pieces of at most `max` bytes, all but the last of equal size, so that they can go out
/// as one `UDP_SEGMENT` message. Gives the size of a piece.
pub(super) fn even_fragment(len: usize, max: usize) -> usize {
    let max = max.max(1);
    len.div_ceil(len.div_ceil(max).max(1)).max(1)
}

/// What one RTP payload shows of the frame it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PayloadFacts {
    /// A frame at which decoding can start begins here: H.264 an SPS or the first piece of an IDR slice, VP8 the first packet of
    /// a key frame. True for audio always. Several payloads of one H.264 picture can say so (SPS, then IDR), and a delimiter or
    /// supplemental information may stand before them: the frame begins with the first payload that has its RTP timestamp.
    pub key_frame_start: bool,
    /// No other frame needs it: it can be left out together with the other payloads of its frame that are disposable
    /// (H.264: `nal_ref_idc` is 0 in all NAL units; supplemental information counts as disposable too). False for audio.
    pub disposable: bool,
    /// A frame can begin here. After a gap, a frame whose first received payload doesn't say so is damaged. As with
    /// `key_frame_start`, several payloads of one H.264 picture can say so.
    pub starts_frame: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_even_and_few() {
        for (len, max, size) in [(1, 1200, 1), (1200, 1200, 1200), (1201, 1200, 601), (3000, 1000, 1000), (10, 3, 3), (0, 5, 1)] {
            assert_eq!(even_fragment(len, max), size, "{len} {max}");
        }
    }
}
