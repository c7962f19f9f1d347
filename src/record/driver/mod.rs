//! What touches disk and clock: the files of a recording, how they are read again after a crash, and the tasks around them.

mod ages;
pub(crate) mod disk;
mod metrics;
pub(crate) mod reading;
mod recordings;
pub(crate) mod recover;
mod replace;
pub(crate) mod store;
mod writer;
mod writers;

pub(crate) use recordings::{RecorderInput, Recordings};
pub(crate) use replace::replace;
pub(crate) use writer::Writer;
