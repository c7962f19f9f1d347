//! The parameter sets of one stream, by their ids.

use bytes::Bytes;

use super::nal::{NalType, pps_id, sps_id};
use super::slice::Layout;
use super::sps::parse_sps;
use crate::codec::Format;

/// Longest parameter set that is remembered: what an `avcC` can hold.
const MAX_PARAMETER_SET: usize = 65_535;

/// Gives the id of a parameter set of its kind.
type IdOf = fn(&[u8]) -> Option<u8>;

/// Parameter sets, each the newest with its id. The ids bound their number: 32 SPSs, 256 PPSs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
}

impl ParameterSets {
    pub(super) fn of(format: &Format) -> Self {
        match format {
            Format::H264 { sps, pps } => Self { sps: sps.clone(), pps: pps.clone() },
            _ => Self::default(),
        }
    }

    /// Keeps a parameter set in place of the one with the same id; whether anything changed. What makes no sense is not kept.
    pub(super) fn remember(&mut self, nal: &[u8]) -> bool {
        let (sets, id_of) = match nal.first().map(|header| NalType::of(*header)) {
            Some(NalType::Sps) => (&mut self.sps, sps_id as IdOf),
            Some(NalType::Pps) => (&mut self.pps, pps_id as IdOf),
            _ => return false,
        };
        // One without a readable id is not usable.
        let Some(id) = id_of(nal).filter(|_| nal.len() <= MAX_PARAMETER_SET) else { return false };
        match sets.iter_mut().find(|known| id_of(known) == Some(id)) {
            Some(known) if known[..] == *nal => return false,
            Some(known) => *known = Bytes::copy_from_slice(nal),
            None => sets.push(Bytes::copy_from_slice(nal)),
        }
        true
    }

    /// Whether pictures can be decoded with them.
    pub(super) fn is_complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// The format, with the SPS of the picture at hand first: that one says how large pictures are.
    pub(super) fn format(&self, active_pps: Option<u8>, layouts: &[Layout]) -> Format {
        let mut sps = self.sps.clone();
        let active = active_pps.and_then(|pps| Layout::find(layouts, pps)).map(Layout::sps);
        if let Some(at) = sps.iter().position(|nal| active.is_some() && sps_id(nal) == active) {
            sps[..=at].rotate_right(1);
        }
        Format::H264 { sps, pps: self.pps.clone() }
    }
}

/// Whether a parameter set can be used: an SPS must make sense, a PPS must say its ids.
pub(super) fn is_usable(nal: &[u8]) -> bool {
    match nal.first().map(|header| NalType::of(*header)) {
        Some(NalType::Sps) => parse_sps(nal).is_ok(),
        Some(NalType::Pps) => pps_id(nal).is_some(),
        _ => false,
    }
}
