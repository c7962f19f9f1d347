//! Floor 4: named streams — who publishes `live/cam`, its tracks, its viewers, derived tracks, lifecycle events.
//!
//! The only door from an adapter to the core. In: publications with access units or SFU producers. Out: tracks to consume,
//! by WebRTC on any worker or directly, and events. What it needs from above (a transcoder) is a small trait here.

mod driver;

pub use driver::{
    Hub, Lease, Publication, PublishError, PublishRequest, SelectError, SharedTranscoder, Stream, StreamEvent, Track, TrackWriter,
    TranscodeError, TranscodeGuard, TranscodeJob, TranscodeTarget, Transcoder, Viewer, Wanted, Warning,
};
