//! Floor 2: fragmented-MP4 boxes read and written, progressive `moov` over fragments, indexes.
//!
//! In: CMAF bytes. Out: facts about them (times, samples, sizes) and other MP4 bytes. No I/O, no clock.

mod chunk;

pub use chunk::{Chunk, TrackInit};
