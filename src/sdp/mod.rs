//! Floor 4: SDP offers and answers, to and from the SFU's ORTC parameters; nothing else knows SDP.
//!
//! In: the text of an offer (at most [`MAX_SDP_BYTES`]) or of a trickle-ICE fragment. Out: [`Offer`] and [`Fragment`] in
//! ORTC's words, and the texts of answers and fragments. Pure: no I/O, no clock, no randomness.

mod answer;
mod candidate;
mod error;
mod fragment;
mod media;
mod offer;
mod text;

#[cfg(test)]
mod tests;

pub use answer::{Answer, SectionAnswer};
pub(crate) use error::SdpError;
pub use fragment::Fragment;
pub(crate) use fragment::FragmentHead;
pub(crate) use media::OfferedMedia;
pub use offer::Offer;

/// Largest offer or fragment that is looked at, in bytes. Chromium's offer for audio and video has 6.5 KB; ten times that
/// leaves room for many interfaces and codecs, and bounds what parsing can cost.
pub(crate) const MAX_SDP_BYTES: usize = 64 * 1024;
