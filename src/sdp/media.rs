//! One audio or video section of an offer, as ORTC capabilities and parameters.

use std::collections::BTreeMap;

use super::text::Attribute;
use crate::base::MediaKind;
use crate::codec::Codec;
use crate::sfu::ortc::{
    CodecSpecificParameters, ParameterValue, RtcpFeedback, RtcpParameters, RtpCapabilities, RtpCodecCapability, RtpCodecParameters,
    RtpEncodingParameters, RtpHeaderExtension, RtpHeaderExtensionParameters, RtpParameters, RtxParameters,
};

/// The kinds of `a=rtcp-fb` that anybody here can make use of.
const FEEDBACK: [(&str, &str); 5] = [("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("goog-remb", ""), ("transport-cc", "")];
/// The `a=fmtp` parameters of the codecs that are carried (RFC 6184 section 8.1, RFC 7587 section 6.1, RFC 7741 section 6.1, RFC 4588
/// section 8.6), and of the forms of H.264 among which one is chosen. Those that describe a sender's own stream (`sprop-…`) aren't asked for.
const FMTP: [&str; 16] = [
    "apt",
    "cbr",
    "level-asymmetry-allowed",
    "max-fr",
    "max-fs",
    "maxaveragebitrate",
    "maxplaybackrate",
    "maxptime",
    "minptime",
    "packetization-mode",
    "profile-level-id",
    "ptime",
    "rtx-time",
    "stereo",
    "usedtx",
    "useinbandfec",
];
/// Longest value of one, in bytes; they are numbers and profiles.
const MAX_PARAMETER: usize = 32;
/// Most payload types of a section that are looked at: with its RTX each of Chromium's 50 codecs of pictures.
const MAX_CODECS: usize = 64;
/// Longest name of a codec, in bytes: what isn't carried is named in an error. `telephone-event` has 15.
const MAX_NAME: usize = 32;
/// Longest stream and track id that is noted, in bytes; browsers send two UUIDs.
const MAX_MSID: usize = 160;
/// Longest RID that is noted, in bytes (RFC 8852 section 3.1).
const MAX_RID: usize = 16;
/// Longest URI of a header extension that is noted, in bytes; the longest that is asked for has 73.
const MAX_URI: usize = 128;
/// Most `a=rid` lines noted; browsers allow fewer.
const MAX_RIDS: usize = 8;
/// Most `a=ssrc` and `a=ssrc-group` lines looked at per section: three simulcast layers with RTX have 24 at four lines each.
const MAX_SSRC_LINES: usize = 64;
/// How H.264 is cut into packets.
const PACKETIZATION_MODE: &str = "packetization-mode";
/// Longest CNAME kept, in bytes: what fits an RTCP SDES item (RFC 3550 section 6.5).
const MAX_CNAME_LEN: usize = 255;

/// Which way media flows, seen from who wrote it (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// Whether the writer wants to send.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer wants to receive.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    fn parse(key: &str) -> Option<Self> {
        Some(match key {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }
}

/// What the client offers in one audio or video section.
#[derive(Debug, Clone)]
pub struct OfferedMedia {
    /// Audio or video.
    pub kind: MediaKind,
    /// Seen from the client.
    pub direction: Direction,
    /// Its codecs (RTX included) in its order of preference, with its payload types, and its header extensions with its ids.
    pub capabilities: RtpCapabilities,
    /// What the section says about the stream that the client sends: SSRCs and CNAME. Of several encodings (simulcast) only the
    /// first is here: an answer without `a=simulcast` makes the client send just that one (RFC 8853 section 5.3.2).
    pub encoding: RtpEncodingParameters,
    pub cname: Option<String>,
    /// `a=msid`: stream id and track id, as given.
    pub msid: Option<String>,
    /// `a=rtcp-rsize`: reduced-size RTCP is understood (RFC 5506).
    pub rtcp_rsize: bool,
    /// The RIDs that it could send (`a=rid:… send`), in its order. Noted, not used yet.
    pub rids: Vec<String>,
}

impl OfferedMedia {
    /// Reads the attributes of a section. `payload_types` are those of its `m=` line, in order; anything it can't make sense of
    /// is left out, as RFC 8866 section 5.13 says.
    pub(super) fn read(kind: MediaKind, payload_types: &[u8], session: &[Attribute], section: &[Attribute]) -> Self {
        let lines = || section.iter().map(|a| (a.key, a.value.as_str()));
        let direction = lines()
            .find_map(|(key, _)| Direction::parse(key))
            .or_else(|| session.iter().find_map(|a| Direction::parse(a.key)))
            .unwrap_or(Direction::SendRecv);
        let (encoding, cname) = read_ssrcs(lines());
        Self {
            kind,
            direction,
            capabilities: RtpCapabilities {
                codecs: read_codecs(kind, payload_types, lines()),
                header_extensions: read_extensions(kind, lines()),
            },
            encoding,
            cname,
            msid: lines().find(|(key, value)| *key == "msid" && value.len() <= MAX_MSID).map(|(_, value)| value.to_owned()),
            rtcp_rsize: lines().any(|(key, _)| key == "rtcp-rsize"),
            rids: lines()
                .filter(|(key, _)| *key == "rid")
                .filter_map(|(_, value)| value.split_once(' ').filter(|(_, rest)| rest.split(' ').next() == Some("send")))
                .filter(|(rid, _)| rid.len() <= MAX_RID)
                .map(|(rid, _)| rid.to_owned())
                .take(MAX_RIDS)
                .collect(),
        }
    }

    /// The offered payload types in the client's order that carry `codec` in a form headend handles. H.264 in packetization mode 1 (RFC 6184
    /// section 5.4) where there is any; a client that names no mode, or only 0, mostly means nothing by it.
    pub fn payload_types_of(&self, codec: Codec) -> impl Iterator<Item = u8> + '_ {
        let named = self.capabilities.codecs.iter().any(|c| codec_of(c) == Some(Codec::H264) && packetization_mode(c) == 1);
        let fits =
            move |c: &&RtpCodecCapability| codec_of(c) == Some(codec) && (codec != Codec::H264 || !named || packetization_mode(c) == 1);
        self.capabilities.codecs.iter().filter(fits).filter_map(|c| c.preferred_payload_type)
    }

    /// What is sent to the client, in the words of its offer: in an answer a packetization mode must be the offered one (RFC 6184
    /// section 8.2.2).
    pub fn as_offered(&self, mut parameters: RtpParameters) -> RtpParameters {
        for codec in &mut parameters.codecs {
            let offered = self.capabilities.codecs.iter().find(|c| c.preferred_payload_type == Some(codec.payload_type));
            match offered.and_then(|offered| offered.parameters.get(PACKETIZATION_MODE)) {
                Some(mode) => drop(codec.parameters.insert(PACKETIZATION_MODE.to_owned(), mode.clone())),
                None => drop(codec.parameters.remove(PACKETIZATION_MODE)),
            }
        }
        parameters
    }

    /// The codecs that headend can carry, in the client's order, each once.
    pub fn codecs(&self) -> Vec<Codec> {
        let mut codecs = Vec::new();
        for codec in self.capabilities.codecs.iter().filter_map(codec_of) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }

    /// The parameters of the stream that the client sends if the answer leaves only `payload_type` and its RTX, with the
    /// feedback and header extensions that `ours` has as well. `None` if that payload type was not offered.
    pub fn send_parameters(&self, mid: Option<&str>, payload_type: u8, ours: &RtpCapabilities) -> Option<RtpParameters> {
        let offered = |pt: u8| self.capabilities.codecs.iter().find(|c| c.preferred_payload_type == Some(pt));
        let media = offered(payload_type)?;
        let known = ours.codecs.iter().find(|c| c.mime_type.eq_ignore_ascii_case(&media.mime_type));
        let mut codecs = vec![in_use(media, payload_type, known)];
        // `sprop-…` describes the sender's stream (RFC 6184 section 8.1, RFC 7587 section 6.1): a receiver does not repeat it.
        codecs[0].parameters.retain(|name, _| !name.starts_with("sprop-"));
        let rtx = self.capabilities.codecs.iter().find(|c| rtx_for(c) == Some(payload_type));
        // Retransmissions make no sense without the feedback that asks for them.
        let nack = codecs[0].rtcp_feedback.iter().any(|f| f.kind == "nack" && f.parameter.is_empty());
        if let (Some(rtx), true) = (rtx, nack)
            && let Some(pt) = rtx.preferred_payload_type
        {
            codecs.push(RtpCodecParameters { rtcp_feedback: Vec::new(), ..in_use(rtx, pt, None) });
        }
        let with_rtx = codecs.len() > 1;
        let header_extensions = self
            .capabilities
            .header_extensions
            .iter()
            .filter(|e| ours.header_extensions.iter().any(|o| o.uri == e.uri && o.kind == self.kind))
            .map(|e| RtpHeaderExtensionParameters { uri: e.uri.clone(), id: e.preferred_id, encrypt: false })
            .collect();
        let encoding = RtpEncodingParameters {
            codec_payload_type: Some(payload_type),
            rtx: self.encoding.rtx.filter(|_| with_rtx),
            ..self.encoding.clone()
        };
        Some(RtpParameters {
            mid: mid.map(str::to_owned),
            codecs,
            header_extensions,
            encodings: vec![encoding],
            rtcp: RtcpParameters { cname: self.cname.clone(), reduced_size: self.rtcp_rsize },
        })
    }

    /// A codec line for a section that is answered `inactive`, which still needs one (RFC 8866 section 5.14): the first that
    /// headend can carry.
    pub(super) fn placeholder(&self) -> Option<RtpParameters> {
        let codec = self.capabilities.codecs.iter().find(|c| codec_of(c).is_some())?;
        let codecs = vec![in_use(codec, codec.preferred_payload_type?, Some(codec))];
        Some(RtpParameters { codecs, ..RtpParameters::default() })
    }
}

/// Which codec an offered one is, if it is in a form that headend carries.
fn codec_of(codec: &RtpCodecCapability) -> Option<Codec> {
    let (_, name) = codec.mime_type.split_once('/')?;
    let is = |c: Codec| c.kind() == codec.kind && name.eq_ignore_ascii_case(c.encoding_name());
    if is(Codec::H264) {
        return (packetization_mode(codec) <= 1 && codec.clock_rate == 90_000).then_some(Codec::H264);
    }
    if is(Codec::Vp8) {
        return (codec.clock_rate == 90_000).then_some(Codec::Vp8);
    }
    if is(Codec::Opus) {
        return (codec.clock_rate == 48_000).then_some(Codec::Opus);
    }
    None
}

/// 0 where none is named (RFC 6184 section 8.1).
fn packetization_mode(codec: &RtpCodecCapability) -> u32 {
    match codec.parameters.get(PACKETIZATION_MODE) {
        None => 0,
        Some(ParameterValue::Number(mode)) => *mode,
        Some(ParameterValue::Text(_)) => u32::MAX,
    }
}

/// The payload type that an RTX codec repeats.
fn rtx_for(codec: &RtpCodecCapability) -> Option<u8> {
    if !codec.mime_type.to_ascii_lowercase().ends_with("/rtx") {
        return None;
    }
    match codec.parameters.get("apt") {
        Some(ParameterValue::Number(pt)) => u8::try_from(*pt).ok(),
        _ => None,
    }
}

fn in_use(codec: &RtpCodecCapability, payload_type: u8, known: Option<&RtpCodecCapability>) -> RtpCodecParameters {
    RtpCodecParameters {
        mime_type: codec.mime_type.clone(),
        payload_type,
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        parameters: codec.parameters.clone(),
        rtcp_feedback: codec.rtcp_feedback.iter().filter(|f| known.is_some_and(|k| k.rtcp_feedback.contains(f))).cloned().collect(),
    }
}

fn read_codecs<'a>(kind: MediaKind, payload_types: &[u8], lines: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<RtpCodecCapability> {
    let mut maps: BTreeMap<u8, (&str, u32, Option<u8>)> = BTreeMap::new();
    let mut fmtps: BTreeMap<u8, CodecSpecificParameters> = BTreeMap::new();
    let mut feedback: BTreeMap<u8, Vec<(&str, &str)>> = BTreeMap::new();
    let mut feedback_for_all = Vec::new();
    for (key, value) in lines {
        let Some((head, rest)) = value.split_once(' ') else { continue };
        let pt = head.parse::<u8>().ok().filter(|pt| *pt < 128);
        match (key, pt) {
            ("rtpmap", Some(pt)) => {
                let mut parts = rest.trim().split('/');
                if let (Some(name), Some(Ok(rate))) = (parts.next(), parts.next().map(str::parse::<u32>))
                    && (1..=MAX_NAME).contains(&name.len())
                    && rate > 0
                {
                    maps.entry(pt).or_insert((name, rate, parts.next().and_then(|c| c.parse().ok())));
                }
            }
            ("fmtp", Some(pt)) => {
                let parameters = fmtps.entry(pt).or_default();
                for (name, value) in rest.split(';').filter_map(|p| p.trim().split_once('=')) {
                    let known = FMTP.into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()));
                    if let (Some(name), true) = (known, value.trim().len() <= MAX_PARAMETER) {
                        parameters.insert(name.to_owned(), parameter_value(name, value.trim()));
                    }
                }
            }
            ("rtcp-fb", pt) => {
                let (kind, parameter) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
                let Some(line) = FEEDBACK.into_iter().find(|known| *known == (kind, parameter.trim())) else { continue };
                let list = match pt {
                    Some(pt) => feedback.entry(pt).or_default(),
                    None if head == "*" => &mut feedback_for_all,
                    None => continue,
                };
                if !list.contains(&line) {
                    list.push(line);
                }
            }
            _ => {}
        }
    }
    let mut codecs = Vec::new();
    for pt in payload_types.iter().take(MAX_CODECS) {
        // Taken out so that a payload type that is listed twice counts once.
        let Some((name, clock_rate, channels)) = maps.remove(pt) else { continue };
        let mut said = feedback.remove(pt).unwrap_or_default();
        said.extend(feedback_for_all.iter().filter(|line| !said.contains(line)).copied().collect::<Vec<_>>());
        let rtcp_feedback =
            said.into_iter().map(|(kind, parameter)| RtcpFeedback { kind: kind.to_owned(), parameter: parameter.to_owned() }).collect();
        codecs.push(RtpCodecCapability {
            kind,
            mime_type: format!("{kind}/{name}"),
            preferred_payload_type: Some(*pt),
            clock_rate,
            // Opus is always written with two channels (RFC 7587 section 7), whatever a client writes.
            channels: if name.eq_ignore_ascii_case("opus") { Some(2) } else { channels.or((kind == MediaKind::Audio).then_some(1)) },
            parameters: fmtps.remove(pt).unwrap_or_default(),
            rtcp_feedback,
        });
    }
    codecs
}

/// Numbers as numbers, but never `profile-level-id`: it is hexadecimal, though `420010` looks like a decimal.
fn parameter_value(name: &str, value: &str) -> ParameterValue {
    match value.parse::<u32>() {
        Ok(number) if !name.eq_ignore_ascii_case("profile-level-id") && number.to_string() == value => ParameterValue::Number(number),
        _ => ParameterValue::Text(value.to_owned()),
    }
}

/// `a=extmap` (RFC 8285 section 8) with ids that fit the one-byte form; encrypted ones are left out.
fn read_extensions<'a>(kind: MediaKind, lines: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<RtpHeaderExtension> {
    let mut extensions: Vec<RtpHeaderExtension> = Vec::new();
    for (_, value) in lines.filter(|(key, _)| *key == "extmap") {
        let mut words = value.split_ascii_whitespace();
        let (Some(head), Some(uri)) = (words.next(), words.next()) else { continue };
        let (id, direction) = head.split_once('/').map_or((head, None), |(id, direction)| (id, Some(direction)));
        let Some(preferred_id) = id.parse::<u8>().ok().filter(|id| (1..=14).contains(id)) else { continue };
        let taken = extensions.iter().any(|e| e.preferred_id == preferred_id || e.uri == uri);
        if taken || uri.len() > MAX_URI || uri == "urn:ietf:params:rtp-hdrext:encrypt" {
            continue;
        }
        let direction = direction.filter(|d| Direction::parse(d).is_some()).map(str::to_owned);
        extensions.push(RtpHeaderExtension { kind, uri: uri.to_owned(), preferred_id, preferred_encrypt: false, direction });
    }
    extensions
}

/// `a=ssrc` and `a=ssrc-group:FID` (RFC 5576): the first source with its retransmission stream and CNAME.
fn read_ssrcs<'a>(lines: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> (RtpEncodingParameters, Option<String>) {
    let of = |wanted: &'static str| lines.clone().filter(move |(key, _)| *key == wanted).map(|(_, value)| value).take(MAX_SSRC_LINES);
    let pairs: Vec<(u32, u32)> = of("ssrc-group")
        .filter_map(|value| {
            let mut words = value.strip_prefix("FID ")?.split_ascii_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect();
    let ssrcs: Vec<(u32, &str)> =
        of("ssrc").filter_map(|value| value.split_once(' ')).filter_map(|(ssrc, rest)| Some((ssrc.parse().ok()?, rest))).collect();
    let first = ssrcs.iter().map(|(ssrc, _)| *ssrc).find(|ssrc| !pairs.iter().any(|(_, rtx)| rtx == ssrc));
    let Some(ssrc) = first else { return (RtpEncodingParameters::default(), None) };
    let rtx = pairs.iter().find(|(media, rtx)| *media == ssrc && *rtx != ssrc).map(|(_, ssrc)| RtxParameters { ssrc: *ssrc });
    let cname = ssrcs.iter().filter(|(s, _)| *s == ssrc).find_map(|(_, rest)| rest.strip_prefix("cname:"));
    let encoding = RtpEncodingParameters { ssrc: Some(ssrc), rtx, ..RtpEncodingParameters::default() };
    (encoding, cname.filter(|c| (1..=MAX_CNAME_LEN).contains(&c.len())).map(str::to_owned))
}
