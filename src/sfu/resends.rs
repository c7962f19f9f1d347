//! Which of a viewer's NACKs are answered: each packet once in a round trip, and all of them within a share of what it is sent.
//!
//! In: what is sent, what is asked for. Out: whether it goes out again. A peer that has keys may still be a stranger: 30 NACKs of 8 KB once
//! fetched 15 MB.

use std::time::{Duration, Instant};

/// Numbers told apart, as many as the rewriter does.
const NUMBERS: usize = 4096;
/// In which units the time of a retransmission is noted: 16 bits of them are 262 s.
const TICK_MS: u128 = 4;
/// One in so many octets may go out again: with a loss of a quarter the sender had better send less.
const SHARE: u32 = 4;
/// What a new viewer may ask for, in octets: of its first key frame much may be lost.
const AT_FIRST: u32 = 64 * 1024;
/// Most that is saved up, in octets: half a second of 8 Mbit/s, lost at once.
const SAVED: u32 = 512 * 1024;
/// Older packets are of no use to anybody: browsers wait for a second at most.
pub(super) const MAX_AGE: Duration = Duration::from_secs(2);
/// The shortest and the longest time between two retransmissions of a packet; what a peer says of the round trip may be a lie.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Round trip time to assume before the first receiver report.
const DEFAULT_RTT: Duration = Duration::from_millis(50);

/// One viewer's.
#[derive(Debug)]
pub(super) struct Resends {
    /// When each number went out again last, in ticks since the first NACK, beginning with 1; 0 is never. Made at the first NACK: who loses
    /// nothing pays nothing.
    at: Option<(Instant, Box<[u16; NUMBERS]>)>,
    /// Octets that may go out again.
    budget: u32,
}

impl Resends {
    pub(super) fn new() -> Self {
        Self { at: None, budget: AT_FIRST * SHARE }
    }

    /// So many octets went out for the first time.
    pub(super) fn note_sent(&mut self, octets: u32) {
        self.budget = self.budget.saturating_add(octets).min(SAVED * SHARE);
    }

    /// Whether `octets` may go out again under the number `seq`; if so they count.
    pub(super) fn take(&mut self, now: Instant, seq: u16, octets: u32, rtt: Option<Duration>) -> bool {
        let (began, at) = self.at.get_or_insert_with(|| (now, Box::new([0; NUMBERS])));
        let tick = (now.saturating_duration_since(*began).as_millis() / TICK_MS) as u16;
        let patience = (rtt.unwrap_or(DEFAULT_RTT).clamp(PATIENCE.0, PATIENCE.1).as_millis() / TICK_MS) as u16;
        let last = &mut at[usize::from(seq) % NUMBERS];
        // 0 is never, so the last tick of 65536 counts as the one behind it.
        let now = tick.wrapping_add(1).max(1);
        let recently = *last != 0 && now.wrapping_sub(*last) < patience;
        let cost = octets.saturating_mul(SHARE);
        if recently || cost > self.budget {
            return false;
        }
        self.budget -= cost;
        *last = now;
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a virtual clock has to begin somewhere
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn once_in_a_round_trip() {
        let t = Instant::now();
        for (rtt, again) in [(None, 52), (Some(0), 20), (Some(100), 100), (Some(3_600_000), 500)] {
            let mut resends = Resends::new();
            let rtt = rtt.map(|ms| MS * ms);
            assert!(resends.take(t, 7, 100, rtt));
            let first = (1..1000).find(|ms| resends.take(t + MS * *ms, 7, 100, rtt)).unwrap();
            assert!(first <= again && first + 4 >= again, "{rtt:?}: {first} ms");
        }
    }

    #[test]
    fn every_packet_of_a_burst() {
        let t = Instant::now();
        let mut resends = Resends::new();
        resends.note_sent(SAVED * SHARE);
        assert!((0..400).all(|seq| resends.take(t, 65_400u16.wrapping_add(seq), 1200, None)));
        assert!(!(0..400).any(|seq| resends.take(t + MS, 65_400u16.wrapping_add(seq), 1200, None)));
    }

    #[test]
    fn within_a_share_of_what_is_sent() {
        let t = Instant::now();
        let mut resends = Resends::new();
        let asked = |resends: &mut Resends, at: Duration| (0..4096).filter(|seq| resends.take(t + at, *seq, 1000, Some(MS))).count();
        assert_eq!(asked(&mut resends, Duration::ZERO), 65, "before anything is sent");
        assert_eq!(asked(&mut resends, MS * 1000), 0);
        resends.note_sent(1_000_000);
        assert_eq!(asked(&mut resends, MS * 2000), 250);
        resends.note_sent(u32::MAX);
        assert_eq!(asked(&mut resends, MS * 3000), 524, "no more is saved up");
    }

    #[test]
    fn days_later_it_is_as_at_first() {
        let t = Instant::now();
        let mut resends = Resends::new();
        assert!(resends.take(t, 1, 100, None));
        for seconds in (1..1000).map(|n| n * 131) {
            resends.note_sent(1000);
            let now = t + Duration::from_secs(seconds);
            assert!(resends.take(now, 2, 100, None), "after {seconds} s");
            assert!(!resends.take(now + MS, 2, 100, None));
        }
    }
}
