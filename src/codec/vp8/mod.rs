//! VP8 (RFC 6386): frame headers, RTP payload format (RFC 7741).
//!
//! In: frames, RTP payloads. Out: the same in the other layout, key frames, resolution, layers.

mod descriptor;
mod rtp;

pub use descriptor::Descriptor;
pub(crate) use rtp::{Depacketizer, Packetizer};

use super::PayloadFacts;

/// RFC 6381 string for ISO media ("VP Codec ISO Media File Format Binding": profile 0, level 1.0, 8 bits).
pub(crate) const CODEC_STRING: &str = "vp08.00.10.08";

/// What the header of a frame says (RFC 6386 section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    pub key: bool,
    /// Width and height in pixels, 1 to 16383; key frames only.
    pub resolution: Option<(u32, u32)>,
}

/// Reads the header at the beginning of a frame. `None` where it is too short or, for a key frame, nonsense.
pub fn frame_info(frame: &[u8]) -> Option<FrameInfo> {
    if frame.len() < 3 {
        return None;
    }
    if frame[0] & 1 == 1 {
        return Some(FrameInfo { key: false, resolution: None });
    }
    let head = frame.get(3..10).filter(|head| head[..3] == [0x9D, 0x01, 0x2A])?;
    let size = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    let (width, height) = (size(head[3], head[4]), size(head[5], head[6]));
    (width > 0 && height > 0).then_some(FrameInfo { key: true, resolution: Some((width, height)) })
}

/// Width and height in pixels, where a key frame begins in this payload.
pub(crate) fn payload_resolution(payload: &[u8]) -> Option<(u32, u32)> {
    let (descriptor, rest) = Descriptor::parse(payload)?;
    frame_info(rest).filter(|_| descriptor.start && descriptor.partition == 0)?.resolution
}

/// The facts of one payload; see [`PayloadFacts`].
pub fn payload_facts(payload: &[u8]) -> PayloadFacts {
    let Some((descriptor, rest)) = Descriptor::parse(payload) else { return PayloadFacts::default() };
    let starts_frame = descriptor.start && descriptor.partition == 0 && !rest.is_empty();
    let key_frame_start = starts_frame && rest[0] & 1 == 0;
    PayloadFacts { key_frame_start, disposable: descriptor.non_reference, starts_frame }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames() {
        let key = [0x50, 0x2B, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0xE0, 0x01];
        assert_eq!(frame_info(&key), Some(FrameInfo { key: true, resolution: Some((640, 480)) }));
        assert_eq!(frame_info(&[0x31, 0, 0]), Some(FrameInfo { key: false, resolution: None }));
        assert_eq!(frame_info(&key[..9]), None);
        assert_eq!(frame_info(&[0x50, 0x2B, 0x00, 1, 2, 3, 0x80, 0x02, 0xE0, 0x01]), None);
        assert_eq!(frame_info(&[]), None);
    }

    #[test]
    fn sizes_of_payloads() {
        for (payload, size) in [
            (&[0x10, 0x50, 0x2B, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0xE0, 0x01][..], Some((640, 480))),
            (&[0x00, 0x50, 0x2B, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0xE0, 0x01], None), // not the frame's beginning
            (&[0x10, 0x51, 0x2B, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0xE0, 0x01], None), // no key frame
            (&[0x10, 0x50, 0x2B], None),
            (&[], None),
        ] {
            assert_eq!(payload_resolution(payload), size, "{payload:x?}");
        }
    }

    #[test]
    fn facts() {
        // payload, key_frame_start, disposable, starts_frame
        let table: [(&[u8], bool, bool, bool); 7] = [
            (&[], false, false, false),
            (&[0x10], false, false, false),
            (&[0x10, 0x50], true, false, true),
            (&[0x10, 0x51], false, false, true),
            (&[0x00, 0x50], false, false, false),
            (&[0xB0, 0x80, 0x12, 0x51], false, true, true),
            (&[0x11, 0x50], false, false, false), // second partition
        ];
        for (payload, key_frame_start, disposable, starts_frame) in table {
            assert_eq!(payload_facts(payload), PayloadFacts { key_frame_start, disposable, starts_frame }, "{payload:x?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(data in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = (payload_facts(&data), frame_info(&data));
        }
    }
}
