//! What the segmenter makes and everything downstream (LL-HLS, DASH, DVR, recordings) lives on.

use bytes::Bytes;

use crate::base::UnixNanos;
use crate::codec::Codec;

/// The initialization of one CMAF track: valid until another one with a higher `epoch` follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackInit {
    /// Which track of the presentation: 0 is video (or the only one), 1 the first audio.
    pub track: u32,
    /// Counts discontinuities of the presentation from 0 (`EXT-X-DISCONTINUITY-SEQUENCE` counts on from it). All tracks of a
    /// presentation change epoch together; times of different epochs are unrelated.
    pub epoch: u32,
    /// The codec in the segments (after any derivation).
    pub codec: Codec,
    /// RFC 6381 string, such as `avc1.64001f`, `mp4a.40.2`, `opus`.
    pub codec_string: String,
    /// Ticks per second of `presentation_time` and `duration` in the chunks.
    pub timescale: u32,
    /// Width and height in pixels, for video.
    pub resolution: Option<(u32, u32)>,
    /// Sampling rate in Hz and number of channels, for audio.
    pub audio: Option<(u32, u8)>,
    /// `ftyp` and `moov`.
    pub data: Bytes,
}

/// One CMAF chunk (`moof` + `mdat`, the first of a segment maybe with `styp`/`prft` before): an LL-HLS part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// As in [`TrackInit::track`].
    pub track: u32,
    /// As in [`TrackInit::epoch`].
    pub epoch: u32,
    /// Which segment it belongs to: counts from 0 for the life of the presentation, across epochs, the same number on
    /// every track for the same time.
    pub segment: u64,
    /// First chunk of its segment.
    pub first: bool,
    /// Last chunk of its segment.
    pub last: bool,
    /// Last chunk of its track in this epoch: what follows begins with another initialization, if anything does.
    pub end: bool,
    /// Begins with a sync sample (`INDEPENDENT=YES`).
    pub independent: bool,
    /// When its earliest sample is shown, in the track's timescale: `tfdt` and composition offset.
    pub presentation_time: u64,
    /// Sum of the sample durations, in the track's timescale.
    pub duration: u64,
    /// When the earliest sample was captured, as far as known: the media clock put on the wall clock, without jitter
    /// (EXT-X-PROGRAM-DATE-TIME).
    pub wallclock: UnixNanos,
    /// The bytes.
    pub data: Bytes,
}

impl TrackInit {
    /// Sample aspect ratio, width to height, where pixels aren't square.
    pub fn sar(&self) -> Option<(u32, u32)> {
        self.resolution?;
        super::read_init(&self.data).ok()?.sar
    }

    /// Width and height as they are shown: pixels that aren't square are stretched in width.
    pub fn display(&self) -> Option<(u32, u32)> {
        Some(display_size(self.resolution?, self.sar()))
    }
}

/// Width and height of a picture as it is shown, where its pixels have that ratio of width to height.
pub(crate) fn display_size((width, height): (u32, u32), sar: Option<(u32, u32)>) -> (u32, u32) {
    let stretched = |(x, y): (u32, u32)| (u64::from(width) * u64::from(x) + u64::from(y) / 2) / u64::from(y.max(1));
    (sar.map_or(width, |sar| u32::try_from(stretched(sar)).unwrap_or(u32::MAX).max(1)), height)
}
