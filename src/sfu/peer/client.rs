//! The controlling side, for tests and load generation: an ICE agent that checks and nominates one of its tuples, and DTLS
//! in either role.
//!
//! In: datagrams and time. Out: datagrams and [`PeerEvent`]s, in the same manner as [`super::Peer`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use ring::hmac;

use super::stun::{self, Message, Writer};
use super::{Certificate, CloseReason, DtlsEvent, DtlsSession, PeerError, PeerEvent, Received, Tuple};
use crate::base::{Chance, random_text};
use crate::sfu::ortc::{DtlsParameters, DtlsRole, IceParameters};

/// Until there is a first answer (RFC 8445 section 14.2: Ta).
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Afterwards, to keep consent: as browsers do it.
const CONSENT_INTERVAL: Duration = Duration::from_millis(2500);
/// Priority of a host candidate, component 1.
const PRIORITY: u32 = 126 << 24 | 0xFFFF << 8 | 255;
/// Checks that can be waited for at once.
const MAX_PENDING: usize = 32;

/// One simulated browser.
#[derive(Debug)]
pub struct ClientPeer {
    certificate: Certificate,
    role: DtlsRole,
    ice: IceParameters,
    own_key: hmac::Key,
    username: String,
    key: hmac::Key,
    remote: DtlsParameters,
    tie_breaker: u64,
    chance: Chance,
    tuples: Vec<Tuple>,
    nominated: usize,
    valid: Vec<Tuple>,
    pending: VecDeque<([u8; 12], Tuple)>,
    next_check: Instant,
    dtls: Option<DtlsSession>,
    transmits: VecDeque<(Tuple, Bytes)>,
    events: VecDeque<PeerEvent>,
    closed: bool,
}

impl ClientPeer {
    /// A client that reaches the server of `ice` and `dtls` on `tuple` (`local` is the client's own address) and takes
    /// `role` in DTLS (`Auto`: client). Its credentials come from `chance`. Call [`Self::handle_timeout`] to make it send its first check.
    pub fn new(
        now: Instant,
        mut chance: Chance,
        certificate: &Certificate,
        role: DtlsRole,
        ice: &IceParameters,
        dtls: &DtlsParameters,
        tuple: Tuple,
    ) -> Self {
        let ours =
            IceParameters { username_fragment: random_text(&mut chance, 8), password: random_text(&mut chance, 24), ice_lite: false };
        Self {
            certificate: certificate.clone(),
            role: if role == DtlsRole::Server { role } else { DtlsRole::Client },
            username: format!("{}:{}", ice.username_fragment, ours.username_fragment),
            own_key: stun::key(&ours.password),
            ice: ours,
            key: stun::key(&ice.password),
            remote: dtls.clone(),
            tie_breaker: chance.random(),
            chance,
            tuples: vec![tuple],
            nominated: 0,
            valid: Vec::new(),
            pending: VecDeque::new(),
            next_check: now,
            dtls: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            closed: false,
        }
    }

    /// For the server's `connect`.
    pub fn ice_parameters(&self) -> &IceParameters {
        &self.ice
    }

    /// For the server's `connect`.
    pub fn dtls_parameters(&self) -> DtlsParameters {
        DtlsParameters { role: self.role, fingerprints: vec![self.certificate.fingerprint().clone()] }
    }

    /// After an ICE restart of the server: check with these credentials from now on.
    pub fn set_remote_ice(&mut self, now: Instant, ice: &IceParameters) {
        self.username = format!("{}:{}", ice.username_fragment, self.ice.username_fragment);
        self.key = stun::key(&ice.password);
        self.next_check = now;
    }

    /// New credentials of its own, with those that it has of the server: an ICE restart has begun.
    #[cfg(test)]
    pub(super) fn renew_ice(&mut self) {
        let ours = random_text(&mut self.chance, 8);
        let server = self.username.split_once(':').unwrap().0;
        self.username = format!("{server}:{ours}");
        self.ice = IceParameters { username_fragment: ours, password: random_text(&mut self.chance, 24), ice_lite: false };
        self.own_key = stun::key(&self.ice.password);
    }

    /// Checks this path too, without nominating it.
    pub fn add_tuple(&mut self, now: Instant, tuple: Tuple) {
        self.tuples.push(tuple);
        self.next_check = now;
    }

    /// Checks this path no more.
    #[cfg(test)]
    pub(super) fn forget(&mut self, tuple: Tuple) {
        let nominated = self.tuples[self.nominated];
        self.tuples.retain(|known| *known != tuple);
        self.nominated = self.tuples.iter().position(|known| *known == nominated).unwrap();
    }

    /// Moves to a path that was added before; false if it was not.
    pub fn nominate(&mut self, now: Instant, tuple: Tuple) -> bool {
        let found = self.tuples.iter().position(|known| *known == tuple);
        if let Some(index) = found {
            self.nominated = index;
            self.next_check = now;
        }
        found.is_some()
    }

    /// Takes a datagram that came on `tuple`.
    pub fn handle_datagram(&mut self, now: Instant, tuple: Tuple, datagram: &[u8]) -> Received {
        match datagram {
            _ if self.closed => Received::Ignored,
            [128..=191, kind, ..] if self.dtls.as_ref().is_some_and(DtlsSession::is_established) => {
                if (192..=223).contains(kind) {
                    Received::Srtcp
                } else {
                    Received::Srtp
                }
            }
            [20..=63, ..] => {
                let Some(dtls) = &mut self.dtls else { return Received::Ignored };
                dtls.handle_datagram(now, datagram);
                self.follow_dtls();
                Received::Consumed
            }
            [0..=3, ..] if self.handle_answer(now, tuple, datagram) || self.handle_check(tuple, datagram) => Received::Consumed,
            _ => Received::Ignored,
        }
    }

    fn handle_answer(&mut self, now: Instant, tuple: Tuple, datagram: &[u8]) -> bool {
        let Some(message) = Message::parse(datagram).filter(|message| message.is_authentic(&self.key)) else { return false };
        let Some(index) = self.pending.iter().position(|(transaction, _)| *transaction == message.transaction) else { return false };
        let asked = self.pending.remove(index).map(|(_, tuple)| tuple);
        if message.kind != stun::BINDING_SUCCESS || message.mapped.is_none() || asked != Some(tuple) {
            return false;
        }
        if !self.valid.contains(&tuple) {
            self.valid.push(tuple);
            self.events.push_back(PeerEvent::TupleAdded(tuple));
        }
        if self.dtls.is_none() && self.tuples.get(self.nominated) == Some(&tuple) {
            self.events.push_back(PeerEvent::TupleSelected(tuple));
            self.events.push_back(PeerEvent::IceConnected);
            match DtlsSession::new(now, &self.certificate, self.role, &self.remote.fingerprints) {
                Ok(session) => self.dtls = Some(session),
                Err(error) => self.end(error.into()),
            }
            self.collect();
        }
        true
    }

    /// Answers a check.
    fn handle_check(&mut self, tuple: Tuple, datagram: &[u8]) -> bool {
        let ours = |message: &Message<'_>| {
            let name = message.username.and_then(|name| name.split_once(':')).map(|(theirs, _)| theirs);
            message.kind == stun::BINDING_REQUEST && name == Some(&*self.ice.username_fragment) && message.is_authentic(&self.own_key)
        };
        let Some(check) = Message::parse(datagram).filter(ours) else { return false };
        let answer = Writer::new(stun::BINDING_SUCCESS, &check.transaction).mapped(tuple.remote).finish(&self.own_key);
        self.transmits.push_back((tuple, answer.into()));
        true
    }

    /// Sends checks when due, and DTLS's retransmissions.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if now >= self.next_check {
            let all_valid = self.tuples.iter().all(|tuple| self.valid.contains(tuple));
            self.next_check = now + if all_valid { CONSENT_INTERVAL } else { CHECK_INTERVAL };
            for index in 0..self.tuples.len() {
                self.check(index);
            }
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
            self.follow_dtls();
        }
    }

    fn check(&mut self, index: usize) {
        let tuple = self.tuples[index];
        let transaction: [u8; 12] = self.chance.random();
        let mut request =
            Writer::new(stun::BINDING_REQUEST, &transaction).username(&self.username).priority(PRIORITY).controlling(self.tie_breaker);
        if index == self.nominated {
            request = request.use_candidate();
        }
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back((transaction, tuple));
        self.transmits.push_back((tuple, request.finish(&self.key).into()));
    }

    fn follow_dtls(&mut self) {
        self.collect();
        match self.dtls.as_mut().and_then(DtlsSession::poll_event) {
            Some(DtlsEvent::Connected(keys)) => self.events.push_back(PeerEvent::Connected(keys)),
            Some(DtlsEvent::Closed(reason)) => self.end(reason),
            None => {}
        }
    }

    fn collect(&mut self) {
        let Some(tuple) = self.tuples.get(self.nominated).copied() else { return };
        while let Some(datagram) = self.dtls.as_mut().and_then(DtlsSession::poll_transmit) {
            self.transmits.push_back((tuple, datagram));
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.closed {
            self.closed = true;
            self.events.push_back(PeerEvent::Closed(reason));
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dtls = self.dtls.as_ref().and_then(DtlsSession::poll_timeout);
        (!self.closed).then(|| dtls.map_or(self.next_check, |at| at.min(self.next_check)))
    }

    /// The next datagram to send and the path for it.
    pub fn poll_transmit(&mut self) -> Option<(Tuple, Bytes)> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// The nominated path.
    pub fn selected_tuple(&self) -> Option<Tuple> {
        self.tuples.get(self.nominated).copied().filter(|tuple| self.valid.contains(tuple))
    }

    /// Sends close_notify and ends.
    pub fn close(&mut self, now: Instant) -> Result<(), PeerError> {
        if self.closed {
            return Err(PeerError::Closed);
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.collect();
        self.end(CloseReason::Closed);
        Ok(())
    }
}
