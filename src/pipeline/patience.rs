//! How soon a pipeline may be begun for another format, however often a publisher changes it.
//!
//! In: the times at which one is wanted. Out: how long to wait. Pure.

use std::time::{Duration, Instant};

/// So many begin at once in [`WITHIN`]: a phone that is turned, a scene in another size, sound and pictures that come one after the other.
const AT_ONCE: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);
/// The first pause beyond them; doubled as long as changes don't wait for its end. Each begins a process's pipeline (17 ms), a file, a
/// discontinuity.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest pause: what an encoder that has come to its senses waits for at most.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Whoever changes nothing for so long is trusted again.
const PEACE: Duration = Duration::from_secs(30);

/// Patience with one publisher's changes.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    /// When the last ones began, oldest first.
    begun: [Option<Instant>; AT_ONCE],
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { begun: [None; AT_ONCE], pause: PAUSE }
    }
}

impl Patience {
    /// How long one that is wanted now has to wait. It counts as begun then: whoever wants none after that has to ask again.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let wait = self.left(now);
        if !wait.is_zero() {
            self.pause = PAUSE_MAX.min(self.pause * 2);
        }
        self.begun.rotate_left(1);
        self.begun[AT_ONCE - 1] = Some(now + wait);
        wait
    }

    /// Whether one may begin now; it counts as begun then.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.left(now).is_zero();
        if allowed {
            self.wait(now);
        }
        allowed
    }

    /// How long to wait from now on.
    fn left(&mut self, now: Instant) -> Duration {
        let since = |time: Instant| now.saturating_duration_since(time);
        if self.begun[AT_ONCE - 1].is_some_and(|last| since(last) >= PEACE) {
            *self = Self::default();
        }
        let [oldest, .., last] = self.begun;
        match oldest.zip(last) {
            Some((oldest, last)) if since(oldest) < WITHIN => (last + self.pause).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begun at these times, in ms, of what is wanted at those; each is wanted once the one before has begun.
    fn begun(wanted: &[u64]) -> Vec<u64> {
        let (start, mut patience, mut free) = (crate::base::real_clock().at(), Patience::default(), 0);
        let mut begin = |at: &u64| {
            let now = free.max(*at);
            free = now + patience.wait(start + Duration::from_millis(now)).as_millis() as u64;
            free
        };
        wanted.iter().map(&mut begin).collect()
    }

    #[test]
    fn honest_changes_are_never_delayed() {
        for wanted in [
            &[0, 0, 0, 0][..],
            &[0, 1000, 59_999, 59_999, 60_001, 61_000],
            &[0, 100, 29_000, 30_000, 60_000, 60_100, 89_000, 90_000, 120_000],
            // Once in a while, for hours.
            &(0..500).map(|n| n * 15_000).collect::<Vec<_>>(),
            &(0..500).map(|n| n * 2_000).collect::<Vec<_>>(),
            // Four at once, and again.
            &(0..500).map(|n| n / 4 * 60_000).collect::<Vec<_>>(),
        ] {
            assert_eq!(begun(wanted), wanted);
        }
    }

    #[test]
    fn a_storm_is_waited_out() {
        let storm: Vec<u64> = (0..3000).map(|n| n * 33).collect();
        let begun = begun(&storm);
        assert_eq!(begun[..9], [0, 33, 66, 99, 2099, 6099, 14_099, 24_099, 34_099]);
        for (count, at) in begun.iter().enumerate() {
            assert!(count as u64 <= 4 + at / 2000, "{count} at {at}");
        }
    }

    #[test]
    fn after_peace_it_is_as_before() {
        // The storm's last, and when the next ones are wanted and begin.
        for (peace, first, next) in [(30_000, 0, 0), (29_000, 0, 1), (1000, 7000, 10_000)] {
            let mut wanted = vec![0; 6];
            let end = begun(&wanted)[5];
            assert_eq!(end, 6000);
            wanted.extend([end + peace; 5]);
            let after: Vec<u64> = begun(&wanted)[6..].iter().map(|at| at - end - peace).collect();
            assert_eq!((after[0], after[1].min(next.max(1))), (first, next), "{peace}: {after:?}");
        }
    }

    #[test]
    fn what_need_not_wait_is_not_begun_too_early() {
        let (start, mut patience) = (crate::base::real_clock().at(), Patience::default());
        let begun = (0..10_000).filter(|ms| patience.allows(start + Duration::from_millis(*ms))).collect::<Vec<_>>();
        assert_eq!(begun, [0, 1, 2, 3, 2003, 4003, 6003, 8003]);
    }
}
