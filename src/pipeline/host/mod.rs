//! The child process: runs GStreamer pipelines for its parent.
//!
//! In: jobs, RTP packets and requests on the Unix socket that is this process's standard input. Out: CMAF chunks, derived access
//! units and reports on the same socket. It ends when the socket closes. An error in one pipeline ends that job; a panic ends the process.

pub(crate) mod caps;
pub(crate) mod cut;
mod driver;
pub(crate) mod grid;
mod input;
pub(crate) mod intake;
mod lane;
pub(crate) mod unit;

pub use driver::host_main;
