//! AAC (ISO/IEC 14496-3): AudioSpecificConfig, ADTS, RTP payload format (RFC 3640, AAC-hbr).
//!
//! In: the configuration from FLV, `esds` or fmtp; raw frames; RTP payloads. Out: the same in the other layouts, and facts.

mod adts;
mod config;
mod rtp;

pub use adts::{ADTS_HEADER_LEN, AdtsHeader, adts_header};
pub use config::AacConfig;
pub use rtp::{Depacketizer, Packetizer, rtp_fmtp};
