//! Reading single bits, and exp-Golomb codes (H.264 section 9.1). Reading past the end gives `None`, never a panic.

/// Reads bits from the most significant one on.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// At the first bit of `data`.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    /// At bit `position` of `data`.
    pub(super) fn at(data: &'a [u8], position: usize) -> Self {
        Self { data, position }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn left(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.position)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.data.get(self.position / 8)?;
        let bit = (byte >> (7 - self.position % 8)) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// `count` bits, 0 to 32, as a number.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u64;
        for _ in 0..count.min(32) {
            value = (value << 1) | u64::from(self.flag()?);
        }
        u32::try_from(value).ok()
    }

    /// Leaves out `count` bits.
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        if count > self.left() {
            return None;
        }
        self.position += count;
        Some(())
    }

    /// Leaves out bits up to the next whole byte, counted from the beginning of the data.
    pub(super) fn align(&mut self) {
        self.position = self.position.div_ceil(8) * 8;
    }

    /// `ue(v)`: an unsigned exp-Golomb code, 0 to 2^32 - 2.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        u32::try_from((1u64 << zeros) - 1 + u64::from(rest)).ok()
    }

    /// `se(v)`: a signed exp-Golomb code.
    pub(super) fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

/// Writes bits from the most significant one on.
#[derive(Debug, Clone, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    bits: usize,
}

impl BitWriter {
    /// The low `count` bits of `value`, 0 to 32.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        for index in (0..count.min(32)).rev() {
            if self.bits.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (((value >> index) & 1) as u8) << (7 - self.bits % 8);
            }
            self.bits += 1;
        }
    }

    /// `count` bits of what is read next.
    pub(super) fn copy(&mut self, reader: &mut BitReader<'_>, count: usize) -> Option<()> {
        for _ in 0..count {
            self.put(u32::from(reader.flag()?), 1);
        }
        Some(())
    }

    /// Zeros up to the next whole byte.
    pub(super) fn align(&mut self) {
        self.bits = self.bytes.len() * 8;
    }

    /// What was written, filled with zeros.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00111 | 0
        let data = [0b1010_0110, 0b0100_0011, 0b1000_0000];
        let mut unsigned = BitReader::new(&data);
        assert_eq!([0; 5].map(|_| unsigned.ue()), [Some(0), Some(1), Some(2), Some(3), Some(6)]);
        assert_eq!(unsigned.ue(), None, "zeros up to the end");
        let mut signed = BitReader::new(&data);
        assert_eq!([0; 5].map(|_| signed.se()), [Some(0), Some(1), Some(-1), Some(2), Some(-3)]);
        assert_eq!(BitReader::new(&[0; 9]).ue(), None, "more zeros than any code has");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = BitWriter::default();
        writer.put(0b101, 3);
        writer.copy(&mut BitReader::new(&[0xAB, 0xCD]), 12).unwrap();
        writer.align();
        writer.put(0x7F, 8);
        let bytes = writer.finish();
        let mut reader = BitReader::new(&bytes);
        assert_eq!((reader.bits(3), reader.bits(12), reader.bits(1), reader.bits(8)), (Some(5), Some(0xABC), Some(0), Some(0x7F)));
        assert_eq!(BitWriter::default().copy(&mut BitReader::new(&[1]), 9), None);
    }

    #[test]
    fn bits_and_the_end() {
        let mut reader = BitReader::new(&[0xAB, 0xCD, 0xEF, 0x01, 0x23]);
        assert_eq!(reader.bits(4), Some(0xA));
        reader.align();
        assert_eq!(reader.bits(32), Some(0xCDEF_0123));
        assert_eq!(reader.bits(0), Some(0));
        assert_eq!(reader.flag(), None);
        assert_eq!(reader.skip(1), None);
    }
}
