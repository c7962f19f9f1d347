//! Floor 3: the ORTC core — Worker, Router, transports, Producer, Consumer.
//!
//! In: datagrams, RTP of direct transports, commands. Out: datagrams, RTP of direct consumers, events. It knows no
//! protocol by name: SDP, HTTP and RTMP are adapters above it.

mod config;
mod consumer;
mod driver;
mod error;
mod id;
pub(crate) mod ortc;
pub(crate) mod outbox;
pub(crate) mod peer;
mod producer;
mod requests;
mod resends;
mod sender;
mod stats;
mod store;
mod transport;
pub(crate) mod types;
pub(crate) mod worker;

pub(crate) use config::SfuConfig;
pub(crate) use driver::{DirectConsumer, DirectProducer, Router, WebRtcTransport, WorkerPool};
pub(crate) use error::{Noun, SfuError};
pub(crate) use id::ProducerId;
#[cfg(test)]
pub(crate) use id::{ConsumerId, RouterId};
pub(crate) use stats::SfuMetrics;
pub(crate) use types::{ConsumerOptions, ProducerOptions, ProducerStats, TransportEvent, WebRtcTransportOptions};
