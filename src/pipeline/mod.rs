//! Floor 5: GStreamer in supervised child processes: the segmenter and the transcoder.
//!
//! In: a live stream's RTP batches ([`crate::stream`]). Out: CMAF chunks ([`crate::cmaf`]) and derived access units. GStreamer
//! itself runs only in children of this process ([`host`]); a crash or a hang there ends a pipeline's epoch, nothing else.

mod backlog;
mod config;
mod error;
pub mod host;
pub(crate) mod part;
pub mod segmenter;
mod source;
pub mod supervisor;
pub mod template;
pub mod transcoder;
pub mod wire;

pub use config::PipelineConfig;
pub use error::PipelineError;
pub use segmenter::{ChunkSink, Segmenter, SegmenterEvent};
pub use source::{RtpSource, UnitSink};
pub use supervisor::{Job, JobEvent, PipelineCounters, Supervisor};
pub use transcoder::PipelineTranscoder;
