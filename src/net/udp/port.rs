//! A bound UDP socket.
//!
//! In: an address; batches. Out: datagrams in and out.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::message::Message;
use super::recv::RecvBatch;
use super::steer::Steering;
use super::sys;
use crate::net::quiet::Quiet;

/// Socket buffers asked for; the kernel caps them at `net.core.{r,w}mem_max`. 4 MiB hold 30 ms of a full gigabit, so a
/// worker may be busy for that long without losing datagrams.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpPort {
    socket: Quiet<UdpSocket>,
    state: quinn_udp::UdpSocketState,
    local: SocketAddr,
}

impl UdpPort {
    /// Binds `address`. IPv6 sockets take IPv6 only, so that `0.0.0.0` and `[::]` can be bound side by side. With
    /// `reuse_port`, several sockets may bind the same address, and the kernel spreads 4-tuples over them.
    ///
    /// # Errors
    /// As `bind(2)`. Must be called inside a tokio runtime.
    pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Smaller ones than asked for are no reason to fail.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        // Turns on packet info and GRO, and forbids fragmentation.
        let state = quinn_udp::UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self { socket: Quiet::new(socket)?, state, local })
    }

    /// The address it is bound to, which may be a wildcard.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until there may be something to receive. Cancel safe.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until there may be room to send, after [`super::SendBatch::flush`] found none. Cancel safe.
    ///
    /// # Errors
    /// No file descriptor is left, or the runtime is shutting down.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Receives what has arrived into `batch`, replacing what was in it, without waiting. Returns how many datagrams.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; then [`Self::readable`] waits. Others are the network's (ICMP) and can be ignored.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.socket.try_read(|socket| batch.fill(&self.state, socket.into(), self.local.ip()))
    }

    /// Lets the kernel give datagrams to the sockets that share this address as `steering` says, from now on and in place of what was said
    /// before. It numbers them in the order in which they were bound.
    ///
    /// # Errors
    /// The kernel refuses: before Linux 4.5, or in a sandbox. It goes by a hash then.
    pub fn steer(&self, steering: &Steering) -> io::Result<()> {
        sys::attach(self.socket.socket().as_fd(), &steering.program(self.local.is_ipv6()))
    }

    /// Whether the kernel can cut one long send into datagrams (`UDP_SEGMENT`, Linux 4.18).
    pub fn supports_gso(&self) -> bool {
        self.state.max_gso_segments() > 1
    }

    /// Sizes of the kernel's receive and send buffer, in bytes.
    pub fn buffer_sizes(&self) -> (usize, usize) {
        let socket = SockRef::from(self.socket.socket());
        (socket.recv_buffer_size().unwrap_or(0), socket.send_buffer_size().unwrap_or(0))
    }

    #[cfg(test)]
    pub(super) fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self.socket.socket()).set_send_buffer_size(bytes)
    }

    /// Sends as many of `messages`, whose bytes are in `arena`, as one call takes. An error is about the first one.
    pub(super) fn send(&self, scratch: &mut sys::Scratch, arena: &[u8], messages: &[Message]) -> io::Result<usize> {
        sys::send(self.socket.socket().as_fd(), |local| self.source_for(local), scratch, arena, messages)
    }

    /// The source address to put on packets that answer to `local`; none where the socket has that address anyway.
    fn source_for(&self, local: IpAddr) -> Option<IpAddr> {
        (local != self.local.ip() && !local.is_unspecified()).then_some(local)
    }
}
