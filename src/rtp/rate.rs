//! Bit rates over a sliding window.
//!
//! In: byte counts, and when. Out: bit/s over the last second.

use std::time::{Duration, Instant};

/// The window is this many buckets.
const BUCKETS: usize = 20;
/// Of this length each: one second in all.
const BUCKET: Duration = Duration::from_millis(50);

/// Measures bit/s over the last second, in steps of 50 ms. Costs an addition per packet.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateMeter {
    start: Option<Instant>,
    /// Number of the newest bucket since `start`.
    newest: u64,
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl RateMeter {
    pub(crate) fn add(&mut self, now: Instant, bytes: usize) {
        self.advance(now);
        self.buckets[(self.newest % BUCKETS as u64) as usize] += bytes as u64;
        self.sum += bytes as u64;
    }

    /// Bit/s over the window; while it is younger than the window, over its age, but at least a quarter of a second.
    pub(crate) fn bits_per_second(&mut self, now: Instant) -> u64 {
        self.advance(now);
        let Some(start) = self.start else { return 0 };
        let age = now.saturating_duration_since(start);
        let window = BUCKET * BUCKETS as u32;
        // The newest bucket is only partly over.
        let in_bucket = Duration::from_nanos((age.as_nanos() % BUCKET.as_nanos()) as u64);
        let span = age.min(window - BUCKET + in_bucket).max(window / 4);
        (u128::from(self.sum) * 8 * 1_000_000 / span.as_micros().max(1)) as u64
    }

    fn advance(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let bucket = (now.saturating_duration_since(start).as_nanos() / BUCKET.as_nanos()) as u64;
        if bucket <= self.newest {
            return;
        }
        for passed in (self.newest + 1..=bucket).take(BUCKETS) {
            let slot = &mut self.buckets[(passed % BUCKETS as u64) as usize];
            self.sum -= std::mem::take(slot);
        }
        self.newest = bucket;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the origin of the virtual clock
mod tests {
    use super::*;

    #[test]
    fn steady_rate_then_silence() {
        let start = Instant::now();
        let mut meter = RateMeter::default();
        assert_eq!(meter.bits_per_second(start), 0);
        // 1250 bytes every 10 ms: 1 Mbit/s.
        for i in 0..500u64 {
            let now = start + Duration::from_millis(10 * i);
            meter.add(now, 1250);
            if i >= 30 {
                let rate = meter.bits_per_second(now);
                assert!((950_000..=1_100_000).contains(&rate), "{i} {rate}");
            }
        }
        let end = start + Duration::from_secs(5);
        assert!(meter.bits_per_second(end + Duration::from_millis(500)) < 600_000);
        assert_eq!(meter.bits_per_second(end + Duration::from_millis(1100)), 0);
        assert_eq!(meter.bits_per_second(end + Duration::from_secs(3600)), 0);
        meter.add(end + Duration::from_secs(3600), 1000);
        assert!(meter.bits_per_second(end + Duration::from_secs(3600)) > 0);
    }

    #[test]
    fn a_clock_that_goes_back_is_harmless() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut meter = RateMeter::default();
        meter.add(start, 1000);
        meter.add(start - Duration::from_secs(5), 1000);
        assert_eq!(meter.bits_per_second(start), 64_000);
    }
}
