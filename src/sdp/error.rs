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
    /// A line that does not follow the grammar of RFC 8866.
    #[error("the SDP can't be read: line {number}, {line:?}, {wrong}")]
    Line {
        /// From 1.
        number: usize,
        /// What of it is shown.
        line: String,
        wrong: WrongLine,
    },
    /// A line that does not follow the grammar of RFC 8840 section 9.
    #[error("the SDP can't be read: {line:?} is not a line of a trickle-ICE fragment")]
    FragmentLine { line: String },
    #[error("the SDP can't be read: control character at byte {at}")]
    ControlCharacter { at: usize },
    #[error("the SDP can't be read: carriage return without line feed at byte {at}")]
    LoneCarriageReturn { at: usize },
    /// Well formed, but something without which no connection is possible is not there.
    #[error("the SDP offer lacks {what}: {why}")]
    Missing {
        /// What to add, such as `a=fingerprint`.
        what: &'static str,
        /// Why nothing works without it.
        why: &'static str,
    },
    #[error("the SDP has an unusable number of m= sections: {count} of at most {limit}")]
    TooManySections { count: usize, limit: usize },
    #[error("the SDP has an unusable a=mid: {mid:?} is not a token of 1 to {limit} characters")]
    BadMid { mid: String, limit: usize },
    #[error("the SDP has an unusable a=mid: {mid:?} stands in two sections")]
    MidTwice { mid: String },
    #[error("the SDP has an unusable a=group:BUNDLE: no section has the mid {mid:?}")]
    UnknownMid { mid: String },
    #[error("the SDP has an unusable a=ice-lite: this server is ICE-lite too, so nobody would begin")]
    IceLite,
    #[error("the SDP has an unusable a=ice-ufrag: it must have 4 to 256 characters of A-Z a-z 0-9 + /")]
    BadUfrag,
    #[error("the SDP has an unusable a=ice-pwd: it must have 22 to 256 characters of A-Z a-z 0-9 + /")]
    BadPwd,
    #[error("the SDP has an unusable a=fingerprint: {text:?} is not a sha-256, sha-384 or sha-512 hash")]
    BadFingerprint { text: String },
    #[error("the SDP has an unusable a=setup: {role:?} is not actpass, active or passive")]
    BadSetup { role: String },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongLine {
    #[error("is not a letter with = and a value")]
    NoLine,
    #[error("is not the only version there is, 0")]
    Version,
    #[error("is not a media, a port, a protocol and formats")]
    Media,
    #[error("has a value of {length} bytes; at most {limit} are accepted")]
    TooLong { length: usize, limit: usize },
    #[error("is one attribute too many; at most {limit} of those that are asked for here are accepted")]
    TooMany { limit: usize },
}

impl SdpError {
    /// Whether the text itself is broken (as against: readable, but impossible to answer).
    pub fn is_syntax(&self) -> bool {
        matches!(
            self,
            Self::NotUtf8 | Self::Line { .. } | Self::FragmentLine { .. } | Self::ControlCharacter { .. } | Self::LoneCarriageReturn { .. }
        )
    }
}
