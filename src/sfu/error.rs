//! Why the SFU refuses.
//!
//! In: nothing. Out: errors whose text says what was wrong and where.

use std::net::SocketAddr;

use super::ortc::OrtcError;
use crate::base::SettingError;

/// Why the SFU could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SfuError {
    /// The worker's command queue is closed: it is shutting down or has died.
    #[error("the SFU worker is gone")]
    WorkerGone,
    /// Router, transport, producer or consumer no longer exists.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The parameters contradict themselves or each other.
    #[error("{0}")]
    BadParameters(String),
    /// The consumer's side can't decode the producer's codec.
    #[error("the viewer can't receive {0}")]
    UnsupportedCodec(String),
    /// A stated bound is reached.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// Starting: a value of the configuration is out of its bounds.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Starting: a socket could not be opened.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Starting: something else than a socket failed.
    #[error("can't start an SFU worker: {0}")]
    Start(String),
}

impl From<OrtcError> for SfuError {
    fn from(error: OrtcError) -> Self {
        match error {
            OrtcError::NoCommonCodec(codec) => SfuError::UnsupportedCodec(codec),
            other => SfuError::BadParameters(other.to_string()),
        }
    }
}
