//! AAC (ISO/IEC 14496-3): AudioSpecificConfig, ADTS, LATM, RTP payload format (RFC 3640, AAC-hbr).
//!
//! In: the configuration from FLV, `esds` or fmtp; raw frames; RTP payloads. Out: the same in the other layouts, and facts.

pub(crate) mod adts;
mod config;
mod latm;
mod rtp;
mod silence;
mod unwrap;

pub use config::AacConfig;
pub(crate) use config::is_encodable;
pub(crate) use rtp::Packetizer;
pub(crate) use rtp::{Depacketizer, rtp_fmtp};
pub(crate) use silence::silence;
pub use unwrap::Unwrapper;
