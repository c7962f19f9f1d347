//! The hub of live streams, for async callers: publications in, tracks and viewers out.
//!
//! Locks here are short and never held across an await; nothing of it is on the packet path but [`TrackWriter`], which
//! belongs to one publisher.

mod derived;
mod hub;
mod info;
mod live;
mod publication;
mod settle;
mod writer;

pub use derived::{Lease, SharedTranscoder, TranscodeError, TranscodeGuard, TranscodeJob, TranscodeTarget, Transcoder};
pub use hub::{Hub, HubOptions, PublishError, PublishRequest, StreamEvent};
pub use info::{DerivedInfo, PublisherInfo, StreamInfo, TrackInfo, ViewerCounts};
pub use live::{SelectError, Stream, Track, Viewer, Wanted, Warning};
pub use publication::Publication;
pub use writer::TrackWriter;

use crate::base::UnixNanos;

/// The wall clock, read here and handed down as an argument.
#[allow(clippy::disallowed_methods)] // a driver: the one place in `stream` that reads the clock
fn unix_now() -> UnixNanos {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
