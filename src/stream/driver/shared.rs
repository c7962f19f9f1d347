//! What all streams of a hub share: the workers and their load, the configuration, the transcoder.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::transcoder::SharedTranscoder;
use crate::base::{Clock, Lots};
use crate::sfu::WorkerPool;
use crate::stream::config::{BFrames, StreamConfig};
use crate::stream::core::{Rules, worker_for_viewer};

/// Shared by the streams.
pub(super) struct Shared {
    pub config: StreamConfig,
    pub workers: Arc<WorkerPool>,
    pub clock: Clock,
    pub lots: Lots,
    pub transcoder: OnceLock<SharedTranscoder>,
    b_frames: BFrames,
    /// Viewers by worker, to spread them.
    viewers: Vec<AtomicUsize>,
    next_home: AtomicUsize,
}

impl Shared {
    pub(super) fn new(config: StreamConfig, b_frames: BFrames, workers: Arc<WorkerPool>, clock: Clock, lots: Lots) -> Self {
        let viewers = (0..workers.len()).map(|_| AtomicUsize::new(0)).collect();
        Self { config, workers, clock, lots, transcoder: OnceLock::new(), b_frames, viewers, next_home: AtomicUsize::new(0) }
    }

    /// What every stream lives by.
    pub(super) fn rules(&self) -> Rules {
        let StreamConfig { on_conflict, takeover_silence, reconnect_window, long_gops, .. } = self.config;
        Rules { on_conflict, takeover_silence, reconnect_window, b_frames: self.b_frames, long_gops }
    }

    pub(super) fn worker_for_stream(&self) -> usize {
        self.next_home.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1)
    }

    /// The worker for a new viewer of a stream that lives on `home`.
    pub(super) fn worker_for_viewer(&self, home: usize) -> usize {
        let loads: Vec<usize> = self.viewers.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        worker_for_viewer(home, &loads, self.config.home_preference)
    }

    pub(super) fn count_viewer(&self, worker: usize, comes: bool) {
        if let Some(count) = self.viewers.get(worker) {
            if comes {
                count.fetch_add(1, Ordering::Relaxed)
            } else {
                count.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }
}
