//! RTP timestamps on the wall clock, without jitter.
//!
//! In: mappings from sender reports. Out: times. Pure.

use crate::base::wrap::timestamp_distance;
use crate::base::{UnixNanos, rescale};
use crate::rtp::batch::ClockMapping;

/// A new mapping that differs by less is jitter of its measurement, and is ignored. Half of what a viewer can notice between
/// sound and picture (ITU-R BT.1359: 45 ms).
const TOLERANCE: i64 = 40_000_000;
/// Once a correction has begun it goes on until the difference is below this.
const SETTLED: i64 = 2_000_000;
/// Media time is stretched or shrunk by at most one part in this many while correcting: 5 ms per second.
const SLEW: i64 = 200;
/// A mapping that differs by more is another timeline, not drift.
const JUMP: i64 = 1_000_000_000;

/// The timeline of the publisher changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump(pub i64);

/// Maps one input's RTP timestamps to wall clock times.
#[derive(Debug)]
pub(crate) struct MediaClock {
    rate: u32,
    /// Extended timestamp and the time it stands for.
    anchor: Option<(i64, UnixNanos)>,
    last: i64,
    /// How far the anchor still has to be moved.
    pending: i64,
}

impl MediaClock {
    /// For a clock rate in Hz (not 0).
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), anchor: None, last: 0, pending: 0 }
    }

    /// Whether a mapping has been seen.
    pub(crate) fn is_anchored(&self) -> bool {
        self.anchor.is_some()
    }

    /// Takes a mapping. The first one counts as it is; later ones only where they show drift.
    pub(crate) fn map(&mut self, mapping: ClockMapping) -> Result<(), Jump> {
        if self.anchor.is_none() {
            self.last = i64::from(mapping.rtp);
            self.anchor = Some((self.last, mapping.wallclock));
            return Ok(());
        }
        let difference = mapping.wallclock - self.at(self.extend(mapping.rtp));
        if difference.abs() > JUMP {
            return Err(Jump(difference));
        }
        if difference.abs() > TOLERANCE || self.pending != 0 {
            self.pending = if difference.abs() < SETTLED { 0 } else { difference };
        }
        Ok(())
    }

    /// The time of a packet's timestamp. `None` before the first mapping.
    pub(crate) fn time(&mut self, rtp: u32) -> Option<UnixNanos> {
        let extended = self.extend(rtp);
        let (at, time) = self.anchor?;
        let elapsed = rescale(extended - self.last, self.rate, 1_000_000_000);
        if self.pending != 0 && elapsed > 0 {
            let most = (elapsed / SLEW).min(self.pending.abs());
            let step = if self.pending < 0 { -most } else { most };
            self.pending -= step;
            self.anchor = Some((at, time + step));
        }
        self.last = self.last.max(extended);
        Some(self.at(extended))
    }

    fn extend(&self, rtp: u32) -> i64 {
        self.last + timestamp_distance(rtp, self.last as u32)
    }

    fn at(&self, extended: i64) -> UnixNanos {
        self.anchor.map_or(0, |(at, time)| time + rescale(extended - at, self.rate, 1_000_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(rtp: u32, wallclock: i64) -> ClockMapping {
        ClockMapping { rtp, wallclock }
    }

    #[test]
    fn wraps_and_reordering() {
        let mut clock = MediaClock::new(90_000);
        assert_eq!(clock.time(5), None);
        clock.map(mapping(u32::MAX - 89_999, 1_000_000_000)).unwrap();
        assert_eq!(clock.time(u32::MAX - 89_999), Some(1_000_000_000));
        assert_eq!(clock.time(0), Some(2_000_000_000));
        assert_eq!(clock.time(u32::MAX - 44_999), Some(1_500_000_000));
        assert_eq!(clock.time(90_000), Some(3_000_000_000));
    }

    #[test]
    fn jitter_is_ignored_drift_is_slewed_a_jump_is_told() {
        let mut clock = MediaClock::new(1000);
        clock.map(mapping(0, 0)).unwrap();
        clock.map(mapping(1000, 1_030_000_000)).unwrap();
        assert_eq!(clock.time(2000), Some(2_000_000_000), "30 ms are jitter");
        clock.map(mapping(2000, 2_060_000_000)).unwrap();
        let mut before = 2_000_000_000;
        for second in 3..30 {
            let time = clock.time(second * 1000).unwrap();
            assert!((1_000_000_000..=1_005_000_000).contains(&(time - before)), "{time} {before}");
            before = time;
        }
        assert_eq!(clock.time(30_000), Some(30_060_000_000));
        assert!(clock.map(mapping(31_000, 40_000_000_000)).is_err());
    }
}
