//! Whether pictures come in another order than they are shown in, seen from their times: what parameter sets only claim.
//!
//! In: times of pictures in decoding order, mended ([`super::Timeline`]). Out: that pictures are reordered, and whether ones that others
//! refer to are. A stamp that steps back by some milliseconds is no reordering: decoding and presentation step back together. Pure.

use crate::base::UnixNanos;

/// What is known of a track's order for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Pictures that others refer to are reordered too (B-pyramids): leaving out the disposable ones does not put the rest in order.
    pub references: bool,
}

/// What was seen of one track.
#[derive(Debug, Default)]
pub(crate) struct PictureOrder {
    /// The latest presentation time so far, of all pictures and of those that others refer to.
    last: Option<(UnixNanos, UnixNanos)>,
    reordered: bool,
    references: bool,
}

impl PictureOrder {
    /// Takes the next picture: when it is decoded and shown, whether nobody refers to it, and whether its parameter sets claim reordering,
    /// which is believed of a first picture that waits to be shown: viewers who come at once get the right track. Says so when something
    /// is seen for the first time.
    pub(crate) fn observe(&mut self, dts: UnixNanos, pts: UnixNanos, disposable: bool, claimed: impl FnOnce() -> bool) -> Option<Seen> {
        let claimed = self.last.is_none() && pts > dts && claimed();
        let (last, last_reference) = self.last.unwrap_or((i64::MIN, i64::MIN));
        let (reordered, references) = (claimed || pts < last, !disposable && pts < last_reference);
        self.last = Some((last.max(pts), if disposable { last_reference } else { last_reference.max(pts) }));
        let news = (reordered && !self.reordered) || (references && !self.references);
        self.reordered |= reordered;
        self.references |= references;
        news.then_some(Seen { references: self.references })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures at these times; true: nobody refers to them.
    fn seen(pictures: &[(i64, bool)]) -> Vec<bool> {
        let mut order = PictureOrder::default();
        pictures
            .iter()
            .filter_map(|(pts, disposable)| order.observe(*pts, *pts, *disposable, || true))
            .map(|seen| seen.references)
            .collect()
    }

    #[test]
    fn orders() {
        const P: bool = false;
        const B: bool = true;
        assert_eq!(seen(&[(0, P), (1, P), (2, P), (3, B)]), Vec::<bool>::new(), "none");
        assert_eq!(seen(&[(0, P), (3, P), (1, B), (2, B), (6, P), (4, B), (5, B)]), vec![false], "disposable ones only");
        assert_eq!(seen(&[(0, P), (4, P), (2, P), (1, B), (3, B)]), vec![true], "a pyramid");
        assert_eq!(seen(&[(0, P), (2, P), (1, B), (6, P), (4, P), (3, B)]), vec![false, true], "a pyramid later");
    }

    #[test]
    fn a_claim_counts_where_the_first_picture_waits() {
        for (wait, claims, told) in [(66, true, true), (66, false, false), (0, true, false)] {
            let mut order = PictureOrder::default();
            let first = order.observe(0, wait, false, || claims);
            assert_eq!(first, told.then_some(Seen { references: false }), "{wait} {claims}");
            assert_eq!(order.observe(33, 33 + wait, false, || true), None, "later ones show it themselves");
        }
    }
}
