//! The NAL units of a message, however its encoder laid them out.
//!
//! In: what stands behind an FLV tag's header: NAL units behind lengths of any size, behind start codes, or first so and then so. Out: the NAL
//! units, without empty ones and trailing zeros, and whether something was cut off.

use super::avcc::{annexb_nals, find_start_code};
use super::nal::NalType;

/// Most NAL units of one message. Level 6.2 allows some hundreds of slices; more is an attack on our memory.
pub(super) const MAX_NALS: usize = 2048;

/// How far into a NAL unit start codes are looked for where nothing points to them.
const PEEK: usize = 16;
/// Longest NAL unit that isn't a slice in which start codes are looked for: parameter sets and SEI with another one behind them.
const SMALL: usize = 4096;

/// What came out of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// The whole NAL units in order, each at least one byte long.
    pub nals: Vec<&'a [u8]>,
    /// A length overruns the message: what follows the last whole NAL unit was left out. Also where there are too many.
    pub damaged: bool,
}

/// Takes a message apart. `length_size` is what its sequence header says (1 to 4): encoders that don't keep to it are understood too.
pub fn split_nals(data: &[u8], length_size: usize) -> Split<'_> {
    let mut split = Split { nals: Vec::new(), damaged: false };
    let agreed = by_lengths(data, length_size);
    // A start code can be read as a length: then all is looked at, else a few bytes.
    let depth = if starts_with_code(data) { usize::MAX } else { PEEK };
    if agreed.is_plausible(depth) {
        split.take_all(agreed.nals);
    } else if starts_with_code(data) {
        split.take_annexb(data);
    } else if let Some(other) = [4, 2, 3, 1].map(|size| by_lengths(data, size)).into_iter().find(|other| other.is_plausible(usize::MAX)) {
        split.take_all(other.nals);
    } else if agreed.is_whole() {
        split.take_all(agreed.nals);
    } else {
        // What is whole, then maybe start codes after all.
        let rest = agreed.rest;
        split.take_all(agreed.nals);
        if starts_with_code(rest) {
            split.take_annexb(rest);
        } else {
            // Zeros alone are padding.
            split.damaged = !rest.is_empty();
        }
    }
    split
}

impl<'a> Split<'a> {
    fn take_all(&mut self, nals: Vec<&'a [u8]>) {
        for nal in nals {
            let small = nal.len() <= SMALL && !NalType::of(nal[0]).is_slice();
            match if small { find_start_code(nal) } else { None } {
                // One length for several NAL units.
                Some(at) if !starts_with_code(nal) => {
                    self.take(&nal[..at]);
                    self.take_annexb(&nal[at..]);
                }
                _ if starts_with_code(nal) => self.take_annexb(nal),
                _ => self.take(nal),
            }
        }
    }

    fn take_annexb(&mut self, data: &'a [u8]) {
        annexb_nals(data).for_each(|nal| self.take(nal));
    }

    fn take(&mut self, nal: &'a [u8]) {
        // A NAL unit never ends with zeros (H.264 section 7.4.1): they are padding that was counted in.
        let len = nal.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        if len == 0 {
            return;
        }
        if self.nals.len() >= MAX_NALS {
            self.damaged = true;
            return;
        }
        self.nals.push(&nal[..len]);
    }
}

/// NAL units by their lengths.
struct ByLengths<'a> {
    nals: Vec<&'a [u8]>,
    /// What doesn't fit; empty where it does, or where it is padding.
    rest: &'a [u8],
}

impl ByLengths<'_> {
    fn is_whole(&self) -> bool {
        self.rest.is_empty() && !self.nals.is_empty()
    }

    /// Whether the lengths are more than an accident: a start code can be read as a length, and other lengths than agreed on too.
    fn is_plausible(&self, depth: usize) -> bool {
        // Within a NAL unit emulation prevention keeps start codes out, and the forbidden bit is 0.
        let sound = |nal: &&[u8]| {
            nal[0] & 0x80 == 0 && (nal.len() > 1 || may_be_one_byte(nal[0])) && find_start_code(&nal[..nal.len().min(depth)]).is_none()
        };
        self.is_whole() && self.nals.iter().all(sound)
    }
}

fn may_be_one_byte(header: u8) -> bool {
    matches!(NalType::of(header), NalType::EndOfSequence | NalType::EndOfStream | NalType::Filler)
}

fn by_lengths(data: &[u8], length_size: usize) -> ByLengths<'_> {
    let (mut nals, mut rest) = (Vec::new(), data);
    // One more than is taken, so that the excess shows.
    while nals.len() <= MAX_NALS
        && let Some((length, after)) = rest.split_at_checked(length_size.clamp(1, 4))
    {
        let length = length.iter().fold(0usize, |value, byte| (value << 8) | usize::from(*byte));
        if length == 1 && starts_with_code(rest) && after.first().is_some_and(|header| !may_be_one_byte(*header)) {
            break; // a start code after all
        }
        let Some((nal, after)) = after.split_at_checked(length) else { break };
        if !nal.is_empty() {
            nals.push(nal);
        }
        rest = after;
    }
    if rest.iter().all(|byte| *byte == 0) {
        rest = &[];
    }
    ByLengths { nals, rest }
}

/// Whether a start code begins here, with any number of zeros before it.
fn starts_with_code(data: &[u8]) -> bool {
    let zeros = data.iter().take_while(|byte| **byte == 0).count();
    let Some([1, header, ..]) = data.get(zeros..) else { return false };
    // Of three bytes it may be the beginning of a length, and the header's byte the end of it: types that nobody sends don't count.
    zeros > 2 || (zeros == 2 && matches!(header & 0x9F, 1..24))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1E, 0xD9];
    const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x11];

    fn lengths(size: usize, nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[4 - size..], nal].concat()).collect()
    }

    fn annexb(code: &[u8], nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [code, nal].concat()).collect()
    }

    #[test]
    fn layouts() {
        let both = &[SPS, IDR][..];
        let long = [&[0x41, 0x9A][..], &[0x55; 298]].concat();
        let longer: &[u8] = &[&[0x41, 0x9A][..], &[0x55; 0x140 - 2]].concat();
        // name, message, length size of the header, NAL units
        type Row<'a> = (&'a str, Vec<u8>, usize, Vec<&'a [u8]>);
        let table: Vec<Row<'_>> = vec![
            ("lengths of 4", lengths(4, both), 4, both.to_vec()),
            ("lengths of 3", lengths(3, both), 3, both.to_vec()),
            ("lengths of 2", lengths(2, both), 2, both.to_vec()),
            ("lengths of 1", lengths(1, both), 1, both.to_vec()),
            ("a header that says 4 before lengths of 2", lengths(2, both), 4, both.to_vec()),
            ("a header that says 2 before lengths of 4", lengths(4, both), 2, both.to_vec()),
            ("a header that says 1 before lengths of 4", lengths(4, both), 1, both.to_vec()),
            ("start codes of 4 bytes", annexb(&[0, 0, 0, 1], both), 4, both.to_vec()),
            ("start codes of 3 bytes", annexb(&[0, 0, 1], both), 4, both.to_vec()),
            ("start codes of 3 bytes, a header that says 2", annexb(&[0, 0, 1], both), 2, both.to_vec()),
            ("start codes with zeros before them", annexb(&[0, 0, 0, 0, 0, 1], both), 4, both.to_vec()),
            ("start codes of 3 bytes before a long slice", annexb(&[0, 0, 1], &[&long]), 4, vec![&long]),
            ("a start code that is the right length, too", annexb(&[0, 0, 1], &[longer]), 4, vec![longer]),
            ("a length that looks like a start code", lengths(4, &[&long]), 4, vec![&long]),
            ("the same behind a short one", lengths(4, &[SPS, &long]), 4, vec![SPS, &long]),
            ("a length of 1", lengths(4, &[&[0x0B]]), 4, vec![&[0x0B]]),
            ("a length of 1 in the middle", lengths(4, &[IDR, &[0x0A], SPS]), 4, vec![IDR, &[0x0A], SPS]),
            ("start codes behind lengths", [lengths(4, &[SPS]), annexb(&[0, 0, 0, 1], &[IDR])].concat(), 4, both.to_vec()),
            (
                "a length before each start code",
                lengths(4, &[&annexb(&[0, 0, 0, 1], &[SPS]), &annexb(&[0, 0, 1], &[IDR])]),
                4,
                both.to_vec(),
            ),
            ("one length for all start codes", lengths(4, &[&annexb(&[0, 0, 1], both)]), 4, both.to_vec()),
            ("empty NAL units", lengths(4, &[&[], SPS, &[], IDR, &[]]), 4, both.to_vec()),
            ("trailing zeros", [lengths(4, both), vec![0; 3]].concat(), 4, both.to_vec()),
            ("zeros within a length", lengths(4, &[SPS, &[IDR, &[0, 0, 0]].concat()]), 4, both.to_vec()),
            ("cabac_zero_words", lengths(4, &[&[IDR, &[0, 0, 3, 0, 0, 3]].concat()]), 4, vec![&[0x65, 0x88, 0x84, 0x11, 0, 0, 3, 0, 0, 3]]),
        ];
        for (name, data, size, nals) in table {
            assert_eq!(split_nals(&data, size), Split { nals, damaged: false }, "{name}");
        }
    }

    #[test]
    fn what_is_whole_is_kept() {
        let overrun = [lengths(4, &[SPS]), vec![0, 0, 1, 0, 0x65, 0x88]].concat();
        let cut = [lengths(4, &[SPS]), vec![0, 7]].concat();
        type Row<'a> = (&'a str, &'a [u8], Vec<&'a [u8]>);
        let table: [Row<'_>; 4] = [
            ("overruns", &overrun, vec![SPS]),
            ("cut length", &cut, vec![SPS]),
            ("only that", &overrun[9..], vec![]),
            ("one byte", &[5], vec![]),
        ];
        for (name, data, nals) in table {
            assert_eq!(split_nals(data, 4), Split { nals, damaged: true }, "{name}");
        }
        assert_eq!(split_nals(&[], 4), Split { nals: Vec::new(), damaged: false });
        let many = lengths(1, &vec![&[0x41u8][..]; MAX_NALS + 5]);
        let split = split_nals(&many, 1);
        assert_eq!((split.nals.len(), split.damaged), (MAX_NALS, true));
    }

    proptest! {
        #[test]
        fn every_layout_gives_the_same(nals in prop::collection::vec((1u8..24, prop::collection::vec(1u8..=255, 1..600)), 1..6), layout in 0usize..5) {
            // As first slices have it, first_mb_in_slice 0.
            let nals: Vec<Vec<u8>> = nals.into_iter().map(|(kind, body)| [&[0x60 | kind, 0x80][..], &body].concat()).collect();
            let nals: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
            let data = match layout {
                0 => lengths(4, &nals),
                1 => lengths(3, &nals),
                2 => lengths(2, &nals),
                3 => annexb(&[0, 0, 0, 1], &nals),
                _ => annexb(&[0, 0, 1], &nals),
            };
            let size = [4, 3, 2, 4, 4][layout];
            prop_assert_eq!(split_nals(&data, size), Split { nals, damaged: false });
        }

        #[test]
        fn never_more_than_came(data in prop::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..300), size in 0usize..6) {
            let split = split_nals(&data, size);
            prop_assert!(split.nals.iter().map(|nal| nal.len()).sum::<usize>() <= data.len());
            prop_assert!(split.nals.iter().all(|nal| !nal.is_empty()));
        }
    }
}
