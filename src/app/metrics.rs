//! `/metrics`: each part's own counters, put together in one registry.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::base::lock;
use crate::http::HttpMetrics;
use crate::pipeline::Supervisor;
use crate::record::driver::Recordings;
use crate::rtmp::RtmpMetrics;
use crate::sfu::{WorkerPool, WorkerStats};
use crate::stream::Hub;
use crate::webrtc::WebRtcMetrics;

/// SFU numbers that go up and down.
const SFU_GAUGES: [&str; 5] = ["routers", "transports", "producers", "consumers", "stored_bytes"];

/// Where the numbers come from.
pub(super) struct Metrics {
    pub workers: Arc<WorkerPool>,
    pub supervisor: Supervisor,
    pub recordings: Recordings,
    pub hub: Hub,
    pub webrtc: WebRtcMetrics,
    pub rtmp: Option<RtmpMetrics>,
    pub http: HttpMetrics,
}

/// The registry, and what it needs to be asked for beforehand.
pub(super) struct Scrape {
    registry: Registry,
    workers: Arc<WorkerPool>,
    sfu: Arc<Mutex<WorkerStats>>,
}

impl Metrics {
    pub(super) fn into_registry(self) -> Scrape {
        let mut registry = Registry::with_prefix("headend");
        self.webrtc.register(&mut registry);
        self.http.register(&mut registry);
        if let Some(rtmp) = &self.rtmp {
            rtmp.register(&mut registry);
        }
        let sfu = Arc::new(Mutex::new(WorkerStats::default()));
        registry.register_collector(Box::new(Core {
            sfu: sfu.clone(),
            supervisor: self.supervisor,
            recordings: self.recordings,
            hub: self.hub,
        }));
        Scrape { registry, workers: self.workers, sfu }
    }
}

impl Scrape {
    /// The text of a scrape.
    pub(super) fn text(self: Arc<Self>) -> BoxFuture<'static, String> {
        Box::pin(async move {
            let stats = self.workers.stats().await; // the workers count on their own threads
            *lock(&self.sfu) = stats;
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                Ok(()) => text,
                Err(_) => String::new(), // writing to a String can't fail
            }
        })
    }
}

/// Numbers that are kept where they arise, and read at each scrape.
struct Core {
    sfu: Arc<Mutex<WorkerStats>>,
    supervisor: Supervisor,
    recordings: Recordings,
    hub: Hub,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Core")
    }
}

impl Collector for Core {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        let streams = self.hub.streams();
        gauge("streams", "Streams that are live", streams.len() as u64)?;
        let viewers: usize = streams.iter().map(|stream| stream.viewer_counts().total).sum();
        gauge("viewers", "Viewers of all streams by all protocols", viewers as u64)?;
        let (recordings, bytes) = self.recordings.catalogue().totals();
        gauge("recordings", "Recordings kept", recordings as u64)?;
        gauge("recordings_bytes", "Bytes of the recordings kept", bytes)?;
        let stopped = u64::from(self.recordings.stopped().is_some());
        gauge("recordings_stopped", "1 while nothing is recorded for want of room (record.max_bytes, record.min_free_bytes)", stopped)?;
        let sfu = *lock(&self.sfu);
        for (name, value) in sfu.fields().filter(|(name, _)| SFU_GAUGES.contains(name)) {
            gauge(&format!("sfu_{name}"), "SFU, all workers", value)?;
        }
        let pipelines = self.supervisor.counters().values();
        gauge("pipeline_children", "Pipeline child processes running", pipelines.children_running)?;
        gauge("pipeline_jobs", "Pipelines running", pipelines.jobs_running)?;
        gauge("pipeline_transcodes", "Transcodes running", pipelines.video_transcodes_running + pipelines.audio_transcodes_running)?;

        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)
        };
        for (name, value) in sfu.fields().filter(|(name, _)| !SFU_GAUGES.contains(name)) {
            counter(&format!("sfu_{name}"), "SFU, all workers", value)?;
        }
        counter("pipeline_children_started", "Pipeline child processes started", pipelines.children_started)?;
        counter("pipeline_children_died", "Pipeline child processes that died", pipelines.children_died)?;
        counter("pipeline_children_hung", "Pipeline child processes killed because they hung", pipelines.children_hung)?;
        counter("pipeline_jobs_failed", "Pipelines that failed", pipelines.jobs_failed)?;
        counter("pipeline_rebuilds", "Discontinuities made", pipelines.rebuilds)?;
        counter("pipeline_chunks", "CMAF chunks made", pipelines.chunks)?;
        counter("pipeline_rtp_dropped", "RTP batches a pipeline did not read in time", pipelines.rtp_batches_dropped)?;
        let counters = self.recordings.counters();
        counter("record_bytes", "Bytes recorded", counters.bytes.load(Ordering::Relaxed))?;
        counter(
            "record_chunks_dropped",
            "Chunks not recorded because the disk was too slow",
            counters.chunks_dropped.load(Ordering::Relaxed),
        )?;
        counter("recordings_deleted", "Recordings deleted by retention", counters.deleted.load(Ordering::Relaxed))
    }
}
