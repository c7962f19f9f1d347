//! When a stream's tracks can be relied on: it has just begun, or its publisher is just being replaced.
//!
//! In: a stream. Out: waiting for its second track, and whether a chosen track is still the one to consume.

use std::time::Duration;

use super::derived::Lease;
use super::live::Stream;
use super::unix_now;

/// How long a stream with one track is given to show its second: encoders send their sequence headers within a few ms of each other.
/// Viewers lose nothing by it but this time, and begin with the key-frame cache; thrown out for the second track they would lose more.
const SETTLE: Duration = Duration::from_millis(150);

/// A publisher's track is taking the place of another. Dropping it says that this is over.
#[derive(Debug)]
pub(super) struct Replacing(Stream);

impl Drop for Replacing {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.replacing = state.replacing.saturating_sub(1);
        drop(state);
        self.0.touch();
    }
}

impl Stream {
    /// Waits for the second track of a stream that has just begun: 150 ms at most since its first one. At once for all others.
    pub async fn settled(&self) {
        let Some(first_track_at) = self.state().first_track_at else { return };
        let passed = Duration::from_nanos(u64::try_from(unix_now() - first_track_at).unwrap_or(0));
        let second = async {
            let mut seen = 0;
            while self.tracks().len() < 2 {
                match self.changed(seen).await {
                    Some(count) => seen = count,
                    None => return,
                }
            }
        };
        if let Some(left) = SETTLE.checked_sub(passed) {
            let _ = tokio::time::timeout(left, second).await;
        }
    }

    /// The readers of a track are about to be handed to another producer.
    pub(super) fn replacing(&self) -> Replacing {
        self.state().replacing += 1;
        Replacing(self.clone())
    }

    /// Whether what consumes `lease` now will be handed on when the publisher is replaced. Where not, the lease was chosen, or is being
    /// consumed, in the middle of that: [`Stream::changed`] tells when to choose again.
    pub fn stands(&self, lease: &Lease) -> bool {
        let state = self.state();
        let published = || state.tracks.iter().any(|entry| entry.track.producer == lease.producer());
        lease.derivation().is_some() || (state.replacing == 0 && published())
    }
}
