//! When publishers are read where there are many of them and nobody watches them in real time: all at the same moments.
//!
//! In: how many there are, who watches. Out: whether a socket is left unread until the next moment. Pure.
//! A thread that wakes for every picture and every audio frame of fifty publishers spends more on waking than on all that it does with them.

use std::time::Duration;

use crate::base::{MANY_STREAMS, Rounds};

/// A fifth of the longest part that is usual, and half of a round in which the pipelines are fed where there are many. The lead is before
/// a full round of the wall clock, with which the pipelines' begin: what is read then is in it.
pub(super) const ROUNDS: Rounds = Rounds::new(Duration::from_millis(50), Duration::from_millis(10));
/// So many bytes wake the reader before its moment: a large key frame, and 20 Mbit/s.
pub(super) const LOW_WATER: usize = 128 * 1024;

/// Whether a publisher is read in rounds, where so many publish and it is `watched` by somebody who gets what comes at once.
pub(super) fn apply(publishers: i64, watched: bool) -> bool {
    publishers > MANY_STREAMS && !watched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_those_who_are_watched_are_read_at_once() {
        let table = [(1, false, false), (10, false, false), (11, false, true), (11, true, false), (50, false, true)];
        for (publishers, watched, rounds) in table {
            assert_eq!(apply(publishers, watched), rounds, "{publishers} {watched}");
        }
    }
}
