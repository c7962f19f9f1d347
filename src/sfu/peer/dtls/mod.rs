//! One DTLS association (RFC 6347) that keys SRTP (RFC 5764).
//!
//! In: DTLS datagrams of a path that ICE has validated, and time. Out: datagrams, and [`DtlsEvent`]: the SRTP keys, once
//! the peer's certificate is known to be the announced one, or the end.

mod guard;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_dtls::config::HandshakeConfig;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as EngineError;

use self::guard::Guard;
use super::certificate::{Certificate, is_usable, matches_fingerprint};
use super::{CloseReason, DtlsError, NoUsableFingerprint, SrtpKeys};
use crate::rtp::srtp::SrtpProfile;
use crate::sfu::ortc::{DtlsFingerprint, DtlsRole};

/// A handshake that takes longer is given up. Browsers give up at about the same time.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the whole engine is kept after the handshake to repeat the last flight for a peer that has not got it
/// (RFC 6347 section 4.2.4); a peer repeats its own for a few seconds at most. After that only the keys are kept.
const LINGER: Duration = Duration::from_secs(10);
/// The label of RFC 5764 section 4.2.
const SRTP_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// How often the first flight (HelloVerifyRequest) is repeated for a ClientHello that is repeated.
const MAX_COOKIE_REPEATS: u8 = 16;
/// How often a flight is repeated because the peer repeats its own, ahead of the engine's timer of 1 s, which browsers beat by
/// far. Few, because the engine gives up after seven repetitions of whatever cause.
const MAX_PROMPTED_REPEATS: u8 = 3;
/// Not within this time after the last flight: its answer may be on the way.
const PROMPTED_REPEAT_GAP: Duration = Duration::from_millis(150);
/// The engine keys its associations by address; there is one association here, whose real address may change.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1));

/// What an association reports to its owner.
#[derive(Debug, Clone, PartialEq)]
pub enum DtlsEvent {
    /// The handshake is done and the peer's certificate is the announced one.
    Connected(SrtpKeys),
    /// Over: failed, timed out, or closed by the peer. Last event.
    Closed(CloseReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshaking {
        deadline: Instant,
    },
    /// Established, the last flight can still be repeated.
    Lingering {
        until: Instant,
    },
    Established,
    Closed,
}

/// One association.
pub struct DtlsSession {
    certificate: Certificate,
    is_client: bool,
    fingerprints: Vec<DtlsFingerprint>,
    /// Made with the first ClientHello (server) or at once (client).
    engine: Option<Box<Endpoint>>,
    guard: Option<Box<Guard>>,
    phase: Phase,
    transmits: VecDeque<Bytes>,
    event: Option<DtlsEvent>,
    /// The HelloVerifyRequest, to be repeated.
    cookie_flight: Option<Bytes>,
    cookie_repeats: u8,
    prompted_repeats: u8,
    last_flight: Instant,
}

impl DtlsSession {
    /// Begins an association in our role, `Auto` standing for server. As the client it sends its ClientHello now.
    ///
    /// # Errors
    /// None of `fingerprints` can be checked, or the engine refuses to start.
    pub fn new(now: Instant, certificate: &Certificate, role: DtlsRole, fingerprints: &[DtlsFingerprint]) -> Result<Self, DtlsError> {
        let fingerprints: Vec<_> = fingerprints.iter().filter(|f| is_usable(f)).cloned().collect();
        if fingerprints.is_empty() {
            return Err(NoUsableFingerprint.into());
        }
        let mut session = Self {
            certificate: certificate.clone(),
            is_client: role == DtlsRole::Client,
            fingerprints,
            engine: None,
            guard: Some(Box::default()),
            phase: Phase::Handshaking { deadline: now + HANDSHAKE_TIMEOUT },
            transmits: VecDeque::new(),
            event: None,
            cookie_flight: None,
            cookie_repeats: 0,
            prompted_repeats: 0,
            last_flight: now,
        };
        if session.is_client {
            let mut engine = new_engine(None);
            let config = session.certificate.client_config();
            fused(|| engine.connect(now, PEER, config, None))?;
            session.engine = Some(engine);
            session.collect_transmits(now);
        }
        Ok(session)
    }

    /// Whether the keys were exported and it isn't closed.
    pub fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. } | Phase::Established)
    }

    /// Takes a datagram of one or more DTLS records.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.phase == Phase::Closed {
            return;
        }
        let established = self.is_established();
        let Some(guard) = &mut self.guard else { return };
        let passed = guard.filter(datagram, established);
        if let Some(flight) = &self.cookie_flight
            && passed.repeated_first_message
            && self.cookie_repeats < MAX_COOKIE_REPEATS
        {
            self.cookie_repeats += 1;
            self.transmits.push_back(flight.clone());
        }
        if passed.records.is_empty() {
            if passed.repeated_message && !established {
                self.repeat_flight(now);
            }
            return;
        }
        let was_new = self.engine.is_none();
        if was_new {
            // The first message that a server gets must be a ClientHello; what it offers decides the SRTP profile.
            let Some(offers_gcm) = passed.client_offers_gcm else { return };
            self.engine = Some(new_engine(Some(self.certificate.server_config(offers_gcm))));
        }
        let Some(engine) = &mut self.engine else { return };
        let result = fused(|| engine.read(now, PEER, None, passed.records));
        self.collect_transmits(now);
        if was_new {
            self.cookie_flight = self.transmits.back().cloned();
        } else {
            self.cookie_flight = None;
        }
        match result {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.finish_handshake(now),
                        EndpointEvent::PeerClosed => self.end(CloseReason::ClosedByPeer),
                        // Application data (SCTP) never gets past the guard.
                        _ => {}
                    }
                }
            }
            // An established association is not ended by something that can't be read.
            Err(error) if established && error != DtlsError::Alert => {}
            Err(error) => self.end(error.into()),
        }
    }

    fn finish_handshake(&mut self, now: Instant) {
        let Some(state) = self.engine.as_ref().and_then(|engine| engine.get_connection_state(PEER)) else { return };
        let known = state.peer_certificates.first().is_some_and(|certificate| matches_fingerprint(certificate, &self.fingerprints));
        if !known {
            return self.abort(now, CloseReason::FingerprintMismatch);
        }
        match export_keys(state, self.is_client) {
            Ok(keys) => {
                self.phase = Phase::Lingering { until: now + LINGER };
                self.fingerprints = Vec::new();
                self.event = Some(DtlsEvent::Connected(keys));
            }
            Err(error) => self.abort(now, error.into()),
        }
    }

    fn abort(&mut self, now: Instant, reason: CloseReason) {
        self.close(now);
        self.event = Some(DtlsEvent::Closed(reason));
    }

    fn end(&mut self, reason: CloseReason) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.engine = None;
            self.guard = None;
            self.event = Some(DtlsEvent::Closed(reason));
        }
    }

    /// Retransmissions and the handshake's deadline.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Handshaking { deadline } if now >= deadline => self.abort(now, CloseReason::DtlsTimeout),
            Phase::Handshaking { .. } => {
                let Some(engine) = &mut self.engine else { return };
                let result = if engine.poll_timeout(&PEER).is_some_and(|at| now >= at) {
                    fused(|| engine.handle_timeout(PEER, now))
                } else {
                    Ok(())
                };
                self.collect_transmits(now);
                if result.is_err() {
                    // The engine has repeated its flight often enough.
                    self.end(CloseReason::DtlsTimeout);
                }
            }
            Phase::Lingering { until } if now >= until => {
                self.phase = Phase::Established;
                self.shrink(now);
            }
            _ => {}
        }
    }

    /// Keeps the keys and sequence numbers, which close_notify needs, and drops the handshake's messages.
    fn shrink(&mut self, now: Instant) {
        let config = self.certificate.client_config();
        let small = self.engine.as_ref().and_then(|engine| {
            let saved = engine.get_connection_state(PEER)?.marshal_binary().ok()?;
            let mut state = State::new(Arc::new(rtc_dtls::crypto_provider::providers::RingProvider::new()), self.is_client);
            state.unmarshal_binary(&saved).ok()?;
            let mut small = new_engine(None);
            // The role for new handshakes does not matter here: there will be none, and the state has its own.
            fused(|| small.connect(now, PEER, config, Some(state))).ok()?;
            Some(small)
        });
        if small.is_some() {
            self.engine = small;
        }
        if let Some(guard) = &mut self.guard {
            guard.shrink();
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Handshaking { deadline } => {
                let retransmit = self.engine.as_ref().and_then(|engine| engine.poll_timeout(&PEER));
                Some(retransmit.map_or(deadline, |at| at.min(deadline)))
            }
            Phase::Lingering { until } => Some(until),
            Phase::Established | Phase::Closed => None,
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.event.take()
    }

    /// Sends close_notify, if there is a peer to send it to. No event follows.
    pub fn close(&mut self, now: Instant) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        if let Some(engine) = &mut self.engine {
            let _ = fused(|| engine.close(now));
        }
        self.collect_transmits(now);
        self.engine = None;
        self.guard = None;
    }

    /// The peer repeats its flight, so it lacks ours.
    fn repeat_flight(&mut self, now: Instant) {
        if self.prompted_repeats == MAX_PROMPTED_REPEATS || now < self.last_flight + PROMPTED_REPEAT_GAP {
            return;
        }
        let Some(engine) = &mut self.engine else { return };
        let Some(due) = engine.poll_timeout(&PEER) else { return };
        self.prompted_repeats += 1;
        // Seen from the engine its timer has run out. Whether it has given up is found out when that is so for real.
        let _ = fused(|| engine.handle_timeout(PEER, due));
        self.collect_transmits(now);
    }

    fn collect_transmits(&mut self, now: Instant) {
        if let Some(engine) = &mut self.engine {
            while let Some(transmit) = engine.poll_transmit() {
                self.last_flight = now;
                self.transmits.push_back(transmit.message.freeze());
            }
        }
    }

    /// Records and fragments that were dropped before the engine saw them, since this was asked last: malformed, beyond a bound, or of no use.
    pub fn take_dropped(&mut self) -> u64 {
        self.guard.as_mut().map_or(0, |guard| guard.take_dropped())
    }
}

impl std::fmt::Debug for DtlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsSession").field("is_client", &self.is_client).field("phase", &self.phase).finish_non_exhaustive()
    }
}

fn new_engine(server: Option<Arc<HandshakeConfig>>) -> Box<Endpoint> {
    Box::new(Endpoint::new(PEER, TransportProtocol::UDP, server))
}

/// Runs the DTLS engine behind a fuse: should its parsers panic on hostile input, this one association fails, not the
/// worker with all the others.
fn fused<T>(run: impl FnOnce() -> Result<T, EngineError>) -> Result<T, DtlsError> {
    Ok(catch_unwind(AssertUnwindSafe(run)).map_err(|_| DtlsError::Panicked)??)
}

/// RFC 5764 section 4.2: client key, server key, client salt, server salt.
fn export_keys(state: &State, is_client: bool) -> Result<SrtpKeys, DtlsError> {
    let profile = match state.srtp_protection_profile() {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpProfile::AeadAes128Gcm,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpProfile::Aes128CmHmacSha1_80,
        _ => return Err(DtlsError::NoSrtpProfile),
    };
    let (key, salt) = (profile.key_len(), profile.salt_len());
    let material = state.export_keying_material(SRTP_LABEL, &[], 2 * (key + salt))?;
    let material: &[u8] = material.as_ref();
    if material.len() != 2 * (key + salt) {
        return Err(DtlsError::WrongKeys(material.len()));
    }
    let (keys, salts) = material.split_at(2 * key);
    let (client_key, server_key) = keys.split_at(key);
    let (client_salt, server_salt) = salts.split_at(salt);
    let (local, remote) = ((client_key, client_salt), (server_key, server_salt));
    let (local, remote) = if is_client { (local, remote) } else { (remote, local) };
    Ok(SrtpKeys {
        profile,
        local_key: local.0.to_vec(),
        local_salt: local.1.to_vec(),
        remote_key: remote.0.to_vec(),
        remote_salt: remote.1.to_vec(),
    })
}
