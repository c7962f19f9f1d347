//! ISO base media boxes: walking over them and writing them.
//!
//! In: bytes that may be damaged or cut off. Out: box payloads as slices (nothing is copied), or new bytes.
//! ISO/IEC 14496-12 section 4.2.

use super::error::CmafError;
use super::four_cc::FourCc;

/// One box inside a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoxRef<'a> {
    pub name: FourCc,
    /// Where its header begins in the slice that was walked.
    pub offset: usize,
    /// Header and payload.
    pub whole: &'a [u8],
    /// What follows the header.
    pub payload: &'a [u8],
}

impl BoxRef<'_> {
    /// Where the box ends in the slice that was walked.
    pub(crate) fn end(&self) -> usize {
        self.offset + self.whole.len()
    }
}

/// Walks over the boxes of one level. After an error there is nothing more.
#[derive(Debug, Clone)]
pub(crate) struct Boxes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Boxes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The first box called `name`, looking no deeper than this level.
    pub(crate) fn find(bytes: &'a [u8], name: &[u8; 4], parent: &'static str) -> Result<BoxRef<'a>, CmafError> {
        Self::find_optional(bytes, name)?.ok_or(CmafError::Missing { name: FourCc(*name), parent })
    }

    /// As [`Boxes::find`], but its absence is not an error.
    pub(crate) fn find_optional(bytes: &'a [u8], name: &[u8; 4]) -> Result<Option<BoxRef<'a>>, CmafError> {
        for item in Boxes::new(bytes) {
            let item = item?;
            if item.name.0 == *name {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<BoxRef<'a>, CmafError> {
        let offset = self.at;
        let rest = &self.bytes[offset..];
        self.at = self.bytes.len();
        let have = rest.len();
        let mut fields = Fields::new(FourCc(*b"box "), rest);
        let (Ok(short), Ok(name)) = (fields.u32(), fields.array::<4>()) else {
            return Err(CmafError::Truncated { name: FourCc(*b"box "), offset, need: 8, have });
        };
        let name = FourCc(name);
        let (size, header) = match short {
            0 => (have as u64, 8), // up to the end of the file
            1 => (fields.u64().map_err(|_| CmafError::Truncated { name, offset, need: 16, have })?, 16),
            size => (u64::from(size), 8),
        };
        if size < header as u64 {
            return Err(CmafError::Damaged { name, why: "its size is smaller than its header" });
        }
        let Some(whole) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else {
            return Err(CmafError::Truncated { name, offset, need: size, have });
        };
        self.at = offset + whole.len();
        Ok(BoxRef { name, offset, whole, payload: &whole[header..] })
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<BoxRef<'a>, CmafError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.bytes.len()).then(|| self.read())
    }
}

/// Reads the fields of one box; running out of bytes is [`CmafError::Damaged`].
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    name: FourCc,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(name: FourCc, payload: &'a [u8]) -> Self {
        Self { name, rest: payload }
    }

    /// The fields of a full box behind its version and flags, which come back too.
    pub(super) fn full(item: &BoxRef<'a>) -> Result<(u8, u32, Self), CmafError> {
        let mut fields = Self::new(item.name, item.payload);
        let word = fields.u32()?;
        Ok(((word >> 24) as u8, word & 0x00FF_FFFF, fields))
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], CmafError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(CmafError::Damaged { name: self.name, why: "it ends before its last field" });
        };
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CmafError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CmafError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, CmafError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, CmafError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, CmafError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, CmafError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A field of 32 bits in version 0 and 64 in version 1.
    pub(super) fn wide(&mut self, version: u8) -> Result<u64, CmafError> {
        if version == 0 { self.u32().map(u64::from) } else { self.u64() }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Writes boxes into memory; sizes are filled in when a box is closed.
#[derive(Debug, Default)]
pub(crate) struct BoxWriter {
    out: Vec<u8>,
}

impl BoxWriter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A box whose payload `fill` writes. Boxes above 4 GiB are not for this writer (see the `mdat` header of a progressive file).
    pub(crate) fn boxed(&mut self, name: &[u8; 4], fill: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.u32(0);
        self.bytes(name);
        fill(self);
        let size = (self.out.len() - start) as u32;
        self.out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// A full box: version and flags before the payload.
    pub(crate) fn full(&mut self, name: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Self)) {
        self.boxed(name, |w| {
            w.u32(u32::from(version) << 24 | (flags & 0x00FF_FFFF));
            fill(w);
        });
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Big-endian.
    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Big-endian.
    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Big-endian.
    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// 32 bits in version 0, 64 in version 1.
    pub(crate) fn wide(&mut self, version: u8, value: u64) {
        if version == 0 { self.u32(value as u32) } else { self.u64(value) }
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_every_kind() {
        let mut bytes = vec![0, 0, 0, 9, b'a', b'b', b'c', b'd', 7];
        bytes.extend([0, 0, 0, 1, b'l', b'o', b'n', b'g', 0, 0, 0, 0, 0, 0, 0, 18, 1, 2]);
        bytes.extend([0, 0, 0, 0, b'l', b'a', b's', b't', 3]);
        let seen: Vec<_> = Boxes::new(&bytes).map(|b| b.map(|b| (b.name.to_string(), b.offset, b.payload.to_vec()))).collect();
        assert_eq!(seen, [Ok(("abcd".into(), 0, vec![7])), Ok(("long".into(), 9, vec![1, 2])), Ok(("last".into(), 27, vec![3]))]);
    }

    #[test]
    fn lies_about_sizes() {
        for (bytes, truncated) in [
            (&[0, 0, 0, 7, b'a', b'b', b'c', b'd'][..], false),
            (&[0, 0, 0, 12, b'a', b'b', b'c', b'd', 0], true),
            (&[0, 0, 0, 1, b'a', b'b', b'c', b'd', 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], true),
            (&[0, 0, 0, 1, b'a', b'b', b'c', b'd', 0, 0, 0, 0, 0, 0, 0, 15], false),
            (&[0, 0, 0], true),
        ] {
            let mut boxes = Boxes::new(bytes);
            let error = boxes.next().unwrap().unwrap_err();
            assert_eq!(matches!(error, CmafError::Truncated { .. }), truncated, "{error}");
            assert!(boxes.next().is_none());
        }
    }

    #[test]
    fn written_boxes_read_back() {
        let mut w = BoxWriter::new();
        w.boxed(b"moof", |w| w.full(b"mfhd", 1, 2, |w| w.u32(3)));
        let bytes = w.finish();
        let moof = Boxes::find(&bytes, b"moof", "file").unwrap();
        let mfhd = Boxes::find(moof.payload, b"mfhd", "moof").unwrap();
        let (version, flags, mut fields) = Fields::full(&mfhd).unwrap();
        assert_eq!((version, flags, fields.u32().unwrap(), fields.rest().len()), (1, 2, 3, 0));
        assert!(Boxes::find(moof.payload, b"traf", "moof").is_err());
    }
}
