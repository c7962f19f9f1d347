//! Sending: packets are written into one arena, runs to the same peer become `UDP_SEGMENT` super-packets, and all leave by
//! as few `sendmmsg` calls as possible.
//!
//! In: packets with destination and source address. Out: system calls, and counters of what happened.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::message::{Message, split};
use super::port::UdpPort;
use super::sys::Scratch;

/// The kernel takes at most this many segments in one super-packet (`UDP_MAX_SEGMENTS` before Linux 6.9).
const MAX_SEGMENTS: usize = 64;
/// Bytes of one super-packet: below the 65,507 that fit an IPv4 datagram.
const MAX_SUPER_PACKET: usize = 65_000;
/// Longest single datagram: more than any path takes, and it bounds the room that `begin` hands out.
const MAX_DATAGRAM: usize = 2048;
/// Arena size at which packets are dropped if nobody flushes: about 20 ms of a worker's full output at 1.2 M packets/s is more
/// than this, so callers flush when [`SendBatch::is_full`] says so.
const MAX_ARENA: usize = 4 * 1024 * 1024;
/// `is_full` says so from here on, which leaves the caller time.
const FLUSH_AT: usize = 256 * 1024;

/// What happened to packets. All only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams handed to the kernel.
    pub packets: u64,
    pub bytes: u64,
    /// `sendmmsg` calls.
    pub calls: u64,
    /// Messages in them (super-packets count as one).
    pub messages: u64,
    /// Datagrams dropped because the kernel's buffer was full for longer than one flush may wait, or the arena was.
    pub dropped: u64,
    /// Datagrams that the kernel refused: unreachable, too long, no such source address.
    pub refused: u64,
}

/// Packets to be sent by one socket.
#[derive(Debug)]
pub struct SendBatch {
    arena: Vec<u8>,
    used: usize,
    messages: Vec<Message>,
    /// How many of `messages` a flush that the kernel had no room for has sent already.
    sent: usize,
    /// How many messages were there when the flush had no room: the next flush drops what is left of them.
    pending: usize,
    open: Option<(SocketAddr, IpAddr)>,
    no_gso: bool,
    counters: SendCounters,
    scratch: Scratch,
}

impl SendBatch {
    /// An empty one. Make one per socket: what could not be sent stays in it until the next flush.
    pub fn new() -> Self {
        Self {
            arena: Vec::new(),
            used: 0,
            messages: Vec::new(),
            sent: 0,
            pending: 0,
            open: None,
            no_gso: false,
            counters: SendCounters::default(),
            scratch: Scratch::default(),
        }
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.messages.len() == self.sent
    }

    /// Whether it should be flushed now, before more is written.
    pub fn is_full(&self) -> bool {
        self.used >= FLUSH_AT
    }

    /// What happened so far.
    pub fn counters(&self) -> SendCounters {
        self.counters
    }

    /// Adds a packet to `remote` from our address `local` (of the same family; unspecified: the kernel chooses). A packet
    /// longer than 2048 bytes, or one too many, is dropped and counted.
    pub fn push(&mut self, remote: SocketAddr, local: IpAddr, bytes: &[u8]) {
        match self.begin(remote, local, bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.commit(bytes.len());
            }
            None => self.counters.dropped += 1,
        }
    }

    /// Gives `room` bytes to write a packet into, in place; [`Self::commit`] then says how many it has become. Without a
    /// commit nothing is sent. `None` where `room` is more than 2048 or the arena is full: flush first.
    pub fn begin(&mut self, remote: SocketAddr, local: IpAddr, room: usize) -> Option<&mut [u8]> {
        self.open = None;
        let end = self.used + room;
        if room > MAX_DATAGRAM || end > MAX_ARENA {
            return None;
        }
        if self.arena.len() < end {
            // Grows to what a tick needs and stays there.
            self.arena.resize(end.next_power_of_two().clamp(64 * 1024, MAX_ARENA), 0);
        }
        self.open = Some((remote, local));
        Some(&mut self.arena[self.used..end])
    }

    /// The packet begun has `len` bytes (at most the room it was given).
    pub fn commit(&mut self, len: usize) {
        let Some((remote, local)) = self.open.take() else { return };
        if len == 0 || self.used + len > self.arena.len() {
            return;
        }
        let start = self.used;
        self.used += len;
        let joinable = self.messages.len() > self.pending && !self.no_gso;
        if let Some(last) = self.messages.last_mut().filter(|_| joinable)
            && last.remote == remote
            && last.local == local
            && len <= last.segment
            // Only the last segment may be shorter, so a shorter one ends the run.
            && last.len == last.segment * last.segments
            && last.segments < MAX_SEGMENTS
            && last.len + len <= MAX_SUPER_PACKET
        {
            last.len += len;
            last.segments += 1;
            return;
        }
        self.messages.push(Message { remote, local, start, len, segment: len, segments: 1 });
    }

    /// Hands everything to the kernel without waiting. What it has no room for stays for the next flush; what was left over
    /// from the flush before is dropped then, because media that old is of no use. True if nothing is left: otherwise wait
    /// for [`UdpPort::writable`] and flush again.
    ///
    /// # Errors
    /// The socket is unusable. Errors of single packets are counted, not returned.
    pub fn flush(&mut self, port: &UdpPort) -> io::Result<bool> {
        if !port.supports_gso() {
            self.no_gso = true;
        }
        while self.sent < self.messages.len() {
            if self.no_gso {
                self.split_segments();
            }
            match port.send(&mut self.scratch, &self.arena, &self.messages[self.sent..]) {
                Ok(count) => {
                    self.counters.calls += 1;
                    self.counters.messages += count as u64;
                    for message in &self.messages[self.sent..self.sent + count] {
                        self.counters.packets += message.segments as u64;
                        self.counters.bytes += message.len as u64;
                    }
                    self.sent += count;
                }
                Err(error) => {
                    self.counters.calls += 1;
                    if error.kind() == io::ErrorKind::WouldBlock {
                        return Ok(self.keep_for_later());
                    }
                    self.refuse_first(error)?;
                }
            }
        }
        self.clear();
        Ok(true)
    }

    /// The first message was refused: by a device without checksum offload (EIO) or a kernel without GSO (EINVAL,
    /// EMSGSIZE) as a super-packet, otherwise as what it is.
    fn refuse_first(&mut self, error: io::Error) -> io::Result<()> {
        let first = self.messages[self.sent];
        match error.raw_os_error() {
            Some(libc::EBADF | libc::ENOTSOCK) => return Err(error),
            Some(libc::EIO) if first.segments > 1 => self.no_gso = true,
            // The segments of this one are longer than the path takes: only this destination is concerned.
            Some(libc::EMSGSIZE | libc::EINVAL) if first.segments > 1 => {
                let single = split(first);
                self.messages.splice(self.sent..=self.sent, single);
            }
            _ => {
                self.counters.refused += first.segments as u64;
                self.sent += 1;
            }
        }
        Ok(())
    }

    /// From now on without GSO: makes single messages of those that wait.
    fn split_segments(&mut self) {
        if self.messages[self.sent..].iter().any(|message| message.segments > 1) {
            let waiting = self.messages.split_off(self.sent);
            self.messages.extend(waiting.into_iter().flat_map(split));
        }
    }

    fn keep_for_later(&mut self) -> bool {
        // Already left over from an earlier flush: too old now.
        let stale = self.pending.saturating_sub(self.sent);
        for message in &self.messages[self.sent..self.sent + stale] {
            self.counters.dropped += message.segments as u64;
        }
        self.sent += stale;
        let waiting = &mut self.messages;
        waiting.drain(..self.sent);
        self.sent = 0;
        self.pending = waiting.len();
        // The arena begins anew with what is left, so that it can't creep to its limit.
        let Some(begin) = waiting.first().map(|message| message.start) else {
            self.clear();
            return true;
        };
        self.arena.copy_within(begin..self.used, 0);
        self.used -= begin;
        waiting.iter_mut().for_each(|message| message.start -= begin);
        false
    }

    #[cfg(test)]
    pub(super) fn disable_gso(&mut self) {
        self.no_gso = true;
    }

    #[cfg(test)]
    pub(super) fn no_room(&mut self) -> bool {
        self.keep_for_later()
    }

    fn clear(&mut self) {
        self.used = 0;
        self.messages.clear();
        self.sent = 0;
        self.pending = 0;
    }
}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}
