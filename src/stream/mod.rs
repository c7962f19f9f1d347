//! Floor 4: named streams — who publishes `live/cam`, its tracks, its viewers, derived tracks, lifecycle events.
//!
//! The only door from an adapter to the core. In: publications with access units or SFU producers. Out: tracks to consume,
//! by WebRTC on any worker or directly, and events. What it needs from above (a transcoder) is a small trait here.

mod advice;
mod bitrate;
mod config;
pub(crate) mod core;
mod driver;
mod entrances;
mod format_history;
mod framer;
pub(crate) mod packing;
pub(crate) mod placing;

#[cfg(test)]
pub(crate) use config::{AccessRule, LongGops, OnConflict};
pub(crate) use config::{BFrames, StreamConfig, opens};
pub use core::TranscodeTarget;
#[cfg(test)]
pub(crate) use core::ViewerCounts;
pub(crate) use core::{Generation, Track, Wanted, Warning};
#[cfg(test)]
pub(crate) use driver::TrackInfo;
pub use driver::TranscodeError;
pub(crate) use driver::{
    Hub, HubOptions, Lease, Publication, PublishError, PublishRequest, SelectError, Stream, StreamEvent, StreamInfo, TrackWriter,
    TranscodeGuard, TranscodeJob, Transcoder, Viewer,
};
pub(crate) use format_history::{FormatHistory, next_change};
// What adapters hold of the core.
pub(crate) use crate::sfu::{DirectConsumer, ProducerId, SfuError};
