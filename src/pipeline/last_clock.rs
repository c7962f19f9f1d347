//! A source's clock as it was last told.
//!
//! In: a source's batches. Out: a mapping for whoever begins later: the source sends it only when it changes. Pure.

use crate::base::rescale;
use crate::base::wrap::timestamp_distance;
use crate::rtp::batch::{ClockMapping, RtpBatch};

/// Follows a source's clock.
#[derive(Debug)]
pub(crate) struct LastClock {
    rate: u32,
    /// The last mapping sent, and ticks from there to `last`.
    told: Option<(ClockMapping, i64)>,
    /// The newest RTP timestamp.
    last: u32,
}

impl LastClock {
    /// For an RTP clock rate in Hz (not 0).
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), told: None, last: 0 }
    }

    /// A batch has come.
    pub(crate) fn follow(&mut self, batch: &RtpBatch) {
        if let Some(mapping) = batch.clock {
            self.told = Some((mapping, 0));
            self.last = mapping.rtp;
        }
        let newest = batch.iter().next_back().and_then(|packet| packet.rtp()).map(|packet| packet.timestamp());
        if let (Some(newest), Some((_, ticks))) = (newest, &mut self.told) {
            *ticks += timestamp_distance(newest, self.last);
            self.last = newest;
        }
    }

    /// A mapping near the newest timestamp, so that it can't be mistaken for one a wrap away.
    pub(crate) fn mapping(&self) -> Option<ClockMapping> {
        let (told, ticks) = self.told?;
        Some(ClockMapping { rtp: self.last, wallclock: told.wallclock + rescale(ticks, self.rate, 1_000_000_000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_known_after_many_wraps() {
        let mut clock = LastClock::new(48_000);
        assert_eq!(clock.mapping(), None);
        let mut rtp = u32::MAX - 10;
        let mut told = Some(ClockMapping { rtp, wallclock: 5 });
        for _ in 0..100 {
            rtp = rtp.wrapping_add(48_000 * 10_000);
            let packet = [&[0x80, 96, 0, 0][..], &rtp.to_be_bytes(), &[0; 4]].concat();
            clock.follow(&RtpBatch::of_packets([packet]).with_clock(told.take()));
        }
        assert_eq!(clock.mapping(), Some(ClockMapping { rtp, wallclock: 1_000_000 * 1_000_000_000 + 5 }));
    }
}
