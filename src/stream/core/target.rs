//! What a published track can be turned into, and what its publisher could do to make that unnecessary.

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
    pub(in crate::stream) fn derivation(self, from: Codec) -> &'static str {
        match (from, self) {
            (_, Self::Opus) => "AAC → Opus",
            (_, Self::Aac) => "Opus → AAC",
            (Codec::H264, Self::H264) => "H.264 without B-frames",
            (_, Self::H264) => "VP8 → H.264",
        }
    }

    /// What the publisher could do to make it unnecessary.
    pub(in crate::stream) fn advice(self, from: Codec) -> Option<&'static str> {
        match (from, self) {
            (Codec::H264, Self::H264) => {
                Some("set B-frames to 0 in the encoder (OBS: Settings → Output → Advanced → Max B-frames 0, or tune zerolatency)")
            }
            (Codec::Vp8, Self::H264) => Some("publish H.264 (choose it on the publish page)"),
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
            assert!(target.is_none_or(|target| !target.derivation(from).is_empty()));
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
        assert!(TranscodeTarget::H264.advice(Codec::H264).is_some_and(|advice| advice.contains("B-frames")));
        assert!(TranscodeTarget::H264.advice(Codec::Vp8).is_some_and(|advice| advice.contains("H.264")));
        assert_eq!(TranscodeTarget::Opus.advice(Codec::Aac), None);
        assert_eq!(TranscodeTarget::Aac.advice(Codec::Opus), None);
    }
}
