//! Floor 5: GStreamer in supervised child processes: the segmenter and the transcoder.
//!
//! In: a live stream's RTP batches ([`crate::stream`]). Out: CMAF chunks ([`crate::cmaf`]) and derived access units. GStreamer
//! itself runs only in children of this process ([`host`]); a crash or a hang there ends a pipeline's epoch, nothing else.

mod backlog;
mod config;
mod driver;
mod error;
pub(crate) mod format_span;
pub(crate) mod host;
mod last_clock;
pub(crate) mod patience;
mod quarantine;
mod source;
pub(crate) mod wire;

pub use config::PipelineConfig;
pub(crate) use driver::segmenter::SegmenterEvent;
pub(crate) use driver::segmenter::{self, ChunkSink, Segmenter};
pub use driver::supervisor::Supervisor;
pub use driver::transcoder::PipelineTranscoder;
pub use source::{RtpSource, UnitSink};
