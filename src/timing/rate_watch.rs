//! Whether a publisher's stamps run as fast as the samples of its sound.
//!
//! In: the stamp of each frame of sound, when it came, and the stamps of the pictures beside it. Out: since when stamps have run at which
//! other rate, and whether those of the pictures do so too. The time that passes is the judge between stamps and samples: a clock may be
//! wrong, and so may be the sampling rate in a configuration. Pure.

use crate::base::UnixNanos;

/// Rates nearer to 1 than this are followed by the clock of the sound, unheard.
const LEAST: f64 = 0.002;
/// Rates further from 1 are of frames of another length than the configuration says (implicit SBR has double).
const RATES: std::ops::RangeInclusive<f64> = 0.6..=1.4;
/// Stamps and samples that are so far apart, in ms, run at different rates: beyond what encoders and networks jitter, so that the time that
/// passed can judge between them. Pictures whose stamps are put right then step by less than what counts as sloppy.
const APART_MS: i64 = 200;
/// Half of that came within this part of the time, or it was a step, no rate.
const HALF: std::ops::RangeInclusive<f64> = 0.3..=0.7;
/// Where media comes at once, nothing can judge. Stamps that are less far from the samples are believed then: they may be of sound whose
/// configuration says 44.1 kHz for 48.
const FAR: f64 = 0.12;
/// So often stamps have to be found right, each time at a greater distance, for the samples to be asked no more.
const ACQUITTALS: u32 = 2;

/// What else is known when a frame comes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside {
    /// The time.
    pub(crate) arrived: UnixNanos,
    /// The latest stamp of a picture, in milliseconds.
    pub(crate) picture_ms: Option<i64>,
}

/// What was found: from here on stamps have to be given as they should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OtherRate {
    /// Since this stamp,
    pub(crate) since_ms: i64,
    /// so many milliseconds of stamps, as they were given, are one of time.
    pub(crate) rate: f64,
    /// The stamps of the pictures run like those of the sound.
    pub(crate) pictures: bool,
}

/// What follows from the stamps so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Finding {
    Nothing,
    /// It was no rate, or the stamps are right: they are believed.
    Believe,
    Rate(OtherRate),
}

/// A correction that was made.
#[derive(Debug, Clone, Copy)]
struct Corrected {
    rate: f64,
    pictures: bool,
    /// It is looked at again after so many frames: the longer, the more exact.
    again_at: i64,
}

/// Watches frames whose stamps follow each other without a jump.
#[derive(Debug, Clone)]
pub(super) struct RateWatch {
    /// The first stamp, and what was beside it.
    began_ms: i64,
    began: Beside,
    /// Frames since.
    frames: i64,
    /// How many there were when stamps and samples were half as far apart as they have to be.
    half: Option<i64>,
    /// How much later than by their samples frames came at least, in ns: at the beginning, and of late. What delays them only makes them later.
    early: Option<i64>,
    late: Option<i64>,
    corrected: Option<Corrected>,
    acquittals: u32,
    /// Length of a frame, in ns.
    frame: i64,
}

fn is_other(rate: f64) -> bool {
    (rate - 1.0).abs() >= LEAST
}

impl RateWatch {
    /// For frames of that length, in ns.
    pub(super) fn new(frame: i64) -> Self {
        let began = Beside::default();
        Self { began_ms: 0, began, frames: 0, half: None, early: None, late: None, corrected: None, acquittals: 0, frame: frame.max(1) }
    }

    /// A jump: begins anew with this stamp.
    pub(super) fn begin(&mut self, stamp_ms: i64, beside: Beside) {
        (self.began_ms, self.began) = (stamp_ms, beside);
        (self.frames, self.half, self.early, self.late, self.corrected) = (0, None, None, None, None);
    }

    /// Another frame.
    pub(super) fn count(&mut self) {
        self.frames = self.frames.saturating_add(1);
    }

    /// Whether stamps run at another rate than samples, as it seems.
    pub(super) fn suspects(&self, stamp_ms: i64) -> bool {
        let near = self.apart_ms(stamp_ms).saturating_abs() <= 2 * self.enough();
        let other = is_other(self.rate(stamp_ms)) && RATES.contains(&self.rate(stamp_ms));
        near && self.frames > 1 && self.acquittals < ACQUITTALS && (other || self.corrected.is_some())
    }

    /// Looks at the frame with that stamp, which is not the one of the frame before.
    pub(super) fn judge(&mut self, stamp_ms: i64, beside: Beside) -> Finding {
        let (apart, enough) = (self.apart_ms(stamp_ms).saturating_abs(), self.enough());
        let delay = self.passed(beside).saturating_sub(self.sampled());
        let least = |before: Option<i64>| Some(before.map_or(delay, |before| before.min(delay)));
        if self.corrected.is_none() && apart < enough / 4 {
            self.early = least(self.early);
        } else if self.corrected.is_some() || apart >= enough / 4 * 3 {
            self.late = least(self.late);
        }
        if let Some(corrected) = self.corrected {
            return if self.frames >= corrected.again_at { self.judge_again(corrected, stamp_ms, beside) } else { Finding::Nothing };
        }
        if self.half.is_none() && apart >= enough / 2 {
            self.half = Some(self.frames);
        }
        let rate = self.rate(stamp_ms);
        if apart < enough || !is_other(rate) || self.acquittals >= ACQUITTALS {
            return Finding::Nothing;
        }
        let evenly = self.half.is_some_and(|half| HALF.contains(&(half as f64 / self.frames as f64)));
        if !evenly || !RATES.contains(&rate) {
            return Finding::Believe;
        }
        if !self.samples_are_right(rate, beside) {
            self.acquittals += 1;
            return Finding::Believe;
        }
        let pictures = self.pictures_are_alike(rate, beside);
        self.correct(Corrected { rate, pictures, again_at: self.frames.saturating_mul(2) });
        Finding::Rate(OtherRate { since_ms: self.began_ms, rate, pictures })
    }

    /// How far stamps and samples have to be apart, in ms.
    fn enough(&self) -> i64 {
        APART_MS * i64::from(1 + self.acquittals)
    }

    fn correct(&mut self, corrected: Corrected) {
        (self.corrected, self.late) = (Some(corrected), None);
    }

    /// What jitter did to the first estimate gets less with time, and the judge more certain.
    fn judge_again(&mut self, before: Corrected, stamp_ms: i64, beside: Beside) -> Finding {
        let rate = self.rate(stamp_ms);
        let whole = rate * before.rate;
        if !self.samples_are_right(whole, beside) {
            (self.corrected, self.acquittals) = (None, ACQUITTALS);
            return Finding::Rate(OtherRate { since_ms: self.began_ms, rate: 1.0 / before.rate, pictures: before.pictures });
        }
        self.correct(Corrected { rate: whole, again_at: self.frames.saturating_mul(2), ..before });
        Finding::Rate(OtherRate { since_ms: self.began_ms, rate, pictures: before.pictures })
    }

    /// Whether the time that passed is that of the samples rather than that of stamps at `rate`.
    fn samples_are_right(&self, rate: f64, beside: Beside) -> bool {
        if self.passed(beside) < self.sampled() / 2 {
            return (rate - 1.0).abs() >= FAR;
        }
        let late = self.late.zip(self.early).map_or(0, |(late, early)| late.saturating_sub(early)) as f64;
        // From the middle of one to the middle of the other.
        let by_stamps = self.sampled() as f64 * (rate - 1.0) * 0.75;
        late.abs() < (late - by_stamps).abs()
    }

    /// Whether the stamps of the pictures have gone on as those of the sound, not as its samples.
    fn pictures_are_alike(&self, rate: f64, beside: Beside) -> bool {
        let Some((before, now)) = self.began.picture_ms.zip(beside.picture_ms) else { return true };
        let (pictures, sampled) = (now.saturating_sub(before) as f64, self.sampled() as f64 / 1e6);
        (pictures - sampled * rate).abs() <= (pictures - sampled).abs()
    }

    fn passed(&self, beside: Beside) -> i64 {
        beside.arrived.saturating_sub(self.began.arrived)
    }

    /// How long the frames last, in ns.
    fn sampled(&self) -> i64 {
        self.frames.saturating_mul(self.frame)
    }

    /// How much further the stamps have come than the samples.
    fn apart_ms(&self, stamp_ms: i64) -> i64 {
        stamp_ms.saturating_sub(self.began_ms).saturating_sub(self.sampled() / 1_000_000)
    }

    fn rate(&self, stamp_ms: i64) -> f64 {
        stamp_ms.saturating_sub(self.began_ms) as f64 * 1e6 / self.sampled().max(1) as f64
    }
}
