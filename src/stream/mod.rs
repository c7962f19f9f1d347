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

pub(crate) use config::{AccessRule, BFrames, OnConflict, StreamConfig, opens};
pub use core::TranscodeTarget;
pub(crate) use core::{Track, ViewerCounts, Wanted, Warning};
pub use driver::TranscodeError;
pub(crate) use driver::{
    DerivedInfo, Hub, HubOptions, Lease, Publication, PublishError, PublishRequest, PublisherInfo, SelectError, SharedTranscoder, Stream,
    StreamEvent, StreamInfo, TrackInfo, TrackWriter, TranscodeGuard, TranscodeJob, Transcoder, Viewer, Written,
};
pub(crate) use format_history::FormatHistory;
// What adapters hold of the core.
pub(crate) use crate::sfu::{DirectConsumer, ProducerId, SfuError};
