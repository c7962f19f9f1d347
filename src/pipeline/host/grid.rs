//! Audio frames on their own clock: each begins where the one before it ended.
//!
//! In: frames with times that jitter (RTMP's are whole milliseconds). Out: the same frames, end to end; silence where frames are
//! missing; the verdict that the timeline is another one where too many are.

/// Frames that come later than expected by more are preceded by silence, earlier ones are dropped. Below it a viewer notices nothing.
const TOLERANCE: i64 = 40_000_000;
/// A longer gap is not filled: the pipeline is built anew.
const MAX_FILL: i64 = 3_000_000_000;
/// The same beside pictures, which would be lost up to their next key frame. Cuts are known for as long, however short segments are.
const MAX_FILL_BESIDE: i64 = 30_000_000_000;

/// What to do with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Put `silence` frames before it, the first at `.at`; the frame follows.
    At {
        /// Time of the first frame to put.
        at: i64,
        /// How many silent frames to put before it.
        silence: u32,
    },
    /// Leave it out: its time is taken already.
    Drop,
    /// Another timeline begins.
    Jump,
}

/// The clock of one audio track.
#[derive(Debug)]
pub(crate) struct Grid {
    next: Option<i64>,
    max_fill: i64,
}

impl Grid {
    /// `beside`: of sound beside pictures, which are to be cut.
    pub(crate) fn new(beside: bool) -> Self {
        Self { next: None, max_fill: if beside { MAX_FILL_BESIDE } else { MAX_FILL } }
    }

    /// Places a frame that came with time `pts` and lasts `duration` (ns, above 0). `fill`: whether silence can be made.
    pub(crate) fn place(&mut self, pts: i64, duration: i64, fill: bool) -> Place {
        let Some(next) = self.next else {
            self.next = Some(pts + duration);
            return Place::At { at: pts, silence: 0 };
        };
        let late = pts - next;
        let max_fill = if fill { self.max_fill } else { MAX_FILL };
        if late > max_fill || late < -MAX_FILL {
            return Place::Jump;
        }
        if late < -TOLERANCE.max(duration) {
            return Place::Drop;
        }
        if late > TOLERANCE.max(duration) {
            if !fill {
                self.next = Some(pts + duration);
                return Place::At { at: pts, silence: 0 };
            }
            let silence = ((late + duration / 2) / duration) as u32;
            self.next = Some(next + (i64::from(silence) + 1) * duration);
            return Place::At { at: next, silence };
        }
        self.next = Some(next + duration);
        Place::At { at: next, silence: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 21_333_333;

    #[test]
    fn jitter_vanishes() {
        let mut grid = Grid::new(false);
        for n in 0..1000 {
            let jittered = (n * FRAME) / 1_000_000 * 1_000_000;
            assert_eq!(grid.place(jittered, FRAME, true), Place::At { at: n * FRAME, silence: 0 });
        }
    }

    #[test]
    fn gaps_are_filled_overlaps_dropped_jumps_told() {
        let mut grid = Grid::new(false);
        grid.place(0, FRAME, true);
        assert_eq!(grid.place(11 * FRAME + 5, FRAME, true), Place::At { at: FRAME, silence: 10 });
        assert_eq!(grid.place(9 * FRAME, FRAME, true), Place::Drop);
        assert_eq!(grid.place(12 * FRAME, FRAME, true), Place::At { at: 12 * FRAME, silence: 0 });
        assert_eq!(grid.place(20 * FRAME, FRAME, false), Place::At { at: 20 * FRAME, silence: 0 });
        assert_eq!(grid.place(400 * FRAME, FRAME, true), Place::Jump);
        assert_eq!(grid.place(-400 * FRAME, FRAME, true), Place::Jump);
    }

    #[test]
    fn beside_pictures_long_gaps_are_filled() {
        let second = 1_000_000_000;
        // How long nothing came, whether there are pictures, whether silence can be made; what becomes of it.
        for (gap, beside, fill, silence) in [
            (2, false, true, Some(94)),
            (10, false, true, None),
            (10, true, true, Some(469)),
            (29, true, true, Some(1359)),
            (31, true, true, None),
            (10, true, false, None),
            (-4, true, true, None),
        ] {
            let mut grid = Grid::new(beside);
            grid.place(0, FRAME, fill);
            let place = grid.place(FRAME + gap * second, FRAME, fill);
            let expected = silence.map_or(Place::Jump, |silence| Place::At { at: FRAME, silence });
            assert_eq!(place, expected, "{gap} s, {beside}, {fill}");
        }
    }
}
