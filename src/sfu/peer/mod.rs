//! One WebRTC peer as a sans-IO machine: ICE-lite and DTLS-SRTP keying on top of whatever carries datagrams.
//!
//! In: datagrams with the 4-tuple they came on, and time. Out: datagrams with the 4-tuple to send them on, [`PeerEvent`]s,
//! and for each media datagram the word that it may be opened ([`Received::Srtp`], [`Received::Srtcp`]).

mod candidates;
mod certificate;
#[cfg(test)]
mod chromium_test;
pub(crate) mod client;
mod dtls;
mod ice;
mod machine;
mod stun;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use rtc_shared::error::Error as EngineError;

pub(crate) use candidates::host_candidates;
pub use certificate::Certificate;
pub(crate) use certificate::CertificateError;
pub(crate) use dtls::DtlsEvent;
pub use dtls::DtlsSession;
pub(crate) use ice::{IceEvent, IceLite};
pub use ice::{peek_ufrag, worker_of_ufrag};
pub use machine::Peer;

use crate::rtp::srtp::SrtpProfile;

/// What carries a peer's datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Datagrams as they are.
    Udp,
    /// RFC 4571 frames in a TCP connection (RFC 6544).
    Tcp,
}

/// A path to a peer: our address, theirs, and the protocol between them (the "4-tuple").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The address of ours that the peer sends to; answers leave from it.
    pub local: SocketAddr,
    /// The peer's address as we see it.
    pub remote: SocketAddr,
    /// UDP or TCP.
    pub protocol: Protocol,
}

/// What became of a datagram given to [`Peer::handle_datagram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It was STUN or DTLS and is dealt with; look for transmits and events.
    Consumed,
    /// RTP under SRTP from a validated tuple: the caller opens it.
    Srtp,
    /// RTCP under SRTCP from a validated tuple: the caller opens it.
    Srtcp,
    /// Garbage, unauthenticated, or from a tuple that ICE has not validated: nothing was changed.
    Ignored,
}

/// The SRTP master keys that DTLS agreed on (RFC 5764 section 4.2).
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// For which algorithms.
    pub profile: SrtpProfile,
    /// Master key for what we send, [`SrtpProfile::key_len`] bytes.
    pub local_key: Vec<u8>,
    /// Master salt for what we send, [`SrtpProfile::salt_len`] bytes.
    pub local_salt: Vec<u8>,
    /// Master key for what we receive, [`SrtpProfile::key_len`] bytes.
    pub remote_key: Vec<u8>,
    /// Master salt for what we receive, [`SrtpProfile::salt_len`] bytes.
    pub remote_salt: Vec<u8>,
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Why a peer is gone.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// No valid connectivity check came within 30 s of `connect`.
    #[error("no ICE connectivity check arrived in time: is UDP or TCP to the media port blocked, or the announced address wrong?")]
    IceTimeout,
    /// No valid connectivity check for 30 s (RFC 7675).
    #[error("ICE consent was lost: nothing heard from the peer for 30 s")]
    ConsentLost,
    /// The DTLS handshake did not finish within 30 s.
    #[error("the DTLS handshake did not finish in time")]
    DtlsTimeout,
    /// The DTLS handshake failed, or the peer sent a fatal alert.
    #[error("DTLS failed: {0}")]
    DtlsFailed(#[from] DtlsError),
    /// The peer's certificate is not one of those it had announced.
    #[error("the peer's DTLS certificate does not match any fingerprint in its parameters")]
    FingerprintMismatch,
    /// The peer sent close_notify.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// [`Peer::close`] was called.
    #[error("closed")]
    Closed,
}

/// Why DTLS failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DtlsError {
    /// The peer gave up.
    #[error("fatal alert from the peer")]
    Alert,
    /// There is nothing to encrypt media with.
    #[error("no SRTP profile was agreed on (use_srtp, RFC 5764)")]
    NoSrtpProfile,
    /// The keys could not be made.
    #[error("the DTLS engine exported {0} bytes of keying material, which is not what was asked for")]
    WrongKeys(usize),
    /// None of the fingerprints can be checked.
    #[error(transparent)]
    Unchecked(#[from] NoUsableFingerprint),
    /// The engine's own error, shared because it can't be cloned.
    #[error(transparent)]
    Engine(Arc<EngineError>),
    /// A fault of the engine, which ends this one association.
    #[error("the DTLS engine panicked")]
    Panicked,
}

impl From<EngineError> for DtlsError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::ErrAlertFatalOrClose => Self::Alert,
            other => Self::Engine(Arc::new(other)),
        }
    }
}

/// A peer named no certificate that can be recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DTLS parameters have no usable fingerprint: give at least one of sha-256, sha-384 or sha-512 as colon-separated hex")]
pub struct NoUsableFingerprint;

/// What a peer reports to its owner.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// ICE validated this tuple: route its datagrams to this peer.
    TupleAdded(Tuple),
    /// This tuple is no longer valid: forget the route.
    TupleRemoved(Tuple),
    /// Send media on this tuple from now on.
    TupleSelected(Tuple),
    /// ICE has its first valid pair, DTLS isn't done. Once.
    IceConnected,
    /// An ICE restart is through and this older `ufrag` of ours is void: forget its route.
    UfragRetired(String),
    /// DTLS is done and the peer's certificate is the announced one: media may flow. Once.
    Connected(SrtpKeys),
    /// Over. Last event, once. Transmits may still be left (close_notify).
    Closed(CloseReason),
}

/// Why the peer could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// `connect` was called before.
    #[error("the transport is connected or connecting already")]
    AlreadyConnected,
    /// The peer is closed.
    #[error("the transport is closed")]
    Closed,
    /// None of the fingerprints can be checked.
    #[error(transparent)]
    Unchecked(#[from] NoUsableFingerprint),
}
