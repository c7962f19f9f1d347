//! What this router can carry, and the checks that parameters from outside have to pass.
//!
//! In: nothing, or a peer's `RtpParameters`. Out: `routerRtpCapabilities`, or the parts of the parameters that
//! producers use, parsed so that nothing later has to doubt them.

use std::sync::LazyLock;

use super::{
    CodecSpecificParameters, ParameterValue, RtcpFeedback, RtpCapabilities, RtpCodecCapability, RtpCodecParameters, RtpHeaderExtension,
    RtpParameters, extension_uri,
};
use crate::base::MediaKind;
use crate::codec::Codec;

/// Most codecs in one set of parameters or capabilities: Chromium offers about 40 with all its RTX entries.
const MAX_CODECS: usize = 128;
/// Most encodings in one set of parameters: three simulcast layers are usual, nobody sends more than a few.
const MAX_ENCODINGS: usize = 8;
/// Most header extensions: their ids are 1 to 14 in the one-byte form (RFC 8285 section 4.2).
const MAX_EXTENSIONS: usize = 32;
/// Longest `mid` or `rid` that fits a one-byte header extension (RFC 8285 section 4.2).
pub(crate) const MAX_MID_LEN: usize = 16;

/// Why parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OrtcError {
    /// None of the other side's codecs fits.
    #[error("{} is not among the codecs the other side can receive", .0.display_name())]
    NoCommonCodec(Codec),
    #[error("bad RTP parameters: none of the codecs ({}) is one that headend carries", .0.join(", "))]
    UnknownCodecs(Vec<String>),
    #[error("bad RTP parameters: {} is not {wanted}", .codec.display_name())]
    OtherKind { codec: Codec, wanted: MediaKind },
    #[error("bad RTP parameters: {} with a clock rate of {clock_rate}", .codec.display_name())]
    ClockRate { codec: Codec, clock_rate: u32 },
    #[error("bad RTP parameters: {mime_type:?} has clock rate 0")]
    NoClockRate { mime_type: String },
    #[error("bad RTP parameters: {mime_type:?} without a usable preferredPayloadType")]
    NoPreferredPayloadType { mime_type: String },
    #[error("bad RTP parameters: {0} codecs; there must be 1 to {MAX_CODECS}")]
    Codecs(usize),
    #[error("bad RTP parameters: {0} encodings; at most {MAX_ENCODINGS}")]
    Encodings(usize),
    #[error("bad RTP parameters: {0} header extensions; at most {MAX_EXTENSIONS}")]
    HeaderExtensions(usize),
    #[error("bad RTP parameters: mid must have 1 to {MAX_MID_LEN} bytes")]
    Mid,
    #[error("bad RTP parameters: payload type {0}; it must be 0 to 127")]
    PayloadType(u8),
    #[error("bad RTP parameters: payload type {0} is used twice")]
    PayloadTypeTwice(u8),
    #[error("bad RTP parameters: payload type {0} collides with RTCP (RFC 5761)")]
    PayloadTypeOfRtcp(u8),
    #[error("bad RTP parameters: header extension id {0}; it must be 1 to 14 (RFC 8285)")]
    ExtensionId(u8),
    #[error("bad RTP parameters: header extension id {0} is used twice")]
    ExtensionIdTwice(u8),
}

/// `routerRtpCapabilities`: the same for every router.
pub(crate) fn router_capabilities() -> &'static RtpCapabilities {
    static CAPABILITIES: LazyLock<RtpCapabilities> = LazyLock::new(build);
    &CAPABILITIES
}

/// H.264 profiles that routers name, best known first. Browsers differ in which of them they offer.
const H264_PROFILES: [&str; 4] = ["42e01f", "42001f", "4d001f", "640c1f"];

fn build() -> RtpCapabilities {
    let mut codecs = vec![RtpCodecCapability {
        kind: MediaKind::Audio,
        mime_type: "audio/opus".into(),
        preferred_payload_type: Some(111),
        clock_rate: 48_000,
        channels: Some(2),
        parameters: [("minptime".into(), ParameterValue::Number(10)), ("useinbandfec".into(), ParameterValue::Number(1))].into(),
        rtcp_feedback: feedback(&[("nack", ""), ("transport-cc", "")]),
    }];
    let mut payload_type = 96;
    let mut video = |name: &str, parameters: CodecSpecificParameters| {
        codecs.push(RtpCodecCapability {
            kind: MediaKind::Video,
            mime_type: format!("video/{name}"),
            preferred_payload_type: Some(payload_type),
            clock_rate: 90_000,
            channels: None,
            parameters,
            rtcp_feedback: feedback(&[("goog-remb", ""), ("transport-cc", ""), ("ccm", "fir"), ("nack", ""), ("nack", "pli")]),
        });
        codecs.push(RtpCodecCapability {
            kind: MediaKind::Video,
            mime_type: "video/rtx".into(),
            preferred_payload_type: Some(payload_type + 1),
            clock_rate: 90_000,
            channels: None,
            parameters: [("apt".into(), ParameterValue::Number(payload_type.into()))].into(),
            rtcp_feedback: Vec::new(),
        });
        payload_type += 2;
    };
    video("VP8", CodecSpecificParameters::new());
    for profile in H264_PROFILES {
        video(
            "H264",
            [
                ("level-asymmetry-allowed".into(), ParameterValue::Number(1)),
                ("packetization-mode".into(), ParameterValue::Number(1)),
                ("profile-level-id".into(), ParameterValue::Text(profile.into())),
            ]
            .into(),
        );
    }
    let both = [MediaKind::Audio, MediaKind::Video];
    let mut header_extensions = Vec::new();
    for (kinds, uri, preferred_id) in [
        (&both[..], extension_uri::MID, 1),
        (&both[1..], extension_uri::RID, 2),
        (&both[1..], extension_uri::REPAIRED_RID, 3),
        (&both[..], extension_uri::ABS_SEND_TIME, 4),
        (&both[..], extension_uri::TRANSPORT_CC, 5),
        (&both[..1], extension_uri::AUDIO_LEVEL, 10),
        (&both[1..], extension_uri::VIDEO_ORIENTATION, 11),
    ] {
        for kind in kinds {
            let recv_only = matches!(uri, extension_uri::RID | extension_uri::REPAIRED_RID);
            header_extensions.push(RtpHeaderExtension {
                kind: *kind,
                uri: uri.into(),
                preferred_id,
                preferred_encrypt: false,
                direction: Some(if recv_only { "recvonly" } else { "sendrecv" }.into()),
            });
        }
    }
    RtpCapabilities { codecs, header_extensions }
}

fn feedback(list: &[(&str, &str)]) -> Vec<RtcpFeedback> {
    list.iter().map(|(kind, parameter)| RtcpFeedback { kind: (*kind).into(), parameter: (*parameter).into() }).collect()
}

/// The number in a parameter that may come as a number or as text (SDP gives both).
pub(crate) fn number(parameters: &CodecSpecificParameters, name: &str) -> Option<u32> {
    match parameters.get(name)? {
        ParameterValue::Number(n) => Some(*n),
        ParameterValue::Text(text) => text.trim().parse().ok(),
    }
}

/// The text of a parameter that may come as a number or as text (`profile-level-id=420010` looks like a number).
pub(crate) fn text(parameters: &CodecSpecificParameters, name: &str) -> Option<String> {
    match parameters.get(name)? {
        ParameterValue::Number(n) => Some(format!("{n:06}")),
        ParameterValue::Text(text) => Some(text.trim().to_ascii_lowercase()),
    }
}

/// Whether a mime type is a retransmission format (RFC 4588).
pub(crate) fn is_rtx(mime_type: &str) -> bool {
    mime_type.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case("rtx"))
}

/// The codec behind a mime type, if headend carries it.
pub(crate) fn codec_of(mime_type: &str) -> Option<Codec> {
    let (kind, name) = mime_type.split_once('/')?;
    [Codec::H264, Codec::Vp8, Codec::Aac, Codec::Opus]
        .into_iter()
        .find(|codec| codec.encoding_name().eq_ignore_ascii_case(name) && codec.kind().as_str().eq_ignore_ascii_case(kind))
}

/// Ids of the header extensions of [`extension_uri`] in use; 0 = not in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExtensionIds {
    pub mid: u8,
    pub rid: u8,
    pub repaired_rid: u8,
    pub abs_send_time: u8,
    pub transport_cc: u8,
    pub audio_level: u8,
    pub video_orientation: u8,
}

impl ExtensionIds {
    /// From the extensions of RTP parameters; those that headend doesn't know are left out.
    pub(crate) fn of(parameters: &RtpParameters) -> Self {
        let mut ids = Self::default();
        for extension in &parameters.header_extensions {
            let slot = match extension.uri.as_str() {
                extension_uri::MID => &mut ids.mid,
                extension_uri::RID => &mut ids.rid,
                extension_uri::REPAIRED_RID => &mut ids.repaired_rid,
                extension_uri::ABS_SEND_TIME => &mut ids.abs_send_time,
                extension_uri::TRANSPORT_CC => &mut ids.transport_cc,
                extension_uri::AUDIO_LEVEL => &mut ids.audio_level,
                extension_uri::VIDEO_ORIENTATION => &mut ids.video_orientation,
                _ => continue,
            };
            *slot = extension.id;
        }
        ids
    }
}

/// What a producer needs of its `RtpParameters`, checked.
#[derive(Debug, Clone)]
pub(crate) struct ProducerRtp {
    pub codec: Codec,
    /// Its clock rate in Hz, never 0.
    pub clock_rate: u32,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    /// Its SSRC, where signalled.
    pub ssrc: Option<u32>,
    /// The SSRC of its retransmissions, where signalled.
    pub rtx_ssrc: Option<u32>,
    pub mid: Option<String>,
    /// The RID of the encoding (RFC 8851): of a simulcast publisher only this layer is taken.
    pub rid: Option<String>,
    pub extensions: ExtensionIds,
    /// The source answers generic NACKs.
    pub nack: bool,
    /// The source answers PLI.
    pub pli: bool,
    /// The source answers FIR.
    pub fir: bool,
    /// The source wants transport-wide feedback.
    pub transport_cc: bool,
    /// The source wants REMB.
    pub remb: bool,
}

impl ProducerRtp {
    /// Checks the parameters of a producer. Of several encodings (simulcast) the first is used.
    pub(crate) fn parse(kind: MediaKind, parameters: &RtpParameters) -> Result<Self, OrtcError> {
        validate(parameters)?;
        let encoding = parameters.encodings.first().cloned().unwrap_or_default();
        let media = |codec: &&RtpCodecParameters| !is_rtx(&codec.mime_type) && codec_of(&codec.mime_type).is_some();
        let codec = match encoding.codec_payload_type {
            Some(payload_type) => parameters.codecs.iter().filter(media).find(|codec| codec.payload_type == payload_type),
            None => parameters.codecs.iter().find(media),
        };
        let Some((parameters_codec, codec)) = codec.and_then(|found| Some((found, codec_of(&found.mime_type)?))) else {
            return Err(OrtcError::UnknownCodecs(parameters.codecs.iter().map(|codec| codec.mime_type.clone()).collect()));
        };
        if codec.kind() != kind {
            return Err(OrtcError::OtherKind { codec, wanted: kind });
        }
        let expected = match codec {
            Codec::H264 | Codec::Vp8 => Some(90_000),
            Codec::Opus => Some(48_000),
            Codec::Aac => None,
        };
        if expected.is_some_and(|rate| rate != parameters_codec.clock_rate) {
            return Err(OrtcError::ClockRate { codec, clock_rate: parameters_codec.clock_rate });
        }
        let has = |kind: &str, parameter: &str| {
            parameters_codec
                .rtcp_feedback
                .iter()
                .any(|fb| fb.kind.eq_ignore_ascii_case(kind) && fb.parameter.eq_ignore_ascii_case(parameter))
        };
        let extensions = ExtensionIds::of(parameters);
        Ok(Self {
            codec,
            clock_rate: parameters_codec.clock_rate,
            payload_type: parameters_codec.payload_type,
            rtx_payload_type: parameters
                .codecs
                .iter()
                .find(|c| is_rtx(&c.mime_type) && number(&c.parameters, "apt") == Some(parameters_codec.payload_type.into()))
                .map(|c| c.payload_type),
            ssrc: encoding.ssrc,
            rtx_ssrc: encoding.rtx.map(|rtx| rtx.ssrc),
            mid: parameters.mid.clone(),
            rid: encoding.rid,
            extensions,
            nack: has("nack", ""),
            pli: has("nack", "pli"),
            fir: has("ccm", "fir"),
            transport_cc: has("transport-cc", "") && extensions.transport_cc != 0,
            remb: has("goog-remb", ""),
        })
    }
}

/// Checks what holds for all RTP parameters: bounds, payload types and extension ids in range and used once.
pub(crate) fn validate(parameters: &RtpParameters) -> Result<(), OrtcError> {
    if parameters.codecs.is_empty() || parameters.codecs.len() > MAX_CODECS {
        return Err(OrtcError::Codecs(parameters.codecs.len()));
    }
    if parameters.encodings.len() > MAX_ENCODINGS {
        return Err(OrtcError::Encodings(parameters.encodings.len()));
    }
    if parameters.header_extensions.len() > MAX_EXTENSIONS {
        return Err(OrtcError::HeaderExtensions(parameters.header_extensions.len()));
    }
    if parameters.mid.as_ref().is_some_and(|mid| mid.is_empty() || mid.len() > MAX_MID_LEN) {
        return Err(OrtcError::Mid);
    }
    let mut payload_types = 0u128;
    for codec in &parameters.codecs {
        if codec.payload_type > 127 {
            return Err(OrtcError::PayloadType(codec.payload_type));
        }
        if payload_types & (1 << codec.payload_type) != 0 {
            return Err(OrtcError::PayloadTypeTwice(codec.payload_type));
        }
        payload_types |= 1 << codec.payload_type;
        // RFC 5761 section 4: these can't be told from RTCP.
        if (64..=95).contains(&codec.payload_type) {
            return Err(OrtcError::PayloadTypeOfRtcp(codec.payload_type));
        }
        if codec.clock_rate == 0 {
            return Err(OrtcError::NoClockRate { mime_type: codec.mime_type.clone() });
        }
    }
    let mut ids = 0u32;
    for extension in &parameters.header_extensions {
        if !(1..=14).contains(&extension.id) {
            return Err(OrtcError::ExtensionId(extension.id));
        }
        if ids & (1 << extension.id) != 0 {
            return Err(OrtcError::ExtensionIdTwice(extension.id));
        }
        ids |= 1 << extension.id;
    }
    Ok(())
}
