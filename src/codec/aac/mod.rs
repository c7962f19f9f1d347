//! AAC (ISO/IEC 14496-3): AudioSpecificConfig, ADTS, LATM, RTP payload format (RFC 3640, AAC-hbr).
//!
//! In: the configuration from FLV, `esds` or fmtp; raw frames; RTP payloads. Out: the same in the other layouts, and facts.

mod adts;
mod config;
mod latm;
mod rtp;
mod unwrap;

pub(crate) use adts::{ADTS_HEADER_LEN, AdtsHeader, adts_header};
pub use config::AacConfig;
pub(crate) use latm::{Latm, LatmFrames, loas_elements};
pub(crate) use rtp::Packetizer;
pub(crate) use rtp::{Depacketizer, rtp_fmtp};
pub(crate) use unwrap::Unwrapped;
pub use unwrap::Unwrapper;
