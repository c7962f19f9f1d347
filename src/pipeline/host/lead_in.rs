//! The pictures before an epoch that begins within a GOP.
//!
//! In: what the epoch before gave of the GOP, and the picture with which this one goes on. Out: the same pictures again, each shown for
//! a moment right before that, so that what follows can be decoded: a decoder begins anew with an epoch, and browsers drop everything up to
//! its first key frame. Pure.

use super::unit::Unit;

/// How long each lasts: two ticks of 90 kHz, so that rounding leaves it some; 300 pictures are less than one of the usual rates.
const SHOWN: i64 = 22_223;
/// Most pictures: what the key-frame cache holds of 60 a second.
const MAX_PICTURES: usize = 600;
/// Most bytes: they go into one chunk, with what follows.
const MAX_BYTES: usize = 12 << 20;

/// An epoch is shown so much longer than its last picture takes to be decoded: what has no successor lasts a moment, and times are rounded.
const AFTER_THE_LAST: i64 = 2_000_000;

/// Keeps what was given of the newest GOP.
#[derive(Debug, Default)]
pub(super) struct LeadIn {
    gop: Vec<Unit>,
    bytes: usize,
}

impl LeadIn {
    /// The epoch before gave this.
    pub(super) fn note(&mut self, unit: Unit) {
        let fits = self.gop.len() < MAX_PICTURES && self.bytes + unit.data.len() <= MAX_BYTES;
        if unit.key || !fits {
            *self = Self::default();
        }
        // A GOP that doesn't begin with its key frame is of no use.
        if unit.key || !self.gop.is_empty() {
            self.bytes += unit.data.len();
            self.gop.push(unit);
        }
    }

    /// Whether nothing was given from which decoding could go on.
    pub(super) fn is_empty(&self) -> bool {
        self.gop.is_empty()
    }

    /// What has to come before `next`, which follows on what was given; the last of that had the decoding time `given`, and with the
    /// repetitions of it the epoch before was shown until `shown_until`. Nothing where there is no room for it.
    pub(super) fn take(&mut self, next: &Unit, given: i64, shown_until: i64) -> Vec<Unit> {
        let mut gop = std::mem::take(self).gop;
        let Some(waits) = gop.first().map(|key| key.pts - key.dts) else { return gop };
        let mut shown: Vec<i64> = gop.iter().map(|unit| unit.pts).collect();
        shown.sort_unstable();
        // Two that were shown at one time follow each other as they are decoded.
        let mut places = Vec::with_capacity(gop.len());
        for (nth, unit) in gop.iter().enumerate() {
            let before = gop[..nth].iter().filter(|other| other.pts == unit.pts).count();
            places.push(shown.partition_point(|pts| *pts < unit.pts) + before);
        }
        let reordered = places.iter().enumerate().map(|(nth, place)| nth.saturating_sub(*place)).max().unwrap_or(0);
        let length = (gop.len() + reordered + 1) as i64 * SHOWN;
        let room = next.dts - given.max(shown_until.saturating_sub(waits + AFTER_THE_LAST));
        if room < length {
            gop.clear();
        }
        // The key frame is shown as much later than it is decoded as it was, if that can be had.
        let waits = waits.clamp(0, (room - length).max(0));
        let count = gop.len();
        for (nth, (unit, place)) in gop.iter_mut().zip(places).enumerate() {
            unit.pts = next.dts - (count - place) as i64 * SHOWN;
            unit.dts = next.dts - waits - (count - nth + reordered) as i64 * SHOWN;
            unit.source = None;
        }
        gop
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MS: i64 = 1_000_000;
    const FRAME: i64 = 40 * MS;

    fn unit(dts: i64, pts: i64, key: bool) -> Unit {
        Unit { pts, dts, source: Some(dts), duration: 0, key, data: Bytes::from_static(&[7; 100]) }
    }

    /// The GOP of I P B B P B B … up to so many pictures, and the next one.
    fn gop(b_frames: i64, pictures: i64) -> (Vec<Unit>, Unit) {
        let picture = |n: i64| {
            let composition = match (n, (n - 1).rem_euclid(b_frames + 1)) {
                (0, _) => i64::from(b_frames > 0),
                (_, 0) if b_frames > 0 => b_frames + 1,
                _ => 0,
            };
            unit(n * FRAME, (n + composition) * FRAME, n == 0)
        };
        ((0..pictures).map(picture).collect(), picture(pictures))
    }

    #[test]
    fn what_was_given_comes_again_in_a_moment_and_in_order() {
        for b_frames in 0..4 {
            for pictures in [1, 2, 3, 5, 24, 250] {
                let (given, next) = gop(b_frames, pictures);
                let mut lead_in = LeadIn::default();
                given.iter().for_each(|unit| lead_in.note(unit.clone()));
                let again = lead_in.take(&next, (pictures - 1) * FRAME, i64::MIN);
                let name = format!("{b_frames} B-frames, {pictures} pictures");
                assert_eq!(again.len(), given.len(), "{name}");
                assert!(again[0].key && again.iter().all(|unit| unit.source.is_none() && unit.pts >= unit.dts), "{name}");
                let decoded: Vec<i64> = again.iter().chain([&next]).map(|unit| unit.dts).collect();
                assert!(decoded[0] > (pictures - 1) * FRAME, "{name}: behind what was given");
                assert!(decoded.windows(2).all(|pair| pair[1] - pair[0] >= SHOWN), "{name}: {decoded:?}");
                let order = |units: &[Unit]| {
                    let mut order: Vec<usize> = (0..units.len()).collect();
                    order.sort_by_key(|nth| units[*nth].pts);
                    order
                };
                assert_eq!(order(&again), order(&given), "{name}: shown in the same order");
                assert!(again.iter().all(|unit| unit.pts < next.dts), "{name}: before what follows");
            }
        }
    }

    #[test]
    fn only_what_can_be_decoded_comes_again() {
        let (mut lead_in, next) = (LeadIn::default(), unit(9 * FRAME, 9 * FRAME, false));
        let mut lengths = Vec::new();
        // What was given, as key frames and others.
        for given in ["", "p", "pp", "k", "pkp", "kppkp"] {
            for (nth, what) in given.chars().enumerate() {
                lead_in.note(unit(nth as i64 * FRAME, nth as i64 * FRAME, what == 'k'));
            }
            lengths.push(lead_in.take(&next, 8 * FRAME, 8 * FRAME + MS).len());
        }
        assert_eq!(lengths, [0, 0, 0, 1, 2, 2]);
    }

    #[test]
    fn it_is_bounded() {
        for (count, bytes, room, repeated, wanted) in [
            (600, 10, FRAME, 0, 600),
            (601, 10, FRAME, 0, 0),
            (12, 1 << 20, FRAME, 0, 12),
            (13, 1 << 20, FRAME, 0, 0),
            (30, 10, MS / 2, 0, 0),
            (30, 10, 9 * FRAME, 8 * FRAME, 30),
            (30, 10, 9 * FRAME, 9 * FRAME + 2 * MS, 0), // the picture comes before the end of its repetitions
        ] {
            let mut lead_in = LeadIn::default();
            for n in 0..count {
                lead_in.note(Unit { data: Bytes::from(vec![0; bytes]), ..unit(n * FRAME, n * FRAME, n == 0) });
            }
            let (given, next) = ((count - 1) * FRAME, (count - 1) * FRAME + room);
            let again = lead_in.take(&unit(next, next, false), given, given + repeated);
            assert_eq!(again.len(), wanted, "{count} of {bytes}, {repeated}");
        }
    }
}
