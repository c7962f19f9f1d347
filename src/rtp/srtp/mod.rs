//! SRTP and SRTCP in place: AEAD_AES_128_GCM, AEAD_AES_256_GCM (RFC 7714) and AES128_CM_HMAC_SHA1_80 (RFC 3711).
//!
//! In: packets with room for a tag, or sealed ones. Out: the same buffers sealed or opened, and their new length.
//! No allocation per packet; state for an SSRC is made only after its first packet was authenticated.

mod cipher;
mod keying;
mod receiver;
mod replay;
mod sender;
#[cfg(test)]
mod tests;

pub use keying::{Keying, SrtpProfile};
pub use receiver::SrtpReceiver;
pub use sender::SrtpSender;

/// The most that sealing an RTP packet adds, for any profile: the GCM tag.
pub(crate) const MAX_SRTP_OVERHEAD: usize = 16;
/// The most that sealing an RTCP packet adds, for any profile: the GCM tag, the E bit and the index.
pub(crate) const MAX_SRTCP_OVERHEAD: usize = 20;

/// Why a packet was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// Too short for what its header says, or for a tag; or not RTP.
    #[error("SRTP packet of {0} bytes is malformed")]
    Malformed(usize),
    /// The tag does not fit: wrong key, or a changed packet.
    #[error("SRTP authentication failed")]
    Authentication,
    /// Seen already, or older than the replay window.
    #[error("SRTP packet {0} is a replay or too old")]
    Replay(u64),
    /// The buffer has no room for the tag.
    #[error("SRTP needs {needed} bytes, the buffer has {room}")]
    NoRoom {
        needed: usize,
        /// Bytes there.
        room: usize,
    },
    /// More SSRCs than one peer may have; see [`SrtpReceiver::forget`].
    #[error("SRTP peer uses too many SSRCs")]
    TooManySsrcs,
    /// 2^48 RTP or 2^31 RTCP packets were sealed with one key (RFC 3711 section 9.2).
    #[error("SRTP key is used up")]
    KeyExhausted,
    /// Key or salt have the wrong length for the profile.
    #[error("SRTP keying material has the wrong length: {0} bytes")]
    KeyLength(usize),
}
