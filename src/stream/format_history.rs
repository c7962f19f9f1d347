//! A track's format now, and the packet with which it began.
//!
//! In: how many packets were sent, and that the format changed. Out: the first packet of the newest format, for whoever has to
//! keep what belongs to one format apart from what belongs to the next, however far behind the writer it reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::lock;
use crate::codec::Format;

/// Packets further back than this can't be told from those to come by their sequence numbers (RFC 3550 appendix A.1).
const HALF: u64 = 1 << 15;

/// Counts a track's packets, and remembers where its stream's formats changed last. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FormatHistory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    format: Mutex<Format>,
    /// The next packet's number; the lower 16 bits are its sequence number.
    next: AtomicU64,
    /// The number of the first packet after the last change; 0: none yet.
    changed: AtomicU64,
}

impl FormatHistory {
    /// A track whose first packet will have this sequence number.
    pub(crate) fn new(format: Format, sequence_number: u16) -> Self {
        // Not 0, which means "never".
        let next = AtomicU64::new((1 << 16) + u64::from(sequence_number));
        Self(Arc::new(Inner { format: Mutex::new(format), next, changed: AtomicU64::new(0) }))
    }

    pub(crate) fn format(&self) -> Format {
        lock(&self.0.format).clone()
    }

    /// Looks at the format now without copying it.
    pub(super) fn see<R>(&self, look: impl FnOnce(&Format) -> R) -> R {
        look(&lock(&self.0.format))
    }

    /// Clock rates of the format now, in Hz: its own and RTP's. Cheaper than [`Self::format`], which copies the parameter sets.
    pub(super) fn rates(&self) -> (u32, u32) {
        let format = lock(&self.0.format);
        (format.clock_rate(), format.rtp_clock_rate())
    }

    /// The format from here on. Those who keep formats apart are told by [`Self::mark`].
    pub(crate) fn set_format(&self, format: Format) {
        *lock(&self.0.format) = format;
    }

    /// So many packets are about to be sent.
    pub(crate) fn advance(&self, packets: usize) {
        self.0.next.fetch_add(packets as u64, Ordering::Relaxed);
    }

    /// What is sent from here on belongs to another format.
    pub(crate) fn mark(&self) {
        // Whoever sees a packet sent after this has to see the mark, too.
        self.0.changed.store(self.0.next.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Tells one change from the next.
    pub(crate) fn version(&self) -> u64 {
        self.0.changed.load(Ordering::Acquire)
    }

    /// The sequence number of the first packet after the last change; `None` where that is too long ago to matter.
    pub(crate) fn first_since_change(&self) -> Option<u16> {
        let changed = self.version();
        let next = self.0.next.load(Ordering::Relaxed);
        (changed != 0 && next.wrapping_sub(changed) < HALF).then_some(changed as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_is_known_until_its_number_could_mean_another_packet() {
        let formats = FormatHistory::new(Format::Vp8, 65_530);
        assert_eq!((formats.version(), formats.first_since_change()), (0, None));
        formats.advance(10);
        formats.mark();
        let version = formats.version();
        assert_eq!(formats.first_since_change(), Some(4));
        formats.advance(32_767);
        assert_eq!(formats.first_since_change(), Some(4));
        formats.advance(1);
        assert_eq!(formats.first_since_change(), None);
        formats.mark();
        assert_ne!(formats.version(), version);
        assert_eq!(formats.first_since_change(), Some(32_772));
    }
}
