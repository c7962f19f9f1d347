//! ORTC's words as mediasoup 3 uses them: what a client and a transport send each other, in the same JSON
//! (camelCase), so that `mediasoup-client` can use it as it is.

mod capabilities;
mod matching;

use std::collections::BTreeMap;

pub(crate) use capabilities::{ExtensionIds, MAX_MID_LEN, OrtcError, ProducerRtp, is_rtx, router_capabilities};
pub(crate) use matching::{ConsumerWish, consumer_parameters};
use serde::{Deserialize, Serialize};

use crate::base::MediaKind;

/// Format-specific parameters of a codec (`a=fmtp`): numbers or texts.
pub(crate) type CodecSpecificParameters = BTreeMap<String, ParameterValue>;

/// A value in [`CodecSpecificParameters`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParameterValue {
    /// As in `packetization-mode=1`.
    Number(u32),
    /// As in `profile-level-id=42e01f`.
    Text(String),
}

/// `a=rtcp-fb`: a feedback message that may be sent for a codec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcpFeedback {
    /// `nack`, `ccm`, `goog-remb`, `transport-cc`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pli`, `fir`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parameter: String,
}

/// A codec that a side could use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCodecCapability {
    /// Audio or video.
    pub kind: MediaKind,
    /// Such as `video/H264`, compared without regard to case.
    pub mime_type: String,
    /// The payload type this side would like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_payload_type: Option<u8>,
    /// In Hz.
    pub clock_rate: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// `a=fmtp`.
    #[serde(default)]
    pub parameters: CodecSpecificParameters,
    /// `a=rtcp-fb`.
    #[serde(default)]
    pub rtcp_feedback: Vec<RtcpFeedback>,
}

/// A header extension that a side could use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpHeaderExtension {
    pub kind: MediaKind,
    pub uri: String,
    /// The id this side would like, 1 to 14.
    pub preferred_id: u8,
    /// Whether it is encrypted (RFC 6904); never for us.
    #[serde(default)]
    pub preferred_encrypt: bool,
    /// `sendrecv`, `sendonly`, `recvonly`, `inactive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
}

/// What a side could send or receive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCapabilities {
    /// The codecs, RTX included.
    pub codecs: Vec<RtpCodecCapability>,
    #[serde(default)]
    pub header_extensions: Vec<RtpHeaderExtension>,
}

/// A codec in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCodecParameters {
    /// Such as `video/H264`.
    pub mime_type: String,
    /// On the wire, 0 to 127.
    pub payload_type: u8,
    /// In Hz.
    pub clock_rate: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// `a=fmtp`; for `video/rtx` has `apt`.
    #[serde(default)]
    pub parameters: CodecSpecificParameters,
    /// `a=rtcp-fb`.
    #[serde(default)]
    pub rtcp_feedback: Vec<RtcpFeedback>,
}

/// A header extension in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpHeaderExtensionParameters {
    pub uri: String,
    /// On the wire, 1 to 14.
    pub id: u8,
    /// Whether it is encrypted (RFC 6904); never for us.
    #[serde(default)]
    pub encrypt: bool,
}

/// The retransmission stream of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtxParameters {
    pub ssrc: u32,
}

/// One encoding (one simulcast layer, or the only one).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpEncodingParameters {
    /// Its SSRC, if signalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssrc: Option<u32>,
    /// Its RID (RFC 8851), if signalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Which of the codecs it uses, by payload type; the first media codec otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec_payload_type: Option<u8>,
    /// Its retransmission stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtx: Option<RtxParameters>,
    /// In bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bitrate: Option<u32>,
    /// Discontinuous transmission.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dtx: bool,
    /// Such as `L1T3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalability_mode: Option<String>,
}

/// RTCP of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtcpParameters {
    /// The canonical name: tracks with the same one are played in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cname: Option<String>,
    /// RFC 5506; always true for us.
    #[serde(default = "yes")]
    pub reduced_size: bool,
}

fn yes() -> bool {
    true
}

impl Default for RtcpParameters {
    fn default() -> Self {
        Self { cname: None, reduced_size: true }
    }
}

/// What is being sent or received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpParameters {
    /// The media identification (RFC 8843).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid: Option<String>,
    /// The codecs in use, each followed by its RTX.
    pub codecs: Vec<RtpCodecParameters>,
    #[serde(default)]
    pub header_extensions: Vec<RtpHeaderExtensionParameters>,
    #[serde(default)]
    pub encodings: Vec<RtpEncodingParameters>,
    #[serde(default)]
    pub rtcp: RtcpParameters,
}

/// ICE credentials (RFC 8445).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceParameters {
    /// `a=ice-ufrag`.
    pub username_fragment: String,
    /// `a=ice-pwd`.
    pub password: String,
    /// `a=ice-lite`.
    #[serde(default)]
    pub ice_lite: bool,
}

/// An ICE candidate; ours are always of type `host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// Groups candidates (RFC 8445 section 5.1.1.3).
    pub foundation: String,
    /// Higher is better (RFC 8445 section 5.1.2).
    pub priority: u32,
    /// The address to send to (announced one, behind NAT).
    pub address: String,
    /// `udp` or `tcp`.
    pub protocol: String,
    pub port: u16,
    /// `host`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `passive`, for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_type: Option<String>,
}

/// A certificate's hash (RFC 8122).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsFingerprint {
    /// Such as `sha-256`.
    pub algorithm: String,
    /// Such as `82:5A:…`.
    pub value: String,
}

/// Who begins the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum DtlsRole {
    /// The other side chose nothing (`actpass`).
    #[default]
    Auto,
    /// Sends the ClientHello (`active`).
    Client,
    /// Waits for it (`passive`).
    Server,
}

/// DTLS of a side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsParameters {
    /// That side's role.
    #[serde(default)]
    pub role: DtlsRole,
    /// That side's certificates.
    pub fingerprints: Vec<DtlsFingerprint>,
}

/// The header extensions headend understands.
pub(crate) mod extension_uri {
    /// RFC 8843: media identification.
    pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// RFC 8852: RTP stream id.
    pub(crate) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// RFC 8852: repaired RTP stream id.
    pub(crate) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// Transport-wide sequence number.
    pub(crate) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// Absolute send time.
    pub(crate) const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// Video orientation (3GPP).
    pub(crate) const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
    /// RFC 6464: audio level.
    pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
}
