//! The SFU's side that touches threads, sockets and channels: the handles that the floors above hold.
//!
//! In: async calls. Out: commands to the worker threads over bounded channels, and their answers and events.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::error::SfuError;
use super::id::{ConsumerId, ProducerId, TransportId};
use super::ortc::{DtlsParameters, IceCandidate, IceParameters, RtpCapabilities, RtpParameters};
use super::types::{ConsumerInfo, ConsumerOptions, ProducerOptions, ProducerStats, RtpBatch, TransportEvent, WebRtcTransportOptions};

/// The worker threads and their sockets.
#[derive(Debug)]
pub struct WorkerPool {}

impl WorkerPool {
    /// How many workers there are, at least 1.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Makes a router on worker `worker` (0 to `len() - 1`).
    pub async fn create_router(&self, worker: usize) -> Result<Router, SfuError> {
        let _ = worker;
        todo!()
    }

    /// Ends all workers: transports send DTLS close_notify, sockets close. Returns when they have.
    pub async fn shutdown(&self) {
        todo!()
    }
}

/// A router: producers and their consumers on one worker. Dropping the last handle closes it and all in it.
#[derive(Debug, Clone)]
pub struct Router {}

impl Router {
    /// Which worker it lives on.
    pub fn worker(&self) -> usize {
        todo!()
    }

    /// What producers may send to this router and consumers may get, as `routerRtpCapabilities`.
    pub fn rtp_capabilities(&self) -> &'static RtpCapabilities {
        todo!()
    }

    /// Makes a transport for a browser.
    pub async fn create_webrtc_transport(&self, options: WebRtcTransportOptions) -> Result<WebRtcTransport, SfuError> {
        let _ = options;
        todo!()
    }

    /// A producer fed from this process. `rtp_parameters` has one codec and one encoding with SSRC.
    pub async fn produce_direct(&self, options: ProducerOptions) -> Result<DirectProducer, SfuError> {
        let _ = options;
        todo!()
    }

    /// A consumer read by this process; begins with the key-frame cache, if there is one.
    pub async fn consume_direct(&self, producer: ProducerId) -> Result<DirectConsumer, SfuError> {
        let _ = producer;
        todo!()
    }

    /// Makes `producer` available on `to` (another worker) under the same id. Idempotent. The pipe ends with the producer.
    pub async fn pipe_to(&self, producer: ProducerId, to: &Router) -> Result<(), SfuError> {
        let _ = (producer, to);
        todo!()
    }

    /// Lets the consumers of `old` go on with `new` from its next key frame, without a gap in their sequence numbers and with
    /// timestamps that go on from the wall clock. On all routers that `old` is piped to. `old` is then closed.
    /// Both must have the same codec.
    pub async fn replace_producer(&self, old: ProducerId, new: ProducerId) -> Result<(), SfuError> {
        let _ = (old, new);
        todo!()
    }

    /// Closes a producer, its consumers (on every router it is piped to) with it.
    pub async fn close_producer(&self, producer: ProducerId) {
        let _ = producer;
        todo!()
    }

    /// Asks the source for a key frame (at most one request a second goes out per producer).
    pub async fn request_key_frame(&self, producer: ProducerId) {
        let _ = producer;
        todo!()
    }

    /// What is known about a producer.
    pub async fn producer_stats(&self, producer: ProducerId) -> Result<ProducerStats, SfuError> {
        let _ = producer;
        todo!()
    }
}

/// A transport to a browser. Dropping it closes it.
#[derive(Debug)]
pub struct WebRtcTransport {
    /// Its id.
    pub id: TransportId,
    /// Our ICE credentials.
    pub ice_parameters: IceParameters,
    /// Where we can be reached.
    pub ice_candidates: Vec<IceCandidate>,
    /// Our certificate's fingerprint; our role is what `connect` leaves for us.
    pub dtls_parameters: DtlsParameters,
    /// What happens to it. Bounded; the last event is `Closed`.
    pub events: mpsc::Receiver<TransportEvent>,
}

impl WebRtcTransport {
    /// Tells the peer's DTLS parameters. Our role is the opposite of `remote.role` (`Auto`: we are the server).
    pub async fn connect(&self, remote: DtlsParameters) -> Result<(), SfuError> {
        let _ = remote;
        todo!()
    }

    /// New ICE credentials; the old pair goes on until the new one is valid.
    pub async fn restart_ice(&self) -> Result<IceParameters, SfuError> {
        todo!()
    }

    /// Receives a track from the browser.
    pub async fn produce(&self, options: ProducerOptions) -> Result<ProducerId, SfuError> {
        let _ = options;
        todo!()
    }

    /// Sends a track to the browser. Sending begins once the transport is connected.
    pub async fn consume(&self, options: ConsumerOptions) -> Result<ConsumerInfo, SfuError> {
        let _ = options;
        todo!()
    }

    /// Pauses or resumes a consumer.
    pub async fn set_consumer_paused(&self, consumer: ConsumerId, paused: bool) -> Result<(), SfuError> {
        let _ = (consumer, paused);
        todo!()
    }
}

/// The way in for a producer fed from this process. Dropping it closes the producer.
#[derive(Debug)]
pub struct DirectProducer {
    /// Its id.
    pub id: ProducerId,
}

impl DirectProducer {
    /// Hands over packets. Never waits: returns false where the worker's queue is full (they are dropped and counted) or gone.
    pub fn send(&self, batch: RtpBatch) -> bool {
        let _ = batch;
        todo!()
    }

    /// Waits until somebody asked for a key frame. Cancel safe. `None` when the producer was closed.
    pub async fn key_frame_requested(&mut self) -> Option<()> {
        todo!()
    }
}

/// The way out for a consumer read by this process. Dropping it closes the consumer.
#[derive(Debug)]
pub struct DirectConsumer {
    /// Its id.
    pub id: ConsumerId,
    /// What comes.
    pub rtp_parameters: RtpParameters,
}

impl DirectConsumer {
    /// The next packets; `None` when the producer was closed. Cancel safe. If the reader is too slow the queue (bounded) drops whole
    /// batches, and the next batch after a loss shows it by its sequence numbers.
    pub async fn recv(&mut self) -> Option<RtpBatch> {
        todo!()
    }

    /// Asks the producer for a key frame.
    pub fn request_key_frame(&self) {
        todo!()
    }
}
