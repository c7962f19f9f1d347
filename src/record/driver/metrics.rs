//! What recording counts.
//!
//! In: increments from the recordings; the catalogue. Out: Prometheus metrics under `headend_record_` and `headend_recordings`.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::record::catalogue::Catalogue;
use crate::record::session::Room;

/// The counters of all recordings. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordMetrics {
    /// Chunks that were left out because the disk was too slow.
    pub chunks_dropped: Counter,
    /// Bytes of chunks handed to the disk.
    pub bytes: Counter,
    /// Recordings deleted by retention.
    pub deleted: Counter,
    /// 1 while ages don't count.
    pub ages_doubted: Gauge,
}

impl RecordMetrics {
    /// Registers them; call it once per registry.
    pub(super) fn register(&self, registry: &mut Registry, catalogue: Arc<Catalogue>, room: Arc<Room>) {
        registry.register("record_bytes", "Bytes recorded", self.bytes.clone());
        registry.register("record_chunks_dropped", "Chunks not recorded because the disk was too slow", self.chunks_dropped.clone());
        registry.register("recordings_deleted", "Recordings deleted by retention", self.deleted.clone());
        let why = "1 while nothing is deleted by age, because the clock has leapt";
        registry.register("recordings_ages_doubted", why, self.ages_doubted.clone());
        registry.register_collector(Box::new(Kept { catalogue, room }));
    }
}

/// What is kept, counted at each scrape.
#[derive(Debug)]
struct Kept {
    catalogue: Arc<Catalogue>,
    room: Arc<Room>,
}

impl Collector for Kept {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (recordings, bytes) = self.catalogue.totals();
        let stopped = u64::from(self.room.get().is_some());
        let why = "1 while nothing is recorded for want of room (record.max_bytes, record.min_free_bytes).";
        for (name, help, value) in [
            ("recordings", "Recordings kept.", recordings as u64),
            ("recordings_bytes", "Bytes of the recordings kept.", bytes),
            ("recordings_stopped", why, stopped),
        ] {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Recordings that an error of the disk or a lack of room has ended or kept from beginning.";
        let failed = ConstCounter::new(self.room.failed());
        failed.encode(encoder.encode_descriptor("record_failures", help, None, MetricType::Counter)?)
    }
}
