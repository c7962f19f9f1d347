//! headend: a broadcast ingest and HLS/DASH gateway around a real-time SFU.
//!
//! Everything that comes in is a Producer, everything that goes out is a Consumer, RTP runs between
//! them, and every protocol is an adapter at the edge that the core has never heard of.
//! `docs/architecture.md` is the map; the floors below are checked by `tests/architecture.rs`.

// Floor 0
mod base;
// Floor 1
mod codec;
mod net;
// Floor 2
mod cmaf;
mod rtp;
// Floor 3
mod sfu;
mod timing;
// Floor 4
mod sdp;
mod stream;
// Floor 5
mod pipeline;
mod rtmp;
mod webrtc;
// Floor 6
mod package;
mod record;
// Floor 7
mod http;
// Floor 8
pub mod app;

pub use pipeline::host::host_main;
// Above all floors
pub mod inside;
#[cfg(test)]
mod simulation;
