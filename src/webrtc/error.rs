//! Why a WHIP or WHEP request was refused.

use crate::base::{MediaKind, StreamPath};
use crate::sdp::SdpError;
use crate::sfu::SfuError;
use crate::stream::{PublishError, SelectError, TranscodeError};

/// Why there is no session, or it can't do what was asked. The texts are shown to the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WebRtcError {
    /// The offer or fragment is broken or lacks something.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// The offer is fine, but has nothing that this server or stream can send or receive.
    #[error(transparent)]
    NothingInCommon(#[from] Mismatch),
    /// Nobody publishes there now.
    #[error("{0} is not live; try again when it is being published")]
    NotLive(StreamPath),
    /// The stream's publisher was being replaced all the while.
    #[error("the publisher of {0} is just being replaced; try again")]
    Changing(StreamPath),
    #[error("there is no such session (any more)")]
    NoSuchSession,
    /// A key or token is needed.
    #[error("{path} needs {}", if *.shown { "another key: the one shown is wrong" } else { "a key (Authorization: Bearer …, or ?token=…)" })]
    Forbidden {
        path: StreamPath,
        /// Whether some key was shown.
        shown: bool,
    },
    /// Somebody else publishes there and is alive.
    #[error("{0} is being published already")]
    Busy(StreamPath),
    /// A bound is reached.
    #[error("the server is full: {0}")]
    Full(#[from] Bound),
    /// The server is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A PATCH without `If-Match` (RFC 9725 section 4.3.1).
    #[error("a PATCH needs an If-Match header with the session's ETag, or * for an ICE restart")]
    PreconditionRequired,
    /// A PATCH for another generation of ICE (RFC 9725 section 4.3.1).
    #[error("If-Match does not name the session's current ETag: ICE was restarted since")]
    PreconditionFailed,
    /// Making the session took too long.
    #[error("setting up the session took longer than {0} s")]
    SetupTimeout(u64),
    /// The SFU could not.
    #[error(transparent)]
    Sfu(SfuError),
}

/// What an offer and this server, or a stream, don't have in common.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Mismatch {
    #[error("the offer has {}; headend takes H264, VP8 and opus/48000/2", .0.join(", "))]
    Codecs(Vec<String>),
    #[error("the offer has no {0} codec; headend takes H264, VP8 and opus/48000/2")]
    NoCodec(MediaKind),
    #[error("the offer sends nothing: a publisher's sections are sendonly or sendrecv")]
    SendsNothing,
    #[error("the offer receives nothing that headend can send: a viewer's sections are recvonly with H264, VP8 or opus")]
    ReceivesNothing,
    #[error(transparent)]
    Sfu(SfuError),
    #[error(transparent)]
    Select(SelectError),
}

/// A bound that is reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Bound {
    #[error("it has {0} WebRTC sessions (webrtc.max_sessions)")]
    Sessions(usize),
    #[error("too many sessions have not connected yet (webrtc.max_connecting)")]
    Connecting,
    #[error(transparent)]
    Sfu(SfuError),
    #[error(transparent)]
    Transcode(TranscodeError),
    #[error(transparent)]
    Publish(PublishError),
}

impl From<SfuError> for WebRtcError {
    fn from(error: SfuError) -> Self {
        match error {
            SfuError::TooMany(_) => Bound::Sfu(error).into(),
            SfuError::WorkerGone => Self::ShuttingDown,
            SfuError::UnsupportedCodec(_) => Mismatch::Sfu(error).into(),
            bad if bad.is_bad_parameters() => Mismatch::Sfu(bad).into(),
            other => Self::Sfu(other),
        }
    }
}

impl From<SelectError> for WebRtcError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Sfu(sfu) => sfu.into(),
            SelectError::Transcode(error) => Bound::Transcode(error).into(),
            other => Mismatch::Select(other).into(),
        }
    }
}

impl WebRtcError {
    /// What refused a publication; `shown` is whether the client showed a key.
    pub(super) fn from_publish(error: PublishError, shown: bool) -> Self {
        match error {
            PublishError::Busy(path) => Self::Busy(path),
            PublishError::Forbidden(path) => Self::Forbidden { path, shown },
            PublishError::ShuttingDown => Self::ShuttingDown,
            PublishError::Sfu(sfu) => sfu.into(),
            full @ (PublishError::TooManyStreams(_) | PublishError::SentAway(_)) => Bound::Publish(full).into(),
        }
    }

    /// A short name for metrics and for machines that read the answer.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Sdp(_) => "bad_sdp",
            Self::NothingInCommon(_) => "nothing_in_common",
            Self::NotLive(_) => "not_live",
            Self::Changing(_) => "changing",
            Self::NoSuchSession => "no_such_session",
            Self::Forbidden { .. } => "forbidden",
            Self::Busy(_) => "busy",
            Self::Full(_) => "full",
            Self::ShuttingDown => "shutting_down",
            Self::PreconditionRequired => "precondition_required",
            Self::PreconditionFailed => "precondition_failed",
            Self::SetupTimeout(_) => "setup_timeout",
            Self::Sfu(_) => "internal",
        }
    }
}
