//! What can be seen of an RTP payload (RFC 6184) or an access unit without decoding.

use super::avcc::avcc_nals;
use super::nal::{NalType, ref_idc};
use super::sps::parse_sps;
use crate::codec::PayloadFacts;
use crate::codec::bits::BitReader;

/// Width and height in pixels, where the payload is or has a sequence parameter set that can be read.
pub(crate) fn payload_resolution(payload: &[u8]) -> Option<(u32, u32)> {
    let of = |sps: &[u8]| parse_sps(sps).ok().map(|info| (info.width, info.height));
    match NalType::of(*payload.first()?) {
        NalType::Sps => of(payload),
        NalType::StapA => {
            avcc_nals(payload.get(1..)?, 2).filter(|nal| nal.first().is_some_and(|b| NalType::of(*b) == NalType::Sps)).find_map(of)
        }
        _ => None,
    }
}

/// The facts of one payload; see [`PayloadFacts`].
pub(crate) fn payload_facts(payload: &[u8]) -> PayloadFacts {
    let Some(&indicator) = payload.first() else { return PayloadFacts::default() };
    match NalType::of(indicator) {
        kind @ (NalType::StapA | NalType::Other(25)) => {
            // STAP-B has a decoding order number before its NAL units.
            let nals = payload.get(if kind == NalType::StapA { 1 } else { 3 }..).unwrap_or_default();
            let mut facts = PayloadFacts { disposable: true, ..PayloadFacts::default() };
            let mut any = false;
            for nal in avcc_nals(nals, 2) {
                let one = nal_facts(nal[0], nal.get(1).copied());
                facts.starts_frame |= one.starts_frame;
                facts.key_frame_start |= one.key_frame_start;
                facts.disposable &= one.disposable;
                any = true;
            }
            if any { facts } else { PayloadFacts::default() }
        }
        NalType::FuA => {
            let Some(&fu) = payload.get(1) else { return PayloadFacts::default() };
            let facts = nal_facts((indicator & 0xE0) | (fu & 0x1F), payload.get(2).copied());
            let start = fu & 0x80 != 0;
            PayloadFacts {
                key_frame_start: start && facts.key_frame_start,
                disposable: facts.disposable,
                starts_frame: start && facts.starts_frame,
            }
        }
        _ => nal_facts(indicator, payload.get(1).copied()),
    }
}

fn nal_facts(header: u8, second: Option<u8>) -> PayloadFacts {
    let kind = NalType::of(header);
    // first_mb_in_slice is an exp-Golomb code at the beginning of the slice header: a one bit is 0.
    let first_slice = second.is_some_and(|byte| byte & 0x80 != 0);
    let (starts_frame, key_frame_start) = match kind {
        NalType::Slice | NalType::Partition => (first_slice, false),
        NalType::Idr => (first_slice, first_slice),
        NalType::Sps => (true, true),
        NalType::Aud | NalType::Pps | NalType::Sei => (true, false),
        _ => (false, false),
    };
    let needed = matches!(kind, NalType::Idr | NalType::Sps | NalType::Pps | NalType::StapA | NalType::FuA | NalType::Other(_));
    PayloadFacts { key_frame_start, disposable: ref_idc(header) == 0 && !needed, starts_frame }
}

/// Whether an access unit (4-byte lengths) is an IDR picture: what any decoder can begin with.
pub(crate) fn unit_is_idr(data: &[u8]) -> bool {
    avcc_nals(data, 4).any(|nal| NalType::of(nal[0]) == NalType::Idr)
}

/// Whether no other picture needs an access unit (4-byte lengths): it has slices, and `nal_ref_idc` is 0 in all of them.
pub fn unit_is_disposable(data: &[u8]) -> bool {
    let mut slices = avcc_nals(data, 4).map(|nal| nal[0]).filter(|header| NalType::of(*header).is_slice()).peekable();
    slices.peek().is_some() && slices.all(|header| ref_idc(header) == 0)
}

/// Whether an access unit (4-byte lengths) is a B picture, by the type of its first slice: what shows that an encoder reorders where
/// its SPS leaves it open ([`may_reorder`](super::may_reorder)).
pub fn unit_is_b(data: &[u8]) -> bool {
    avcc_nals(data, 4).any(|nal| {
        if !matches!(NalType::of(nal[0]), NalType::Slice | NalType::Partition) {
            return false;
        }
        // Of a slice header's first two codes the first is the single bit of first_mb_in_slice 0, and the second, slice_type, has at most
        // 7 bits: no emulation prevention can stand before or within them.
        let mut reader = BitReader::new(&nal[1..]);
        reader.ue() == Some(0) && matches!(reader.ue(), Some(1 | 6))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn facts_of_payloads() {
        // payload, key_frame_start, disposable, starts_frame
        let table: [(&[u8], bool, bool, bool); 18] = [
            (&[], false, false, false),
            (&[0x65, 0x88], true, false, true),
            (&[0x65, 0x08], false, false, false), // not the first slice of its picture
            (&[0x41, 0x9A], false, false, true),
            (&[0x01, 0x9A], false, true, true),
            (&[0x01, 0x1A], false, true, false),
            (&[0x67, 0x64], true, false, true),
            (&[0x06, 0x05], false, true, true),
            (&[0x09, 0x10], false, true, true),
            (&[0x7C, 0x85, 0x88], true, false, true), // FU-A, first piece of an IDR slice
            (&[0x7C, 0x05, 0x88], false, false, false),
            (&[0x1C, 0x81, 0x9A], false, true, true),
            (&[0x1C, 0x01, 0x9A], false, true, false),
            (&[0x5C, 0x41, 0x9A], false, false, false),
            (&[0x78, 0, 2, 0x67, 0x64, 0, 2, 0x68, 0xEB], true, false, true),
            (&[0x18, 0, 2, 0x06, 0x05, 0, 2, 0x01, 0x9A], false, true, true),
            (&[0x78, 0, 2, 0x06, 0x05, 0, 2, 0x41, 0x9A], false, false, true),
            (&[0x78, 0xFF, 0xFF, 0x67], false, false, false),
        ];
        for (payload, key_frame_start, disposable, starts_frame) in table {
            assert_eq!(payload_facts(payload), PayloadFacts { key_frame_start, disposable, starts_frame }, "{payload:x?}");
        }
    }

    #[test]
    fn facts_of_units() {
        assert!(unit_is_disposable(&[0, 0, 0, 2, 0x06, 1, 0, 0, 0, 2, 0x01, 0x9A]));
        assert!(!unit_is_disposable(&[0, 0, 0, 2, 0x41, 0x9A]));
        assert!(!unit_is_disposable(&[0, 0, 0, 2, 0x06, 1]));
        assert!(unit_is_b(&[0, 0, 0, 2, 0x06, 1, 0, 0, 0, 2, 0x01, 0x9E])); // slice_type 6
        assert!(unit_is_b(&[0, 0, 0, 2, 0x41, 0xA8])); // slice_type 1
        assert!(!unit_is_b(&[0, 0, 0, 2, 0x41, 0x9A])); // slice_type 5
        assert!(!unit_is_b(&[0, 0, 0, 1, 0x41]));
    }

    proptest! {
        #[test]
        fn never_panics(data in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (payload_facts(&data), unit_is_disposable(&data), unit_is_b(&data));
        }
    }
}
