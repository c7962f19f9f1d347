//! A path to one browser: ICE and DTLS below, SRTP in the middle, producers and consumers above.
//!
//! In: what the peer machine says. Out: which producer a packet belongs to, and how to send to the peer.

use std::time::Instant;

use super::id::{RouterId, TransportId};
use super::peer::{Peer, SrtpKeys, SrtpProfile as KeyProfile, Tuple};
use super::sender::Path;
use crate::rtp::srtp::{Keying, SrtpError, SrtpProfile, SrtpReceiver, SrtpSender};

/// Both directions of SRTP.
pub struct Srtp {
    /// What we send with.
    pub sender: SrtpSender,
    /// What we receive with.
    pub receiver: SrtpReceiver,
}

impl Srtp {
    /// From what DTLS agreed on.
    pub fn new(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        let profile = match keys.profile {
            KeyProfile::AeadAes128Gcm => SrtpProfile::AeadAes128Gcm,
            KeyProfile::Aes128CmHmacSha1_80 => SrtpProfile::Aes128CmHmacSha1_80,
        };
        Ok(Self {
            sender: SrtpSender::new(&Keying::new(profile, &keys.local_key, &keys.local_salt)?)?,
            receiver: SrtpReceiver::new(&Keying::new(profile, &keys.remote_key, &keys.remote_salt)?)?,
        })
    }
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srtp").finish_non_exhaustive()
    }
}

/// An SSRC that a peer sends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssrc {
    /// The number.
    pub ssrc: u32,
    /// Slab key of the producer.
    pub producer: usize,
    /// Its retransmission stream.
    pub rtx: bool,
}

/// A path to one browser.
#[derive(Debug)]
pub struct Transport {
    /// Its id.
    pub id: TransportId,
    /// Its router.
    pub router: RouterId,
    /// ICE and DTLS.
    pub peer: Peer,
    /// Once DTLS is done.
    pub srtp: Option<Box<Srtp>>,
    /// Where to send media.
    pub tuple: Option<Tuple>,
    /// Slab keys of its consumers.
    pub consumers: Vec<usize>,
    /// Slab keys of its producers.
    pub producers: Vec<usize>,
    /// The SSRCs its peer sends with, as far as known. A handful: searched from the front.
    pub ssrcs: Vec<Ssrc>,
    /// When its timer in the worker's heap fires, if there is one.
    pub scheduled: Option<Instant>,
    /// When reports are due.
    pub next_report: Option<Instant>,
    /// Added to the peer's NTP time, it gives ours: the same for all its tracks, so that they stay in sync.
    pub ntp_offset: Option<i64>,
}

impl Transport {
    /// One that waits for its peer.
    pub fn new(id: TransportId, router: RouterId, peer: Peer) -> Self {
        Self {
            id,
            router,
            peer,
            srtp: None,
            tuple: None,
            consumers: Vec::new(),
            producers: Vec::new(),
            ssrcs: Vec::new(),
            scheduled: None,
            next_report: None,
            ntp_offset: None,
        }
    }

    /// How to send media, once that is possible.
    pub fn path(&self) -> Option<Path<'_>> {
        Some(Path { tuple: self.tuple.as_ref()?, srtp: Some(&self.srtp.as_ref()?.sender) })
    }

    /// Whose SSRC it is.
    pub fn find_ssrc(&self, ssrc: u32) -> Option<Ssrc> {
        self.ssrcs.iter().find(|known| known.ssrc == ssrc).copied()
    }
}
