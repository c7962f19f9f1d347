//! Where a worker's output goes.
//!
//! In: datagrams written in place and batches of packets. Out: sockets and channels in the driver, vectors in tests.

use super::id::ConsumerId;
use super::peer::Tuple;
use crate::rtp::batch::RtpBatch;

/// Whether a direct consumer or a pipe takes a batch now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Its queue is full: try again later.
    Full,
    /// Nobody reads it any more.
    Gone,
}

/// Takes what a worker has to send.
pub(crate) trait Outbox {
    /// Lets `write` put a datagram for `tuple` into a buffer of exactly `max_len` bytes; it gives the length, 0 for "don't send".
    /// Datagrams of one tuple that follow each other may leave as one super-packet.
    fn datagram(&mut self, tuple: &Tuple, max_len: usize, write: impl FnOnce(&mut [u8]) -> usize);

    /// Whether [`Self::deliver`] would take a batch now.
    fn readiness(&mut self, consumer: ConsumerId) -> Readiness;

    /// Hands a batch to a direct consumer or into a pipe that is [`Readiness::Ready`].
    fn deliver(&mut self, consumer: ConsumerId, batch: RtpBatch);
}
