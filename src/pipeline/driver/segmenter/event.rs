//! What the segmenter gives, and to whom.

use crate::cmaf::{Chunk, TrackInit};

/// What the segmenter gives, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmenterEvent {
    /// A track begins, or goes on in a new epoch. A track of an older epoch gives nothing any more, even if its last chunk was not
    /// marked as the last of its segment.
    Init(TrackInit),
    /// A chunk of a track that has begun.
    Chunk(Chunk),
    /// The stream is over. The last event.
    End,
}

/// Where the segmenter's events go.
pub trait ChunkSink: Send + 'static {
    /// Takes an event. Must not block; what it can't keep up with it has to drop by itself.
    fn take(&mut self, event: SegmenterEvent);
}

impl<F: FnMut(SegmenterEvent) + Send + 'static> ChunkSink for F {
    fn take(&mut self, event: SegmenterEvent) {
        self(event);
    }
}
