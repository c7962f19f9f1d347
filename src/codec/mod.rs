//! Floor 1: what is inside the packets.
//!
//! In: bytes of one codec (parameter sets, access units, RTP payloads). Out: facts about them (key frame, resolution,
//! RFC 6381 string) and the RTP payload formats, both ways. One folder or file per codec; no I/O, no clock.
//!
//! What the floors above use without knowing the codec: [`Format`], [`Packetizer`], [`Depacketizer`], [`payload_facts`], [`payload_resolution`].

pub(crate) mod aac;
mod access_unit;
mod bits;
mod depacketizer;
mod describe;
mod format;
pub(crate) mod h264;
pub(crate) mod opus;
mod outputs;
mod packetizer;
mod payload;
mod sequence;
pub(crate) mod vp8;

pub use access_unit::AccessUnit;
pub use depacketizer::Depacketizer;
pub(crate) use format::FormatError;
pub use format::{Codec, Format};
pub use outputs::Depacketized;
pub(crate) use packetizer::payload_resolution;
pub use packetizer::{Packetizer, payload_facts};
pub(crate) use payload::{Payload, PayloadFacts};

#[cfg(test)]
mod real_packets_tests;
