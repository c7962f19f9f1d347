//! What the pipelines count.
//!
//! In: increments from supervisor, segmenter and transcoder. Out: Prometheus metrics under `headend_pipeline_`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The counters of one supervisor. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct PipelineMetrics {
    /// Child processes running.
    pub children: Gauge,
    /// Child processes started.
    pub children_started: Counter,
    /// Child processes that died without being stopped.
    pub children_died: Counter,
    /// Child processes killed because they did not answer.
    pub children_hung: Counter,
    pub jobs: Gauge,
    pub jobs_started: Counter,
    /// Jobs that failed by themselves (not by their child's death).
    pub jobs_failed: Counter,
    /// Jobs that got a child of their own, since others had died with them.
    pub jobs_quarantined: Counter,
    /// Jobs ended because their owner did not read fast enough.
    pub jobs_overrun: Counter,
    /// Transcodes running, of pictures and of sound.
    pub transcodes: Gauge,
    /// Transcodes of pictures running, which have a budget.
    pub(in crate::pipeline) video_transcodes: Gauge,
    /// Transcodes of sound running, which have another one.
    pub(in crate::pipeline) audio_transcodes: Gauge,
    /// Transcodes refused because of the budget.
    pub transcodes_refused: Counter,
    /// Discontinuities: epochs begun after the first.
    pub rebuilds: Counter,
    /// Epochs and transcodes that had to wait: the publisher's formats change too often.
    pub rebuilds_delayed: Counter,
    /// Changes of formats whose media was left out meanwhile.
    pub changes_skipped: Counter,
    /// CMAF chunks made.
    pub chunks: Counter,
    /// Bytes of CMAF chunks made.
    pub chunk_bytes: Counter,
    /// Frames of sound in another format than their epoch's that could not be transcoded.
    pub sound_replaced: Counter,
    /// Bytes of RTP sent to children.
    pub rtp_bytes: Counter,
    /// RTP batches dropped because a child did not read fast enough.
    pub rtp_dropped: Counter,
}

impl PipelineMetrics {
    /// Registers them; call it once per registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("pipeline");
        registry.register("children", "Pipeline child processes running", self.children.clone());
        registry.register("children_started", "Pipeline child processes started", self.children_started.clone());
        registry.register("children_died", "Pipeline child processes that died", self.children_died.clone());
        registry.register("children_hung", "Pipeline child processes killed because they hung", self.children_hung.clone());
        registry.register("jobs", "Pipelines running", self.jobs.clone());
        registry.register("jobs_started", "Pipelines started", self.jobs_started.clone());
        registry.register("jobs_failed", "Pipelines that failed", self.jobs_failed.clone());
        registry.register(
            "jobs_quarantined",
            "Pipelines started in a process of their own: others died with them",
            self.jobs_quarantined.clone(),
        );
        registry.register("jobs_overrun", "Pipelines ended because nobody took what they made", self.jobs_overrun.clone());
        registry.register("transcodes", "Transcodes running", self.transcodes.clone());
        registry.register("transcodes_refused", "Transcodes beyond pipeline.transcode_max", self.transcodes_refused.clone());
        registry.register("rebuilds", "Discontinuities made", self.rebuilds.clone());
        registry.register("rebuilds_delayed", "Pipelines that waited: formats change too often", self.rebuilds_delayed.clone());
        registry.register("changes_skipped", "Changes of formats that came and went meanwhile", self.changes_skipped.clone());
        registry.register("chunks", "CMAF chunks made", self.chunks.clone());
        registry.register_with_unit("chunk", "Bytes of CMAF chunks made", Unit::Bytes, self.chunk_bytes.clone());
        registry.register_with_unit("rtp", "Bytes of RTP given to pipelines", Unit::Bytes, self.rtp_bytes.clone());
        registry.register("sound_replaced", "Frames that became silence: their format changed within a GOP", self.sound_replaced.clone());
        registry.register("rtp_dropped", "RTP batches a pipeline did not read in time", self.rtp_dropped.clone());
    }
}
