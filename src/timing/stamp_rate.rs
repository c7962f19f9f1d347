//! The stamps of a publisher whose clock runs too slow or too fast, put right for all its tracks alike.
//!
//! In: stamps, and at what rate they were seen to run ([`super::AudioClock`] tells it by its samples, which can't lie on top of each
//! other). Out: stamps as a right clock would have made them. Pure.

/// What pictures are off when they are put right gets less over this time, in ms: at once it would put them in another order.
const SOFTLY: f64 = 2000.0;

/// Maps stamps of one publication, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StampRate {
    /// A stamp, and what it is mapped to.
    at: (i64, f64),
    /// Milliseconds of stamps in one of time.
    rate: f64,
    /// From when on it is still off, and by how much then.
    off: (f64, f64),
}

impl Default for StampRate {
    fn default() -> Self {
        Self { at: (0, 0.0), rate: 1.0, off: (0.0, 0.0) }
    }
}

impl StampRate {
    /// The stamp as it should be.
    pub(crate) fn right(&self, stamp_ms: i64) -> i64 {
        // As whole numbers, where nothing is to be mended.
        if *self == Self::default() { stamp_ms } else { self.mapped(stamp_ms).round() as i64 }
    }

    /// A distance of stamps as it should be.
    pub(crate) fn right_distance(&self, ms: i32) -> i32 {
        (f64::from(ms) / self.rate).round() as i32
    }

    /// Stamps, as they are mapped now, were seen to run at `rate` since `since_ms`: from here on all are mapped as if that had been known then.
    pub(crate) fn correct(&mut self, since_ms: i64, rate: f64) {
        let since = since_ms as f64;
        self.at.1 = since + (self.at.1 - since) / rate;
        self.rate *= rate;
    }

    /// The same, but what comes after `latest` is on its way there for a while: nothing steps back.
    pub(crate) fn correct_softly(&mut self, since_ms: i64, rate: f64, latest: i64) {
        let before = self.mapped(latest);
        self.correct(since_ms, rate);
        let exact = self.exact(latest);
        self.off = (exact, before - exact);
    }

    /// So many milliseconds of stamps are one of time.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    fn mapped(&self, stamp_ms: i64) -> f64 {
        let exact = self.exact(stamp_ms);
        let (from, off) = self.off;
        exact + off * (1.0 - (exact - from) / SOFTLY).clamp(0.0, 1.0)
    }

    fn exact(&self, stamp_ms: i64) -> f64 {
        self.at.1 + stamp_ms.saturating_sub(self.at.0) as f64 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_put_right_from_where_they_went_wrong() {
        let mut rate = StampRate::default();
        for stamp in [0, 5000, i64::MAX, i64::MIN] {
            assert_eq!(rate.right(stamp), stamp);
        }
        rate.correct(5000, 0.8);
        assert_eq!([5000, 5800, 6600, 9000].map(|stamp| rate.right(stamp)), [5000, 6000, 7000, 10_000]);
        assert_eq!([0, 32, -32].map(|distance| rate.right_distance(distance)), [0, 40, -40]);
        // From 10 s on its clock runs right.
        rate.correct(10_000, 1.25);
        assert_eq!([9000, 9500, 19_000].map(|stamp| rate.right(stamp)), [10_000, 10_500, 20_000]);
        assert_eq!(rate.right_distance(40), 40);
    }

    #[test]
    fn pictures_get_there_by_and_by() {
        for factor in [0.8, 1.25] {
            let mut rate = StampRate::default();
            let latest = (1000.0 * factor) as i64;
            rate.correct_softly(0, factor, latest);
            let stamps = (0..100).map(|n| latest + (f64::from(n) * 40.0 * factor) as i64);
            let mapped: Vec<i64> = stamps.map(|stamp| rate.right(stamp)).collect();
            assert_eq!((mapped[0], mapped[50], mapped[99]), (latest, 3000, 4960), "{factor}");
            assert!(mapped.windows(2).all(|pair| (34..=46).contains(&(pair[1] - pair[0]))), "{factor}: {mapped:?}");
        }
    }

    #[test]
    fn nothing_overflows() {
        let mut rate = StampRate::default();
        rate.correct(i64::MIN, 0.6);
        rate.correct(i64::MAX, 1.4);
        for stamp in [i64::MIN, 0, i64::MAX] {
            let _ = rate.right(stamp);
        }
    }
}
