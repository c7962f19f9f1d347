//! Two peers, a virtual clock and a seeded link between them.
//!
//! In: roles, the share of datagrams that are lost, a seed. Out: both peers' events after any time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::base::seeded;
use crate::rtp::srtp::SrtpProfile;
use crate::sfu::ortc::DtlsRole;
use crate::sfu::peer::client::ClientPeer;
use crate::sfu::peer::{Certificate, CloseReason, Peer, PeerEvent, Protocol, SrtpKeys, Tuple};

const DELAY: Duration = Duration::from_millis(10);

/// Certificates are costly in debug builds and no test changes them.
pub(super) fn certificates() -> &'static (Certificate, Certificate) {
    static CERTIFICATES: OnceLock<(Certificate, Certificate)> = OnceLock::new();
    CERTIFICATES.get_or_init(|| (Certificate::generate().unwrap(), Certificate::generate().unwrap()))
}

#[allow(clippy::disallowed_methods)] // The virtual clock has to begin somewhere.
pub(super) fn start() -> Instant {
    Instant::now()
}

fn server_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 8189))
}

/// A path as the client sees it.
pub(super) fn client_tuple(port: u16) -> Tuple {
    Tuple { local: SocketAddr::from(([198, 51, 100, 7], port)), remote: server_address(), protocol: Protocol::Udp }
}

pub(super) fn flip(tuple: Tuple) -> Tuple {
    Tuple { local: tuple.remote, remote: tuple.local, protocol: tuple.protocol }
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) server: Peer,
    pub(super) client: ClientPeer,
    /// In flight: arrival and order, to the server?, tuple as the receiver sees it, bytes.
    pub(super) wire: BTreeMap<(Instant, u64), (bool, Tuple, Bytes)>,
    sent: u64,
    random: u64,
    /// Of 1000 datagrams.
    pub(super) lost_per_mille: u64,
    /// Whoever is here gets what is sent to it, but answers nothing, and how many bytes that is.
    pub(super) deaf: Option<(Tuple, usize)>,
    pub(super) to_server: Vec<Bytes>,
    pub(super) server_events: Vec<PeerEvent>,
    pub(super) client_events: Vec<PeerEvent>,
}

impl Pair {
    pub(super) fn new(client_role: DtlsRole, lost_per_mille: u64, seed: u64) -> Self {
        let now = start();
        let (ours, theirs) = certificates();
        let mut server = Peer::new(now, ours, 3, &mut seeded(seed));
        let client =
            ClientPeer::new(now, seeded(1), theirs, client_role, server.ice_parameters(), &server.dtls_parameters(), client_tuple(1000));
        server.connect(now, client.dtls_parameters(), client.ice_parameters()).unwrap();
        Self {
            now,
            server,
            client,
            wire: BTreeMap::new(),
            sent: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            lost_per_mille,
            deaf: None,
            to_server: vec![],
            server_events: vec![],
            client_events: vec![],
        }
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 8
    }

    fn send(&mut self, to_server: bool, tuple: Tuple, datagram: Bytes) {
        assert!(datagram.len() <= 1200, "{} bytes", datagram.len());
        if to_server {
            self.to_server.push(datagram.clone());
        }
        if let Some((_, got)) = self.deaf.as_mut().filter(|(deaf, _)| !to_server && *deaf == tuple) {
            *got += datagram.len();
            return;
        }
        if self.random() % 1000 < self.lost_per_mille {
            return;
        }
        // A lossy link reorders, too.
        let jitter = if self.lost_per_mille > 0 { Duration::from_millis(self.random() % 15) } else { Duration::ZERO };
        self.sent += 1;
        self.wire.insert((self.now + DELAY + jitter, self.sent), (to_server, flip(tuple), datagram));
    }

    fn collect(&mut self) {
        while let Some((tuple, datagram)) = self.server.poll_transmit() {
            self.send(false, tuple, datagram);
        }
        while let Some((tuple, datagram)) = self.client.poll_transmit() {
            self.send(true, tuple, datagram);
        }
        self.server_events.extend(std::iter::from_fn(|| self.server.poll_event()));
        self.client_events.extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    /// Goes to the next thing that happens. False: nothing does before `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        self.collect();
        let arrival = self.wire.first_key_value().map(|(key, _)| key.0);
        let Some(next) = [arrival, self.server.poll_timeout(), self.client.poll_timeout()].into_iter().flatten().min() else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        if arrival.is_some_and(|arrival| arrival <= self.now) {
            let (_, (to_server, tuple, datagram)) = self.wire.pop_first().unwrap();
            if to_server {
                self.server.handle_datagram(self.now, tuple, &datagram);
            } else {
                self.client.handle_datagram(self.now, tuple, &datagram);
            }
        }
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        self.collect();
        true
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs the server alone, its peer having vanished.
    pub(super) fn run_server_alone(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.server.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.server.handle_timeout(self.now);
            self.server_events.extend(std::iter::from_fn(|| self.server.poll_event()));
            while self.server.poll_transmit().is_some() {}
        }
        self.now = end;
    }

    pub(super) fn keys(events: &[PeerEvent]) -> Option<SrtpKeys> {
        events.iter().find_map(|event| if let PeerEvent::Connected(keys) = event { Some(keys.clone()) } else { None })
    }

    pub(super) fn assert_connected(&self) -> SrtpProfile {
        let server = Self::keys(&self.server_events).unwrap_or_else(|| panic!("server: {:?}", self.server_events));
        let client = Self::keys(&self.client_events).unwrap_or_else(|| panic!("client: {:?}", self.client_events));
        assert_eq!(server.profile, client.profile);
        assert_eq!((&server.local_key, &server.local_salt), (&client.remote_key, &client.remote_salt));
        assert_eq!((&server.remote_key, &server.remote_salt), (&client.local_key, &client.local_salt));
        assert_ne!(server.local_key, server.remote_key);
        assert_eq!((server.local_key.len(), server.local_salt.len()), (16, server.profile.salt_len()));
        server.profile
    }

    pub(super) fn closed(&self) -> Option<&CloseReason> {
        self.server_events.iter().find_map(|event| if let PeerEvent::Closed(reason) = event { Some(reason) } else { None })
    }
}
