//! Pictures that repeat another one: a P picture all of whose macroblocks are skipped, some twenty bytes (H.264 section 7.3.4).
//!
//! In: a stream's parameter sets and its pictures in decoding order. Out: a picture that looks like the one shown at a time and that no
//! other refers to, so that it may stand anywhere between two others and takes nothing from them.

use bytes::{BufMut, Bytes, BytesMut};

use super::avcc::avcc_nals;
use super::nal::{NalType, ref_idc};
use super::sps::{SpsInfo, parse_sps, unescape};
use crate::codec::bits::BitReader;

/// Bytes of a slice header that are read: the codes up to `pic_order_cnt_lsb` have less than 200 bits.
const HEAD: usize = 32;
/// Most reference pictures there can be.
const MAX_REFERENCES: usize = 16;
/// An access unit delimiter: else two repetitions in a row would be one picture (H.264 section 7.4.1.2.4).
const DELIMITER: [u8; 2] = [0x09, 0x30];

/// What a PPS says about slices (H.264 section 7.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pps {
    id: u32,
    cabac: bool,
    bottom_field_order: bool,
    weighted: bool,
    qp: i32,
    deblocking_control: bool,
    redundant_pictures: bool,
}

/// A picture that others may refer to.
#[derive(Debug, Clone, Copy)]
struct Reference {
    frame_num: u32,
    order: u32,
    pts: i64,
}

/// Repeats pictures of one stream.
#[derive(Debug)]
pub(crate) struct Repeater {
    sps: SpsInfo,
    pps: Vec<Pps>,
    /// In decoding order, as the sliding window keeps them.
    references: Vec<Reference>,
    /// Of the newest picture.
    pps_id: u32,
}

impl Repeater {
    /// For a stream's parameter sets. `None` where it can't be done: interlaced pictures, slice groups, no references at all.
    pub(crate) fn new(sps: &[Bytes], pps: &[Bytes]) -> Option<Self> {
        let [sps] = sps else { return None };
        let sps = parse_sps(sps).ok()?;
        if sps.interlaced || sps.separate_planes || sps.max_ref_frames == 0 {
            return None;
        }
        let pps: Option<Vec<Pps>> = pps.iter().map(|pps| parse_pps(pps)).collect();
        Some(Self { sps, pps: pps.filter(|pps| !pps.is_empty())?, references: Vec::new(), pps_id: 0 })
    }

    /// Takes the next picture in decoding order (4-byte lengths), shown at `pts`.
    pub(crate) fn note(&mut self, data: &[u8], pts: i64) {
        let slice = avcc_nals(data, 4).find(|nal| nal.first().is_some_and(|header| NalType::of(*header).is_slice()));
        let Some((header, idr, frame_num, order)) = slice.and_then(|nal| self.head(nal)) else {
            self.references.clear();
            return;
        };
        if idr {
            self.references.clear();
        }
        if ref_idc(header) > 0 {
            self.references.push(Reference { frame_num, order, pts });
            let most = (self.sps.max_ref_frames as usize).min(MAX_REFERENCES);
            let surplus = self.references.len().saturating_sub(most);
            self.references.drain(..surplus);
        }
    }

    /// Header byte, whether it is IDR, `frame_num` and `pic_order_cnt_lsb` of a slice.
    fn head(&mut self, nal: &[u8]) -> Option<(u8, bool, u32, u32)> {
        let header = *nal.first()?;
        let rbsp = unescape(nal.get(1..nal.len().min(HEAD))?);
        let mut reader = BitReader::new(&rbsp);
        reader.ue()?; // first_mb_in_slice
        reader.ue()?; // slice_type
        self.pps_id = reader.ue()?;
        let frame_num = reader.bits(u32::from(self.sps.frame_num_bits))?;
        let idr = NalType::of(header) == NalType::Idr;
        if idr {
            reader.ue()?; // idr_pic_id
        }
        let order = if self.sps.pic_order_cnt_type == 0 { reader.bits(u32::from(self.sps.poc_lsb_bits))? } else { 0 };
        Some((header, idr, frame_num, order))
    }

    /// A picture (4-byte lengths) to be shown at `pts` and decoded after all that were noted: it looks as what is shown then. `None` where
    /// nothing is known that it could refer to.
    pub(crate) fn repeat(&self, pts: i64) -> Option<Bytes> {
        let newest = self.references.last()?;
        let earlier = self.references.iter().filter(|reference| reference.pts <= pts).max_by_key(|reference| reference.pts);
        let shown = earlier.or_else(|| self.references.iter().min_by_key(|reference| reference.pts))?;
        let pps = self.pps.iter().find(|pps| pps.id == self.pps_id)?;
        let frame_num = (newest.frame_num + 1) & mask(u32::from(self.sps.frame_num_bits));
        let mut bits = BitWriter::default();
        bits.ue(0); // first_mb_in_slice
        bits.ue(5); // slice_type: P, as all slices of the picture
        bits.ue(pps.id);
        bits.bits(frame_num, u32::from(self.sps.frame_num_bits));
        match self.sps.pic_order_cnt_type {
            0 => {
                bits.bits(shown.order.wrapping_add(1) & mask(u32::from(self.sps.poc_lsb_bits)), u32::from(self.sps.poc_lsb_bits));
                if pps.bottom_field_order {
                    bits.ue(0); // delta_pic_order_cnt_bottom
                }
            }
            1 if !self.sps.delta_pic_order_always_zero => (0..=u8::from(pps.bottom_field_order)).for_each(|_| bits.ue(0)), // delta_pic_order_cnt
            _ => {}
        }
        if pps.redundant_pictures {
            bits.ue(0);
        }
        bits.bits(1, 1); // num_ref_idx_active_override_flag
        bits.ue(0); // one reference
        let back = frame_num.wrapping_sub(shown.frame_num) & mask(u32::from(self.sps.frame_num_bits));
        if shown.frame_num == newest.frame_num {
            bits.bits(0, 1); // the list begins with the newest anyway
        } else {
            bits.bits(1, 1);
            bits.ue(0); // subtract
            bits.ue(back.checked_sub(1)?); // abs_diff_pic_num_minus1
            bits.ue(3); // no more
        }
        if pps.weighted {
            bits.ue(0); // luma_log2_weight_denom
            let chroma = self.sps.chroma_format > 0;
            if chroma {
                bits.ue(0);
            }
            bits.bits(0, 1 + u32::from(chroma)); // default weights
        }
        if pps.cabac {
            bits.ue(0); // cabac_init_idc
        }
        bits.se(MAX_QP - pps.qp); // slice_qp_delta: nothing is coded that it could change
        if pps.deblocking_control {
            bits.ue(1); // none
        }
        if pps.cabac {
            bits.align(true);
            skip_all(self.sps.macroblocks, &mut bits);
        } else {
            bits.ue(self.sps.macroblocks); // mb_skip_run
            bits.bits(1, 1); // rbsp_stop_one_bit
        }
        bits.align(false);
        let mut slice = vec![NAL_SLICE];
        escape(&bits.bytes, &mut slice);
        let mut out = BytesMut::with_capacity(16 + slice.len());
        for nal in [&DELIMITER[..], &slice] {
            out.put_u32(nal.len() as u32);
            out.put_slice(nal);
        }
        Some(out.freeze())
    }
}

/// A slice of a picture that is neither IDR nor referred to.
const NAL_SLICE: u8 = 1;
/// The quantizer of repetitions: with it a skipped macroblock is the likely symbol from the first one on.
const MAX_QP: i32 = 51;

fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

fn parse_pps(nal: &[u8]) -> Option<Pps> {
    let rbsp = unescape(nal.get(1..)?);
    let mut reader = BitReader::new(&rbsp);
    let id = reader.ue()?;
    reader.ue()?; // seq_parameter_set_id
    let cabac = reader.flag()?;
    let bottom_field_order = reader.flag()?;
    if reader.ue()? != 0 {
        return None; // slice groups
    }
    reader.ue()?;
    reader.ue()?;
    let weighted = reader.flag()?;
    reader.skip(2)?;
    let qp = 26 + reader.se()?.clamp(-100, 25);
    reader.se()?;
    reader.se()?;
    let deblocking_control = reader.flag()?;
    reader.skip(1)?;
    let redundant_pictures = reader.flag()?;
    Some(Pps { id, cabac, bottom_field_order, weighted, qp, deblocking_control, redundant_pictures })
}

/// Puts emulation prevention bytes in (H.264 section 7.4.1.1).
fn escape(data: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in data {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

/// Writes bits from the most significant one on.
#[derive(Debug, Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are taken.
    used: u32,
}

impl BitWriter {
    fn bits(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (((value >> bit) & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    fn ue(&mut self, value: u32) {
        let code = value.saturating_add(1);
        let length = 32 - code.leading_zeros();
        self.bits(0, length - 1);
        self.bits(code, length);
    }

    fn se(&mut self, value: i32) {
        self.ue(if value > 0 { 2 * value.unsigned_abs() - 1 } else { 2 * value.unsigned_abs() });
    }

    fn align(&mut self, ones: bool) {
        while self.used != 0 {
            self.bits(u32::from(ones), 1);
        }
    }
}

/// `rangeTabLPS` (H.264 table 9-44) for the states from 42 on.
const RANGE_LPS: [[u32; 4]; 21] = [
    [16, 20, 23, 27],
    [15, 19, 22, 25],
    [14, 18, 21, 24],
    [14, 17, 20, 23],
    [13, 16, 19, 22],
    [12, 15, 18, 21],
    [12, 14, 17, 20],
    [11, 14, 16, 19],
    [11, 13, 15, 18],
    [10, 12, 15, 17],
    [10, 12, 14, 16],
    [9, 11, 13, 15],
    [9, 11, 12, 14],
    [8, 10, 12, 14],
    [8, 9, 11, 13],
    [7, 9, 11, 12],
    [7, 9, 10, 12],
    [7, 8, 10, 11],
    [6, 8, 9, 11],
    [6, 7, 9, 10],
    [6, 7, 8, 9],
];

/// `mb_skip_flag` 1 and `end_of_slice_flag` 0 for each macroblock, 1 for the last (H.264 section 9.3.4.2). With the quantizer 51 the context of
/// the first (11, `cabac_init_idc` 0: m 23, n 33) begins in state 42 with 1 as the likely symbol.
fn skip_all(macroblocks: u32, out: &mut BitWriter) {
    let mut coder = Coder { low: 0, range: 510, outstanding: 0, first: true };
    let mut state = 0;
    for macroblock in 0..macroblocks {
        coder.range -= RANGE_LPS[state][(coder.range >> 6 & 3) as usize];
        coder.renormalize(out);
        state = (state + 1).min(RANGE_LPS.len() - 1);
        coder.range -= 2;
        if macroblock + 1 < macroblocks {
            coder.renormalize(out);
        }
    }
    coder.low += coder.range;
    coder.range = 2;
    coder.renormalize(out);
    coder.put(coder.low >> 9 & 1, out);
    out.bits((coder.low >> 7 & 3) | 1, 2); // the last one is rbsp_stop_one_bit
}

/// The arithmetic encoder's registers.
struct Coder {
    low: u32,
    range: u32,
    outstanding: u32,
    first: bool,
}

impl Coder {
    fn renormalize(&mut self, out: &mut BitWriter) {
        while self.range < 256 {
            if self.low < 256 {
                self.put(0, out);
            } else if self.low >= 512 {
                self.low -= 512;
                self.put(1, out);
            } else {
                self.low -= 256;
                self.outstanding += 1;
            }
            self.range <<= 1;
            self.low <<= 1;
        }
    }

    fn put(&mut self, bit: u32, out: &mut BitWriter) {
        if self.first {
            self.first = false;
        } else {
            out.bits(bit, 1);
        }
        for _ in 0..std::mem::take(&mut self.outstanding) {
            out.bits(1 - bit, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::config::AvcConfig;
    use super::super::samples::SAMPLES;
    use super::*;

    /// An access unit of one slice: its header byte, then first_mb 0, slice_type 5, PPS 0 and what `rest` says.
    fn unit(header: u8, rest: &[(u32, u32)]) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.ue(0);
        bits.ue(5);
        bits.ue(0);
        rest.iter().for_each(|(value, count)| bits.bits(*value, *count));
        bits.bits(1, 1);
        bits.bytes.extend([0xAA; 8]);
        let mut nal = vec![header];
        escape(&bits.bytes, &mut nal);
        [&(nal.len() as u32).to_be_bytes()[..], &nal].concat()
    }

    fn repeaters() -> Vec<Repeater> {
        let config = |avcc: &str| {
            let bytes: Vec<u8> = (0..avcc.len()).step_by(2).map(|at| u8::from_str_radix(&avcc[at..at + 2], 16).unwrap()).collect();
            AvcConfig::parse(&Bytes::from(bytes)).unwrap()
        };
        SAMPLES.iter().map(|sample| config(sample.avcc)).filter_map(|config| Repeater::new(&config.sps, &config.pps)).collect()
    }

    #[test]
    fn a_repetition_is_a_small_picture_that_nothing_refers_to() {
        let repeaters = repeaters();
        assert!(repeaters.len() >= 2, "all samples but the interlaced one");
        for mut repeater in repeaters {
            assert_eq!(repeater.repeat(0), None, "there is nothing to repeat");
            let bits = u32::from(repeater.sps.frame_num_bits);
            repeater.note(&unit(0x65, &[(0, bits), (1, 1), (0, u32::from(repeater.sps.poc_lsb_bits))]), 0);
            repeater.note(&unit(0x41, &[(1, bits), (6, u32::from(repeater.sps.poc_lsb_bits))]), 100);
            // Before the newest reference is shown, it looks as the one before it.
            for (pts, order) in [(50, 1), (150, 7)] {
                let data = repeater.repeat(pts).unwrap();
                assert!(data.len() < 100, "{}", data.len());
                let nals: Vec<&[u8]> = avcc_nals(&data, 4).collect();
                assert_eq!((nals.len(), nals[0], nals[1][0]), (2, &DELIMITER[..], NAL_SLICE));
                let (header, idr, frame_num, seen) = repeater.head(nals[1]).unwrap();
                assert_eq!((ref_idc(header), idr, frame_num), (0, false, 2));
                if repeater.sps.pic_order_cnt_type == 0 {
                    assert_eq!(seen, if repeater.sps.max_ref_frames > 1 { order } else { 7 });
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(units in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..64), any::<i64>()), 0..40)) {
            for mut repeater in repeaters() {
                for (unit, pts) in &units {
                    repeater.note(unit, *pts);
                    repeater.note(&[&(unit.len() as u32).to_be_bytes()[..], unit].concat(), *pts);
                    if let Some(data) = repeater.repeat(*pts) {
                        // No start code within.
                        prop_assert!(avcc_nals(&data, 4).all(|nal| nal.windows(3).all(|three| three[..2] != [0, 0] || three[2] > 2)));
                    }
                }
            }
        }

        #[test]
        fn any_parameter_sets_are_survived(sps in proptest::collection::vec(any::<u8>(), 0..40), pps in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = Repeater::new(&[sps.into()], &[pps.into()]);
        }
    }
}
