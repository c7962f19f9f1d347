//! What goes over the edge of the SFU besides ORTC's parameters.
//!
//! In and out: plain values; both the workers and the handles above them use them.

use std::net::SocketAddr;

use super::id::ProducerId;
use super::ortc::{RtpCapabilities, RtpParameters};
use crate::base::MediaKind;

/// Who reads a producer's packets in batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A copy of the producer on another router.
    Pipe,
    /// This process: pictures from the key-frame cache on, sound from now on.
    Live,
    /// This process: also the sound that is still held.
    Recent,
}

/// How to make a WebRtcTransport.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebRtcTransportOptions {
    /// Prefer TCP candidates over UDP.
    pub prefer_tcp: bool,
}

/// How to make a PlainTransport.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainTransportOptions {
    /// Where to listen; port 0 takes a free one. RTP and RTCP share the port (RFC 5761).
    pub listen: SocketAddr,
    /// Learn the peer's address from its first RTP packet, instead of getting it by `connect`.
    pub comedia: bool,
}

impl Default for PlainTransportOptions {
    /// A free port on loopback.
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), comedia: false }
    }
}

/// What a WebRtcTransport reports to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum TransportEvent {
    /// ICE has a valid pair, but DTLS isn't done.
    IceConnected,
    /// DTLS is done: media flows.
    Connected,
    /// ICE consent was lost (RFC 7675, 30 s), DTLS failed or was closed by the peer, or the transport was closed. Last event.
    Closed,
}

/// How to consume on a WebRtcTransport.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerOptions {
    pub producer: ProducerId,
    /// What the viewer can receive. Payload types and extension ids are used as preferred there.
    pub rtp_capabilities: RtpCapabilities,
    /// The `mid` to send with, if the viewer's side decides it (SDP offers).
    pub mid: Option<String>,
    /// RTCP CNAME: the same for all tracks that play in sync.
    pub cname: String,
    /// Leave out disposable pictures (B-frames nobody refers to) and go on without gaps.
    pub drop_disposable: bool,
    /// Begin paused.
    pub paused: bool,
}

/// A consumer that was made.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerInfo {
    #[cfg(test)]
    pub id: super::id::ConsumerId,
    /// Audio or video.
    #[cfg(test)]
    pub kind: MediaKind,
    /// What is going to be sent.
    pub rtp_parameters: RtpParameters,
}

/// How to produce on a WebRtcTransport.
#[derive(Debug, Clone)]
pub(crate) struct ProducerOptions {
    /// Audio or video.
    pub kind: MediaKind,
    /// What is going to be received.
    pub rtp_parameters: RtpParameters,
}

/// What is known about a producer.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProducerStats {
    /// RTP packets received.
    pub packets: u64,
    /// Bit/s over the last second or so.
    pub bitrate: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter in seconds.
    pub jitter: f64,
    /// Round trip time in seconds, where known.
    pub rtt: Option<f64>,
    pub key_frames: u64,
    /// Pictures (distinct timestamps) seen.
    pub frames: u64,
    /// Width and height in pixels, as the last key frame said.
    pub resolution: Option<(u32, u32)>,
    /// Key-frame requests (PLI, FIR) sent to the source.
    #[cfg(test)]
    pub key_frame_requests: u64,
}
