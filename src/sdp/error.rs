//! What can be wrong with an offer.

/// Why an offer or a fragment can't be used. The texts are shown to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Larger than [`super::MAX_SDP_BYTES`].
    #[error("the SDP has {0} bytes; at most {max} are accepted", max = super::MAX_SDP_BYTES)]
    TooLarge(usize),
    /// Not UTF-8 text.
    #[error("the SDP is not UTF-8 text")]
    NotUtf8,
    /// The text does not follow the grammar of RFC 8866.
    #[error("the SDP can't be read: {0}")]
    Syntax(String),
    /// Well formed, but something without which no connection is possible is not there.
    #[error("the SDP offer lacks {what}: {why}")]
    Missing {
        /// What to add, such as `a=fingerprint`.
        what: &'static str,
        /// Why nothing works without it.
        why: &'static str,
    },
    /// Well formed, but a value in it can't be used.
    #[error("the SDP has an unusable {what}: {why}")]
    Invalid { what: &'static str, why: String },
}

impl SdpError {
    /// Whether the text itself is broken (as against: readable, but impossible to answer).
    pub fn is_syntax(&self) -> bool {
        matches!(self, Self::NotUtf8 | Self::Syntax(_))
    }
}
