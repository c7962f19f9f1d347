//! Where the bytes of a progressive MP4 come from.
//!
//! In: its header and extents, as [`super::progressive`] makes them. Out: for any range of the file, the pieces to read.

use std::ops::Range;

use bytes::Bytes;

/// How many extents share one remembered start: a lookup adds up at most this many lengths.
const STRIDE: usize = 64;

/// A stretch of a track file. 16 bytes, because a long recording has hundreds of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where in that file.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
    pub track: u16,
    /// Which file of the track: the index of its epoch.
    pub file: u16,
}

/// Where a piece of the progressive file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Header(Bytes),
    File {
        track: u16,
        /// Index of the epoch.
        file: u16,
        /// Where in that file.
        offset: u64,
        /// How many bytes, at most the maximum asked for.
        len: u32,
    },
}

/// A progressive MP4 that exists only as a list of places.
#[derive(Debug, Clone)]
pub(crate) struct ProgressiveLayout {
    header: Bytes,
    extents: Vec<Extent>,
    /// Where in the file every [`STRIDE`]th extent begins.
    starts: Vec<u64>,
    len: u64,
}

impl ProgressiveLayout {
    pub(super) fn new(header: Bytes, extents: Vec<Extent>) -> Self {
        let mut len = header.len() as u64;
        let mut starts = Vec::with_capacity(extents.len().div_ceil(STRIDE));
        for (index, extent) in extents.iter().enumerate() {
            if index % STRIDE == 0 {
                starts.push(len);
            }
            len += u64::from(extent.len);
        }
        Self { header, extents, starts, len }
    }

    /// Length of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// `ftyp`, `moov` and the head of `mdat`.
    #[cfg(test)]
    pub(crate) fn header(&self) -> &Bytes {
        &self.header
    }

    /// What follows the header.
    #[cfg(test)]
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// About how much memory this takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.header.len() + self.extents.capacity() * size_of::<Extent>() + self.starts.capacity() * 8
    }

    /// The first piece of `range`, at most `max` bytes long; `None` when the range is empty or behind the end. Adjacent
    /// extents of one file come as one piece.
    pub(crate) fn piece(&self, range: Range<u64>, max: u32) -> Option<Piece> {
        let end = range.end.min(self.len);
        let wanted = end.checked_sub(range.start).filter(|n| *n > 0)?.min(u64::from(max.max(1)));
        let header = self.header.len() as u64;
        if range.start < header {
            let stop = header.min(range.start + wanted);
            return Some(Piece::Header(self.header.slice(range.start as usize..stop as usize)));
        }
        let group = self.starts.partition_point(|start| *start <= range.start).checked_sub(1)?;
        let mut at = self.starts[group];
        let mut index = group * STRIDE;
        while at + u64::from(self.extents.get(index)?.len) <= range.start {
            at += u64::from(self.extents[index].len);
            index += 1;
        }
        let first = self.extents[index];
        let skip = range.start - at;
        let (offset, mut len) = (first.offset + skip, u64::from(first.len) - skip);
        for next in &self.extents[index + 1..] {
            if len >= wanted || (next.track, next.file, next.offset) != (first.track, first.file, offset + len) {
                break;
            }
            len += u64::from(next.len);
        }
        Some(Piece::File { track: first.track, file: first.file, offset, len: len.min(wanted) as u32 })
    }
}
