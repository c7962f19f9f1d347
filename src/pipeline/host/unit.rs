//! Access units on their way into a pipeline, and where they are cut.

use bytes::Bytes;

use crate::base::UnixNanos;

/// An access unit on the wall clock (ns).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Presentation time.
    pub pts: i64,
    /// Decoding time.
    pub dts: i64,
    /// Its decoding time as it came, which nothing here has mended or laid on a grid: what tells it from others, in whatever job. `None`
    /// where it was made here.
    pub(crate) source: Option<UnixNanos>,
    /// How long it lasts, where known (audio), else 0.
    pub duration: i64,
    /// Whether decoding can start here.
    pub key: bool,
    pub data: Bytes,
}

/// What to cut before a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    None,
    Chunk,
    /// A segment ends (or the track begins); the unit begins the one with this number.
    Segment(u64),
}

/// A unit that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub track: usize,
    /// The cut before it.
    pub split: Split,
    pub unit: Unit,
}
