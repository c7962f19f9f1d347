//! Notices B-frames by the times of the pictures: what SPSes without VUI don't tell.
//!
//! In: H.264 access units in decoding order. Out: that pictures are reordered, and whether ones that others refer to are. Pure.

use crate::codec::AccessUnit;
use crate::codec::h264::unit_is_disposable;

/// What was seen of one track.
#[derive(Debug, Default)]
pub(super) struct PictureOrder {
    /// The latest presentation time so far, of all pictures and of those that others refer to, on the timeline of `offset`.
    last: Option<(i64, i64)>,
    offset: i64,
    reordered: bool,
    references: bool,
}

impl PictureOrder {
    /// Takes the next picture. Says so when reordering is seen for the first time; true: also of pictures that others refer to.
    /// `offset` is that of the track's timeline: where it jumps, times can't be compared.
    pub fn observe(&mut self, unit: &AccessUnit, offset: i64) -> Option<bool> {
        if self.references {
            return None; // nothing more to learn, and nothing to be read in every picture of hours
        }
        let (last, last_reference) = match self.last {
            Some(last) if self.offset == offset => last,
            _ => (i64::MIN, i64::MIN),
        };
        self.offset = offset;
        let disposable = unit_is_disposable(&unit.data);
        let (reordered, references) = (unit.pts < last, !disposable && unit.pts < last_reference);
        self.last = Some((last.max(unit.pts), if disposable { last_reference } else { last_reference.max(unit.pts) }));
        let news = (reordered && !self.reordered) || references;
        self.reordered |= reordered;
        self.references |= references;
        news.then_some(references)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A picture at `pts` with one slice of that `nal_ref_idc`.
    fn picture(pts: i64, nal_ref_idc: u8) -> AccessUnit {
        let data = Bytes::from(vec![0, 0, 0, 2, (nal_ref_idc << 5) | 1, 0x80]);
        AccessUnit { pts, dts: pts, key: false, data }
    }

    fn seen(pictures: &[(i64, u8)]) -> Vec<bool> {
        let mut order = PictureOrder::default();
        pictures.iter().filter_map(|(pts, idc)| order.observe(&picture(*pts, *idc), 0)).collect()
    }

    #[test]
    fn orders() {
        assert_eq!(seen(&[(0, 3), (1, 2), (2, 2), (3, 0)]), Vec::<bool>::new(), "none");
        assert_eq!(seen(&[(0, 3), (3, 2), (1, 0), (2, 0), (6, 2), (4, 0), (5, 0)]), vec![false], "disposable ones only");
        assert_eq!(seen(&[(0, 3), (4, 2), (2, 2), (1, 0), (3, 0)]), vec![true], "a pyramid");
        assert_eq!(seen(&[(0, 3), (2, 2), (1, 0), (6, 2), (4, 2), (3, 0)]), vec![false, true], "a pyramid later");
    }

    #[test]
    fn a_jump_of_the_clock_is_no_reordering() {
        let mut order = PictureOrder::default();
        assert_eq!(order.observe(&picture(1000, 3), 0), None);
        assert_eq!(order.observe(&picture(0, 3), 5), None);
    }
}
