//! Decoding times for pictures that come in decoding order with presentation times only, as in RTP.
//!
//! In: presentation times. Out: for each a decoding time that rises and is not later than the presentation time. Nothing is held
//! back beyond the first few pictures of a stream that reorders, or doesn't say whether it does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// H.264 allows 16 (section A.3.1); encoders use up to 4.
const MAX_DEPTH: u8 = 16;
/// So many pictures are looked at where the stream doesn't say how far it reorders: a pyramid of three B-frames shows within 5.
const PROBE: usize = 8;
/// Between pictures before any two are known.
const DEFAULT_FRAME: i64 = 33_333_333;

/// The stream reorders more than was thought: begin again with this depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooShallow(pub u8);

/// Gives pictures their decoding times.
#[derive(Debug)]
pub(crate) struct Order<T> {
    depth: Option<u8>,
    at_least: u8,
    probed: bool,
    held: Vec<(i64, T)>,
    begun: u8,
    first: i64,
    frame: i64,
    pending: BinaryHeap<Reverse<i64>>,
    last: i64,
    /// As [`Self::last`], before it was mended.
    last_heard: i64,
}

impl<T> Order<T> {
    /// `depth`: how many pictures may be shown after one that was decoded later (`max_num_reorder_frames`), if known;
    /// `at_least`: what was seen of this stream before.
    pub(crate) fn new(depth: Option<u8>, at_least: u8) -> Self {
        let at_least = at_least.min(MAX_DEPTH);
        Self {
            depth: depth.map(|depth| depth.clamp(at_least, MAX_DEPTH)),
            at_least,
            probed: false,
            held: Vec::new(),
            begun: 0,
            first: 0,
            frame: DEFAULT_FRAME,
            pending: BinaryHeap::new(),
            last: i64::MIN,
            last_heard: i64::MIN,
        }
    }

    /// Takes a picture; gives those that are ready, each with its decoding time, to `out`.
    pub(crate) fn push(&mut self, pts: i64, picture: T, mut out: impl FnMut(i64, i64, T)) -> Result<(), TooShallow> {
        if !self.probed {
            self.held.push((pts, picture));
            // The first decoding times lie before the first presentation time, as many frames as are reordered: how long a
            // frame is shows once the first reordered ones are there.
            if self.held.len() < self.depth.map_or(PROBE, |depth| if depth == 0 { 1 } else { usize::from(depth) + 2 }) {
                return Ok(());
            }
            let (depth, frame) = self.probe();
            self.depth = Some(self.depth.unwrap_or_default().max(depth).max(self.at_least));
            self.frame = frame;
            self.probed = true;
            for (pts, picture) in std::mem::take(&mut self.held) {
                self.push(pts, picture, &mut out as &mut dyn FnMut(i64, i64, T))?;
            }
            return Ok(());
        }
        let depth = self.depth.unwrap_or_default();
        if self.begun == 0 {
            self.first = pts;
        }
        self.pending.push(Reverse(pts));
        let mut pts = pts;
        let mut dts = if self.begun < depth {
            self.begun += 1;
            self.first - i64::from(depth + 1 - self.begun) * self.frame
        } else {
            self.pending.pop().map_or(pts, |Reverse(pts)| pts)
        };
        if dts < self.last_heard && depth < MAX_DEPTH {
            return Err(TooShallow(depth + 1));
        }
        self.last_heard = dts;
        if dts <= self.last {
            // Two pictures at the same time, or nonsense: they follow each other closely.
            dts = self.last + 1;
            pts = pts.max(dts);
        }
        self.last = dts;
        out(pts, dts, picture);
        Ok(())
    }

    /// Takes a picture whose decoding time is known, and gives it to `out`. Nothing is held back.
    pub(crate) fn push_known(&mut self, pts: i64, dts: i64, picture: T, out: impl FnOnce(i64, i64, T)) {
        let dts = dts.max(self.last.saturating_add(1));
        self.last = dts;
        out(pts.max(dts), dts, picture);
    }

    /// Pictures are missing; the next one is a key frame. Counted from what came before the gap, its decoding time would be there, too.
    pub(crate) fn restart(&mut self) {
        self.pending.clear();
        self.begun = 0;
        self.last_heard = i64::MIN;
    }

    /// Depth and time between pictures of the held ones.
    fn probe(&self) -> (u8, i64) {
        let depth = self
            .held
            .iter()
            .enumerate()
            .map(|(index, (pts, _))| self.held[..index].iter().filter(|(before, _)| before > pts).count())
            .max()
            .unwrap_or(0);
        let mut times: Vec<i64> = self.held.iter().map(|(pts, _)| *pts).collect();
        times.sort_unstable();
        let frame = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0).min().unwrap_or(DEFAULT_FRAME);
        (depth.min(usize::from(MAX_DEPTH)) as u8, frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(order: &mut Order<usize>, times: &[i64]) -> Result<Vec<(i64, i64)>, TooShallow> {
        let mut out = Vec::new();
        for (index, pts) in times.iter().enumerate() {
            order.push(*pts, index, |pts, dts, _| out.push((pts, dts)))?;
        }
        Ok(out)
    }

    const B2: [i64; 10] = [0, 30, 10, 20, 60, 40, 50, 90, 70, 80];
    const PYRAMID: [i64; 9] = [0, 40, 20, 10, 30, 80, 60, 50, 70];

    fn check(out: &[(i64, i64)], count: usize) {
        assert_eq!(out.len(), count);
        assert!(out.iter().all(|(pts, dts)| dts <= pts), "{out:?}");
        assert!(out.windows(2).all(|pair| pair[0].1 < pair[1].1), "{out:?}");
    }

    #[test]
    fn known_depths_hold_back_only_the_first() {
        check(&run(&mut Order::new(Some(0), 0), &[0]).unwrap(), 1);
        check(&run(&mut Order::new(Some(0), 0), &[0, 10, 20]).unwrap(), 3);
        for depth in 1..4 {
            check(&run(&mut Order::new(Some(depth), 0), &B2).unwrap(), 10);
        }
        check(&run(&mut Order::new(Some(2), 0), &PYRAMID).unwrap(), 9);
    }

    #[test]
    fn an_unknown_depth_is_found() {
        check(&run(&mut Order::new(None, 0), &B2).unwrap(), 10);
        check(&run(&mut Order::new(None, 0), &PYRAMID).unwrap(), 9);
        let probed = run(&mut Order::new(None, 0), &[0, 10, 20, 30, 40, 50, 60, 70]).unwrap();
        assert!(probed.iter().all(|(pts, dts)| pts == dts));
    }

    #[test]
    fn nonsense_never_goes_backwards() {
        let mut order = Order::new(Some(MAX_DEPTH), 0);
        let times: Vec<i64> = (0..100).map(|n| (n * 7919) % 13 * 10).collect();
        check(&run(&mut order, &times).unwrap(), 100);
        check(&run(&mut Order::new(Some(0), 0), &[0, 10, 10, 10, 20]).unwrap(), 5);
    }

    #[test]
    fn a_gap_does_not_show_in_the_decoding_times_after_it() {
        let mut order = Order::new(Some(2), 0);
        assert_eq!(run(&mut order, &B2[..6]).unwrap().last(), Some(&(40, 30)));
        order.restart();
        let after = run(&mut order, &B2.map(|time| time + 2000)).unwrap();
        check(&after, 10);
        assert_eq!(after[0], (2000, 1980));
        // Nothing was missing after all.
        order.restart();
        check(&run(&mut order, &B2.map(|time| time + 2100)).unwrap(), 10);
    }

    #[test]
    fn known_times_stay_but_for_those_that_go_back() {
        let mut order = Order::new(Some(0), 0);
        let mut out = Vec::new();
        for (pts, dts) in [(30, 10), (20, 20), (40, 20), (25, 15), (50, 50)] {
            order.push_known(pts, dts, (), |pts, dts, ()| out.push((pts, dts)));
        }
        assert_eq!(out, [(30, 10), (20, 20), (40, 21), (25, 22), (50, 50)]);
    }

    #[test]
    fn too_shallow_is_told() {
        assert_eq!(run(&mut Order::new(Some(0), 2), &B2).map(|out| out.len()), Ok(10));
        assert_eq!(run(&mut Order::new(Some(0), 0), &[0, 30, 60, 90, 120, 150, 180, 210, 200]), Err(TooShallow(1)));
    }
}
