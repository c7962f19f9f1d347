//! Which codec a track is in, with what a decoder needs to know before the first access unit.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{aac, h264, opus, vp8};
use crate::base::MediaKind;

/// A codec headend can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// VP8.
    Vp8,
    /// AAC (MPEG-4 Audio).
    Aac,
    /// Opus.
    Opus,
}

impl Codec {
    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self {
            Codec::H264 | Codec::Vp8 => MediaKind::Video,
            Codec::Aac | Codec::Opus => MediaKind::Audio,
        }
    }

    /// The name people use: `"H.264"`, `"VP8"`, `"AAC"`, `"Opus"`.
    pub fn display_name(self) -> &'static str {
        match self {
            Codec::H264 => "H.264",
            Codec::Vp8 => "VP8",
            Codec::Aac => "AAC",
            Codec::Opus => "Opus",
        }
    }

    /// The RTP media type (`H264` in `video/H264`), as in SDP's `a=rtpmap` and ORTC's `mimeType`.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
            Codec::Aac => "mpeg4-generic",
            Codec::Opus => "opus",
        }
    }
}

/// A track's format. Cheap to clone; equality tells whether a decoder can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// H.264 with its parameter sets (NAL units without start code or length). Empty where they come in band only
    /// and have not been seen yet (WebRTC publishers).
    H264 {
        /// Sequence parameter sets.
        sps: Vec<Bytes>,
        /// Picture parameter sets.
        pps: Vec<Bytes>,
    },
    /// VP8: everything is in band.
    Vp8,
    /// AAC with its AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1).
    Aac {
        /// The AudioSpecificConfig, as it stands in FLV and in `esds`.
        config: Bytes,
        /// Sampling rate in Hz (of the output, with explicit SBR).
        sample_rate: u32,
        /// Output channels, 1 to 8.
        channels: u8,
    },
    /// Opus, always 48 kHz on the wire (RFC 7587).
    Opus {
        /// 1 or 2.
        channels: u8,
    },
}

/// Why bytes are not a usable codec configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes end too early or contradict themselves.
    #[error("bad {what}: {why}")]
    Malformed {
        /// Which structure ("AVCDecoderConfigurationRecord", "AudioSpecificConfig", "SPS" …).
        what: &'static str,
        /// What was wrong.
        why: &'static str,
    },
    /// Well formed, but something headend doesn't carry.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// Which structure.
        what: &'static str,
        /// What it asks for, and what to use instead.
        why: String,
    },
}

impl Format {
    /// The codec.
    pub fn codec(&self) -> Codec {
        match self {
            Format::H264 { .. } => Codec::H264,
            Format::Vp8 => Codec::Vp8,
            Format::Aac { .. } => Codec::Aac,
            Format::Opus { .. } => Codec::Opus,
        }
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.codec().kind()
    }

    /// The clock rate in Hz of access units' times: 90000 for video, the sampling rate for AAC, 48000 for Opus.
    pub fn clock_rate(&self) -> u32 {
        match self {
            Format::H264 { .. } | Format::Vp8 => 90_000,
            Format::Aac { sample_rate, .. } => *sample_rate,
            Format::Opus { .. } => 48_000,
        }
    }

    /// The RTP clock rate in Hz: 90000 for video and AAC, 48000 for Opus. AAC's would be the sampling rate (RFC 3640 section 4.1
    /// leaves it open), but that may change in the middle of a stream, which no RTP stream's clock rate survives (RFC 7160 section 3).
    pub fn rtp_clock_rate(&self) -> u32 {
        match self {
            Format::H264 { .. } | Format::Vp8 | Format::Aac { .. } => 90_000,
            Format::Opus { .. } => 48_000,
        }
    }

    /// RFC 6381 string for `codecs` parameters and MSE: `avc1.64001f`, `mp4a.40.2`, `opus`, `vp08.00.10.08`.
    pub fn codec_string(&self) -> String {
        match self {
            Format::H264 { sps, .. } => h264::codec_string(sps),
            Format::Vp8 => vp8::CODEC_STRING.to_owned(),
            Format::Aac { config, .. } => {
                aac::AacConfig::parse(config).map_or_else(|_| "mp4a.40.2".to_owned(), |config| config.codec_string())
            }
            Format::Opus { .. } => "opus".to_owned(),
        }
    }

    /// Width and height in pixels as shown (cropped), where the format tells it: H.264 with an SPS. VP8 tells it in its key frames
    /// ([`vp8::frame_info`]).
    pub fn resolution(&self) -> Option<(u32, u32)> {
        match self {
            Format::H264 { sps, .. } => h264::parse_sps(sps.first()?).ok().map(|info| (info.width, info.height)),
            Format::Vp8 | Format::Aac { .. } | Format::Opus { .. } => None,
        }
    }

    /// What browsers' decoders don't have of it, in words: H.264 with other chroma than 4:2:0, more than 8 bits, or a rare profile.
    pub fn unusual(&self) -> Option<&'static str> {
        match self {
            Format::H264 { sps, .. } => h264::parse_sps(sps.first()?).ok()?.unusual(),
            Format::Vp8 | Format::Aac { .. } | Format::Opus { .. } => None,
        }
    }

    /// Whether an encoder that changed from one to the other may still be coding as before: H.264 with the same SPS.
    pub(crate) fn is_coded_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Format::H264 { sps: mine, .. }, Format::H264 { sps: theirs, .. }) => mine == theirs,
            _ => self == other,
        }
    }

    /// Whether pictures may come in another order than they are shown in (B-frames): true for H.264 unless its SPS excludes it.
    pub fn may_reorder(&self) -> bool {
        match self {
            Format::H264 { sps, .. } => h264::may_reorder(sps),
            Format::Vp8 | Format::Aac { .. } | Format::Opus { .. } => false,
        }
    }

    /// The parameters of `a=fmtp` and of ORTC's codec, name and value. H.264's parameter sets are not among them: they go in band.
    pub fn rtp_fmtp(&self) -> Vec<(&'static str, String)> {
        match self {
            Format::H264 { sps, .. } => vec![
                ("level-asymmetry-allowed", "1".to_owned()),
                ("packetization-mode", "1".to_owned()),
                ("profile-level-id", h264::profile_level_id(sps)),
            ],
            Format::Vp8 => Vec::new(),
            Format::Aac { config, .. } => aac::rtp_fmtp(config),
            Format::Opus { channels } => opus::rtp_fmtp(*channels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_formats() {
        let sps = vec![Bytes::from_static(&[
            0x67, 0x64, 0, 0x1f, 0xac, 0xb2, 0, 0xa0, 0x0b, 0x76, 2, 0x20, 0, 0, 3, 0, 0x20, 0, 0, 7, 0x91, 0xe3, 6, 0x49,
        ])];
        let h264 = Format::H264 { sps, pps: Vec::new() };
        assert_eq!((h264.codec_string().as_str(), h264.resolution(), h264.may_reorder()), ("avc1.64001f", Some((1280, 720)), false));
        assert!(h264.rtp_fmtp().contains(&("profile-level-id", "64001f".to_owned())));
        let Format::H264 { sps, .. } = &h264 else { unreachable!() };
        assert!(h264.is_coded_like(&Format::H264 { sps: sps.clone(), pps: vec![Bytes::from_static(&[0x68])] }));
        let unknown = Format::H264 { sps: Vec::new(), pps: Vec::new() };
        assert_eq!((unknown.codec_string().as_str(), unknown.resolution(), unknown.may_reorder()), ("avc1.42e01f", None, false));
        assert!(!h264.is_coded_like(&unknown) && !h264.is_coded_like(&Format::Vp8) && Format::Vp8.is_coded_like(&Format::Vp8));
        assert_eq!(Format::Vp8.codec_string(), "vp08.00.10.08");
        let aac = aac::AacConfig::format(Bytes::from_static(&[0x11, 0x90])).unwrap();
        assert_eq!((aac.codec_string().as_str(), aac.clock_rate()), ("mp4a.40.2", 48_000));
        assert!(aac.rtp_fmtp().contains(&("config", "1190".to_owned())));
        let opus = Format::Opus { channels: 2 };
        assert_eq!(opus.codec_string(), "opus");
        assert!(opus.rtp_fmtp().contains(&("stereo", "1".to_owned())));
    }
}
