//! H.264 (ITU-T H.264, ISO/IEC 14496-10): parameter sets, NAL units in their layouts, RTP payload format (RFC 6184).
//!
//! In: NAL units in `avcC` and AVCC (FLV, MP4), Annex B or RTP payloads. Out: the same in the other layouts, and facts.

mod assembler;
mod avcc;
mod config;
mod depacketizer;
mod facts;
mod nal;
mod packetizer;
mod repeat;
mod sets;
mod slice;
mod split;
mod sps;

pub use assembler::{Assembled, Assembler, Picture, Stamp};
pub(crate) use assembler::{Header, Notice};
#[cfg(test)]
pub(crate) use avcc::annexb_nals;
pub use avcc::{annexb_to_avcc, avcc_nals, avcc_to_annexb};
pub use config::{AvcConfig, may_reorder};
pub(crate) use config::{codec_string, profile_level_id, write_avc_config};
pub(crate) use depacketizer::Depacketizer;
pub(crate) use facts::unit_is_idr;
pub(crate) use facts::{payload_facts, payload_resolution};
pub use facts::{unit_is_b, unit_is_disposable};
pub use nal::{pps_id, pps_sps_id, sps_id};
pub(crate) use packetizer::Packetizer;
pub(crate) use repeat::Repeater;
pub use split::split_nals;
pub(crate) use sps::SpsInfo;
pub use sps::parse_sps;

#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod samples;
