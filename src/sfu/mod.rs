//! Floor 3: the ORTC core — Worker, Router, transports, Producer, Consumer.
//!
//! In: datagrams, RTP of direct transports, commands. Out: datagrams, RTP of direct consumers, events. It knows no
//! protocol by name: SDP, HTTP and RTMP are adapters above it.

mod driver;
mod id;
pub mod ortc;
pub mod peer;

pub use driver::{
    ClockMapping, ConsumerInfo, ConsumerOptions, DirectConsumer, DirectProducer, ProducerOptions, ProducerStats, Router, RtpBatch,
    SfuError, TransportEvent, WebRtcTransport, WebRtcTransportOptions, WorkerPool,
};
pub use id::{ConsumerId, ProducerId, RouterId, TransportId};
