//! What makes derived tracks, as a trait that `app` plugs in.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::state::Work;
use super::writer::TrackWriter;
use crate::codec::Format;
use crate::sfu::DirectConsumer;
use crate::stream::core::TranscodeTarget;
use crate::stream::format_history::FormatHistory;

/// One derived track to be made.
#[derive(Debug)]
pub(crate) struct TranscodeJob {
    /// For logs: `live/cam1 AAC → Opus`.
    pub name: String,
    pub input: DirectConsumer,
    /// The source's format.
    pub input_format: Format,
    /// Where the source's format changes; `None` if it is published as RTP.
    pub input_formats: Option<FormatHistory>,
    pub target: TranscodeTarget,
    /// Where it goes, with `write_at`. Key-frame requests come out of it. For H.264 and AAC, `set_format` is called with the
    /// parameter sets once they are known.
    pub output: TrackWriter,
    /// Where it is best fed and read: the thread of the worker that the source comes from and the output goes to.
    pub runtime: Handle,
}

/// Why there is no derived track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The budget of transcodes is used up.
    #[error("the transcoding budget is used up ({0} at work)")]
    Budget(usize),
    /// Its pipeline can't be described or started.
    #[error("the transcoder did not start: {0}")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This server makes none.
    #[error("no transcoder is configured")]
    NotConfigured,
}

/// Dropping it stops the transcode.
pub struct TranscodeGuard(pub Work);

impl std::fmt::Debug for TranscodeGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TranscodeGuard")
    }
}

/// What makes derived tracks: plugged in by `app`.
pub(crate) trait Transcoder: Send + Sync + 'static {
    /// Starts a job; it goes on until the guard is dropped, and survives crashes of what does the work.
    fn start(&self, job: TranscodeJob) -> Result<TranscodeGuard, TranscodeError>;
}

/// The shared form in which a transcoder is plugged in.
pub(crate) type SharedTranscoder = Arc<dyn Transcoder>;
