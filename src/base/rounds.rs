//! Moments that are the same for all streams, so that one wake-up serves many of them.

use std::time::Duration;

use super::UnixNanos;

/// More streams than this are many: then publishers are read, and pipelines fed, in longer rounds.
pub(crate) const MANY_STREAMS: i64 = 10;

/// Full multiples of `length` on the wall clock, or `lead` before them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    length: Duration,
    lead: Duration,
}

impl Rounds {
    /// `length` is above zero.
    pub(crate) const fn new(length: Duration, lead: Duration) -> Self {
        Self { length, lead }
    }

    /// The time until the next moment: never zero, so that no moment comes twice, and at most the length.
    pub(crate) fn until_next(self, now: UnixNanos) -> Duration {
        let length = self.length.as_nanos();
        let into = (i128::from(now) + self.lead.as_nanos().cast_signed()).rem_euclid(length.cast_signed());
        Duration::from_nanos(u64::try_from(length - into.unsigned_abs()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn all_streams_meet_at_the_same_moments() {
        let rounds = Rounds::new(Duration::from_millis(50), Duration::from_millis(10));
        for (now, next) in [(0, 40), (39, 1), (40, 50), (41, 49), (89, 1), (90, 50), (1_700_000_000_095, 45), (-1, 41)] {
            assert_eq!(rounds.until_next(now * MS), Duration::from_millis(next), "{now}");
        }
        assert!(!rounds.until_next(40 * MS - 1).is_zero(), "it never comes twice");
        let rounds = Rounds::new(Duration::from_millis(100), Duration::ZERO);
        for (now, next) in [(0, 100), (1, 99), (99, 1), (100, 100), (-1, 1)] {
            assert_eq!(rounds.until_next(now * MS), Duration::from_millis(next), "{now}");
        }
        rounds.until_next(i64::MAX);
        rounds.until_next(i64::MIN);
    }
}
