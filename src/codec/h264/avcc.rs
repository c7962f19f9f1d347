//! NAL units in a row: each behind its length (AVCC, ISO/IEC 14496-15) or behind a start code (Annex B).

use bytes::BufMut;

/// The NAL units of AVCC data whose lengths have `length_size` bytes (1, 2 or 4; others give nothing). Empty NAL units are
/// left out; a length that overruns the data ends it. To have damage reported, or from encoders, use [`split_nals`](super::split_nals).
pub fn avcc_nals(data: &[u8], length_size: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        loop {
            let (nal, after) = split_nal(rest, length_size)?;
            rest = after;
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    })
}

fn split_nal(data: &[u8], length_size: usize) -> Option<(&[u8], &[u8])> {
    if !matches!(length_size, 1 | 2 | 4) || data.len() < length_size {
        return None;
    }
    let (length, rest) = data.split_at(length_size);
    let length = length.iter().fold(0usize, |value, byte| (value << 8) | usize::from(*byte));
    (length <= rest.len()).then(|| rest.split_at(length))
}

/// Appends a NAL unit behind its 4-byte length.
pub(super) fn put_nal(out: &mut impl BufMut, nal: &[u8]) {
    // A NAL unit of 4 GiB does not get here: every source is bounded far below.
    out.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
    out.put_slice(nal);
}

/// The NAL units of Annex B data (start codes of three or four bytes), without empty ones, start codes and trailing zeros.
/// What stands before the first start code is left out.
pub(crate) fn annexb_nals(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = find_start_code(data).map(|at| &data[at + 3..]);
    std::iter::from_fn(move || {
        loop {
            let current = rest?;
            let nal = match find_start_code(current) {
                Some(at) => {
                    rest = Some(&current[at + 3..]);
                    &current[..at]
                }
                None => {
                    rest = None;
                    current
                }
            };
            let len = nal.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            if len > 0 {
                return Some(&nal[..len]);
            }
        }
    })
}

pub(super) fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

/// Appends Annex B data in AVCC layout with 4-byte lengths.
pub fn annexb_to_avcc(data: &[u8], out: &mut impl BufMut) {
    for nal in annexb_nals(data) {
        put_nal(out, nal);
    }
}

/// Appends AVCC data with 4-byte lengths in Annex B layout with 4-byte start codes.
pub fn avcc_to_annexb(data: &[u8], out: &mut impl BufMut) {
    for nal in avcc_nals(data, 4) {
        out.put_slice(&[0, 0, 0, 1]);
        out.put_slice(nal);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_every_size() {
        let table: [(usize, &[u8]); 3] =
            [(1, &[2, 0x65, 1, 0, 1, 9]), (2, &[0, 2, 0x65, 1, 0, 0, 0, 1, 9]), (4, &[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9])];
        for (size, data) in table {
            assert_eq!(avcc_nals(data, size).collect::<Vec<_>>(), [&[0x65, 1][..], &[9]], "{size}");
        }
        assert_eq!(avcc_nals(&[0, 0, 1, 5], 3).count(), 0);
    }

    #[test]
    fn overruns_are_tolerated() {
        assert_eq!(avcc_nals(&[0, 0, 0, 1, 0x65, 0, 0, 1, 0, 0x41], 4).collect::<Vec<_>>(), [&[0x65][..]]);
    }

    #[test]
    fn annexb_with_both_start_codes() {
        let data = [0xFF, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0];
        let nals = annexb_nals(&data).collect::<Vec<_>>();
        assert_eq!(nals, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 0, 3, 1]]);
    }

    proptest! {
        #[test]
        fn layouts_round_trip(nals in prop::collection::vec(prop::collection::vec(1u8..=255, 1..50), 1..10)) {
            let mut avcc = Vec::new();
            nals.iter().for_each(|nal| put_nal(&mut avcc, nal));
            let mut annexb = Vec::new();
            avcc_to_annexb(&avcc, &mut annexb);
            let mut back = Vec::new();
            annexb_to_avcc(&annexb, &mut back);
            prop_assert_eq!(back, avcc);
        }

        #[test]
        fn never_panics(data in prop::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..200), size in 0usize..6) {
            let total: usize = avcc_nals(&data, size).map(<[u8]>::len).sum();
            prop_assert!(total <= data.len());
            prop_assert!(annexb_nals(&data).map(<[u8]>::len).sum::<usize>() <= data.len());
        }
    }
}
