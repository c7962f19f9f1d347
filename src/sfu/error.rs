//! Why the SFU refuses.
//!
//! In: nothing. Out: errors whose text says what was wrong and where.

use std::net::SocketAddr;

use super::ortc::OrtcError;
use super::peer::{CertificateError, PeerError};
use crate::base::SettingError;
use crate::codec::Codec;

/// What a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    Worker,
    Router,
    Transport,
    Producer,
    #[cfg(test)] // commands that name one are the tests' own so far
    Consumer,
    Publication,
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Router => "router",
            Self::Transport => "transport",
            Self::Producer => "producer",
            #[cfg(test)]
            Self::Consumer => "consumer",
            Self::Publication => "publication",
        })
    }
}

/// Why the SFU could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SfuError {
    /// The worker's command queue is closed: it is shutting down or has died.
    #[error("the SFU worker is gone")]
    WorkerGone,
    /// Router, transport, producer or consumer no longer exists.
    #[error("no such {0}")]
    NotFound(Noun),
    /// RTP parameters contradict themselves or the standard.
    #[error(transparent)]
    Parameters(OrtcError),
    /// ICE or DTLS parameters that can't be used, or not again.
    #[error(transparent)]
    Peer(PeerError),
    #[error("this is a plain transport: it has neither ICE nor DTLS")]
    PlainTransport,
    #[error("AAC can't be received over WebRTC; offer Opus")]
    AacOverWebRtc,
    #[error("the SSRC is already used by another producer of this transport")]
    SsrcTaken,
    #[error("mid or CNAME is too long")]
    NameTooLong,
    /// A producer takes another's place only with the same codec.
    #[error("{} can't be replaced by {}: viewers' decoders are set up for one codec", .old.display_name(), .new.display_name())]
    OtherCodec { old: Codec, new: Codec },
    #[error("port {0} belongs to another plain transport")]
    PortTaken(u16),
    /// Another address family, or port 0.
    #[error("a plain transport on {local} can't reach {remote}")]
    Unreachable { local: SocketAddr, remote: SocketAddr },
    /// The consumer's side can't decode the producer's codec.
    #[error("the viewer can't receive {}", .0.display_name())]
    UnsupportedCodec(Codec),
    /// A stated bound is reached.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// Starting: a value of the configuration is out of its bounds.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Starting: a socket could not be opened.
    #[error("can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// Starting: DTLS needs a certificate.
    #[error("can't start an SFU worker: {0}")]
    Certificate(#[from] CertificateError),
    /// Starting: no thread, or no event loop for it.
    #[error("can't start an SFU worker: {0}")]
    Thread(std::io::Error),
    /// Starting: the thread ended before it said that it is up.
    #[error("can't start an SFU worker: its thread ended")]
    ThreadEnded,
}

impl From<OrtcError> for SfuError {
    fn from(error: OrtcError) -> Self {
        match error {
            OrtcError::NoCommonCodec(codec) => SfuError::UnsupportedCodec(codec),
            other => SfuError::Parameters(other),
        }
    }
}

impl From<PeerError> for SfuError {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Closed => Self::NotFound(Noun::Transport),
            other => Self::Peer(other),
        }
    }
}

impl SfuError {
    /// Whether what the caller gave is wrong, not the state of the server.
    pub(crate) fn is_bad_parameters(&self) -> bool {
        matches!(
            self,
            Self::Parameters(_)
                | Self::Peer(_)
                | Self::PlainTransport
                | Self::AacOverWebRtc
                | Self::SsrcTaken
                | Self::NameTooLong
                | Self::OtherCodec { .. }
                | Self::PortTaken(_)
                | Self::Unreachable { .. }
        )
    }
}
