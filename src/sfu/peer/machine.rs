//! The server's side of a WebRTC peer: ICE-lite, then DTLS on the validated path, then media of validated tuples.
//!
//! In: datagrams, commands, time. Out: datagrams, [`PeerEvent`]s.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::dtls::HANDSHAKE_TIMEOUT;
use super::{
    Certificate, CloseReason, DtlsEvent, DtlsSession, IceEvent, IceLite, NoUsableFingerprint, PeerError, PeerEvent, Received, Tuple, ice,
};
use crate::base::Chance;
use crate::sfu::ortc::{DtlsParameters, DtlsRole, IceParameters};

/// DTLS datagrams kept until `connect` says whom to expect: a ClientHello in up to a few pieces. Without them the browser
/// would repeat it, hundreds of milliseconds later.
const MAX_EARLY_DATAGRAMS: usize = 4;
/// Longest of them.
const MAX_EARLY_LEN: usize = 1500;

/// One peer.
#[derive(Debug)]
pub struct Peer {
    certificate: Certificate,
    ice: IceLite,
    dtls: Option<DtlsSession>,
    /// What `connect` was called with, until ICE has a path and DTLS begins.
    remote: Option<DtlsParameters>,
    /// Until when ICE must have found a path. From `connect` on.
    ice_deadline: Option<Instant>,
    early: Vec<Bytes>,
    events: VecDeque<PeerEvent>,
    has_path: bool,
    closed: bool,
}

impl Peer {
    /// A peer with new ICE credentials whose ufrag leads to worker `worker_index`. It waits without a timeout until
    /// [`Self::connect`].
    pub fn new(now: Instant, certificate: &Certificate, worker_index: u16, chance: &mut Chance) -> Self {
        let _ = now;
        Self {
            certificate: certificate.clone(),
            ice: IceLite::new(worker_index, chance),
            dtls: None,
            remote: None,
            ice_deadline: None,
            early: Vec::new(),
            events: VecDeque::new(),
            has_path: false,
            closed: false,
        }
    }

    /// Our ICE credentials, to signal.
    pub fn ice_parameters(&self) -> &IceParameters {
        self.ice.parameters()
    }

    /// Our DTLS parameters, to signal. The role is what `connect` leaves for us, so `Auto`.
    pub fn dtls_parameters(&self) -> DtlsParameters {
        DtlsParameters { role: DtlsRole::Auto, fingerprints: vec![self.certificate.fingerprint().clone()] }
    }

    /// Sets the peer's DTLS parameters and ICE credentials. Our role is the opposite of `remote.role` (`Auto`: we are the server). ICE and
    /// DTLS have 30 s each from here.
    ///
    /// # Errors
    /// Called twice, after the end, or with no fingerprint that can be checked.
    pub fn connect(&mut self, now: Instant, remote: DtlsParameters, ice: &IceParameters) -> Result<(), PeerError> {
        if self.closed {
            return Err(PeerError::Closed);
        }
        if self.remote.is_some() || self.dtls.is_some() {
            return Err(PeerError::AlreadyConnected);
        }
        if !remote.fingerprints.iter().any(super::certificate::is_usable) {
            return Err(NoUsableFingerprint.into());
        }
        self.remote = Some(remote);
        self.ice.set_remote(ice);
        self.ice_deadline = Some(now + HANDSHAKE_TIMEOUT);
        self.begin_dtls(now);
        Ok(())
    }

    /// New ICE credentials, for `theirs`; the old pair goes on until a check with the new ones arrives. Route the new ufrag here at once,
    /// and the old one until [`PeerEvent::UfragRetired`].
    ///
    /// # Errors
    /// The peer is closed.
    pub fn restart_ice(&mut self, theirs: &IceParameters, chance: &mut Chance) -> Result<&IceParameters, PeerError> {
        if self.closed {
            return Err(PeerError::Closed);
        }
        Ok(self.ice.restart(theirs, chance))
    }

    /// Takes a datagram that came on `tuple`. For media it only says whether the caller may open it.
    pub fn handle_datagram(&mut self, now: Instant, tuple: Tuple, datagram: &[u8]) -> Received {
        // RFC 7983 section 7, the most frequent first.
        match datagram {
            _ if self.closed => Received::Ignored,
            [128..=191, kind, ..] if self.dtls_is_up() && self.ice.is_valid(&tuple) => {
                // RFC 5761 section 4: payload types 64 to 95 with the marker bit are RTCP packet types.
                if (192..=223).contains(kind) { Received::Srtcp } else { Received::Srtp }
            }
            [20..=63, ..] if self.ice.is_valid(&tuple) => self.handle_dtls(now, datagram),
            [0..=3, ..] => {
                let accepted = self.ice.handle(now, tuple, datagram);
                self.follow_ice(now);
                if accepted { Received::Consumed } else { Received::Ignored }
            }
            _ => Received::Ignored,
        }
    }

    fn dtls_is_up(&self) -> bool {
        self.dtls.as_ref().is_some_and(DtlsSession::is_established)
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) -> Received {
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_datagram(now, datagram);
            self.follow_dtls();
            return Received::Consumed;
        }
        if self.early.len() == MAX_EARLY_DATAGRAMS || datagram.len() > MAX_EARLY_LEN {
            return Received::Ignored;
        }
        self.early.push(Bytes::copy_from_slice(datagram));
        Received::Consumed
    }

    fn follow_ice(&mut self, now: Instant) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::TupleAdded(tuple) => self.events.push_back(PeerEvent::TupleAdded(tuple)),
                IceEvent::TupleRemoved(tuple) => self.events.push_back(PeerEvent::TupleRemoved(tuple)),
                IceEvent::UfragRetired(ufrag) => self.events.push_back(PeerEvent::UfragRetired(ufrag)),
                IceEvent::Selected(tuple) => {
                    self.events.push_back(PeerEvent::TupleSelected(tuple));
                    if !self.has_path {
                        self.has_path = true;
                        self.events.push_back(PeerEvent::IceConnected);
                        self.begin_dtls(now);
                    }
                }
                IceEvent::Lost => self.end(CloseReason::ConsentLost),
            }
        }
    }

    /// DTLS begins when both are known: a path, and whom to expect at its end.
    fn begin_dtls(&mut self, now: Instant) {
        if !self.has_path || self.dtls.is_some() {
            return;
        }
        let Some(remote) = self.remote.take() else { return };
        self.ice_deadline = None;
        let role = if remote.role == DtlsRole::Server { DtlsRole::Client } else { DtlsRole::Server };
        match DtlsSession::new(now, &self.certificate, role, &remote.fingerprints) {
            Ok(session) => {
                let session = self.dtls.insert(session);
                for datagram in std::mem::take(&mut self.early) {
                    session.handle_datagram(now, &datagram);
                }
                self.follow_dtls();
            }
            Err(error) => self.end(error.into()),
        }
    }

    fn follow_dtls(&mut self) {
        match self.dtls.as_mut().and_then(DtlsSession::poll_event) {
            Some(DtlsEvent::Connected(keys)) => self.events.push_back(PeerEvent::Connected(keys)),
            Some(DtlsEvent::Closed(reason)) => self.end(reason),
            None => {}
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.closed {
            self.closed = true;
            self.early = Vec::new();
            self.events.push_back(PeerEvent::Closed(reason));
        }
    }

    /// Timers: DTLS retransmissions, ICE consent, the limits on connecting.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if self.ice_deadline.is_some_and(|deadline| now >= deadline) {
            return self.end(CloseReason::IceTimeout);
        }
        self.ice.handle_timeout(now);
        self.follow_ice(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
            self.follow_dtls();
        }
    }

    /// When [`Self::handle_timeout`] has something to do; later calls may bring it forward. `None`: nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(DtlsSession::poll_timeout);
        [self.ice_deadline, self.ice.poll_timeout(), dtls].into_iter().flatten().min()
    }

    /// The next datagram to send and the path for it. Call until `None` after every other call.
    pub fn poll_transmit(&mut self) -> Option<(Tuple, Bytes)> {
        self.ice.poll_transmit().or_else(|| {
            let tuple = self.ice.selected()?;
            let flight = self.dtls.as_mut()?.poll_transmit()?;
            self.ice.pin();
            Some((tuple, flight))
        })
    }

    /// The next event. Call until `None` after every other call.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// The path to send media on.
    pub fn selected_tuple(&self) -> Option<Tuple> {
        self.ice.selected()
    }

    /// STUN messages that were ignored: malformed or unauthenticated.
    pub fn rejected_checks(&self) -> u64 {
        self.ice.rejected()
    }

    /// DTLS records and fragments that were dropped before any processing since this was asked last: malformed, beyond a bound, or of no use.
    pub fn take_dropped_records(&mut self) -> u64 {
        self.dtls.as_mut().map_or(0, DtlsSession::take_dropped)
    }

    /// A TCP connection is gone. Noted, so that another path can be used before its consent expires. No effect on UDP
    /// tuples. Losing the last path is left to ICE's timeout of 30 s: the peer may be connecting anew.
    pub fn handle_disconnected(&mut self, now: Instant, tuple: &Tuple) {
        if !self.closed && ice::is_connection(tuple) {
            self.ice.remove_tuple(now, tuple);
            self.follow_ice(now);
        }
    }

    /// Ends it: close_notify is sent, `Closed` follows.
    pub fn close(&mut self, now: Instant) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.end(CloseReason::Closed);
    }
}
