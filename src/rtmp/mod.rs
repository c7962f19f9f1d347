//! Floor 5: RTMP in (OBS, ffmpeg, hardware encoders) and out (ffmpeg, VLC).
//!
//! In: TCP connections. Out: publications in `stream` fed with access units; for players, a stream's tracks as FLV tags. The
//! protocol (`session`) touches no socket and reads no clock; `driver` does.

mod amf;
pub(crate) mod amf0;
mod amf3;
pub(crate) mod chunk;
#[cfg(test)]
mod client_tests;
mod command;
mod driver;
mod egress;
mod enhanced;
mod error;
pub(crate) mod flv;
mod handshake;
pub(crate) mod ingest;
mod metrics;
mod notices;
mod oddity;
mod repeats;
pub(crate) mod session;
mod target;
#[cfg(test)]
mod testing;

pub(crate) use driver::{RtmpConfig, RtmpServer};
pub(crate) use error::{Problem, RtmpError};
pub(crate) use metrics::RtmpMetrics;
#[cfg(test)]
pub(crate) use oddity::Oddity;
pub use target::Target;
