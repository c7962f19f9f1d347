//! Why publishing was refused, or is over.

use crate::base::StreamPath;
use crate::sfu::SfuError;

/// Why publishing was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PublishError {
    /// Somebody else publishes there and is alive.
    #[error("{0} is being published already")]
    Busy(StreamPath),
    /// The key is missing or wrong.
    #[error("publishing to {0} needs the right key")]
    Forbidden(StreamPath),
    /// The bound on streams is reached.
    #[error("the server has reached its limit of {0} streams (stream.max_streams)")]
    TooManyStreams(usize),
    /// It had to go before its first track was there.
    #[error("{0}")]
    SentAway(&'static str),
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The SFU could not.
    #[error(transparent)]
    Sfu(#[from] SfuError),
}
