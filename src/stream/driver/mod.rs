//! The hub of live streams, for async callers: publications in, tracks and viewers out.
//!
//! [`crate::stream::core`] decides, the files here carry out. Each uses only those above it in this list. Locks are short and never held
//! across an await; nothing of it is on the packet path but [`TrackWriter`], which belongs to one publisher.

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

mod error;

mod publication;
mod recent;

mod hub;

mod metrics;

#[cfg(test)]
mod tests;

pub(crate) use error::PublishError;
pub(crate) use hub::{Hub, HubOptions, PublishRequest};
pub(crate) use info::StreamInfo;
#[cfg(test)]
pub(crate) use info::TrackInfo;
pub(crate) use lease::Lease;
pub(crate) use live::Stream;
pub(crate) use publication::Publication;
pub(crate) use select::SelectError;
pub(crate) use table::StreamEvent;
pub use transcoder::TranscodeError;
pub(crate) use transcoder::{TranscodeGuard, TranscodeJob, Transcoder};
pub(crate) use viewer::Viewer;
pub(crate) use writer::TrackWriter;
