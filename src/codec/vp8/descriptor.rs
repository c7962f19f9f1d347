//! The payload descriptor before each piece of a frame (RFC 7741 section 4.2).

/// What a payload descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// N: no other frame needs this one.
    pub non_reference: bool,
    /// S: a partition begins with this payload.
    pub start: bool,
    /// PID: which partition, 0 to 7.
    pub partition: u8,
    /// PictureID, 7 or 15 bits.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: counts frames of the lowest temporal layer.
    pub tl0_pic_idx: Option<u8>,
    /// TID (0 to 3) and Y (it depends on the lowest layer only).
    pub temporal: Option<(u8, bool)>,
    /// KEYIDX, 0 to 31: counts key frames.
    pub key_idx: Option<u8>,
}

/// A PictureID in either size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureId {
    /// 0 to 127.
    Short(u8),
    /// 0 to 32767.
    Long(u16),
}

/// Longest descriptor in bytes.
pub(super) const MAX_LEN: usize = 6;

impl Descriptor {
    /// Reads the descriptor; gives it and what follows. `None` where the payload ends too early.
    pub fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (&first, mut rest) = payload.split_first()?;
        let mut descriptor = Self { non_reference: first & 0x20 != 0, start: first & 0x10 != 0, partition: first & 7, ..Self::default() };
        if first & 0x80 == 0 {
            return Some((descriptor, rest));
        }
        let mut next = || {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            Some(byte)
        };
        let extension = next()?;
        if extension & 0x80 != 0 {
            let high = next()?;
            descriptor.picture_id =
                Some(if high & 0x80 == 0 { PictureId::Short(high) } else { PictureId::Long(u16::from_be_bytes([high & 0x7F, next()?])) });
        }
        if extension & 0x40 != 0 {
            descriptor.tl0_pic_idx = Some(next()?);
        }
        if extension & 0x30 != 0 {
            let byte = next()?;
            descriptor.temporal = (extension & 0x20 != 0).then_some((byte >> 6, byte & 0x20 != 0));
            descriptor.key_idx = (extension & 0x10 != 0).then_some(byte & 0x1F);
        }
        Some((descriptor, rest))
    }

    /// Writes the descriptor into `out`; gives the bytes used, 1 to 6. Values beyond their range are cut to their bits.
    pub fn write(&self, out: &mut [u8; MAX_LEN]) -> usize {
        out[0] = (u8::from(self.non_reference) << 5) | (u8::from(self.start) << 4) | (self.partition & 7);
        let extension = (u8::from(self.picture_id.is_some()) << 7)
            | (u8::from(self.tl0_pic_idx.is_some()) << 6)
            | (u8::from(self.temporal.is_some()) << 5)
            | (u8::from(self.key_idx.is_some()) << 4);
        if extension == 0 {
            return 1;
        }
        out[0] |= 0x80;
        out[1] = extension;
        let mut at = 2;
        let mut put = |byte| {
            out[at] = byte;
            at += 1;
        };
        match self.picture_id {
            Some(PictureId::Short(id)) => put(id & 0x7F),
            Some(PictureId::Long(id)) => {
                put(0x80 | (id >> 8) as u8);
                put(id as u8);
            }
            None => {}
        }
        if let Some(index) = self.tl0_pic_idx {
            put(index);
        }
        if extension & 0x30 != 0 {
            let (tid, layer_sync) = self.temporal.unwrap_or_default();
            put((tid << 6) | (u8::from(layer_sync) << 5) | (self.key_idx.unwrap_or_default() & 0x1F));
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_descriptors() {
        // As Chrome sends it with temporal layers: X S, I L T, PictureID of 15 bits.
        let (descriptor, rest) = Descriptor::parse(&[0x90, 0xE0, 0x92, 0x34, 0x07, 0x60, 0xAA]).unwrap();
        let expected = Descriptor {
            start: true,
            picture_id: Some(PictureId::Long(0x1234)),
            tl0_pic_idx: Some(7),
            temporal: Some((1, true)),
            ..Descriptor::default()
        };
        assert_eq!((descriptor, rest), (expected, &[0xAA][..]));
        for cut in 0..6 {
            assert!(Descriptor::parse(&[0x90, 0xE0, 0x92, 0x34, 0x07, 0x60][..cut]).is_none(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            flags in any::<(bool, bool)>(), partition in 0u8..8,
            picture_id in prop::option::of(prop_oneof![(0u8..128).prop_map(PictureId::Short), (0u16..0x8000).prop_map(PictureId::Long)]),
            tl0_pic_idx in any::<Option<u8>>(), temporal in prop::option::of((0u8..4, any::<bool>())), key_idx in prop::option::of(0u8..32),
        ) {
            let descriptor = Descriptor { non_reference: flags.0, start: flags.1, partition, picture_id, tl0_pic_idx, temporal, key_idx };
            let mut out = [0; MAX_LEN];
            let len = descriptor.write(&mut out);
            prop_assert_eq!(Descriptor::parse(&out[..len]), Some((descriptor, &[][..])));
        }
    }
}
