//! The handle of a plain transport.
//!
//! In: the peer's address. Out: ours, producers and consumers.

use std::net::SocketAddr;
use std::sync::Arc;

use super::shard::Shared;
use super::shared::Closer;
use crate::sfu::error::SfuError;
use crate::sfu::id::{ProducerId, TransportId};
use crate::sfu::types::{ConsumerInfo, ConsumerOptions, ProducerOptions};

/// RTP and RTCP over UDP as they are, on one port. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct PlainTransport {
    pub id: TransportId,
    /// Where the peer is to send to (the port; the address may be a wildcard).
    pub local_address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: usize,
    pub(super) _closer: Closer,
}

impl PlainTransport {
    /// Sets the peer's address: RTP goes there, and is taken from there only. Not needed with `comedia` to receive.
    pub(crate) async fn connect(&self, remote: SocketAddr) -> Result<(), SfuError> {
        let (id, local) = (self.id, self.local_address);
        self.shared
            .call(self.worker, move |shard, now| shard.worker.connect_plain_transport(now, id, local, remote, &mut shard.out))
            .await?
    }

    /// Receives a track from the peer.
    pub(crate) async fn produce(&self, options: ProducerOptions) -> Result<ProducerId, SfuError> {
        self.shared.produce(self.worker, self.id, options).await
    }

    /// Sends a track to the peer. Sending begins once its address is known.
    pub(crate) async fn consume(&self, options: ConsumerOptions) -> Result<ConsumerInfo, SfuError> {
        self.shared.consume(self.worker, self.id, options).await
    }
}
