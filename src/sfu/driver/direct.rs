//! Producers fed, and consumers read, by this process.
//!
//! In: batches. Out: batches, and requests for key frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::shard::Shared;
use super::shared::{Closer, Incoming, Notice};
use crate::rtp::batch::RtpBatch;
use crate::sfu::id::{ConsumerId, ProducerId, RouterId};

/// The way in for a producer fed from this process. Dropping it closes the producer.
#[derive(Debug)]
pub(crate) struct DirectProducer {
    pub id: ProducerId,
    pub(super) router: RouterId,
    pub(super) media: mpsc::Sender<Incoming>,
    pub(super) refused: Arc<AtomicU64>,
    pub(super) key_frames: mpsc::Receiver<()>,
    pub(super) _closer: Closer,
}

impl DirectProducer {
    /// Hands over packets. Never waits: returns false where the worker's queue is full (they are dropped and counted) or gone.
    pub(crate) fn send(&self, batch: RtpBatch) -> bool {
        let taken = self.media.try_send(Incoming::Batch { router: self.router, producer: self.id, batch }).is_ok();
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Waits until the worker's queue has room, or is gone. Cancel safe.
    pub(crate) async fn room(&self) {
        drop(self.media.reserve().await);
    }

    /// Waits until somebody asked for a key frame. Cancel safe. `None` when the producer was closed.
    pub(crate) async fn key_frame_requested(&mut self) -> Option<()> {
        self.key_frames.recv().await
    }
}

/// The way out for a consumer read by this process. Dropping it closes the consumer.
#[derive(Debug)]
pub(crate) struct DirectConsumer {
    pub id: ConsumerId,
    pub(super) batches: mpsc::Receiver<RtpBatch>,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: usize,
    pub(super) _closer: Closer,
}

impl DirectConsumer {
    /// The next packets; `None` when the producer was closed. Cancel safe. If the reader is too slow, packets wait in the producer's
    /// store as long as they are kept there; beyond that whole batches are lost, and the next one shows it by its sequence numbers.
    pub(crate) async fn recv(&mut self) -> Option<RtpBatch> {
        self.batches.recv().await
    }

    /// Asks the producer for a key frame.
    pub(crate) fn request_key_frame(&self) {
        self.shared.notify(self.worker, Notice::KeyFrameFor(self.id));
    }
}
