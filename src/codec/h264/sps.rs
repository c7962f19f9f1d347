//! Sequence parameter sets (H.264 sections 7.3.2.1.1 and E.1.1).

use crate::codec::FormatError;
use crate::codec::bits::BitReader;

/// Longest SPS that is looked at: the longest possible one (all scaling lists, 255 reference frame offsets, HRD for both)
/// stays below 4 KiB.
const MAX_SPS: usize = 4096;

/// Widest or highest picture in macroblocks: `sqrt(MaxFS * 8)` of level 6.2 (H.264 section A.3.1).
const MAX_MBS: u32 = 1055;

/// Largest picture in macroblocks: MaxFS of level 6.2 (H.264 table A-1).
const MAX_FRAME_MBS: u32 = 139_264;

/// What an SPS says.
#[derive(Debug, Clone, PartialEq)]
pub struct SpsInfo {
    /// `profile_idc`: 66 baseline, 77 main, 88 extended, 100 high …
    pub profile: u8,
    /// The byte of `constraint_set0_flag` to `constraint_set5_flag`.
    pub constraints: u8,
    /// `level_idc`: ten times the level (31 is 3.1).
    pub level: u8,
    /// Width in pixels after cropping.
    pub width: u32,
    /// Height in pixels after cropping.
    pub height: u32,
    /// Pictures per second by the VUI's timing information.
    pub fps: Option<f64>,
    /// `max_num_reorder_frames` of the VUI's bitstream restriction.
    pub max_reorder: Option<u32>,
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// `pic_order_cnt_type`, 0 to 2. 2 forbids reordering.
    pub pic_order_cnt_type: u8,
    /// `max_num_ref_frames`.
    pub max_ref_frames: u32,
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits per luma sample, 8 to 14.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample, 8 to 14.
    pub bit_depth_chroma: u8,
    /// Whether pictures can be interlaced (`frame_mbs_only_flag` is 0).
    pub interlaced: bool,
    /// Sample aspect ratio, width to height, where it is known.
    pub sar: Option<(u32, u32)>,
    /// Bits of `frame_num` in slice headers, 4 to 16.
    pub frame_num_bits: u8,
    /// Bits of `pic_order_cnt_lsb` in slice headers, 4 to 16; 0 where there is none.
    pub poc_lsb_bits: u8,
    /// `delta_pic_order_always_zero_flag`, of `pic_order_cnt_type` 1.
    pub delta_pic_order_always_zero: bool,
    /// `separate_colour_plane_flag`: slices say which plane they belong to.
    pub separate_planes: bool,
    pub macroblocks: u32,
}

impl SpsInfo {
    /// What browsers' decoders don't have of it: they take 4:2:0 with 8 bits, in baseline, main and high profile.
    pub fn unusual(&self) -> Option<&'static str> {
        let extended = self.profile == 88 && self.constraints & 0xC0 == 0;
        match self.chroma_format {
            0 => Some("monochrome"),
            2 => Some("4:2:2 chroma"),
            3 => Some("4:4:4 chroma"),
            _ if self.bit_depth_luma > 8 || self.bit_depth_chroma > 8 => Some("more than 8 bits a sample"),
            _ if extended => Some("extended profile"),
            // With 8 bits and 4:2:0 it may be lossless, or use other tools of its profile.
            _ if !matches!(self.profile, 66 | 77 | 88 | 100) => Some("a profile above high"),
            _ => None,
        }
    }

    /// Whether pictures may come in another order than they are shown in (B-frames). A guess on the safe side: true
    /// unless the SPS excludes it.
    pub fn may_reorder(&self) -> bool {
        let intra_only = matches!(self.profile, 44 | 100 | 110 | 122 | 244) && self.constraints & 0x10 != 0 || self.profile == 44;
        // Profile 66 has no B slices, and of a stream that conforms to it too (constraint_set0) the same is true.
        let baseline = self.profile == 66 || (matches!(self.profile, 77 | 88) && self.constraints & 0x80 != 0);
        !(baseline || intra_only || self.pic_order_cnt_type == 2 || self.max_reorder == Some(0) || self.max_ref_frames == 0)
    }
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: "SPS", why }
}

/// Reads an SPS NAL unit (with its header byte, without start code or length).
///
/// # Errors
/// Not an SPS, too short, too long, or with values beyond what H.264 allows (such as pictures larger than level 6.2's).
pub fn parse_sps(nal: &[u8]) -> Result<SpsInfo, FormatError> {
    let header = *nal.first().ok_or(malformed("it is empty"))?;
    if header & 0x80 != 0 || header & 0x1F != 7 {
        return Err(malformed("its NAL unit header is another one's"));
    }
    if nal.len() > MAX_SPS {
        return Err(malformed("it is longer than any valid one"));
    }
    let rbsp = unescape(&nal[1..]);
    let mut reader = BitReader::new(&rbsp);
    let mut info = read_head(&mut reader)?;
    // What follows the head is optional to us: some encoders write a VUI that ends too early.
    if reader.flag() == Some(true) {
        let _ = read_vui(&mut reader, &mut info);
    }
    Ok(info)
}

/// Takes the emulation prevention bytes out (H.264 section 7.4.1.1).
pub(super) fn unescape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for &byte in data {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

fn read_head(reader: &mut BitReader<'_>) -> Result<SpsInfo, FormatError> {
    let short = || malformed("it ends too early");
    let profile = reader.bits(8).ok_or_else(short)? as u8;
    let constraints = reader.bits(8).ok_or_else(short)? as u8;
    let level = reader.bits(8).ok_or_else(short)? as u8;
    let id = reader.ue().ok_or_else(short)?;
    if id > 31 {
        return Err(malformed("seq_parameter_set_id is above 31"));
    }
    let (mut chroma_format, mut depth_luma, mut depth_chroma, mut separate_planes) = (1, 0, 0, false);
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma_format = reader.ue().ok_or_else(short)?;
        if chroma_format > 3 {
            return Err(malformed("chroma_format_idc is above 3"));
        }
        if chroma_format == 3 {
            separate_planes = reader.flag().ok_or_else(short)?;
        }
        depth_luma = reader.ue().ok_or_else(short)?;
        depth_chroma = reader.ue().ok_or_else(short)?;
        if depth_luma > 6 || depth_chroma > 6 {
            return Err(malformed("its bit depth is above 14"));
        }
        reader.skip(1).ok_or_else(short)?; // qpprime_y_zero_transform_bypass_flag
        if reader.flag().ok_or_else(short)? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if reader.flag().ok_or_else(short)? {
                    skip_scaling_list(reader, if list < 6 { 16 } else { 64 }).ok_or_else(short)?;
                }
            }
        }
    }
    let frame_num_bits = reader.ue().ok_or_else(short)?;
    if frame_num_bits > 12 {
        return Err(malformed("log2_max_frame_num_minus4 is above 12"));
    }
    let (mut poc_lsb_bits, mut delta_pic_order_always_zero) = (0, false);
    let pic_order_cnt_type = reader.ue().ok_or_else(short)?;
    match pic_order_cnt_type {
        0 => {
            poc_lsb_bits = reader.ue().ok_or_else(short)?.saturating_add(4);
            if poc_lsb_bits > 16 {
                return Err(malformed("log2_max_pic_order_cnt_lsb_minus4 is above 12"));
            }
        }
        1 => {
            delta_pic_order_always_zero = reader.flag().ok_or_else(short)?;
            reader.se().ok_or_else(short)?;
            reader.se().ok_or_else(short)?;
            let cycle = reader.ue().ok_or_else(short)?;
            if cycle > 255 {
                return Err(malformed("num_ref_frames_in_pic_order_cnt_cycle is above 255"));
            }
            for _ in 0..cycle {
                reader.se().ok_or_else(short)?;
            }
        }
        2 => {}
        _ => return Err(malformed("pic_order_cnt_type is above 2")),
    }
    let max_ref_frames = reader.ue().ok_or_else(short)?;
    if max_ref_frames > 16 {
        return Err(malformed("max_num_ref_frames is above 16"));
    }
    reader.skip(1).ok_or_else(short)?; // gaps_in_frame_num_value_allowed_flag
    let width_mbs = reader.ue().ok_or_else(short)?.saturating_add(1);
    let map_units = reader.ue().ok_or_else(short)?.saturating_add(1);
    let frame_mbs_only = reader.flag().ok_or_else(short)?;
    let height_mbs = map_units.saturating_mul(if frame_mbs_only { 1 } else { 2 });
    if width_mbs > MAX_MBS || height_mbs > MAX_MBS || width_mbs * height_mbs > MAX_FRAME_MBS {
        return Err(malformed("its pictures are larger than level 6.2 allows"));
    }
    if !frame_mbs_only {
        reader.skip(1).ok_or_else(short)?; // mb_adaptive_frame_field_flag
    }
    reader.skip(1).ok_or_else(short)?; // direct_8x8_inference_flag
    let (mut width, mut height) = (width_mbs * 16, height_mbs * 16);
    if reader.flag().ok_or_else(short)? {
        // Equations 7-19 to 7-22: cropping counts in chroma samples, and in field lines where fields are possible.
        let (unit_x, unit_y) = match chroma_format {
            1 if !separate_planes => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let unit_y = unit_y * if frame_mbs_only { 1 } else { 2 };
        let mut crop = [0u64; 4];
        for side in &mut crop {
            *side = u64::from(reader.ue().ok_or_else(short)?);
        }
        width = cropped(width, (crop[0] + crop[1]) * unit_x)?;
        height = cropped(height, (crop[2] + crop[3]) * unit_y)?;
    }
    Ok(SpsInfo {
        profile,
        constraints,
        level,
        width,
        height,
        fps: None,
        max_reorder: None,
        id: id as u8,
        pic_order_cnt_type: pic_order_cnt_type as u8,
        max_ref_frames,
        chroma_format: chroma_format as u8,
        bit_depth_luma: 8 + depth_luma as u8,
        bit_depth_chroma: 8 + depth_chroma as u8,
        interlaced: !frame_mbs_only,
        sar: None,
        frame_num_bits: 4 + frame_num_bits as u8,
        poc_lsb_bits: poc_lsb_bits as u8,
        delta_pic_order_always_zero,
        separate_planes,
        macroblocks: width_mbs * height_mbs,
    })
}

fn cropped(size: u32, crop: u64) -> Result<u32, FormatError> {
    u32::try_from(crop)
        .ok()
        .and_then(|crop| size.checked_sub(crop))
        .filter(|size| *size > 0)
        .ok_or(malformed("its cropping leaves no picture"))
}

fn skip_scaling_list(reader: &mut BitReader<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(reader.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Sample aspect ratios by `aspect_ratio_idc` (H.264 table E-1), from 1 on.
const SAR: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// `vui_parameters()`, as far as it goes.
fn read_vui(reader: &mut BitReader<'_>, info: &mut SpsInfo) -> Option<()> {
    if reader.flag()? {
        let idc = reader.bits(8)?;
        info.sar = if idc == 255 {
            let sar = (reader.bits(16)?, reader.bits(16)?);
            (sar.0 > 0 && sar.1 > 0).then_some(sar)
        } else {
            (idc as usize).checked_sub(1).and_then(|index| SAR.get(index)).copied()
        };
    }
    if reader.flag()? {
        reader.skip(1)?; // overscan_appropriate_flag
    }
    if reader.flag()? {
        reader.skip(4)?; // video_format, video_full_range_flag
        if reader.flag()? {
            reader.skip(24)?; // colour description
        }
    }
    if reader.flag()? {
        reader.ue()?;
        reader.ue()?;
    }
    if reader.flag()? {
        let tick = reader.bits(32)?;
        let scale = reader.bits(32)?;
        reader.skip(1)?; // fixed_frame_rate_flag
        // A tick is a field's time, so a frame has two (section E.2.1).
        info.fps = (tick > 0 && scale > 0).then(|| f64::from(scale) / (2.0 * f64::from(tick)));
    }
    let nal_hrd = reader.flag()?;
    if nal_hrd {
        skip_hrd(reader)?;
    }
    let vcl_hrd = reader.flag()?;
    if vcl_hrd {
        skip_hrd(reader)?;
    }
    if nal_hrd || vcl_hrd {
        reader.skip(1)?; // low_delay_hrd_flag
    }
    reader.skip(1)?; // pic_struct_present_flag
    if reader.flag()? {
        reader.skip(1)?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            reader.ue()?; // max_bytes_per_pic_denom to log2_max_mv_length_vertical
        }
        info.max_reorder = reader.ue().filter(|frames| *frames <= 16);
    }
    Some(())
}

fn skip_hrd(reader: &mut BitReader<'_>) -> Option<()> {
    let count = reader.ue()?;
    if count > 31 {
        return None;
    }
    reader.skip(8)?;
    for _ in 0..=count {
        reader.ue()?;
        reader.ue()?;
        reader.skip(1)?;
    }
    reader.skip(20)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::h264::AvcConfig;
    use crate::codec::h264::samples::{SAMPLES, hex};

    #[test]
    fn agrees_with_ffprobe() {
        for sample in SAMPLES {
            let config = AvcConfig::parse(&hex(sample.avcc)).unwrap();
            let info = parse_sps(&config.sps[0]).unwrap();
            assert_eq!((info.width, info.height), sample.size, "{}", sample.name);
            assert_eq!((info.profile, info.constraints, info.level), sample.profile, "{}", sample.name);
            assert!((info.fps.unwrap() - sample.fps).abs() < 0.01, "{} {:?}", sample.name, info.fps);
            assert_eq!(info.max_reorder.unwrap_or(0), sample.has_b_frames, "{}", sample.name);
            assert_eq!(info.may_reorder(), sample.has_b_frames > 0, "{}", sample.name);
            assert_eq!(info.sar.unwrap_or((1, 1)), sample.sar, "{}", sample.name);
            assert_eq!(info.interlaced, sample.interlaced, "{}", sample.name);
        }
    }

    #[test]
    fn absurd_ones_are_refused() {
        let table: [(&str, &str); 6] = [
            ("", "it is empty"),
            ("68eb", "its NAL unit header is another one's"),
            ("674d401f", "it ends too early"),
            ("6742c01e000000000000", "it ends too early"),
            // profile 66, ids 0, poc 2, 1 reference, then a width of 2^20 macroblocks
            ("6742c01edc000010000200001000018", "its pictures are larger than level 6.2 allows"),
            ("6742c01e0420", "seq_parameter_set_id is above 31"),
        ];
        for (text, why) in table {
            let padded = if text.len() % 2 == 1 { format!("{text}0") } else { text.to_owned() };
            match parse_sps(&hex(&padded)) {
                Err(FormatError::Malformed { why: got, .. }) => assert_eq!(got, why, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(parse_sps(&[&[0x67][..], &[0x42; 5000]].concat()).is_err());
    }

    #[test]
    fn what_browsers_do_not_have() {
        let unusual: Vec<_> =
            SAMPLES.iter().map(|s| parse_sps(&AvcConfig::parse(&hex(s.avcc)).unwrap().sps[0]).unwrap().unusual()).collect();
        assert_eq!(unusual, [None, None, None, None, Some("4:2:2 chroma"), Some("4:4:4 chroma"), None, None]);
        let base = parse_sps(&AvcConfig::parse(&hex(SAMPLES[0].avcc)).unwrap().sps[0]).unwrap();
        let table = [
            (SpsInfo { chroma_format: 0, ..base.clone() }, Some("monochrome")),
            (SpsInfo { bit_depth_chroma: 10, ..base.clone() }, Some("more than 8 bits a sample")),
            (SpsInfo { profile: 244, ..base.clone() }, Some("a profile above high")),
            (SpsInfo { profile: 88, constraints: 0x20, ..base.clone() }, Some("extended profile")),
            (SpsInfo { profile: 88, constraints: 0x60, ..base.clone() }, None),
        ];
        for (info, wanted) in table {
            assert_eq!(info.unusual(), wanted, "{info:?}");
        }
    }

    #[test]
    fn reordering_by_profile() {
        let base = parse_sps(&AvcConfig::parse(&hex(SAMPLES[0].avcc)).unwrap().sps[0]).unwrap();
        let table = [
            (66, 0x00, 0, None, 4, false),
            (66, 0xC0, 0, None, 4, false),
            (77, 0x40, 0, None, 4, true),
            (77, 0x80, 0, None, 4, false),
            (100, 0x00, 0, None, 4, true),
            (100, 0x00, 2, None, 4, false),
            (100, 0x00, 0, Some(0), 4, false),
            (100, 0x00, 0, Some(2), 4, true),
            (110, 0x10, 0, None, 4, false),
            (100, 0x00, 0, None, 0, false),
            (88, 0x20, 0, None, 4, true),
        ];
        for (profile, constraints, pic_order_cnt_type, max_reorder, max_ref_frames, expected) in table {
            let info = SpsInfo { profile, constraints, pic_order_cnt_type, max_reorder, max_ref_frames, ..base.clone() };
            assert_eq!(info.may_reorder(), expected, "{info:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut data in prop::collection::vec(any::<u8>(), 0..300), profile in any::<bool>()) {
            if let Some(first) = data.first_mut() {
                *first = 0x67;
            }
            if let Some(second) = data.get_mut(1).filter(|_| profile) {
                *second = 100;
            }
            if let Ok(info) = parse_sps(&data) {
                prop_assert!(info.width > 0 && info.width <= MAX_MBS * 16 && info.height > 0 && info.height <= MAX_MBS * 16);
            }
        }

        #[test]
        fn never_panics_on_damage(sample in 0..SAMPLES.len(), at in 0usize..24, value in any::<u8>(), cut in 0usize..30) {
            let mut sps = AvcConfig::parse(&hex(SAMPLES[sample].avcc)).unwrap().sps[0].to_vec();
            if let Some(byte) = sps.get_mut(at) {
                *byte = value;
            }
            sps.truncate(cut);
            let _ = parse_sps(&sps);
        }
    }
}
