//! Plain transports: RTP and RTCP over UDP without ICE and DTLS, on one port (RFC 5761), for anybody's ffmpeg or GStreamer.
//!
//! In: the socket that the driver opened, the peer's address (or its first packet). Out: a transport like any other.

use std::net::SocketAddr;
use std::time::Instant;

use super::Worker;
use crate::rtp::packet::{DatagramKind, demux, is_rtcp};
use crate::sfu::error::SfuError;
use crate::sfu::id::{RouterId, TransportId};
use crate::sfu::outbox::Outbox;
use crate::sfu::peer::{Protocol, Tuple};
use crate::sfu::transport::{Plain, Transport};

impl Worker {
    /// Makes a transport on a socket of its own, which is bound to `port`.
    pub(crate) fn create_plain_transport(&mut self, router: RouterId, port: u16, comedia: bool) -> Result<TransportId, SfuError> {
        self.check_router(router)?;
        if self.transports.len() >= self.config.max_transports {
            return Err(SfuError::TooMany("transports on this worker (sfu.max_transports)"));
        }
        if self.plain_ports.contains_key(&port) {
            return Err(SfuError::PortTaken(port));
        }
        let id = TransportId::next();
        let ssrc = self.random_ssrc();
        let key = self.transports.insert(Transport::new(id, router, None, Some(Plain { port, comedia }), ssrc));
        self.transport_keys.insert(id, key);
        self.plain_ports.insert(port, key);
        Ok(id)
    }

    /// Sets the peer's address: RTP is sent there and taken from there only.
    pub(crate) fn connect_plain_transport(
        &mut self,
        now: Instant,
        id: TransportId,
        local: SocketAddr,
        remote: SocketAddr,
        out: &mut impl Outbox,
    ) -> Result<(), SfuError> {
        let key = self.transport_key(id)?;
        if self.transports[key].plain.is_none() || local.is_ipv4() != remote.is_ipv4() || remote.port() == 0 {
            return Err(SfuError::Unreachable { local, remote });
        }
        self.select_plain(now, key, Tuple { local, remote, protocol: Protocol::Udp }, out);
        Ok(())
    }

    fn select_plain(&mut self, now: Instant, key: usize, tuple: Tuple, out: &mut impl Outbox) {
        self.transports[key].tuple = Some(tuple);
        let mut next = 0;
        while let Some(consumer) = self.transports.get(key).and_then(|transport| transport.consumers.get(next)).copied() {
            next += 1;
            self.start_consumer(now, consumer, out);
        }
    }

    pub(super) fn handle_plain(&mut self, now: Instant, key: usize, tuple: Tuple, datagram: &mut [u8], out: &mut impl Outbox) {
        if datagram.first().is_none_or(|first| demux(*first) != DatagramKind::Rtp) {
            self.stats.drop_garbage += 1;
            return;
        }
        let Some(transport) = self.transports.get(key) else { return };
        match transport.tuple {
            Some(known) if known.remote == tuple.remote => {}
            None if transport.plain.is_some_and(|plain| plain.comedia) && !is_rtcp(datagram) => self.select_plain(now, key, tuple, out),
            _ => {
                self.stats.drop_unknown_peer += 1;
                return;
            }
        }
        if is_rtcp(datagram) { self.handle_rtcp(now, key, datagram, out) } else { self.handle_rtp(now, key, datagram) }
    }
}
