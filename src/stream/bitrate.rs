//! Whether a track has more bits a second than it may.
//!
//! In: units, with their media time. Out: once, that they are too many. Media time, not the time that passes: a file may be pushed at once, and
//! what is held of a stream is so many seconds of media. Pure.

use crate::base::UnixNanos;

/// So many seconds at the bound may come at once: a key frame is many times the average, and rate control has a window of some seconds.
const SECONDS: u64 = 4;
const NANOS: u128 = 1_000_000_000;

/// The bound on one track.
#[derive(Debug)]
pub(super) struct BitrateBound {
    /// Bits a second.
    max: u64,
    /// Bits that came beyond it, and up to when.
    beyond: u64,
    at: UnixNanos,
    over: bool,
}

impl BitrateBound {
    pub(super) fn new(max: u64) -> Self {
        Self { max, beyond: 0, at: i64::MIN, over: false }
    }

    /// A unit of so many bytes was placed, and the media ends at `end` now. True with the first one that is too much.
    pub(super) fn is_exceeded(&mut self, bytes: usize, end: UnixNanos) -> bool {
        let passed = end.saturating_sub(self.at).max(0);
        let allowed = u128::from(self.max) * passed as u128 / NANOS;
        self.beyond = self.beyond.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX)).saturating_add(bytes as u64 * 8);
        self.at = self.at.max(end);
        self.beyond > self.max * SECONDS && !std::mem::replace(&mut self.over, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_may_be_is_seen_within_seconds() {
        let begin = 1_700_000_000_000_000_000;
        // Bytes of each unit and of each 60th, the time between two (ms), and after how many units it is too much; `None`: never.
        for (unit, key, apart, seen) in [
            (10_000, 10_000, 33, None),
            (27_000, 300_000, 33, None),
            (33_000, 3_000_000, 33, Some(60)),
            (43_000, 43_000, 33, Some(396)),
            (330_000, 330_000, 33, Some(13)),
            // All at one time, and backwards.
            (100_000, 100_000, 0, Some(40)),
            (100_000, 100_000, -33, Some(40)),
        ] {
            let mut bound = BitrateBound::new(8_000_000);
            let mut at = begin;
            let exceeded = (0..20_000).find(|number| {
                at += apart * 1_000_000;
                bound.is_exceeded(if number % 60 == 0 { key } else { unit }, at)
            });
            assert_eq!(exceeded.map(|number| number / 10), seen.map(|number: i32| number / 10), "{unit} {key} {apart}: {exceeded:?}");
            assert!(!bound.is_exceeded(1 << 30, at) || exceeded.is_none(), "once");
        }
    }
}
