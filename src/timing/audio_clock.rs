//! The media clock of AAC, from RTMP's milliseconds.
//!
//! In: the stamped time of each frame, rounded to milliseconds by the encoder. Out: its time in samples, exactly one frame length
//! after the one before as long as the stamps agree, so that the audio timeline has no jitter and no gaps of half a millisecond; and that
//! the stamps run at another rate than the samples, where they do.

use super::rate_watch::{Beside, Finding, OtherRate, RateWatch};
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
    watch: RateWatch,
    /// Frames since the stamp changed last.
    alike: i64,
    found: Option<OtherRate>,
    /// The last stamp is what it should have been, but for rounding.
    put_right: bool,
}

impl AudioClock {
    /// For `rate` samples per second (at least 1) and `frame` samples per frame.
    pub(crate) fn new(rate: u32, frame: u32) -> Self {
        let rate = rate.max(1);
        let watch = RateWatch::new(rescale(i64::from(frame), rate, 1_000_000_000));
        Self {
            rate,
            frame: i64::from(frame),
            next: None,
            stamp_ms: None,
            error: 0,
            jumps: 0,
            watch,
            alike: 0,
            found: None,
            put_right: false,
        }
    }

    /// The time of a frame in samples, from its stamp in milliseconds.
    pub(crate) fn time(&mut self, stamp_ms: i64, beside: Beside) -> i64 {
        let stamp = rescale(stamp_ms, 1000, self.rate);
        let ms = |n: i64| n * i64::from(self.rate) / 1000;
        let before = self.stamp_ms.replace(stamp_ms);
        let rounding = i64::from(std::mem::take(&mut self.put_right));
        let again = before.is_some_and(|before| stamp_ms.saturating_sub(before).saturating_abs() <= rounding);
        self.alike += 1;
        let step = before.map_or(0, |before| rescale(stamp_ms.saturating_sub(before), 1000, self.rate));
        // Nor is a frame missing before it.
        let goes_on = step.saturating_sub(self.alike.saturating_mul(self.frame)).saturating_abs() <= self.frame / 10 * 9;
        self.watch.count();
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
            // Not one of them is off, each is by some more. Until it is known why, the samples are counted.
            Some(next) if goes_on && self.watch.suspects(stamp_ms) => next,
            before => {
                self.jumps += u64::from(before.is_some());
                self.error = 0;
                self.watch.begin(stamp_ms, beside);
                stamp
            }
        };
        self.next = Some(time.saturating_add(self.frame));
        if !again {
            self.alike = 0;
            self.judge(stamp_ms, time, beside);
        }
        time
    }

    fn judge(&mut self, stamp_ms: i64, time: i64, beside: Beside) {
        match self.watch.judge(stamp_ms, beside) {
            Finding::Nothing => {}
            Finding::Believe => (self.next, self.jumps) = (None, self.jumps + 1),
            Finding::Rate(found) => {
                // Where the frame was put, its stamp should have been.
                (self.stamp_ms, self.error) = (Some(rescale(time, self.rate, 1000)), 0);
                (self.found, self.put_right) = (Some(found), true);
            }
        }
    }

    /// That stamps run at another rate than the samples, since the last call. From here on they have to be given as they should be.
    pub(crate) fn take_other_rate(&mut self) -> Option<OtherRate> {
        self.found.take()
    }

    /// How often a stamp was believed against the count of samples.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }
}

#[cfg(test)]
mod tests {
    use super::super::StampRate;
    use super::*;

    /// Stamps frames exactly, distorted by `distort(frame number, exact ms)`, and gives the times.
    fn run(rate: u32, frames: i64, distort: impl Fn(i64, f64) -> f64) -> (Vec<i64>, u64) {
        let mut clock = AudioClock::new(rate, 1024);
        let times = (0..frames).map(|i| {
            let exact = i as f64 * 1024.0 * 1000.0 / f64::from(rate);
            clock.time(distort(i, exact) as i64, Beside::default())
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
        let times: Vec<_> = [0, 21, 43, 85, 107].into_iter().map(|ms| clock.time(ms, Beside::default())).collect();
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
            assert_eq!(stamps.iter().map(|ms| clock.time(*ms, Beside::default())).collect::<Vec<_>>(), times, "{stamps:?}");
        }
    }

    #[test]
    fn jumps_are_followed() {
        let mut clock = AudioClock::new(48_000, 1024);
        for (stamp, time) in [(1000, 48_000), (1021, 49_024), (3_600_000, 172_800_000), (3_600_021, 172_801_024), (0, 0), (-21, -1008)] {
            assert_eq!(clock.time(stamp, Beside::default()), time);
        }
    }

    type Stamps = fn(i64, f64) -> f64;
    type Comes = fn(f64) -> f64;

    /// What encoders do to stamps: of frame `n`, which is due at that time.
    const HABITS: [(&str, Stamps); 9] = [
        ("exact", |_, ms| ms),
        ("rounded down", |_, ms| ms.floor()),
        ("rounded up", |_, ms| ms.ceil()),
        ("a 10 ms timer", |_, ms| (ms / 10.0).ceil() * 10.0),
        ("jitter of 12 ms", |n, ms| ms + (n * 7919 % 13) as f64 - 6.0),
        ("two with one stamp", |n, ms| if n % 2 == 0 { ms } else { ms * (n - 1) as f64 / n as f64 }),
        ("a stall of 300 ms every 7 s", |_, ms| if ms % 7_000.0 < 300.0 { (ms / 7_000.0).floor() * 7_000.0 + 300.0 } else { ms }),
        ("a late frame every second", |n, ms| if n % 47 == 46 { ms + 14.0 } else { ms }),
        ("off by a frame for a second", |n, ms| if (400..447).contains(&n) { ms + 20.0 } else { ms }),
    ];
    /// How media comes that is due at that time.
    const WAYS: [(&str, Comes); 5] = [
        ("as it is due", |ms| ms),
        ("in rounds of 50 ms", |ms| (ms / 50.0).ceil() * 50.0),
        ("in bursts of 300 ms", |ms| (ms / 300.0).ceil() * 300.0),
        ("jittering by 150 ms", |ms| ms + ms * 7.919 % 150.0),
        ("held up for a second", |ms| {
            if (2_000.0..3_000.0).contains(&(ms % 20_000.0)) { (ms / 20_000.0).floor() * 20_000.0 + 3_000.0 } else { ms }
        }),
    ];

    /// What [`listen`] hears.
    struct Heard {
        times: Vec<i64>,
        jumps: u64,
        /// The rate at the end, and whether the pictures' stamps were put right too.
        rate: f64,
        pictures: f64,
        findings: u32,
    }

    /// Two minutes of sound: stamp, arrival and the pictures' stamp of frame `n`, which is due at that time.
    fn listen(rate: u32, stamp: impl Fn(i64, f64) -> f64, comes: impl Fn(f64) -> f64, picture: impl Fn(f64) -> f64) -> Heard {
        let (mut clock, mut right, mut pictures) = (AudioClock::new(rate, 1024), StampRate::default(), StampRate::default());
        let (mut times, mut findings) = (Vec::new(), 0);
        for n in 0..120 * i64::from(rate) / 1024 {
            let ms = n as f64 * 1_024_000.0 / f64::from(rate);
            let shown = (ms / 40.0).floor() * 40.0;
            let beside =
                Beside { arrived: (comes(ms) * 1e6) as i64, picture_ms: Some(pictures.right(7_000 + picture(shown).round() as i64)) };
            times.push(clock.time(right.right(7_000 + stamp(n, ms).round() as i64), beside));
            if let Some(found) = clock.take_other_rate() {
                findings += 1;
                right.correct(found.since_ms, found.rate);
                if found.pictures {
                    pictures.correct(found.since_ms, found.rate);
                }
            }
        }
        Heard { times, jumps: clock.jumps(), rate: right.rate(), pictures: pictures.rate(), findings }
    }

    #[test]
    fn right_clocks_are_left_alone_whatever_their_habits() {
        for rate in [48_000, 44_100] {
            for (name, habit) in HABITS {
                for (way, comes) in WAYS {
                    let heard = listen(rate, habit, comes, |ms| ms);
                    assert_eq!(heard.findings, 0, "{rate} {name}, {way}");
                }
            }
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_put_right_by_the_samples() {
        let mut bad = Vec::new();
        for factor in [0.75, 0.8, 0.9, 0.95, 0.97, 0.99, 1.01, 1.03, 1.06, 1.12, 1.25, 1.33] {
            for (name, habit) in &HABITS[..6] {
                for (way, comes) in WAYS {
                    let heard = listen(48_000, |n, ms| habit(n, ms * factor), comes, |ms| ms * factor);
                    let what = format!("{factor} {name}, {way}");
                    bad.extend(((heard.rate / factor - 1.0).abs() > 0.002).then(|| format!("{what}: {}", heard.rate)));
                    bad.extend((heard.pictures != heard.rate).then(|| format!("{what}: pictures {}", heard.pictures)));
                    let lost = heard.times.windows(2).filter(|pair| pair[1] - pair[0] < 1_000).count();
                    bad.extend((lost > 0 || heard.jumps > 4).then(|| format!("{what}: {} jumps, {lost} on top of others", heard.jumps)));
                }
            }
        }
        assert!(bad.is_empty(), "{bad:#?}");
    }

    #[test]
    fn only_what_is_wrong_is_put_right() {
        /// What it is, the stamps of frames, of pictures, when they come, and the rates that are found.
        type Case<'a> = (&'a str, u32, Stamps, Comes, Comes, (f64, f64));
        let table: [Case; 9] = [
            ("20 ms for 21.3", 48_000, |n, _| n as f64 * 20.0, |ms| ms, |ms| ms, (0.9375, 1.0)),
            ("23 ms for 23.2", 44_100, |n, _| n as f64 * 23.0, |ms| ms, |ms| ms, (0.9905, 1.0)),
            ("44.1 for 48 kHz", 48_000, |_, ms| ms * 48.0 / 44.1, |ms| ms * 48.0 / 44.1, |ms| ms * 48.0 / 44.1, (1.0, 1.0)),
            ("48 for 44.1 kHz", 44_100, |_, ms| ms * 44.1 / 48.0, |ms| ms * 44.1 / 48.0, |ms| ms * 44.1 / 48.0, (1.0, 1.0)),
            ("that at once", 44_100, |_, ms| ms * 44.1 / 48.0, |ms| ms * 44.1 / 48.0, |ms| ms / 16.0, (1.0, 1.0)),
            ("a wrong clock at once", 48_000, |_, ms| ms * 0.8, |ms| ms * 0.8, |ms| ms / 16.0, (0.8, 0.8)),
            ("implicit SBR", 48_000, |_, ms| ms * 2.0, |ms| ms * 2.0, |ms| ms * 2.0, (1.0, 1.0)),
            ("every fifth frame is lost", 48_000, |_, ms| ms * 1.25, |ms| ms * 1.25, |ms| ms * 1.25, (1.0, 1.0)),
            ("slow for half a second", 48_000, |_, ms| ms.min(500.0) * 0.8 + (ms - 500.0).max(0.0), |ms| ms, |ms| ms, (1.0, 1.0)),
        ];
        for (name, rate, stamps, pictures, comes, expected) in table {
            let heard = listen(rate, stamps, comes, pictures);
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.001;
            assert!(near(heard.rate, expected.0) && near(heard.pictures, expected.1), "{name}: {} {}", heard.rate, heard.pictures);
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
