//! What happened with the pipelines, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start of the program. Gauges are named so.
        #[derive(Debug, Default)]
        pub struct PipelineCounters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
        }

        /// The values of [`PipelineCounters`] at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl PipelineCounters {
            /// The values now.
            pub fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Child processes started.
    children_started,
    /// Child processes that died without being told to.
    children_died,
    /// Child processes killed because they did not answer.
    children_hung,
    /// Gauge: child processes running.
    children_running,
    /// Jobs started.
    jobs_started,
    /// Jobs that failed by themselves (not by their child's death).
    jobs_failed,
    /// Gauge: jobs running.
    jobs_running,
    /// Bytes of RTP given to children.
    rtp_bytes,
    /// RTP batches dropped because a child did not read fast enough.
    rtp_batches_dropped,
    /// CMAF chunks made.
    chunks,
    /// Bytes of CMAF chunks made.
    chunk_bytes,
    /// Jobs ended because their owner did not read fast enough.
    jobs_overrun,
    /// Discontinuities: epochs begun after the first.
    rebuilds,
    /// Gauge: transcodes of pictures running.
    video_transcodes_running,
    /// Gauge: transcodes of sound running.
    audio_transcodes_running,
    /// Transcodes refused because of the budget.
    transcodes_refused,
}

impl PipelineCounters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(counter: &AtomicU64, count: u64) {
        counter.fetch_sub(count, Ordering::Relaxed);
    }
}
