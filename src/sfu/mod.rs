//! Floor 3: the ORTC core — Worker, Router, transports, Producer, Consumer.
//!
//! In: datagrams, RTP of direct transports, commands. Out: datagrams, RTP of direct consumers, events. It knows no
//! protocol by name: SDP, HTTP and RTMP are adapters above it.

mod config;
mod driver;
mod error;
mod id;
pub mod ortc;
mod stats;
mod store;
mod types;

pub use config::SfuConfig;
pub use driver::{DirectConsumer, DirectProducer, Router, WebRtcTransport, WorkerPool};
pub use error::SfuError;
pub use id::{ConsumerId, ProducerId, RouterId, TransportId};
pub use stats::WorkerStats;
pub use types::{
    ClockMapping, ConsumerInfo, ConsumerOptions, ProducerOptions, ProducerStats, RtpBatch, TransportEvent, WebRtcTransportOptions,
};
