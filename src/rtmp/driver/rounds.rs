//! When publishers are read where there are many of them and nobody watches them in real time: all at the same moments.
//!
//! In: how many there are, who watches, the wall clock. Out: how long to leave a socket unread. Pure.
//! A thread that wakes for every picture and every audio frame of fifty publishers spends more on waking than on all that it does with them.

use std::time::Duration;

use crate::base::UnixNanos;

/// Between two moments: a fifth of the longest part that is usual, and half of a round in which the pipelines are fed where there are many.
const ROUND: i64 = 50_000_000;
/// So long before a full round of the wall clock, with which the pipelines' begin: what is read then is in it.
const LEAD: i64 = 10_000_000;
/// More publishers than this are many.
const MANY: i64 = 10;
/// So many bytes wake the reader before its moment: a large key frame, and 20 Mbit/s.
pub(super) const LOW_WATER: usize = 128 * 1024;

/// Whether a publisher is read in rounds, where so many publish and it is `watched` by somebody who gets what comes at once.
pub(super) fn apply(publishers: i64, watched: bool) -> bool {
    publishers > MANY && !watched
}

/// The time until the next moment.
pub(super) fn until_next(now: UnixNanos) -> Duration {
    let into = now.saturating_add(LEAD).rem_euclid(ROUND);
    Duration::from_nanos((ROUND - into).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_read_shortly_before_the_pipelines_are_fed() {
        const MS: i64 = 1_000_000;
        for (now, next) in [(0, 40), (39, 1), (40, 50), (41, 49), (89, 1), (90, 50), (1_700_000_000_095, 45), (-1, 41)] {
            assert_eq!(until_next(now * MS), Duration::from_millis(next), "{now}");
        }
        assert!(!until_next(40 * MS - 1).is_zero(), "it never comes twice");
    }

    #[test]
    fn few_and_those_who_are_watched_are_read_at_once() {
        let table = [(1, false, false), (10, false, false), (11, false, true), (11, true, false), (50, false, true)];
        for (publishers, watched, rounds) in table {
            assert_eq!(apply(publishers, watched), rounds, "{publishers} {watched}");
        }
    }
}
