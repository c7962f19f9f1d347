//! Floor 4: named streams — who publishes `live/cam`, its tracks, its viewers, derived tracks, lifecycle events.
//!
//! The only door from an adapter to the core. In: publications with access units or SFU producers. Out: tracks to consume,
//! by WebRTC on any worker or directly, and events. What it needs from above (a transcoder) is a small trait here.

mod advice;
mod config;
pub(crate) mod core;
mod driver;
mod format_history;
mod framer;
pub(crate) mod packing;
pub(crate) mod placing;

pub use config::{AccessRule, BFrames, OnConflict, StreamConfig, opens, pattern_matches};
pub use core::{Track, TranscodeTarget, ViewerCounts, Wanted, Warning};
pub use driver::{
    DerivedInfo, Hub, HubOptions, Lease, Publication, PublishError, PublishRequest, PublisherInfo, SelectError, SharedTranscoder, Stream,
    StreamEvent, StreamInfo, TrackInfo, TrackWriter, TranscodeError, TranscodeGuard, TranscodeJob, Transcoder, Viewer, Written,
};
pub use format_history::FormatHistory;
