//! Floor 5: RTMP in (OBS, ffmpeg, hardware encoders) and out (ffmpeg, VLC).
//!
//! In: TCP connections. Out: publications in `stream` fed with access units; for players, a stream's tracks as FLV tags. The
//! protocol (`session`) touches no socket and reads no clock; `driver` does.

pub mod amf0;
pub mod chunk;
mod command;
mod error;
pub mod flv;
mod handshake;
pub mod session;
mod target;

pub use error::{Position, Problem, RtmpError};
pub use target::Target;
