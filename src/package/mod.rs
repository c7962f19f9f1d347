//! Floor 6: live playlists and manifests — LL-HLS and LL-DASH over one window of CMAF chunks.
//!
//! In: track initializations and chunks of one stream. Out: playlists, manifests and the media they name. Pure but for the
//! driver, which lets a request wait for what is about to come: `Snapshot -> String`.

mod captions;
mod config;
pub(crate) mod dash;
mod driver;
#[cfg(test)]
mod encoder_tests;
mod entrance;
pub(crate) mod hls;
mod left;
#[cfg(test)]
mod memory_tests;
mod metrics;
mod name;
#[cfg(test)]
mod parts_tests;
mod snapshot;
#[cfg(test)]
mod tests;
mod window;

pub use config::PackageConfig;
pub use driver::{Live, Presentation};
pub(crate) use driver::{Missing, Playlist, SegmentBody, SegmentReader};
pub use hls::BlockingReload;
pub use name::MediaName;
pub(crate) use snapshot::{Part, Segment, TrackSnapshot};
#[cfg(test)]
pub(crate) use {
    left::Left,
    snapshot::{Recall, Snapshot},
    window::{Memory, Window},
};
