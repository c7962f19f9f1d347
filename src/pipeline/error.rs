//! Why a pipeline does not run.

use std::path::PathBuf;

/// Why a pipeline could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The executable that runs the children could not be found.
    #[error("can't find this program's own executable to run GStreamer in: {0}")]
    NoExecutable(std::io::Error),
    /// A child process could not be started.
    #[error("can't start a GStreamer child ({program}): {source}")]
    Spawn {
        /// What was to be run.
        program: PathBuf,
        /// Why it did not.
        source: std::io::Error,
    },
    /// Children are restarting too often; tried again after a pause.
    #[error("GStreamer children keep dying; the next one is started in {0:?}")]
    BackingOff(std::time::Duration),
    /// This pipeline is what its children die of; tried again after a pause.
    #[error("GStreamer keeps dying of what this pipeline is given; it is started again in {0:?}, in a process of its own")]
    Quarantined(std::time::Duration),
    #[error("all {0} GStreamer children are full (pipeline.children_max, pipeline.jobs_per_child)")]
    Full(usize),
    /// The child went away while the pipeline was being handed to it.
    #[error("the GStreamer child is gone")]
    ChildGone,
    #[error("the pipelines are shutting down")]
    ShuttingDown,
    #[error(transparent)]
    Template(#[from] super::driver::template::TemplateError),
    /// Sound that can't be made here.
    #[error("no encoder here makes {codec} of {sample_rate} Hz as this is; one or two channels of AAC-LC can be made", codec = .0.codec_string(), sample_rate = .0.clock_rate())]
    Unencodable(crate::codec::Format),
    /// The job does not fit into a message.
    #[error("the pipeline's description is too long: {0}")]
    TooLong(#[from] super::wire::WireError),
}
