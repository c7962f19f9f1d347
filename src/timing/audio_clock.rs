//! The media clock of AAC, from RTMP's milliseconds.
//!
//! In: the stamped time of each frame, rounded to milliseconds by the encoder. Out: its time in samples, exactly one frame length
//! after the one before as long as the stamps agree, so that the audio timeline has no jitter and no gaps of half a millisecond.

use crate::base::rescale;

/// A stamp that is off by more than this is believed: frames are missing, or time jumped. It lies above what encoders jitter that
/// stamp frames when they are sent (a 10 ms timer), and below one frame at 48 kHz (21.3 ms), so that a lost frame leaves a gap.
const MAX_ERROR_MS: i64 = 15;
/// A lasting error below that is drift (the stamps come from another clock than the samples), once its average exceeds this. Rounding
/// alone stays below 1 ms.
const DRIFT_MS: i64 = 4;
/// The average is over about this many frames (1.4 s), so that jitter doesn't count as drift.
const AVERAGE: i64 = 64;
/// Drift is mended by one part in this many: 0.2 %, inaudible, and more than any crystal is off.
const SLEW: i64 = 512;

/// The clock of one track.
#[derive(Debug, Clone)]
pub(crate) struct AudioClock {
    rate: u32,
    frame: i64,
    /// When the next frame is due, in samples.
    next: Option<i64>,
    /// The stamp of the last one.
    stamp_ms: Option<i64>,
    /// Average error, in samples times `AVERAGE`.
    error: i64,
    jumps: u64,
}

impl AudioClock {
    /// For `rate` samples per second (at least 1) and `frame` samples per frame.
    pub(crate) fn new(rate: u32, frame: u32) -> Self {
        Self { rate: rate.max(1), frame: i64::from(frame), next: None, stamp_ms: None, error: 0, jumps: 0 }
    }

    /// The time of a frame in samples, from its stamp in milliseconds.
    pub(crate) fn time(&mut self, stamp_ms: i64) -> i64 {
        let stamp = rescale(stamp_ms, 1000, self.rate);
        let ms = |n: i64| n * i64::from(self.rate) / 1000;
        let again = self.stamp_ms.replace(stamp_ms) == Some(stamp_ms);
        let time = match self.next {
            // No frame is shorter than a millisecond: several have one stamp, or the encoder doesn't stamp. The samples are counted.
            Some(next) if again => next,
            Some(next) if (stamp - next).abs() <= ms(MAX_ERROR_MS) => {
                self.error += (stamp - next) - self.error / AVERAGE;
                let slew = if self.error / AVERAGE > ms(DRIFT_MS) {
                    self.frame / SLEW
                } else if self.error / AVERAGE < -ms(DRIFT_MS) {
                    -(self.frame / SLEW)
                } else {
                    0
                };
                next + slew
            }
            before => {
                self.jumps += u64::from(before.is_some());
                self.error = 0;
                stamp
            }
        };
        self.next = Some(time + self.frame);
        time
    }

    /// How often a stamp was believed against the count of samples.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps frames exactly, distorted by `distort(frame number, exact ms)`, and gives the times.
    fn run(rate: u32, frames: i64, distort: impl Fn(i64, f64) -> f64) -> (Vec<i64>, u64) {
        let mut clock = AudioClock::new(rate, 1024);
        let times = (0..frames).map(|i| {
            let exact = i as f64 * 1024.0 * 1000.0 / f64::from(rate);
            clock.time(distort(i, exact) as i64)
        });
        (times.collect(), clock.jumps())
    }

    #[test]
    fn rounded_stamps_become_exact() {
        for rate in [48_000, 44_100, 32_000, 22_050, 16_000, 8_000] {
            for (name, round) in [("floor", f64::floor as fn(f64) -> f64), ("round", f64::round), ("ceil", f64::ceil)] {
                let (times, jumps) = run(rate, 20_000, |_, ms| round(ms));
                assert_eq!(jumps, 0, "{rate} {name}");
                assert!(times.windows(2).all(|w| w[1] - w[0] == 1024), "{rate} {name}");
            }
        }
    }

    #[test]
    fn jitter_of_a_10_ms_timer_is_taken_out() {
        let (times, jumps) = run(48_000, 20_000, |_, ms| (ms / 10.0).ceil() * 10.0);
        assert_eq!(jumps, 0);
        assert!(times.windows(2).all(|w| (w[1] - w[0] - 1024).abs() <= 2));
    }

    #[test]
    fn a_lost_frame_leaves_a_gap() {
        let mut clock = AudioClock::new(48_000, 1024);
        let times: Vec<_> = [0, 21, 43, 85, 107].into_iter().map(|ms| clock.time(ms)).collect();
        assert_eq!(times, [0, 1024, 2048, 4080, 5104]);
        assert_eq!(clock.jumps(), 1);
    }

    #[test]
    fn frames_with_one_stamp_follow_each_other() {
        let table: [(&[i64], &[i64]); 3] = [
            (&[0, 0, 0, 0, 0], &[0, 1024, 2048, 3072, 4096]),
            (&[0, 0, 43, 43, 85, 85], &[0, 1024, 2048, 3072, 4096, 5120]),
            (&[0, 0, 0, 0, 1000, 1021], &[0, 1024, 2048, 3072, 48_000, 49_024]),
        ];
        for (stamps, times) in table {
            let mut clock = AudioClock::new(48_000, 1024);
            assert_eq!(stamps.iter().map(|ms| clock.time(*ms)).collect::<Vec<_>>(), times, "{stamps:?}");
        }
    }

    #[test]
    fn jumps_are_followed() {
        let mut clock = AudioClock::new(48_000, 1024);
        for (stamp, time) in [(1000, 48_000), (1021, 49_024), (3_600_000, 172_800_000), (3_600_021, 172_801_024), (0, 0), (-21, -1008)] {
            assert_eq!(clock.time(stamp), time);
        }
    }

    /// An encoder whose sample clock is 500 ppm off its stamps: no jump in ten minutes, and never further off than the drift bound and
    /// what the average lags behind.
    #[test]
    fn drift_is_followed_softly() {
        for factor in [1.0005, 0.9995] {
            let (times, jumps) = run(48_000, 28_125, |_, ms| (ms * factor).round());
            assert_eq!(jumps, 0);
            assert!(times.windows(2).all(|w| (w[1] - w[0] - 1024).abs() <= 2));
            let off = times[28_124] as f64 - 28_124.0 * 1024.0 * factor;
            assert!(off.abs() < 48.0 * 6.0, "{off}");
        }
    }
}
