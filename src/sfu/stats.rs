//! Counters of a worker, plain integers on its own thread.
//!
//! In: one addition per event. Out: a copy on request, summed over the workers for `/metrics`.

use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::base::lock;

macro_rules! stats {
    (gauges { $(#[doc = $now:literal] $gauge:ident),* $(,)? } counters { $(#[doc = $doc:literal] $counter:ident),* $(,)? }) => {
        /// What a worker (or all of them together) has now, and has done since it started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(crate) struct WorkerStats {
            $(#[doc = $now] pub $gauge: u64,)*
            $(#[doc = $doc] pub $counter: u64,)*
        }

        impl WorkerStats {
            /// Adds another worker's numbers.
            pub(super) fn add(&mut self, other: &WorkerStats) {
                $(self.$gauge += other.$gauge;)*
                $(self.$counter += other.$counter;)*
            }

            fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
                $(ConstGauge::new(self.$gauge)
                    .encode(encoder.encode_descriptor(stringify!($gauge), $now.trim(), None, MetricType::Gauge)?)?;)*
                $(ConstCounter::new(self.$counter)
                    .encode(encoder.encode_descriptor(stringify!($counter), $doc.trim(), None, MetricType::Counter)?)?;)*
                Ok(())
            }
        }
    };
}

stats! {
    gauges {
        /// Routers now open.
        routers,
        /// Transports now open.
        transports,
        /// Producers now open, piped copies included.
        producers,
        /// Consumers now open, pipes included.
        consumers,
        /// Bytes held in packet stores.
        stored_bytes,
    }
    counters {
        /// Datagrams from the network.
        datagrams_in,
        /// Bytes from the network.
        bytes_in,
        /// RTP packets taken in by producers, from the network, this process and pipes.
        packets_in,
        /// RTP packets sent to viewers, retransmissions included.
        packets_out,
        /// Bytes sent to viewers.
        bytes_out,
        /// RTP packets sent again after a NACK.
        retransmissions,
        /// NACKs received for packets that were no longer there, or just sent again.
        nacks_unanswered,
        /// Key-frame requests (PLI, FIR) that viewers sent.
        key_frame_requests_in,
        /// Key-frame requests of viewers who ask without end.
        key_frame_requests_refused,
        /// Key-frame requests sent to publishers.
        key_frame_requests_out,
        /// Viewers started from the key-frame cache.
        fast_starts,
        /// Packets that publishers sent again after our NACKs.
        recovered,
        /// Datagrams that came to another worker's socket than their session's.
        handovers,
        /// Packets left out because their picture is disposable (`drop_disposable`).
        disposable_dropped,
        /// Datagrams of nobody we know: no such ICE pair or user name.
        drop_unknown_peer,
        /// Datagrams that are none of STUN, DTLS, RTP, RTCP.
        drop_garbage,
        /// DTLS records dropped unread: malformed, beyond a bound, or not encrypted where they count only so (alerts).
        drop_dtls,
        /// ICE-TCP connections closed because they took nothing for 5 s.
        tcp_stalled,
        /// SRTP or SRTCP packets that failed authentication or are too old.
        drop_srtp,
        /// RTP packets that belong to no producer.
        drop_unknown_ssrc,
        /// RTP packets seen before, or too old.
        drop_duplicate,
        /// Batches of direct producers that came when the worker's queue was full.
        drop_queue_full,
        /// Stray datagrams whose owner's queue was full.
        drop_handover,
        /// Datagrams that the socket did not take.
        drop_send,
        /// ICE-TCP connections closed because few file descriptors were left.
        tcp_few_files,
        /// Consumers that fell behind the packet store and had to begin again at a key frame.
        fell_behind,
    }
}

/// The newest sum of all workers, which count on threads of their own: fetched before each scrape, and read by it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SfuMetrics(Arc<Mutex<WorkerStats>>);

impl SfuMetrics {
    /// Registers them under `sfu_…`; call it once per registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("sfu").register_collector(Box::new(self.clone()));
    }

    /// What the next scrape says.
    pub(crate) fn set(&self, stats: WorkerStats) {
        *lock(&self.0) = stats;
    }
}

impl Collector for SfuMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = *lock(&self.0);
        stats.encode(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_tells_gauges_from_counters() {
        let (mut registry, metrics) = (Registry::with_prefix("headend"), SfuMetrics::default());
        metrics.register(&mut registry);
        let mut stats = WorkerStats { consumers: 3, packets_out: 40, ..WorkerStats::default() };
        stats.add(&WorkerStats { consumers: 1, packets_out: 2, ..WorkerStats::default() });
        metrics.set(stats);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "# HELP headend_sfu_consumers Consumers now open, pipes included.",
            "# TYPE headend_sfu_consumers gauge",
            "headend_sfu_consumers 4",
            "# TYPE headend_sfu_packets_out counter",
            "headend_sfu_packets_out_total 42",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
