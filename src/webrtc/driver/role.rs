//! What a session's transport is joined to: a publication, or a stream that is watched.

use crate::base::MediaKind;
use crate::codec::Format;
use crate::sfu::ProducerId;
use crate::stream::{Lease, Publication, Stream, Viewer};
use crate::webrtc::{WebRtcError, whep};

/// What the session does, and what its transport is joined to.
#[derive(Debug)]
pub(super) enum Role {
    Publishing(Publishing),
    Viewing(Viewing),
}

/// A publisher's side. The producers join the stream once media can flow: a client that never connects makes nothing live.
#[derive(Debug)]
pub(super) struct Publishing {
    pub publication: Publication,
    pub producers: Vec<(ProducerId, Format)>,
}

/// A viewer's side.
#[derive(Debug)]
pub(super) struct Viewing {
    stream: Stream,
    /// Holds the viewer's place and keeps derived tracks going.
    _held: (Viewer, Vec<Lease>),
    facts: Vec<whep::Facts>,
    wanted: Vec<MediaKind>,
    seen: u64,
}

impl Viewing {
    pub(super) fn new(stream: Stream, viewer: Viewer, leases: Vec<Lease>, facts: Vec<whep::Facts>, wanted: Vec<MediaKind>) -> Self {
        Self { stream, _held: (viewer, leases), facts, wanted, seen: 0 }
    }

    /// Waits until the session can't go on as it was negotiated. Cancel safe.
    async fn ended(&mut self) -> &'static str {
        while let Some(count) = self.stream.changed(self.seen).await {
            self.seen = count;
            if whep::must_renegotiate(&self.facts, &whep::facts(&self.stream.tracks()), &self.wanted) {
                return "the stream's tracks changed";
            }
        }
        "the stream ended"
    }
}

impl Publishing {
    pub(super) async fn connected(&mut self) -> Result<(), WebRtcError> {
        // Video first: what takes the first track as the stream's beginning should see pictures.
        self.producers.sort_by_key(|(_, format)| format.kind() != MediaKind::Video);
        for (producer, format) in self.producers.drain(..) {
            self.publication.add_producer(producer, format).await.map_err(|error| WebRtcError::from_publish(error, false))?;
        }
        Ok(())
    }
}

impl Role {
    /// Waits until what the transport is joined to is over. Cancel safe.
    pub(super) async fn ended(&mut self) -> &'static str {
        match self {
            Role::Publishing(publishing) => publishing.publication.evicted().await,
            Role::Viewing(viewing) => viewing.ended().await,
        }
    }
}
