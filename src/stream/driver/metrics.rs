//! What `/metrics` says of streams, counted at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::hub::Hub;

impl Hub {
    /// Registers what it has at each scrape.
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Streams(self.clone())));
    }
}

struct Streams(Hub);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl Collector for Streams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let streams = self.0.streams();
        let viewers: usize = streams.iter().map(|stream| stream.viewer_counts().total).sum();
        for (name, help, value) in [
            ("streams", "Streams that are live.", streams.len()),
            ("viewers", "Viewers of all streams by all protocols.", viewers),
            ("silent_publishers", "Publishers that have begun and sent nothing yet.", self.0.silent_publishers()),
        ] {
            ConstGauge::new(value as u64).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (name, help) = ("silent_publishers_gave_way", "Publishers that had to go because too many had sent nothing.");
        ConstCounter::new(self.0.gave_way()).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
    }
}
