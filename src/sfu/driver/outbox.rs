//! A worker's output on real sockets and channels.
//!
//! In: datagrams written in place, batches. Out: `sendmmsg` calls, frames for TCP connections, channels to readers.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::shared::Incoming;
use crate::net::udp::{SendBatch, UdpPort};
use crate::rtp::batch::RtpBatch;
use crate::sfu::id::{ConsumerId, ProducerId, RouterId, TransportId};
use crate::sfu::outbox::{Outbox, Readiness};
use crate::sfu::peer::{Protocol, Tuple};

/// A UDP socket with what is to be sent on it.
pub(super) struct Port {
    pub(super) socket: UdpPort,
    pub(super) batch: SendBatch,
    /// The kernel had no room: flush again when it has.
    pub(super) blocked: bool,
    /// The plain transport that it belongs to.
    pub(super) owner: Option<TransportId>,
}

/// Where a consumer's batches go.
pub(super) enum Reader {
    Local(mpsc::Sender<RtpBatch>),
    /// To a copy of the producer on another worker.
    Pipe {
        /// The other worker's queue.
        media: mpsc::Sender<Incoming>,
        worker: usize,
        router: RouterId,
        /// The producer, here and there.
        producer: ProducerId,
    },
}

/// Sockets and channels.
pub(super) struct NetOutbox {
    pub(super) ports: Vec<Port>,
    pub(super) tcp: HashMap<Tuple, mpsc::Sender<Bytes>>,
    pub(super) readers: HashMap<ConsumerId, Reader>,
    pub(super) dropped: u64,
    scratch: Vec<u8>,
}

impl NetOutbox {
    pub(super) fn new(ports: Vec<UdpPort>) -> Self {
        let ports = ports.into_iter().map(|socket| Port { socket, batch: SendBatch::new(), blocked: false, owner: None }).collect();
        Self { ports, tcp: HashMap::new(), readers: HashMap::new(), dropped: 0, scratch: Vec::new() }
    }

    /// Adds a plain transport's own socket.
    pub(super) fn add_port(&mut self, socket: UdpPort, owner: TransportId) {
        self.ports.push(Port { socket, batch: SendBatch::new(), blocked: false, owner: Some(owner) });
    }

    /// Closes a plain transport's socket, once what it has to send is sent.
    pub(super) fn remove_port(&mut self, owner: TransportId) {
        if let Some(index) = self.ports.iter().position(|port| port.owner == Some(owner)) {
            let mut port = self.ports.remove(index);
            port.flush();
            let counters = port.batch.counters();
            self.dropped += counters.dropped + counters.refused;
        }
    }

    /// Hands everything written since the last time to the kernel.
    pub(super) fn flush(&mut self) {
        for port in &mut self.ports {
            if !port.batch.is_empty() {
                port.flush();
            }
        }
    }

    /// Datagrams that neither socket nor connection took.
    pub(super) fn lost(&self) -> u64 {
        let udp: u64 = self.ports.iter().map(|port| port.batch.counters()).map(|c| c.dropped + c.refused).sum();
        udp + self.dropped
    }
}

impl Port {
    fn flush(&mut self) {
        match self.batch.flush(&self.socket) {
            Ok(done) => self.blocked = !done,
            Err(error) => tracing::error!(address = %self.socket.local_addr(), %error, "can't send"),
        }
    }

    fn serves(&self, local: SocketAddr) -> bool {
        let bound = self.socket.local_addr();
        bound.port() == local.port() && bound.is_ipv4() == local.is_ipv4() && (bound.ip().is_unspecified() || bound.ip() == local.ip())
    }
}

impl Outbox for NetOutbox {
    fn datagram(&mut self, tuple: &Tuple, max_len: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        if tuple.protocol == Protocol::Tcp {
            self.scratch.resize(max_len, 0);
            let len = write(&mut self.scratch);
            let taken = self.tcp.get(tuple).is_some_and(|queue| queue.try_send(Bytes::copy_from_slice(&self.scratch[..len])).is_ok());
            self.dropped += u64::from(!taken);
            return;
        }
        let Some(port) = self.ports.iter_mut().find(|port| port.serves(tuple.local)) else {
            self.dropped += 1;
            return;
        };
        if port.batch.is_full() {
            port.flush();
        }
        match port.batch.begin(tuple.remote, tuple.local.ip(), max_len) {
            Some(room) => {
                let len = write(room);
                port.batch.commit(len);
            }
            None => self.dropped += 1,
        }
    }

    fn readiness(&mut self, consumer: ConsumerId) -> Readiness {
        let (closed, room) = match self.readers.get(&consumer) {
            Some(Reader::Local(queue)) => (queue.is_closed(), queue.capacity()),
            Some(Reader::Pipe { media, .. }) => (media.is_closed(), media.capacity()),
            None => (true, 0),
        };
        match (closed, room) {
            (true, _) => Readiness::Gone,
            (false, 0) => Readiness::Full,
            _ => Readiness::Ready,
        }
    }

    fn deliver(&mut self, consumer: ConsumerId, batch: RtpBatch) {
        let taken = match self.readers.get(&consumer) {
            Some(Reader::Local(queue)) => queue.try_send(batch).is_ok(),
            Some(Reader::Pipe { media, router, producer, .. }) => {
                media.try_send(Incoming::Batch { router: *router, producer: *producer, batch }).is_ok()
            }
            None => false,
        };
        self.dropped += u64::from(!taken);
    }
}
