//! What of a viewer's offer is served, and when a change of the stream ends the session.

use bytes::Bytes;

use super::WebRtcError;
use crate::base::MediaKind;
use crate::codec::{Codec, Format};
use crate::sdp::{Offer, OfferedMedia};
use crate::sfu::ortc::{ParameterValue, RtpCapabilities, RtpCodecCapability};
use crate::stream::Track;

/// The sections to serve, by index: the first audio and the first video section in which the client receives.
pub(super) fn plan(offer: &Offer) -> Result<Vec<usize>, WebRtcError> {
    let mut kinds = Vec::new();
    let mut plan = Vec::new();
    for (index, section) in offer.sections.iter().enumerate() {
        let Some(media) = section.media.as_ref().filter(|m| m.direction.receives()) else { continue };
        if !kinds.contains(&media.kind) && !media.codecs().is_empty() {
            kinds.push(media.kind);
            plan.push(index);
        }
    }
    if plan.is_empty() {
        return Err(WebRtcError::NothingInCommon(
            "the offer receives nothing that headend can send: a viewer's sections are recvonly with H264 (packetization-mode=1), VP8 or opus"
                .to_owned(),
        ));
    }
    Ok(plan)
}

/// What the viewer can receive of a track in `format`: only its codec, with its RTX. H.264 capabilities of the profile in the
/// parameter sets come first.
pub(super) fn capabilities_for(media: &OfferedMedia, format: &Format) -> RtpCapabilities {
    let usable: Vec<u8> = media.payload_types_of(format.codec()).collect();
    let profile = match format {
        Format::H264 { sps, .. } => sps.first().and_then(profile_idc),
        _ => None,
    };
    let belongs = |c: &RtpCodecCapability| match (c.preferred_payload_type, c.parameters.get("apt")) {
        (_, Some(ParameterValue::Number(apt))) => u8::try_from(*apt).is_ok_and(|apt| usable.contains(&apt)),
        (Some(pt), None) => usable.contains(&pt),
        _ => false,
    };
    let mut codecs: Vec<RtpCodecCapability> = media.capabilities.codecs.iter().filter(|c| belongs(c)).cloned().collect();
    // Stable: among equals the viewer's order stays.
    codecs.sort_by_key(|c| profile.is_some() && offered_profile_idc(c) != profile);
    RtpCapabilities { codecs, header_extensions: media.capabilities.header_extensions.clone() }
}

/// `profile_idc`, the byte after the NAL unit header (ITU-T H.264 section 7.3.2.1.1).
fn profile_idc(sps: &Bytes) -> Option<u8> {
    sps.get(1).copied()
}

/// The first two of the six hex digits of `profile-level-id` (RFC 6184 section 8.1).
fn offered_profile_idc(codec: &RtpCodecCapability) -> Option<u8> {
    match codec.parameters.get("profile-level-id") {
        Some(ParameterValue::Text(id)) => id.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        _ => None,
    }
}

/// What a viewer depends on in one published track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    kind: MediaKind,
    codec: Codec,
    reordered: bool,
}

/// The facts of the published tracks.
pub(super) fn facts(tracks: &[Track]) -> Vec<Facts> {
    tracks.iter().map(|t| Facts { kind: t.kind, codec: t.format.codec(), reordered: t.reordered }).collect()
}

/// Whether a session that began with `then` must be negotiated anew: a track came, or one has another codec or order of
/// pictures. A track that went leaves the others playing, and a publisher that returns with the same ones is followed by the SFU.
/// `wanted` are the kinds that the viewer has a section for.
pub(super) fn must_renegotiate(then: &[Facts], now: &[Facts], wanted: &[MediaKind]) -> bool {
    now.iter().filter(|f| wanted.contains(&f.kind)).any(|f| !then.contains(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(name: &str) -> Offer {
        Offer::parse(&std::fs::read(format!("{}/src/sdp/fixtures/{name}.sdp", env!("CARGO_MANIFEST_DIR"))).unwrap()).unwrap()
    }

    #[test]
    fn plans() {
        assert_eq!(plan(&offer("chromium156_recvonly")).unwrap(), [0, 1]);
        assert_eq!(plan(&offer("firefox_recvonly")).unwrap(), [0, 1]);
        assert_eq!(plan(&offer("obs_whip")).unwrap_err().code(), "nothing_in_common");
    }

    #[test]
    fn capabilities_of_one_codec() {
        let offer = offer("chromium156_recvonly");
        let media = offer.sections[0].media.as_ref().unwrap();
        let high = Format::H264 { sps: vec![Bytes::from_static(&[0x67, 0x64, 0, 0x1F])], pps: Vec::new() };
        let capabilities = capabilities_for(media, &high);
        assert!(capabilities.codecs.iter().all(|c| matches!(c.mime_type.as_str(), "video/H264" | "video/rtx")));
        let first = &capabilities.codecs[0].parameters["profile-level-id"];
        assert!(matches!(first, ParameterValue::Text(id) if id.starts_with("64")), "{first:?}");
        let unknown = Format::H264 { sps: Vec::new(), pps: Vec::new() };
        assert_eq!(capabilities_for(media, &unknown).codecs[0].preferred_payload_type, media.payload_types_of(Codec::H264).next());
        let vp8 = capabilities_for(media, &Format::Vp8);
        assert_eq!(vp8.codecs.iter().map(|c| c.mime_type.as_str()).collect::<Vec<_>>(), ["video/VP8", "video/rtx"]);
        assert!(!vp8.header_extensions.is_empty());
    }

    #[test]
    fn when_to_renegotiate() {
        let video = Facts { kind: MediaKind::Video, codec: Codec::H264, reordered: false };
        let vp8 = Facts { codec: Codec::Vp8, ..video };
        let b_frames = Facts { reordered: true, ..video };
        let audio = Facts { kind: MediaKind::Audio, codec: Codec::Aac, reordered: false };
        let both = [MediaKind::Audio, MediaKind::Video];
        for (then, now, wanted, end) in [
            (&[video][..], &[video][..], &both[..], false),
            (&[video], &[video, audio], &both, true),
            (&[video], &[video, audio], &both[1..], false),
            (&[video, audio], &[video], &both, false),
            (&[video, audio], &[], &both, false),
            (&[video, audio], &[vp8, audio], &both, true),
            (&[video], &[b_frames], &both, true),
        ] {
            assert_eq!(must_renegotiate(then, now, wanted), end, "{then:?} {now:?}");
        }
    }
}
