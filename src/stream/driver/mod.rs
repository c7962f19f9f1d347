//! The hub of live streams, for async callers: publications in, tracks and viewers out.
//!
//! [`crate::stream::core`] decides, the files here carry out. Each uses only those above it in this list. Locks are short and never held
//! across an await; nothing of it is on the packet path but [`TrackWriter`], which belongs to one publisher.

mod clock;
mod state;
mod writer;

mod transcoder;

mod shared;

mod live;

mod info;
mod lease;
mod select;
mod viewer;

mod table;

mod publication;

mod hub;

#[cfg(test)]
mod tests;

pub use hub::{Hub, HubOptions, PublishError, PublishRequest};
pub use info::{DerivedInfo, PublisherInfo, StreamInfo, TrackInfo};
pub use lease::Lease;
pub use live::Stream;
pub use publication::Publication;
pub use select::SelectError;
pub use table::StreamEvent;
pub use transcoder::{SharedTranscoder, TranscodeError, TranscodeGuard, TranscodeJob, Transcoder};
pub use viewer::Viewer;
pub use writer::{TrackWriter, Written};
