//! NAL unit headers (H.264 section 7.3.1) and the ids of parameter sets.

use super::sps::unescape;
use crate::codec::bits::BitReader;

/// `nal_unit_type` (H.264 table 7-1, RFC 6184 table 1), as far as headend tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum NalType {
    /// 1: slice of a picture that is not IDR.
    Slice,
    /// 2, 3, 4: data partitions of a slice (extended profile).
    Partition,
    /// 5: slice of an IDR picture.
    Idr,
    /// 6: supplemental enhancement information.
    Sei,
    /// 7: sequence parameter set.
    Sps,
    /// 8: picture parameter set.
    Pps,
    /// 9: access unit delimiter.
    Aud,
    /// 10: end of sequence.
    EndOfSequence,
    /// 11: end of stream.
    EndOfStream,
    /// 12: filler data.
    Filler,
    /// 24: single-time aggregation packet (RTP only).
    StapA,
    /// 28: fragmentation unit (RTP only).
    FuA,
    Other(u8),
}

impl NalType {
    /// From the first byte of a NAL unit.
    pub(crate) fn of(header: u8) -> Self {
        match header & 0x1F {
            1 => Self::Slice,
            2..=4 => Self::Partition,
            5 => Self::Idr,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::Aud,
            10 => Self::EndOfSequence,
            11 => Self::EndOfStream,
            12 => Self::Filler,
            24 => Self::StapA,
            28 => Self::FuA,
            other => Self::Other(other),
        }
    }

    /// Whether access units hold it: slices and supplemental information.
    pub(crate) fn is_carried(self) -> bool {
        self.is_slice() || self == Self::Sei
    }

    /// Whether it carries a picture (VCL NAL units).
    pub(crate) fn is_slice(self) -> bool {
        matches!(self, Self::Slice | Self::Partition | Self::Idr)
    }
}

/// `nal_ref_idc` of a NAL unit's first byte: 0 where no other picture refers to it.
pub(super) fn ref_idc(header: u8) -> u8 {
    (header >> 5) & 3
}

/// Beyond this no `seq_parameter_set_id` stands, so no more has to be looked at (profile, constraints, level, then
/// at most 11 bits; emulation prevention cannot occur before them in a valid one).
const ID_PREFIX: usize = 16;

/// `seq_parameter_set_id` of an SPS (0 to 31); `None` where the NAL unit isn't one.
pub fn sps_id(nal: &[u8]) -> Option<u8> {
    if NalType::of(*nal.first()?) != NalType::Sps {
        return None;
    }
    let id = BitReader::new(nal.get(4..nal.len().min(4 + ID_PREFIX))?).ue()?;
    u8::try_from(id).ok().filter(|id| *id < 32)
}

/// `pic_parameter_set_id` of a PPS (0 to 255); `None` where the NAL unit isn't one.
pub fn pps_id(nal: &[u8]) -> Option<u8> {
    pps_ids(nal).map(|(id, _)| id)
}

/// `seq_parameter_set_id` that a PPS refers to (0 to 31).
pub fn pps_sps_id(nal: &[u8]) -> Option<u8> {
    pps_ids(nal).map(|(_, id)| id)
}

fn pps_ids(nal: &[u8]) -> Option<(u8, u8)> {
    if NalType::of(*nal.first()?) != NalType::Pps {
        return None;
    }
    let mut reader = BitReader::new(nal.get(1..nal.len().min(1 + ID_PREFIX))?);
    let id = u8::try_from(reader.ue()?).ok()?;
    let sps = u8::try_from(reader.ue()?).ok().filter(|id| *id < 32)?;
    Some((id, sps))
}

/// Supplemental information that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sei {
    /// Payload type 6: after so many frames pictures are right (`recovery_frame_cnt`, H.264 section D.2.8).
    RecoveryPoint(u32),
    /// Payload type 47: degrees counter-clockwise by which pictures are to be turned (section D.2.27).
    Rotation(u16),
    Other,
}

/// Longest SEI NAL unit that is looked at; user data may be longer, and stands last.
const MAX_SEI: usize = 1024;

/// The messages of an SEI NAL unit, as far as they can be read.
pub(super) fn sei(nal: &[u8]) -> Vec<Sei> {
    let rbsp = unescape(nal.get(1..nal.len().min(MAX_SEI)).unwrap_or_default());
    let (mut rest, mut out) = (&rbsp[..], Vec::new());
    // Behind the last message stand rbsp_trailing_bits, which are no message.
    while rest.len() > 1
        && let Some((kind, after)) = sei_number(rest)
        && let Some((len, after)) = sei_number(after)
    {
        let mut reader = BitReader::new(after);
        out.push(match kind {
            6 => reader.ue().map_or(Sei::Other, Sei::RecoveryPoint),
            47 => rotation(&mut reader).map_or(Sei::Other, Sei::Rotation),
            _ => Sei::Other,
        });
        let Some(next) = after.get(len..) else { break };
        rest = next;
    }
    out
}

fn rotation(reader: &mut BitReader<'_>) -> Option<u16> {
    if reader.flag()? {
        return Some(0); // display_orientation_cancel_flag
    }
    reader.skip(2)?; // hor_flip, ver_flip
    let turn = reader.bits(16)?;
    // In steps of 360 / 2^16 degrees.
    u16::try_from((turn * 360 + 0x8000) >> 16).ok()
}

/// A number in SEI coding: bytes of 255 and a last one, summed up (H.264 section 7.3.2.3.1).
fn sei_number(data: &[u8]) -> Option<(usize, &[u8])> {
    let ones = data.iter().take_while(|byte| **byte == 0xFF).count();
    let last = *data.get(ones)?;
    Some((ones * 255 + usize::from(last), &data[ones + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplemental_information() {
        use Sei::{Other, RecoveryPoint, Rotation};
        let table: [(&[u8], &[Sei]); 9] = [
            (&[0x06, 0x06, 0x01, 0xC4, 0x80], &[RecoveryPoint(0)]),
            (&[0x06, 0x06, 0x01, 0x44, 0x80], &[RecoveryPoint(1)]),
            (&[0x06, 0x05, 0x02, 1, 2, 0x06, 0x01, 0xC4, 0x80], &[Other, RecoveryPoint(0)]),
            (&[0x06, 0x05, 0x01, 0xC4, 0x80], &[Other]),
            (&[0x06, 0x2F, 0x03, 0x08, 0x00, 0x80, 0x80], &[Rotation(90)]),
            (&[0x06, 0x2F, 0x03, 0x18, 0x00, 0x80, 0x80], &[Rotation(270)]),
            (&[0x06, 0x05, 0xFF, 0xFF], &[]), // overruns
            (&[0x06], &[]),
            (&[], &[]),
        ];
        for (nal, expected) in table {
            assert_eq!(sei(nal), expected, "{nal:x?}");
        }
    }

    #[test]
    fn parameter_set_ids() {
        assert_eq!(sps_id(&[0x67, 0x64, 0, 0x1f, 0xAC]), Some(0));
        assert_eq!(sps_id(&[0x67, 0x64, 0, 0x1f, 0b0100_0000]), Some(1));
        assert_eq!(sps_id(&[0x68, 0x64, 0, 0x1f, 0xAC]), None);
        assert_eq!(sps_id(&[0x67, 0x64, 0]), None);
        assert_eq!(pps_id(&[0x68, 0xEB]), Some(0));
        assert_eq!((pps_id(&[0x68, 0b0101_1000]), pps_sps_id(&[0x68, 0b0100_1000])), (Some(1), Some(1)));
        assert_eq!(pps_id(&[0x68]), None);
    }
}
