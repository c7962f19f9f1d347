//! What a published track can be turned into, and what its publisher could do to make that unnecessary.

use super::tracks::Track;
use crate::codec::{Codec, Format};

/// What a derived track is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TranscodeTarget {
    /// Opus, 48 kHz, stereo or mono as the source.
    Opus,
    /// AAC-LC, 48 kHz.
    Aac,
    /// H.264 without reordering, key frames on request and at least every 2 s.
    H264,
}

/// Why a track isn't played as it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Players lack its codec.
    Codec,
    /// Browsers lack its profile.
    Unusual,
    /// Its key frames are too far apart to come in.
    LongGops,
    /// Its pictures are reordered.
    BFrames,
}

impl Why {
    /// Why something else is made of this track.
    pub(crate) fn of(track: &Track) -> Self {
        match track {
            _ if track.format.codec() != Codec::H264 => Self::Codec,
            _ if track.format.unusual().is_some() => Self::Unusual,
            _ if track.long_gops => Self::LongGops,
            _ => Self::BFrames,
        }
    }
}

impl TranscodeTarget {
    /// What turns `from` into `to`, if headend can.
    pub(in crate::stream) fn between(from: Codec, to: Codec) -> Option<Self> {
        match (from, to) {
            (Codec::Aac, Codec::Opus) => Some(Self::Opus),
            (Codec::Opus, Codec::Aac) => Some(Self::Aac),
            (Codec::Vp8, Codec::H264) => Some(Self::H264),
            _ => None,
        }
    }

    /// In words, for people.
    pub(in crate::stream) fn derivation(self, why: Why) -> &'static str {
        match (self, why) {
            (Self::Opus, _) => "AAC → Opus",
            (Self::Aac, _) => "Opus → AAC",
            (Self::H264, Why::Unusual) => "H.264 → H.264 that browsers decode",
            (Self::H264, Why::LongGops) => "H.264 with a key frame every 2 s",
            (Self::H264, Why::BFrames) => "H.264 without B-frames",
            (Self::H264, Why::Codec) => "VP8 → H.264",
        }
    }

    /// What the publisher could do to make it unnecessary.
    pub(in crate::stream) fn advice(self, why: Why) -> Option<&'static str> {
        match (self, why) {
            (Self::H264, Why::Unusual) => Some("set the encoder to high profile, 4:2:0, 8 bits"),
            (Self::H264, Why::LongGops) => Some("set the key-frame interval to 2 s, without intra refresh"),
            (Self::H264, Why::BFrames) => {
                Some("set B-frames to 0 in the encoder (OBS: Settings → Output → Advanced → Max B-frames 0, or tune zerolatency)")
            }
            (Self::H264, Why::Codec) => Some("publish H.264 (choose it on the publish page)"),
            _ => None, // RTMP knows no Opus and browsers send no AAC: nothing to be done
        }
    }

    /// The format it has as far as it is known beforehand.
    pub(in crate::stream) fn format(self, from: &Format) -> Format {
        let source_channels = match from {
            Format::Aac { channels, .. } | Format::Opus { channels } => (*channels).min(2),
            _ => 2,
        };
        match self {
            Self::Opus => Format::Opus { channels: source_channels },
            // AudioSpecificConfig: AAC-LC (2), 48 kHz (index 3), one or two channels (ISO/IEC 14496-3 section 1.6.2.1).
            Self::Aac => Format::Aac {
                config: bytes::Bytes::from_static(if source_channels == 1 { &[0x11, 0x88] } else { &[0x11, 0x90] }),
                sample_rate: 48_000,
                channels: source_channels,
            },
            Self::H264 => Format::H264 { sps: Vec::new(), pps: Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sfu::ProducerId;

    /// Profile high 4:2:2.
    const SPS_422: [u8; 25] =
        [0x67, 0x7a, 0, 0x0d, 0xbc, 0xd9, 0x41, 0x41, 0xfb, 1, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0xc0, 0xf1, 0x42, 0x99, 0x60];

    #[test]
    fn why_something_is_made() {
        let h264 = |sps: &'static [u8]| Format::H264 { sps: vec![bytes::Bytes::from_static(sps)], pps: Vec::new() };
        for (format, reordered, long_gops, why) in [
            (Format::Vp8, false, false, Why::Codec),
            (h264(&SPS_422), true, true, Why::Unusual),
            (h264(&[]), true, true, Why::LongGops),
            (h264(&[]), true, false, Why::BFrames),
        ] {
            let track = Track { reordered, long_gops, ..Track::new(format, ProducerId::next()) };
            assert_eq!(Why::of(&track), why);
        }
    }

    #[test]
    fn what_can_be_made_of_what() {
        use Codec::{Aac, H264, Opus, Vp8};
        for (from, to, target) in [
            (Aac, Opus, Some(TranscodeTarget::Opus)),
            (Opus, Aac, Some(TranscodeTarget::Aac)),
            (Vp8, H264, Some(TranscodeTarget::H264)),
            (H264, Vp8, None),
            (H264, H264, None), // only to take out B-frames, which selection decides
            (Vp8, Vp8, None),
            (Aac, Aac, None),
            (Aac, H264, None),
            (Vp8, Opus, None),
        ] {
            assert_eq!(TranscodeTarget::between(from, to), target, "{from:?} {to:?}");
            assert!(target.is_none_or(|target| !target.derivation(Why::Codec).is_empty()));
        }
    }

    #[test]
    fn the_format_is_known_before_the_first_unit() {
        let opus = |channels| Format::Opus { channels };
        let aac =
            |channels, config: &'static [u8]| Format::Aac { config: bytes::Bytes::from_static(config), sample_rate: 48_000, channels };
        for (target, from, format) in [
            (TranscodeTarget::Aac, opus(1), aac(1, &[0x11, 0x88])),
            (TranscodeTarget::Aac, opus(2), aac(2, &[0x11, 0x90])),
            (TranscodeTarget::Opus, aac(6, &[0x11, 0xb0]), opus(2)),
            (TranscodeTarget::Opus, aac(1, &[0x11, 0x88]), opus(1)),
            (TranscodeTarget::H264, Format::Vp8, Format::H264 { sps: Vec::new(), pps: Vec::new() }),
        ] {
            assert_eq!(target.format(&from), format, "{target:?} of {from:?}");
        }
    }

    #[test]
    fn there_is_advice_where_the_publisher_can_act() {
        for (target, why, word) in [
            (TranscodeTarget::H264, Why::BFrames, Some("B-frames")),
            (TranscodeTarget::H264, Why::Unusual, Some("4:2:0")),
            (TranscodeTarget::H264, Why::LongGops, Some("key-frame interval")),
            (TranscodeTarget::H264, Why::Codec, Some("H.264")),
            (TranscodeTarget::Opus, Why::Codec, None),
            (TranscodeTarget::Aac, Why::Codec, None),
        ] {
            assert_eq!(target.advice(why).is_some(), word.is_some(), "{why:?}");
            assert!(target.advice(why).is_none_or(|advice| word.is_some_and(|word| advice.contains(word))), "{why:?}");
        }
    }
}
