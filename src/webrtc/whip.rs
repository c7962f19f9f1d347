//! What of a publisher's offer is taken.

use super::{Mismatch, WebRtcError};
use crate::codec::{Codec, Format};
use crate::sdp::{Offer, OfferedMedia};
use crate::sfu::ortc::{ParameterValue, RtpCapabilities, RtpParameters, extension_uri};

/// A section that is going to be received.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    pub codec: Codec,
    /// The one media payload type that the answer leaves (its RTX besides).
    pub payload_type: u8,
}

/// For each section of the offer what is taken of it: the first audio and the first video section that the client sends, in
/// its most preferred codec that headend has.
pub(super) fn plan(offer: &Offer) -> Result<Vec<Option<Taken>>, WebRtcError> {
    let mut kinds = Vec::new();
    let mut refused = None;
    let mut plan = Vec::with_capacity(offer.sections.len());
    for section in &offer.sections {
        let media = section.media.as_ref().filter(|m| m.direction.sends() && !kinds.contains(&m.kind));
        let taken = media.and_then(|m| {
            let codec = *m.codecs().first()?;
            Some(Taken { codec, payload_type: m.payload_types_of(codec).next()? })
        });
        match (media, &taken) {
            (Some(media), Some(_)) => kinds.push(media.kind),
            (Some(media), None) => refused = Some(mismatch(media)),
            _ => {}
        }
        plan.push(taken);
    }
    if kinds.is_empty() {
        return Err(refused.unwrap_or(Mismatch::SendsNothing).into());
    }
    Ok(plan)
}

/// Most codec names in an answer: enough to see what was meant.
const MAX_NAMES: usize = 10;

/// What a section offers instead.
fn mismatch(media: &OfferedMedia) -> Mismatch {
    let mut names: Vec<String> = media.capabilities.codecs.iter().map(|c| c.mime_type.clone()).collect();
    names.dedup();
    names.truncate(MAX_NAMES);
    if names.is_empty() { Mismatch::NoCodec(media.kind) } else { Mismatch::Codecs(names) }
}

/// What is received of a taken section, and thus answered.
pub(super) fn receive_parameters(media: &OfferedMedia, mid: Option<&str>, taken: &Taken, ours: &RtpCapabilities) -> Option<RtpParameters> {
    let mut parameters = media.send_parameters(mid, taken.payload_type, ours)?;
    // A phone held upright sends its pictures lying on their side, and says so beside them, to whoever takes that (3GPP TS 26.114 section 7.4.5).
    // Segments, recordings and RTMP can't say it, so it is to turn them before it encodes them.
    parameters.header_extensions.retain(|extension| extension.uri != extension_uri::VIDEO_ORIENTATION);
    if let (Codec::Opus, Some(codec)) = (taken.codec, parameters.codecs.first_mut()) {
        // Ours says what we would like to get (RFC 7587 section 6.1): without it browsers mix down to mono.
        codec.parameters.insert("stereo".to_owned(), ParameterValue::Number(1));
        codec.parameters.insert("useinbandfec".to_owned(), ParameterValue::Number(1));
    }
    Some(parameters)
}

/// The format of a track as far as the offer has it: parameter sets come in band.
pub(super) fn format_of(codec: Codec) -> Option<Format> {
    Some(match codec {
        Codec::H264 => Format::H264 { sps: Vec::new(), pps: Vec::new() },
        Codec::Vp8 => Format::Vp8,
        Codec::Opus => Format::Opus { channels: 2 },
        Codec::Aac => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(name: &str) -> Offer {
        Offer::parse(&std::fs::read(format!("{}/src/sdp/fixtures/{name}.sdp", env!("CARGO_MANIFEST_DIR"))).unwrap()).unwrap()
    }

    fn codecs(name: &str) -> Vec<Option<(Codec, u8)>> {
        plan(&offer(name)).unwrap().into_iter().map(|t| t.map(|t| (t.codec, t.payload_type))).collect()
    }

    #[test]
    fn takes_the_publishers_preference() {
        assert_eq!(codecs("chromium156_sendonly"), [Some((Codec::Opus, 111)), Some((Codec::Vp8, 96))]);
        assert_eq!(codecs("obs_whip"), [Some((Codec::Opus, 111)), Some((Codec::H264, 96))]);
        assert_eq!(codecs("gstreamer_whip"), [Some((Codec::H264, 96)), Some((Codec::Opus, 97))]);
        assert_eq!(codecs("chromium156_simulcast"), [Some((Codec::Vp8, 96)), None]);
    }

    #[test]
    fn asks_for_stereo() {
        let offer = offer("obs_whip");
        let media = offer.sections[0].media.as_ref().unwrap();
        let taken = Taken { codec: Codec::Opus, payload_type: 111 };
        let parameters = receive_parameters(media, Some("0"), &taken, &RtpCapabilities::default()).unwrap();
        assert_eq!(parameters.codecs[0].parameters["stereo"], ParameterValue::Number(1));
        assert!(!parameters.codecs[0].parameters.contains_key("sprop-stereo"));
    }

    #[test]
    fn has_pictures_turned_by_who_sends_them() {
        let offer = offer("chromium156_sendonly");
        let ours = crate::sfu::ortc::router_capabilities();
        let video = offer.sections[1].media.as_ref().unwrap();
        assert!(video.capabilities.header_extensions.iter().any(|extension| extension.uri == extension_uri::VIDEO_ORIENTATION));
        let taken = Taken { codec: Codec::Vp8, payload_type: 96 };
        let parameters = receive_parameters(video, Some("1"), &taken, ours).unwrap();
        let uris: Vec<&str> = parameters.header_extensions.iter().map(|extension| extension.uri.as_str()).collect();
        assert!(uris.contains(&extension_uri::TRANSPORT_CC) && !uris.contains(&extension_uri::VIDEO_ORIENTATION), "{uris:?}");
    }

    #[test]
    fn refuses_with_a_reason() {
        let error = plan(&offer("chromium156_recvonly")).unwrap_err().to_string();
        assert!(error.contains("sends nothing"), "{error}");
        let text = std::fs::read_to_string(format!("{}/src/sdp/fixtures/obs_whip.sdp", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let odd = text.replace("H264/90000", "H265/90000").replace("opus/48000/2", "PCMU/8000");
        let error = plan(&Offer::parse(odd.as_bytes()).unwrap()).unwrap_err().to_string();
        assert!(error.contains("video/H265"), "{error}");
    }
}
