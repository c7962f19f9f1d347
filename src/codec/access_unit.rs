//! One coded picture or audio frame, as it travels between an adapter, the payload formats and the pipelines.

use bytes::Bytes;

/// One access unit (a picture with all its NAL units, or an audio frame).
///
/// H.264 and H.265 data is a sequence of NAL units, each behind a 4-byte big-endian length (`avc` / `hvc1` layout).
/// AAC is a raw frame without ADTS; Opus one packet; VP8 one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Presentation time in ticks of the track's clock rate. The origin is the giver's.
    pub pts: i64,
    /// Decoding time in the same ticks; equals `pts` where nothing is reordered or where it is not known.
    pub dts: i64,
    /// Whether decoding can start here (IDR, VP8 key frame; every audio frame).
    pub key: bool,
    /// The coded bytes.
    pub data: Bytes,
}
