//! Which of a viewer's codecs a producer's track goes out in.
//!
//! In: a producer's `RtpParameters` and a viewer's `RtpCapabilities`. Out: the consumer's `RtpParameters`, in the
//! payload types and extension ids that the viewer prefers (they come from its SDP offer).

use super::capabilities::{MAX_MID_LEN, OrtcError, codec_of, is_rtx, number, router_capabilities, text};
use super::{
    ParameterValue, RtcpParameters, RtpCapabilities, RtpCodecCapability, RtpCodecParameters, RtpEncodingParameters,
    RtpHeaderExtensionParameters, RtpParameters, RtxParameters, extension_uri,
};
use crate::base::MediaKind;
use crate::codec::Codec;

/// Extensions that consumers never send: RIDs name layers of a publisher, and transport-wide sequence numbers ask the
/// viewer for ten feedback packets a second, which only a sender-side bandwidth estimator has a use for.
const NOT_SENT: [&str; 3] = [extension_uri::RID, extension_uri::REPAIRED_RID, extension_uri::TRANSPORT_CC];

/// What the viewer's side decides of a consumer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerWish<'a> {
    /// What the viewer can receive.
    pub capabilities: &'a RtpCapabilities,
    pub mid: Option<&'a str>,
    pub cname: &'a str,
    pub ssrc: u32,
    /// SSRC to retransmit with, used if the viewer offers RTX.
    pub rtx_ssrc: u32,
}

/// Builds a consumer's parameters. `producer` is the producer's `RtpParameters`, with `codec` the one of its encoding.
pub(crate) fn consumer_parameters(
    codec: Codec,
    payload_type: u8,
    producer: &RtpParameters,
    wish: ConsumerWish<'_>,
) -> Result<RtpParameters, OrtcError> {
    let kind = codec.kind();
    if wish.mid.is_some_and(|mid| mid.is_empty() || mid.len() > MAX_MID_LEN) {
        return Err(OrtcError::Mid);
    }
    let source = producer.codecs.iter().find(|c| c.payload_type == payload_type);
    let source_profile = source.and_then(|c| text(&c.parameters, "profile-level-id")).map(|id| H264Profile::of(&id));
    let best = wish
        .capabilities
        .codecs
        .iter()
        .enumerate()
        .filter(|(_, capability)| fits(codec, capability))
        // The viewer's own order of preference decides between equals.
        .min_by_key(|(index, capability)| (profile_distance(codec, source_profile, capability), *index))
        .map(|(_, capability)| capability);
    let Some(capability) = best else { return Err(OrtcError::NoCommonCodec(codec)) };
    let Some(payload_type) = capability.preferred_payload_type.filter(|pt| *pt < 64 || (96..=127).contains(pt)) else {
        return Err(OrtcError::NoPreferredPayloadType { mime_type: capability.mime_type.clone() });
    };
    let ours = router_capabilities();
    let our_feedback = ours.codecs.iter().find(|c| codec_of(&c.mime_type) == Some(codec)).map(|c| c.rtcp_feedback.as_slice());
    let mut rtcp_feedback = capability.rtcp_feedback.clone();
    rtcp_feedback.retain(|fb| our_feedback.unwrap_or_default().contains(fb) && fb.kind != "transport-cc");
    let mut parameters = capability.parameters.clone();
    if codec == Codec::H264 {
        parameters.insert("level-asymmetry-allowed".into(), ParameterValue::Number(1));
    }
    let mut codecs = vec![RtpCodecParameters {
        mime_type: capability.mime_type.clone(),
        payload_type,
        clock_rate: capability.clock_rate,
        channels: capability.channels,
        parameters,
        rtcp_feedback,
    }];
    let rtx = wish
        .capabilities
        .codecs
        .iter()
        .filter(|c| is_rtx(&c.mime_type) && number(&c.parameters, "apt") == Some(payload_type.into()))
        .find_map(|c| c.preferred_payload_type.filter(|pt| *pt <= 127));
    if let Some(payload_type_rtx) = rtx {
        codecs.push(RtpCodecParameters {
            mime_type: format!("{kind}/rtx"),
            payload_type: payload_type_rtx,
            clock_rate: capability.clock_rate,
            channels: None,
            parameters: [("apt".into(), ParameterValue::Number(payload_type.into()))].into(),
            rtcp_feedback: Vec::new(),
        });
    }
    Ok(RtpParameters {
        mid: wish.mid.map(str::to_owned),
        codecs,
        header_extensions: extensions(kind, wish.capabilities),
        encodings: vec![RtpEncodingParameters {
            ssrc: Some(wish.ssrc),
            rtx: rtx.map(|_| RtxParameters { ssrc: wish.rtx_ssrc }),
            ..Default::default()
        }],
        rtcp: RtcpParameters { cname: Some(wish.cname.to_owned()), reduced_size: true },
    })
}

fn fits(codec: Codec, capability: &RtpCodecCapability) -> bool {
    codec_of(&capability.mime_type) == Some(codec)
        && match codec {
            // FU-A packets are forwarded as they are, so the viewer has to know non-interleaved mode (RFC 6184 section 6.3).
            Codec::H264 => number(&capability.parameters, "packetization-mode") == Some(1),
            Codec::Opus | Codec::Vp8 => true,
            // No browser receives it; direct consumers don't ask.
            Codec::Aac => false,
        }
}

fn extensions(kind: MediaKind, viewer: &RtpCapabilities) -> Vec<RtpHeaderExtensionParameters> {
    let ours = &router_capabilities().header_extensions;
    let mut used = 0u32;
    let mut list = Vec::new();
    for extension in &viewer.header_extensions {
        let receives = !matches!(extension.direction.as_deref(), Some("sendonly" | "inactive"));
        let known = ours.iter().any(|our| our.kind == kind && our.uri == extension.uri);
        let id_ok = (1..=14).contains(&extension.preferred_id) && used & (1 << extension.preferred_id) == 0;
        if extension.kind == kind && receives && known && id_ok && !NOT_SENT.contains(&extension.uri.as_str()) {
            used |= 1 << extension.preferred_id;
            list.push(RtpHeaderExtensionParameters { uri: extension.uri.clone(), id: extension.preferred_id, encrypt: false });
        }
    }
    list
}

/// The profiles of RFC 6184 section 8.1 in ascending order of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
}

impl H264Profile {
    /// From the six hex digits of `profile-level-id`; anything odd is read as constrained baseline, which RFC 6184 makes the default.
    fn of(profile_level_id: &str) -> Self {
        let Ok(value) = u32::from_str_radix(profile_level_id, 16) else { return Self::ConstrainedBaseline };
        let (idc, iop) = ((value >> 16) as u8, (value >> 8) as u8);
        match idc {
            0x42 if iop & 0x40 == 0 => Self::Baseline,
            0x42 => Self::ConstrainedBaseline,
            0x4d if iop & 0x80 != 0 => Self::ConstrainedBaseline,
            0x4d => Self::Main,
            0x58 => Self::Baseline,
            0x64 if iop & 0x0c == 0x0c => Self::ConstrainedHigh,
            0x64 => Self::High,
            _ => Self::ConstrainedBaseline,
        }
    }
}

/// How far a viewer's profile is from the source's: the same first, then the nearest that has more tools, then the
/// nearest that has fewer (browsers decode High whatever they offer, so an only offer of baseline is good enough).
fn profile_distance(codec: Codec, source: Option<H264Profile>, capability: &RtpCodecCapability) -> u8 {
    if codec != Codec::H264 {
        return 0;
    }
    let viewer = text(&capability.parameters, "profile-level-id").map_or(H264Profile::ConstrainedBaseline, |id| H264Profile::of(&id));
    let (source, viewer) = (source.unwrap_or(H264Profile::ConstrainedBaseline) as u8, viewer as u8);
    if viewer >= source { viewer - source } else { 10 + source - viewer }
}

#[cfg(test)]
mod tests {
    use super::super::{RtcpFeedback, RtpHeaderExtension};
    use super::*;

    fn h264(payload_type: u8, mode: u32, profile: &str) -> RtpCodecCapability {
        RtpCodecCapability {
            kind: MediaKind::Video,
            mime_type: "video/h264".into(),
            preferred_payload_type: Some(payload_type),
            clock_rate: 90_000,
            channels: None,
            parameters: [
                ("packetization-mode".into(), ParameterValue::Text(mode.to_string())),
                ("profile-level-id".into(), ParameterValue::Text(profile.into())),
            ]
            .into(),
            rtcp_feedback: ["nack", "transport-cc", "x-odd"]
                .map(|kind| RtcpFeedback { kind: kind.into(), parameter: String::new() })
                .into(),
        }
    }

    fn rtx(payload_type: u8, apt: u32) -> RtpCodecCapability {
        RtpCodecCapability {
            mime_type: "video/rtx".into(),
            parameters: [("apt".into(), ParameterValue::Number(apt))].into(),
            ..h264(payload_type, 1, "")
        }
    }

    fn source(profile: &str) -> RtpParameters {
        RtpParameters {
            codecs: vec![RtpCodecParameters {
                mime_type: "video/H264".into(),
                payload_type: 96,
                clock_rate: 90_000,
                channels: None,
                parameters: [("profile-level-id".into(), ParameterValue::Text(profile.into()))].into(),
                rtcp_feedback: Vec::new(),
            }],
            ..Default::default()
        }
    }

    fn choose(profile: &str, codecs: Vec<RtpCodecCapability>) -> Result<RtpParameters, OrtcError> {
        let header_extensions = vec![
            RtpHeaderExtension {
                kind: MediaKind::Video,
                uri: extension_uri::MID.into(),
                preferred_id: 9,
                preferred_encrypt: false,
                direction: None,
            },
            RtpHeaderExtension {
                kind: MediaKind::Video,
                uri: extension_uri::TRANSPORT_CC.into(),
                preferred_id: 5,
                preferred_encrypt: false,
                direction: None,
            },
            RtpHeaderExtension {
                kind: MediaKind::Video,
                uri: "urn:odd".into(),
                preferred_id: 6,
                preferred_encrypt: false,
                direction: None,
            },
        ];
        let capabilities = RtpCapabilities { codecs, header_extensions };
        let wish = ConsumerWish { capabilities: &capabilities, mid: Some("0"), cname: "c", ssrc: 1, rtx_ssrc: 2 };
        consumer_parameters(Codec::H264, 96, &source(profile), wish)
    }

    #[test]
    fn prefers_the_exact_profile_then_a_bigger_one_then_any() {
        let all = || vec![h264(100, 1, "42001f"), h264(102, 1, "42e01f"), h264(104, 1, "4d001f"), h264(106, 1, "640c1f")];
        for (profile, expected) in [("42e01f", 102), ("42c028", 102), ("420028", 100), ("4d0028", 104), ("640028", 106), ("640c28", 106)] {
            assert_eq!(choose(profile, all()).unwrap().codecs[0].payload_type, expected, "{profile}");
        }
        assert_eq!(choose("640028", vec![h264(100, 0, "640028"), h264(102, 1, "42e01f")]).unwrap().codecs[0].payload_type, 102);
        assert_eq!(choose("42e01f", vec![h264(104, 1, "4d001f"), h264(106, 1, "640c1f")]).unwrap().codecs[0].payload_type, 104);
        assert!(matches!(choose("42e01f", vec![h264(100, 0, "42e01f")]), Err(OrtcError::NoCommonCodec(_))));
    }

    #[test]
    fn takes_the_viewers_numbers() {
        let parameters = choose("42e01f", vec![h264(102, 1, "42e01f"), rtx(50, 100), rtx(51, 102)]).unwrap();
        assert_eq!(parameters.codecs.iter().map(|c| c.payload_type).collect::<Vec<_>>(), [102, 51]);
        assert_eq!(parameters.codecs[0].rtcp_feedback, [RtcpFeedback { kind: "nack".into(), parameter: String::new() }]);
        assert_eq!(parameters.header_extensions, [RtpHeaderExtensionParameters { uri: extension_uri::MID.into(), id: 9, encrypt: false }]);
        assert_eq!(parameters.encodings[0].rtx, Some(RtxParameters { ssrc: 2 }));
        let without = choose("42e01f", vec![h264(102, 1, "42e01f")]).unwrap();
        assert_eq!((without.codecs.len(), without.encodings[0].rtx), (1, None));
    }
}
