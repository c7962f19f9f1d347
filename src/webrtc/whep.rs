//! What of a viewer's offer is served, and when a change of the stream ends the session.

use super::{Mismatch, WebRtcError};
use crate::base::MediaKind;
use crate::codec::Codec;
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
        return Err(Mismatch::ReceivesNothing.into());
    }
    Ok(plan)
}

/// What the viewer can receive of a track in `codec`: only that codec, with its RTX. Among H.264 profiles the SFU chooses.
pub(super) fn capabilities_for(media: &OfferedMedia, codec: Codec) -> RtpCapabilities {
    let usable: Vec<u8> = media.payload_types_of(codec).collect();
    let belongs = |c: &RtpCodecCapability| match (c.preferred_payload_type, c.parameters.get("apt")) {
        (_, Some(ParameterValue::Number(apt))) => u8::try_from(*apt).is_ok_and(|apt| usable.contains(&apt)),
        (Some(pt), None) => usable.contains(&pt),
        _ => false,
    };
    let mut codecs: Vec<_> = media.capabilities.codecs.iter().filter(|c| belongs(c)).cloned().collect();
    if codec == Codec::H264 {
        // It is sent in this mode, also to who names none.
        let all = codecs.iter_mut().filter(|c| c.preferred_payload_type.is_some_and(|pt| usable.contains(&pt)));
        all.for_each(|c| drop(c.parameters.insert("packetization-mode".to_owned(), ParameterValue::Number(1))));
    }
    RtpCapabilities { codecs, header_extensions: media.capabilities.header_extensions.clone() }
}

/// What a viewer depends on in one published track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    kind: MediaKind,
    codec: Codec,
    reordered: bool,
    /// Browsers can't decode it: sent as it is, it is a black picture.
    unusual: bool,
}

pub(super) fn facts(tracks: &[Track]) -> Vec<Facts> {
    let facts = |t: &Track| Facts { kind: t.kind, codec: t.format.codec(), reordered: t.reordered, unusual: t.format.unusual().is_some() };
    tracks.iter().map(facts).collect()
}

/// Whether a session that began with `then` must be negotiated anew: a track came, or one has another codec, or pictures in another
/// order or in a form that browsers don't decode. Who gets something made of the track has what it needs also where that is over. A track
/// that went leaves the others playing, and a publisher that returns with the same ones is followed by the SFU. `wanted` are the kinds that
/// the viewer has a section for.
pub(super) fn must_renegotiate(then: &[Facts], now: &[Facts], wanted: &[MediaKind]) -> bool {
    let goes_on = |now: &Facts| {
        let same = |then: &Facts| (then.kind, then.codec) == (now.kind, now.codec);
        then.iter().any(|then| same(then) && then.reordered >= now.reordered && then.unusual >= now.unusual)
    };
    now.iter().filter(|f| wanted.contains(&f.kind)).any(|f| !goes_on(f))
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
        let h264 = capabilities_for(media, Codec::H264);
        assert!(h264.codecs.iter().all(|c| matches!(c.mime_type.as_str(), "video/H264" | "video/rtx")));
        let offered: Vec<u8> = media.payload_types_of(Codec::H264).collect();
        assert_eq!(h264.codecs.iter().filter(|c| c.mime_type == "video/rtx").count(), offered.len());
        let vp8 = capabilities_for(media, Codec::Vp8);
        assert_eq!(vp8.codecs.iter().map(|c| c.mime_type.as_str()).collect::<Vec<_>>(), ["video/VP8", "video/rtx"]);
        assert!(!vp8.header_extensions.is_empty());
    }

    #[test]
    fn when_to_renegotiate() {
        let video = Facts { kind: MediaKind::Video, codec: Codec::H264, reordered: false, unusual: false };
        let vp8 = Facts { codec: Codec::Vp8, ..video };
        let b_frames = Facts { reordered: true, ..video };
        let unusual = Facts { unusual: true, ..video };
        let audio = Facts { kind: MediaKind::Audio, codec: Codec::Aac, ..video };
        let both = [MediaKind::Audio, MediaKind::Video];
        for (then, now, wanted, end) in [
            (&[video][..], &[video][..], &both[..], false),
            (&[video], &[video, audio], &both, true),
            (&[video], &[video, audio], &both[1..], false),
            (&[video, audio], &[video], &both, false),
            (&[video, audio], &[], &both, false),
            (&[video, audio], &[vp8, audio], &both, true),
            (&[video], &[b_frames], &both, true),
            (&[video], &[unusual], &both, true),
            (&[unusual], &[video], &both, false),
            (&[b_frames], &[video], &both, false),
            (&[b_frames], &[unusual], &both, true),
        ] {
            assert_eq!(must_renegotiate(then, now, wanted), end, "{then:?} {now:?}");
        }
    }
}
