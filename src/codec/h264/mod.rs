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

pub use assembler::{Assembled, Assembler, AssemblerCounters, Header, Notice, Picture, Stamp};
pub use avcc::{annexb_nals, annexb_to_avcc, avcc_nals, avcc_to_annexb};
pub use config::{AvcConfig, codec_string, may_reorder, profile_level_id, write_avc_config};
pub use depacketizer::Depacketizer;
pub use facts::{payload_facts, payload_resolution, unit_is_b, unit_is_disposable};
pub use nal::{NalType, pps_id, pps_sps_id, sps_id};
pub use packetizer::Packetizer;
pub use repeat::Repeater;
pub use split::{Split, split_nals};
pub use sps::{SpsInfo, parse_sps};

#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod samples;
