//! The handle of a transport to a browser.
//!
//! In: what the browser's signalling says. Out: our parameters, events, producers and consumers.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::shard::Shared;
use super::shared::Closer;
use crate::sfu::error::SfuError;
use crate::sfu::id::{ProducerId, TransportId};
use crate::sfu::ortc::{DtlsParameters, IceCandidate, IceParameters};
use crate::sfu::types::{ConsumerInfo, ConsumerOptions, ProducerOptions, TransportEvent};

/// A transport to a browser. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct WebRtcTransport {
    pub id: TransportId,
    /// Our ICE credentials.
    pub ice_parameters: IceParameters,
    /// Where we can be reached.
    pub ice_candidates: Vec<IceCandidate>,
    /// Our certificate's fingerprint; our role is what `connect` leaves for us.
    pub dtls_parameters: DtlsParameters,
    /// What happens to it. Bounded; the last event is `Closed`.
    pub events: mpsc::Receiver<TransportEvent>,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: usize,
    pub(super) _closer: Closer,
}

impl WebRtcTransport {
    /// Sets the peer's DTLS parameters and ICE credentials. Our role is the opposite of `remote.role` (`Auto`: we are the server).
    pub(crate) async fn connect(&self, remote: DtlsParameters, ice: IceParameters) -> Result<(), SfuError> {
        let id = self.id;
        self.shared.call(self.worker, move |shard, now| shard.worker.connect_transport(now, id, remote, &ice, &mut shard.out)).await?
    }

    /// New ICE credentials, for `theirs`; the old pair goes on until the new one is valid.
    pub(crate) async fn restart_ice(&self, theirs: IceParameters) -> Result<IceParameters, SfuError> {
        let id = self.id;
        self.shared.call(self.worker, move |shard, _| shard.worker.restart_ice(id, &theirs)).await?
    }

    /// Receives a track from the browser.
    pub(crate) async fn produce(&self, options: ProducerOptions) -> Result<ProducerId, SfuError> {
        self.shared.produce(self.worker, self.id, options).await
    }

    /// Sends a track to the browser. Sending begins once the transport is connected.
    pub(crate) async fn consume(&self, options: ConsumerOptions) -> Result<ConsumerInfo, SfuError> {
        self.shared.consume(self.worker, self.id, options).await
    }
}
