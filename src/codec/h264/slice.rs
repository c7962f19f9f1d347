//! Slice headers and picture parameter sets, as far as they tell which picture a slice belongs to (H.264 sections 7.3.2.2 and 7.3.3).

use bytes::Bytes;

use super::nal::{NalType, ref_idc};
use super::sps::{SpsInfo, parse_sps, unescape};
use crate::codec::bits::BitReader;

/// Bytes of a slice that are read: its header up to the picture order count fits, with room for emulation prevention.
const HEAD: usize = 40;
/// The same of a PPS, up to the number of slice groups.
const PPS_HEAD: usize = 24;

/// What a slice's header says of its picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    /// `first_mb_in_slice`: 0 at the picture's beginning.
    pub first_mb: u32,
    /// All macroblocks are intra coded (I or SI).
    pub intra: bool,
    /// `pic_parameter_set_id`.
    pub pps: u8,
    /// `colour_plane_id` where planes are separate, else 0.
    pub plane: u8,
    /// What is equal in all slices of a picture (section 7.4.1.2.4), where the parameter sets are known.
    pub picture: Option<PictureId>,
}

/// What tells pictures apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PictureId {
    frame_num: u32,
    pub field: bool,
    pub bottom: bool,
    reference: bool,
    idr: Option<u32>,
    poc: (u32, i32, i32),
}

impl PictureId {
    /// Whether `self` is the second field of the frame that `first` began.
    pub(super) fn completes(&self, first: &Self) -> bool {
        self.field
            && first.field
            && self.bottom != first.bottom
            && self.frame_num == first.frame_num
            && (self.idr.is_none() || first.idr.is_some())
    }
}

/// What slice headers are read by: an SPS and a PPS that refers to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pps: u8,
    sps: u8,
    frame_num_bits: u8,
    poc_type: u8,
    poc_lsb_bits: u8,
    delta_pic_order_always_zero: bool,
    separate_planes: bool,
    interlaced: bool,
    /// `bottom_field_pic_order_in_frame_present_flag`
    bottom_poc: bool,
    /// `num_slice_groups_minus1` is above 0: flexible macroblock ordering.
    pub slice_groups: bool,
}

impl Layout {
    /// Of every PPS that refers to an SPS which can be read.
    pub(super) fn all(sps: &[Bytes], pps: &[Bytes]) -> Vec<Self> {
        let infos: Vec<SpsInfo> = sps.iter().filter_map(|nal| parse_sps(nal).ok()).collect();
        pps.iter().filter_map(|nal| Self::of(&infos, nal)).collect()
    }

    fn of(infos: &[SpsInfo], pps: &[u8]) -> Option<Self> {
        let rbsp = unescape(pps.get(1..pps.len().min(PPS_HEAD))?);
        let mut reader = BitReader::new(&rbsp);
        let id = u8::try_from(reader.ue()?).ok()?;
        let sps_id = reader.ue()?;
        let info = infos.iter().find(|info| u32::from(info.id) == sps_id)?;
        reader.skip(1)?; // entropy_coding_mode_flag
        let bottom_poc = reader.flag()?;
        let slice_groups = reader.ue()? > 0;
        Some(Self {
            pps: id,
            sps: info.id,
            frame_num_bits: info.frame_num_bits,
            poc_type: info.pic_order_cnt_type,
            poc_lsb_bits: info.poc_lsb_bits,
            delta_pic_order_always_zero: info.delta_pic_order_always_zero,
            separate_planes: info.separate_planes,
            interlaced: info.interlaced,
            bottom_poc,
            slice_groups,
        })
    }

    pub(super) fn find(layouts: &[Self], pps: u8) -> Option<&Self> {
        layouts.iter().find(|layout| layout.pps == pps)
    }

    /// `seq_parameter_set_id` of the SPS.
    pub(super) fn sps(&self) -> u8 {
        self.sps
    }
}

impl Slice {
    /// Reads the header of a slice or a data partition A. `None` for other NAL units and for what can't be a slice.
    pub(super) fn parse(nal: &[u8], layouts: &[Layout]) -> Option<Self> {
        let header = *nal.first()?;
        // Of partitions only A has a slice header.
        if !matches!(NalType::of(header), NalType::Slice | NalType::Idr) && header & 0x1F != 2 {
            return None;
        }
        let rbsp = unescape(nal.get(1..nal.len().min(HEAD))?);
        let mut reader = BitReader::new(&rbsp);
        let first_mb = reader.ue()?;
        let kind = reader.ue().filter(|kind| *kind <= 9)?;
        let pps = u8::try_from(reader.ue()?).ok()?;
        let mut slice = Self { first_mb, intra: matches!(kind % 5, 2 | 4), pps, plane: 0, picture: None };
        if let Some(layout) = Layout::find(layouts, pps) {
            slice.picture = slice.read_picture(&mut reader, layout, header);
        }
        Some(slice)
    }

    /// Whether `next`, a slice of the same picture, has macroblocks that come before this one's: arbitrary slice order, or redundant slices.
    pub(super) fn is_behind(&self, next: &Self) -> bool {
        self.picture == next.picture && self.plane == next.plane && next.first_mb < self.first_mb
    }

    fn read_picture(&mut self, reader: &mut BitReader<'_>, layout: &Layout, header: u8) -> Option<PictureId> {
        if layout.separate_planes {
            self.plane = reader.bits(2)? as u8;
        }
        let frame_num = reader.bits(u32::from(layout.frame_num_bits))?;
        let (mut field, mut bottom) = (false, false);
        if layout.interlaced {
            field = reader.flag()?;
            bottom = field && reader.flag()?;
        }
        let idr = if NalType::of(header) == NalType::Idr { Some(reader.ue()?) } else { None };
        let mut poc = (0, 0, 0);
        match layout.poc_type {
            0 => {
                poc.0 = reader.bits(u32::from(layout.poc_lsb_bits))?;
                if layout.bottom_poc && !field {
                    poc.1 = reader.se()?;
                }
            }
            1 if !layout.delta_pic_order_always_zero => {
                poc.1 = reader.se()?;
                if layout.bottom_poc && !field {
                    poc.2 = reader.se()?;
                }
            }
            _ => {}
        }
        Some(PictureId { frame_num, field, bottom, reference: ref_idc(header) > 0, idr, poc })
    }
}
