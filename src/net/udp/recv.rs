//! Receiving: recvmmsg of GRO super-packets into buffers that are used again and again.
//!
//! In: a socket. Out: datagrams as mutable slices with both of their addresses.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};

/// Bytes per buffer: the kernel joins up to 64 datagrams of one sender into one of at most this size.
const BUFFER: usize = 65_535;
/// Buffers per system call. Each is 64 KiB that are only touched as far as something was received into them.
const BUFFERS: usize = if BATCH_SIZE < 32 { BATCH_SIZE } else { 32 };

/// Where datagrams are received into. Make one per worker and use it for all its sockets: it holds 2 MiB of address space.
pub struct RecvBatch {
    bytes: Box<[u8]>,
    meta: [RecvMeta; BUFFERS],
    filled: usize,
    bound: IpAddr,
}

/// One datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its payload; SRTP is opened in it.
    pub bytes: &'a mut [u8],
    /// Who sent it.
    pub remote: SocketAddr,
    /// Which address of ours it was sent to: answers must leave from there.
    pub local: IpAddr,
}

impl RecvBatch {
    /// An empty one.
    pub fn new() -> Self {
        let unspecified = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        Self { bytes: vec![0; BUFFER * BUFFERS].into(), meta: [RecvMeta::default(); BUFFERS], filled: 0, bound: unspecified }
    }

    pub(super) fn fill(&mut self, state: &UdpSocketState, socket: UdpSockRef<'_>, bound: IpAddr) -> io::Result<usize> {
        self.filled = 0;
        self.bound = bound;
        let mut chunks = self.bytes.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BUFFERS] = std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.filled = state.recv(socket, &mut slices, &mut self.meta)?;
        Ok(self.len())
    }

    /// How many datagrams it holds.
    pub fn len(&self) -> usize {
        self.meta[..self.filled].iter().map(|meta| meta.len.div_ceil(meta.stride.max(1))).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The datagrams, in order of arrival.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let bound = self.bound;
        self.bytes.chunks_exact_mut(BUFFER).zip(&self.meta[..self.filled]).flat_map(move |(buffer, meta)| {
            let local = meta.dst_ip.unwrap_or(bound);
            // A datagram of no bytes is left out: nothing above has a use for it.
            let whole = &mut buffer[..meta.len.min(BUFFER)];
            whole.chunks_mut(meta.stride.max(1)).map(move |bytes| Datagram { bytes, remote: meta.addr, local })
        })
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch").field("datagrams", &self.len()).finish_non_exhaustive()
    }
}
