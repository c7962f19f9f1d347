//! What runs in the child: the socket, the threads, the GStreamer elements of each job.

mod confine;
mod job;
mod output;
mod report;
mod serve;
mod sink;

pub use serve::host_main;
