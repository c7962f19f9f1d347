//! headend: a broadcast ingest and HLS/DASH gateway around a real-time SFU.
//!
//! Everything that comes in is a Producer, everything that goes out is a Consumer, RTP runs between
//! them, and every protocol is an adapter at the edge that the core has never heard of.
//! `docs/architecture.md` is the map; the floors below are checked by `tests/architecture.rs`.

// Floor 0
pub mod base;
// Floor 1
pub mod codec;
pub mod net;
// Floor 2
pub mod cmaf;
pub mod rtp;
// Floor 3
pub mod sfu;
pub mod timing;
// Floor 4
pub mod sdp;
pub mod stream;
// Floor 5
pub mod pipeline;
pub mod rtmp;
pub mod webrtc;
// Floor 6
pub mod package;
pub mod record;
// Floor 7
pub mod http;
// Floor 8
pub mod app;
// Above all floors, for tests
#[cfg(test)]
mod simulation;
