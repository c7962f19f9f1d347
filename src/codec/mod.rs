//! Floor 1: what is inside the packets.
//!
//! In: bytes of one codec (parameter sets, access units, RTP payloads). Out: facts about them (key frame, resolution,
//! RFC 6381 string) and the RTP payload formats, both ways. One folder or file per codec; no I/O, no clock.

mod access_unit;
mod format;

pub use access_unit::AccessUnit;
pub use format::{Codec, Format, FormatError};
