//! Floor 2: fragmented-MP4 boxes read and written, progressive `moov` over fragments, indexes.
//!
//! In: CMAF bytes. Out: facts about them (times, samples, sizes) and other MP4 bytes. No I/O, no clock.

mod boxes;
mod chunk;
mod codec_string;
mod error;
mod four_cc;
mod fragment;
mod init;
mod layout;
mod moov;
mod patch;
mod progressive;
mod samples;
mod targets;

pub(crate) use boxes::Boxes;
pub(crate) use chunk::display_size;
pub use chunk::{Chunk, TrackInit};
pub(crate) use error::CmafError;
#[cfg(test)]
pub(crate) use four_cc::FourCc;
pub(crate) use fragment::chunk_times;
#[cfg(test)]
pub(crate) use fragment::{Fragment, Sample};
pub use fragment::{MAX_SAMPLES_PER_FRAGMENT, SampleDefaults, read_fragment};
pub(crate) use init::Init;
pub use init::read_init;
pub(crate) use layout::{Piece, ProgressiveLayout};
pub(crate) use patch::set_brand;
pub use patch::{add_edit_list, shift_times};
pub(crate) use progressive::{FragmentRef, ProgressiveTrack, progressive};
pub use samples::{decode_samples, encode_samples};
pub use targets::Targets;

#[cfg(test)]
mod progressive_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
