//! The writers of a publisher that went away, for the one that returns.

use crate::base::MediaKind;
use crate::codec::Codec;

/// At most one of each kind.
#[derive(Debug)]
pub(super) struct Parked<W>(Vec<(Codec, W)>);

impl<W> Default for Parked<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W> Parked<W> {
    /// Keeps a writer, or gives it back where one of its kind is kept.
    pub(super) fn park(&mut self, codec: Codec, writer: W) -> Option<W> {
        if self.0.iter().any(|(parked, _)| parked.kind() == codec.kind()) {
            return Some(writer);
        }
        self.0.push((codec, writer));
        None
    }

    /// The writer that a track in `codec` goes on with: a producer can't change its codec.
    pub(super) fn take(&mut self, codec: Codec) -> Option<W> {
        let at = self.0.iter().position(|(parked, _)| *parked == codec)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The writer of a track whose place another one has taken.
    pub(super) fn release(&mut self, kind: MediaKind) -> Option<W> {
        let at = self.0.iter().position(|(parked, _)| parked.kind() == kind)?;
        Some(self.0.swap_remove(at).1)
    }

    pub(super) fn drain(&mut self) -> Vec<W> {
        self.0.drain(..).map(|(_, writer)| writer).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_goes_on_with_the_writer_of_its_codec() {
        use Codec::{Aac, H264, Opus, Vp8};
        for (parked, returning, goes_on, released) in [
            (&[H264, Aac][..], H264, true, false),
            (&[H264, Aac], Aac, true, false),
            (&[H264], Vp8, false, true),
            (&[Aac], Opus, false, true),
            (&[Aac], H264, false, false),
            (&[], H264, false, false),
        ] {
            let mut table = Parked::default();
            for codec in parked {
                assert_eq!(table.park(*codec, *codec), None);
            }
            assert_eq!(table.take(returning).is_some(), goes_on, "{parked:?} {returning:?}");
            assert_eq!(table.release(returning.kind()).is_some(), released, "{parked:?} {returning:?}");
        }
    }

    #[test]
    fn one_of_each_kind() {
        let mut table = Parked::default();
        assert_eq!(table.park(Codec::H264, 1), None);
        assert_eq!(table.park(Codec::Vp8, 2), Some(2));
        assert_eq!(table.park(Codec::Opus, 3), None);
        assert_eq!(table.drain(), [1, 3]);
        assert!(table.drain().is_empty());
    }
}
