//! The right to consume a track in a certain form. A derived track lives as long as its leases.

use std::sync::Arc;

use super::live::Stream;
use crate::codec::Format;
use crate::sfu::{DirectConsumer, ProducerId, Router, SfuError};
use crate::stream::core::{Running, Track};

/// A track to consume.
#[derive(Debug, Clone)]
pub(crate) struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    what: What,
}

#[derive(Debug)]
enum What {
    Published { track: Track, drop_disposable: bool },
    Derived(Running),
}

impl Lease {
    pub(super) fn published(stream: Stream, track: Track, drop_disposable: bool) -> Self {
        Self(Arc::new(Inner { stream, what: What::Published { track, drop_disposable } }))
    }

    pub(super) fn derived(stream: Stream, running: Running) -> Self {
        Self(Arc::new(Inner { stream, what: What::Derived(running) }))
    }

    pub(crate) fn format(&self) -> Format {
        match &self.0.what {
            What::Published { track, .. } => {
                let now = self.0.stream.state().see(|core| core.track(track.producer).map(|track| track.format.clone()));
                now.unwrap_or_else(|| track.format.clone())
            }
            What::Derived(running) => running.formats.format(),
        }
    }

    /// Whether it is made from the published one, in words ("AAC → Opus").
    pub(crate) fn derivation(&self) -> Option<&'static str> {
        match &self.0.what {
            What::Published { .. } => None,
            What::Derived(running) => Some(running.what),
        }
    }

    /// Whether the disposable pictures must be left out for in-order viewers (`webrtc.b_frames = "drop"`).
    pub(crate) fn drop_disposable(&self) -> bool {
        matches!(self.0.what, What::Published { drop_disposable: true, .. })
    }

    /// The producer on the stream's home router.
    pub(crate) fn producer(&self) -> ProducerId {
        match &self.0.what {
            What::Published { track, .. } => track.producer,
            What::Derived(running) => running.producer,
        }
    }

    /// The producer, made available on `router` (piped there if it is another worker).
    pub(crate) async fn producer_on(&self, router: &Router) -> Result<ProducerId, SfuError> {
        let home = self.0.stream.home();
        if router.worker() != home.worker() {
            home.pipe_to(self.producer(), router).await?;
        }
        Ok(self.producer())
    }

    /// Its packets, read by this process.
    pub(crate) async fn consume_direct(&self) -> Result<DirectConsumer, SfuError> {
        self.0.stream.home().consume_direct(self.producer()).await
    }

    /// As [`Self::consume_direct`], with all that is still held.
    pub(crate) async fn consume_recent(&self) -> Result<DirectConsumer, SfuError> {
        self.0.stream.home().consume_recent(self.producer()).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let What::Derived(running) = &self.what {
            let state = self.stream.state();
            state.act(|core| core.release(running.id, state.now().at));
        }
    }
}

impl Stream {
    /// Whether what consumes `lease` now will be handed on when the publisher is replaced. Where not, the lease was chosen, or is being
    /// consumed, in the middle of that: [`Stream::changed`] tells when to choose again.
    pub(crate) fn stands(&self, lease: &Lease) -> bool {
        lease.derivation().is_some() || self.state().see(|core| core.stands(lease.producer()))
    }
}
