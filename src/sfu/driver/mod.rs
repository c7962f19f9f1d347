//! The SFU's side that touches threads, sockets and channels: the handles that the floors above hold.
//!
//! In: async calls. Out: commands to the worker threads over bounded channels, and their answers and events.

#[cfg(test)]
mod chromium_test;
mod direct;
mod outbox;
#[cfg_attr(not(test), expect(dead_code, reason = "no adapter offers plain RTP yet; the SFU's own tests do"))]
mod plain;
mod pool;
mod router;
mod shard;
mod shared;
mod steer;
mod tcp;
#[cfg(test)]
mod tests;
mod webrtc;

pub(crate) use direct::{DirectConsumer, DirectProducer};
#[cfg(test)]
pub(crate) use plain::PlainTransport;
pub(crate) use pool::WorkerPool;
pub(crate) use router::Router;
pub(crate) use webrtc::WebRtcTransport;
