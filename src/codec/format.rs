//! Which codec a track is in, with what a decoder needs to know before the first access unit.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
        why: &'static str,
    },
    /// MPEG-4 Audio of another kind.
    #[error("{what} is not supported: it has audio object type {object_type} ({name}); use AAC-LC or HE-AAC")]
    ObjectType {
        /// Which structure.
        what: &'static str,
        /// ISO/IEC 14496-3 table 1.17.
        object_type: u8,
        /// What people call it.
        name: &'static str,
    },
    #[error("{what} is not supported: it has {channels} channels; 1 to 8 are possible")]
    Channels {
        /// Which structure.
        what: &'static str,
        channels: u8,
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

    /// Whether an encoder that changed from one to the other may still be coding as before: H.264 with the same SPS.
    pub(crate) fn is_coded_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Format::H264 { sps: mine, .. }, Format::H264 { sps: theirs, .. }) => mine == theirs,
            _ => self == other,
        }
    }
}
